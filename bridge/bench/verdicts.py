"""What the rows make of what was found: a figure, its spread, and whether the budget is kept.

Rules: a figure is the median of the rounds' own figures, since floor and bridge of one round had the same machine; the
middle half of the rounds is shown beside it. What wasn't measured is missed. Apart from measuring, so that every
judgement can be tested with made-up samples.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum
from statistics import median, quantiles
from typing import Final

from bridge.bench.found import Found
from bridge.bench.rows import ROWS, Figure, Row

UNSTEADY: Final = 1.5
"""The floor's upper quartile over its lower, above which the machine is too noisy to tell anything."""


class Outcome(str, Enum):
    """What became of a budget."""

    MET = "met"
    MISSED = "missed"
    UNMEASURED = "not measured"
    SHOWN = "shown"
    """There is no budget."""


@dataclass(frozen=True)
class Sample:
    """One side of a comparison."""

    name: str
    unit: str
    value: float


@dataclass(frozen=True)
class Verdict:
    """One row, judged."""

    row: Row
    outcome: Outcome
    ours: Sample | None = None
    against: Sample | None = None
    value: float | None = None
    low: float | None = None
    """Lower quartile of the rounds."""
    high: float | None = None
    unit: str = "x"
    doubt: str | None = None
    """Why this machine was too noisy to tell."""
    reason: str | None = None
    """Why it wasn't measured."""

    @property
    def missed(self) -> bool:
        """Whether --check fails on it."""
        return self.outcome is Outcome.MISSED or (self.outcome is Outcome.UNMEASURED and self.row.budget is not None)


def judge(found: Found, sections: Collection[str], rows: Sequence[Row] = ROWS) -> list[Verdict]:
    """The verdicts on all rows of these sections."""
    return [_judge(row, found) for row in rows if row.section in sections]


def quartiles(samples: Sequence[float]) -> tuple[float, float]:
    """Where the middle half of them begins and ends."""
    if len(samples) < 2:
        return samples[0], samples[0]
    low, _, high = quantiles(samples, n=4, method="inclusive")
    return low, high


def _judge(row: Row, found: Found) -> Verdict:
    wanted = [name for name in (row.ours, row.against) if name is not None]
    for name in wanted:
        if name not in found.series:
            return Verdict(row, Outcome.UNMEASURED, reason=found.missing.get(name, f"nothing measured {name!r}"))
    ours = found.series[row.ours]
    others = found.series[row.against].samples if row.against is not None else ours.samples
    figures = [_figure(row.figure, mine, other) for mine, other in zip(ours.samples, others, strict=True)]
    value, (low, high) = median(figures), quartiles(figures)
    outcome = Outcome.SHOWN if row.budget is None else Outcome.MET if row.holds(value) else Outcome.MISSED
    sides = [Sample(name, found.series[name].unit, median(found.series[name].samples)) for name in wanted]
    return Verdict(
        row,
        outcome,
        ours=sides[0],
        against=sides[1] if len(sides) > 1 else None,
        value=value,
        low=low,
        high=high,
        unit="x" if row.figure in (Figure.RATIO, Figure.FASTER) else ours.unit,
        doubt=_doubt(row, others, low, high),
    )


def _figure(figure: Figure, ours: float, other: float) -> float:
    match figure:
        case Figure.RATIO:
            return ours / other
        case Figure.FASTER:
            return other / ours
        case Figure.BEYOND:
            return ours - other
    return ours


def _doubt(row: Row, floor: Sequence[float], low: float, high: float) -> str | None:
    first, third = quartiles(floor)
    if third > UNSTEADY * first:
        return f"{row.against or row.ours} itself went from {first:.3g} to {third:.3g} between rounds"
    if row.holds(low) != row.holds(high):
        return "the budget lies within the middle half of the rounds"
    return None
