"""The verdicts as text and as JSON.

Rules: text is ASCII, so that any terminal can carry it; JSON has every sample, so that others can judge for themselves.
The names of its fields are what scripts read (docs/reference/cli.md). Apart from verdicts.py, which knows no layout.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from bridge.bench.found import Effort, Found
from bridge.bench.rows import Limit
from bridge.bench.verdicts import Outcome, Sample, Verdict

NAME: Final = 42
SIDE: Final = 18


def text(verdicts: Sequence[Verdict]) -> str:
    """One table for each section."""
    lines: list[str] = []
    section = None
    for verdict in verdicts:
        if verdict.row.section != section:
            section = verdict.row.section
            lines += [""] * bool(lines)
            lines.append(f"{section:<{NAME}}{'ours':>{SIDE}}{'floor or peer':>{SIDE}}{'figure':>12}  middle half")
        lines.append(_line(verdict))
    return "\n".join([*lines, ""])


def _line(verdict: Verdict) -> str:
    name = f"  {verdict.row.name}".ljust(NAME)
    if verdict.value is None or verdict.low is None or verdict.high is None:
        return f"{name}  not measured: {verdict.reason}"
    sides = f"{_side(verdict.ours)}{_side(verdict.against)}"
    figure = f"{number(verdict.value)} {verdict.unit}"
    spread = f"{number(verdict.low)} to {number(verdict.high)}"
    return f"{name}{sides}{figure:>12}  {spread:<17}{promise(verdict)}".rstrip()


def _side(sample: Sample | None) -> str:
    return ("-" if sample is None else f"{number(sample.value)} {sample.unit}").rjust(SIDE)


def promise(verdict: Verdict) -> str:
    """The budget, and what became of it."""
    if verdict.row.budget is None:
        return ""
    sign = "<=" if verdict.row.limit is Limit.AT_MOST else ">="
    unit = "" if verdict.unit == "x" else f" {verdict.unit}"
    doubt = ", but too noisy to tell" if verdict.doubt else ""
    return f"{sign} {verdict.row.budget:g}{unit}: {verdict.outcome.value}{doubt}"


def number(value: float) -> str:
    """Three digits that count."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:.2f} M"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def faults(verdicts: Sequence[Verdict]) -> list[str]:
    """A sentence for each budget that is missed, and each that wasn't measured."""
    found = []
    for verdict in verdicts:
        if verdict.outcome is Outcome.UNMEASURED and verdict.row.budget is not None:
            found.append(f"{verdict.row.section}: {verdict.row.name} was not measured: {verdict.reason}")
        elif verdict.outcome is Outcome.MISSED and verdict.value is not None:
            figure = f"{number(verdict.value)} {verdict.unit}"
            side = (verdict.row.limit or Limit.AT_MOST).value
            found.append(
                f"{verdict.row.section}: {verdict.row.name}: {figure}, but {side} {verdict.row.budget:g} is the budget"
            )
    return found


def doubts(verdicts: Sequence[Verdict]) -> list[str]:
    """Where this machine was too noisy to tell."""
    return [f"{verdict.row.section}: {verdict.row.name}: {verdict.doubt}" for verdict in verdicts if verdict.doubt]


def document(verdicts: Sequence[Verdict], found: Found, effort: Effort, load: float) -> dict[str, Any]:
    """All of it, for scripts.

    Args:
        load: Of the machine, before.
    """
    return {
        "ok": not any(verdict.missed for verdict in verdicts),
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpus": len(os.sched_getaffinity(0)),
        "load": round(load, 2),
        "rounds": effort.rounds,
        "quick": effort.quick,
        "rows": [_entry(verdict) for verdict in verdicts],
        "series": {name: asdict(series) for name, series in found.series.items()},
    }


def _entry(verdict: Verdict) -> dict[str, Any]:
    row = verdict.row
    return {
        "name": row.name,
        "section": row.section,
        "ours": row.ours,
        "against": row.against,
        "figure": row.figure.value,
        "limit": row.limit.value if row.limit is not None and row.budget is not None else None,
        "budget": row.budget,
        "outcome": verdict.outcome.value,
        "value": verdict.value,
        "low": verdict.low,
        "high": verdict.high,
        "unit": verdict.unit,
        "doubt": verdict.doubt,
        "reason": verdict.reason,
    }
