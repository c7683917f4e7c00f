"""Inline pictures for the status page, and figures as people read them.

Rules: text in, text out; colours are classes, since the page forbids inline styles, and every text from outside is
escaped here. Apart from page.py, which arranges them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from itertools import groupby, pairwise
from typing import Final

from bridge.core.stats import Latencies, WorkerStats

WIDE, HIGH = 240, 44
"""Of a line's picture, in its own units."""
CELL, PER_ROW = 18, 24
"""Of the workers' picture."""
UNITS: Final = (
    (1e-3, 1e6, "µs"),
    (0.9995, 1e3, "ms"),
    (120.0, 1.0, "s"),
    (7200.0, 1 / 60, "min"),
    (172800.0, 1 / 3600, "h"),
)
"""Below so many seconds, in what: times how much, and its name."""


def duration(seconds: float | None) -> str:
    """Seconds, in the unit that suits them."""
    if seconds is None:
        return "-"
    factor, unit = next(((times, unit) for below, times, unit in UNITS if seconds < below), (1 / 86400, "days"))
    return f"{figure(seconds * factor)} {unit}"


def figure(number: float) -> str:
    """Three digits, or all that stand before the point."""
    return f"{number:,.0f}" if number >= 99.95 else f"{number:.3g}"


def line(values: Sequence[float | None], label: str) -> str:
    """A line through values from left to right, from 0 up to the greatest; None is a hole."""
    top = max((value for value in values if value is not None), default=0.0) or 1.0
    step = WIDE / max(len(values) - 1, 1)
    points = [
        None if value is None else (n * step, HIGH - 2 - (HIGH - 6) * value / top) for n, value in enumerate(values)
    ]
    runs = [[point for point in run if point] for there, run in groupby(points, bool) if there]
    return _framed("line", label, "".join(map(_run, runs)))


def _framed(kind: str, label: str, drawn: str) -> str:
    """With its ground, in a box that is stretched to its place."""
    return (
        f'<svg class="{kind}" viewBox="0 0 {WIDE} {HIGH}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(label)}"><path class="ground" d="M0 {HIGH - 2}H{WIDE}"/>{drawn}</svg>'
    )


def _run(points: Sequence[tuple[float, float]]) -> str:
    if len(points) == 1:  # seen as a dot, by the round ends of a line
        points = [*points, points[0]]
    along = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    under = f"M{points[0][0]:.1f} {HIGH - 2}L{along}L{points[-1][0]:.1f} {HIGH - 2}Z"
    return f'<path class="under" d="{under}"/><path class="along" d="M{along}"/>'


def bars(taken: Latencies, label: str) -> str:
    """How many calls took how long: a bar for each power of two that is between the shortest and the longest."""
    below = [0, *(count for _, count in taken.buckets), taken.count]
    counts = [after - before for before, after in pairwise(below)]
    bounds = [duration(bound) for bound, _ in taken.buckets]
    names = [f"below {bounds[0]}", *(f"{low} to {high}" for low, high in pairwise(bounds))]
    found = [n for n, count in enumerate(counts) if count]
    shown = range(max(found[0] - 1, 0), min(found[-1] + 2, len(counts))) if found else range(6, 16)
    top, step = max(counts) or 1, WIDE / len(shown)
    drawn = [
        f'<rect x="{place * step + 1:.1f}" y="{HIGH - 2 - (HIGH - 6) * counts[n] / top:.1f}" width="{step - 2:.1f}" '
        f'height="{max((HIGH - 6) * counts[n] / top, 0.0):.1f}"><title>'
        f"{[*names, f'{bounds[-1]} and more'][n]}: {counts[n]:,}</title></rect>"
        for place, n in enumerate(shown)
    ]
    return _framed("bars", label, "".join(drawn))


def workers(every: Iterable[WorkerStats], missing: int) -> str:
    """A square for each worker, coloured by its state, and an empty one for each that should be there and isn't."""
    cells = [(worker.state, _about(worker)) for worker in every] + [("missing", "not there")] * max(missing, 0)
    rows = -(-len(cells) // PER_ROW) or 1
    wide = min(len(cells), PER_ROW) * CELL or CELL
    drawn = [
        f'<rect class="{escape(state)}" x="{n % PER_ROW * CELL + 1}" y="{n // PER_ROW * CELL + 1}" rx="3" '
        f'width="{CELL - 4}" height="{CELL - 4}"><title>{escape(about)}</title></rect>'
        for n, (state, about) in enumerate(cells)
    ]
    return (
        f'<svg class="workers" width="{wide}" height="{rows * CELL}" role="img" aria-label="workers by state">'
        f"{''.join(drawn)}</svg>"
    )


def _about(worker: WorkerStats) -> str:
    who = f"worker {worker.generation}" + ("" if worker.pid is None else f", pid {worker.pid}")
    where = "" if worker.host is None else f" on {worker.host}"
    return f"{who}{where}: {worker.state}, {worker.calls:,} calls, {duration(worker.age)} old"
