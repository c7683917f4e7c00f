"""What is compared with what, and which figure is promised: the table of budgets.

Rules: data alone, one row per promise of the design, and those that are for information; a section measures series, a
row names two of them. Apart from the sections because the budgets are read by people, and changed for other reasons.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final


class Figure(str, Enum):
    """What a row makes of the two samples of one round."""

    RATIO = "ratio"
    """Ours, in the other's."""
    FASTER = "faster"
    """The other's time, in ours."""
    BEYOND = "beyond"
    """Ours less the other's."""
    ITSELF = "itself"
    """Ours; there is no other."""


class Limit(str, Enum):
    """On which side of the budget the figure has to be."""

    AT_MOST = "at most"
    AT_LEAST = "at least"


@dataclass(frozen=True)
class Row:
    """One comparison."""

    name: str
    section: str
    ours: str
    """Name of a series."""
    against: str | None
    """Name of the floor's series, or of the peer's."""
    figure: Figure
    limit: Limit | None = None
    budget: float | None = None
    """In the unit of the figure; None is for information."""

    def holds(self, value: float) -> bool:
        """Whether a figure keeps the budget."""
        if self.budget is None or self.limit is None:
            return True
        return value <= self.budget if self.limit is Limit.AT_MOST else value >= self.budget


def _most(name: str, section: str, ours: str, against: str, budget: float | None) -> Row:
    return Row(name, section, ours, against, Figure.RATIO, Limit.AT_MOST, budget)


def _least(name: str, section: str, ours: str, against: str, budget: float) -> Row:
    return Row(name, section, ours, against, Figure.RATIO, Limit.AT_LEAST, budget)


def _faster(name: str, section: str, ours: str, against: str, budget: float) -> Row:
    return Row(name, section, ours, against, Figure.FASTER, Limit.AT_LEAST, budget)


ROWS: Final = (
    _most("a call, on one core", "latency", "bridge, one core", "pipe and json, one core", 1.5),
    _faster("a call, on one core, and Pool.apply", "latency", "bridge, one core", "Pool.apply, one core", 2.2),
    _faster("a call, on one core, and an executor", "latency", "bridge, one core", "ProcessPoolExecutor, one core", 5),
    _most("a call, left to the scheduler", "latency", "bridge", "pipe and json", None),
    _most("a call, busy polling", "latency", "bridge, busy polling", "pipe and json", None),
    _most("processor time of a call", "latency", "CPU of bridge", "CPU of pipe and json", None),
    _most(
        "processor time of a call, busy polling", "latency", "CPU of bridge, busy polling", "CPU of pipe and json", None
    ),
    _least("8 threads, 2 workers", "throughput", "bridge, 8 threads", "ProcessPoolExecutor, 8 threads", 3.5),
    _least("1,000 tasks, 2 workers", "async", "bridge, 1,000 tasks", "run_in_executor, 1,000 tasks", 4),
    _least("map of 20,000 small items", "map", "Bridge.map", "Pool.imap_unordered", 1),
    _most("8 workers ready", "start", "bridge, 8 workers", "8 bare interpreters", 1.5),
    _most("8 workers ready, from a zygote", "start", "bridge, 8 workers of a zygote", "8 bare interpreters", 0.4),
    Row("import bridge", "start", "import bridge", "python -c pass", Figure.BEYOND, Limit.AT_MOST, 15),
    _most("a worker killed, and all there again", "recover", "bridge recovers", "a bare worker respawned", 2),
    _most("the same, from a zygote", "recover", "bridge recovers by a zygote", "a bare worker respawned", None),
    _most("the same, with a spare worker", "recover", "bridge recovers by a spare", "a bare worker respawned", None),
    Row(
        "the adapter of a scope", "scope", "container.adapter()", "ContextVar.get()", Figure.BEYOND, Limit.AT_MOST, 250
    ),
    Row("a call on the mock", "scope", "call on the mock", None, Figure.ITSELF, Limit.AT_MOST, 10),
    _most("private memory of an idle worker", "memory", "bridge's worker", "bare interpreter", 1.2),
    _most("the same, from a zygote", "memory", "bridge's worker of a zygote", "bare interpreter", None),
    _least("64 MiB there and back", "payload", "bridge, 64 MiB", "bare pipe, 64 MiB", 1),
    _least("64 MiB, shared memory", "payload", "bridge, 64 MiB shared", "bare pipe, 64 MiB", 2),
    _most("100 idle workers", "growth", "100 idle workers", "1 idle worker", 1.3),
    _most("1,000 idle workers", "growth", "1,000 idle workers", "1 idle worker", 1.3),
    _most("10,000 callers wait", "growth", "10,000 callers wait", "1 caller waits", 1.3),
    _most("100,000 sessions", "growth", "100,000 sessions", "1 session", 1.3),
)

LABELS: Final = MappingProxyType({"us": "µs", "x": "×"})  # noqa: RUF001  that sign is meant
"""Units whose proper sign not every stream can carry."""


def promised() -> tuple[Row, ...]:
    """The rows that have a budget."""
    return tuple(row for row in ROWS if row.budget is not None)
