"""The states of a worker, and which may follow which.

Rules: one table; a step that isn't in it raises, since it would be a defect of ours. The page docs/concepts.md draws
its diagram from here (h11's way). Apart from fleet.py, which decides when a step is taken, and from the pool, which
knows who is lent: `busy` is a ready worker that somebody holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final


class WorkerState(str, Enum):
    """Where a worker stands."""

    STARTING = "starting"
    """Its process was asked for, and hasn't said that it is ready."""
    READY = "ready"
    BUSY = "busy"
    """Somebody holds it."""
    DRAINING = "draining"
    """Nobody holds it, and it owes an answer: to end a call that was left, or how it is. It comes back if that comes in
    time."""
    RETIRING = "retiring"
    """It was told to end, or killed."""
    STOPPED = "stopped"
    """It is dead, and reaped."""


TRANSITIONS: Final[Mapping[tuple[WorkerState, WorkerState], str]] = MappingProxyType(
    {
        (WorkerState.STARTING, WorkerState.READY): "its handler is made",
        (WorkerState.STARTING, WorkerState.RETIRING): "its start failed or took too long, or the pool closes",
        (WorkerState.STARTING, WorkerState.STOPPED): "it died, or the system refused it",
        (WorkerState.READY, WorkerState.BUSY): "it is lent",
        (
            WorkerState.READY,
            WorkerState.RETIRING,
        ): "its successor is ready, it was idle too long, or the pool closes",
        (WorkerState.READY, WorkerState.DRAINING): "it is asked how it is",
        (WorkerState.READY, WorkerState.STOPPED): "it died",
        (WorkerState.BUSY, WorkerState.READY): "it is given back, and no reply is outstanding",
        (WorkerState.BUSY, WorkerState.DRAINING): "its holder left in the middle of a call",
        (WorkerState.BUSY, WorkerState.RETIRING): "its call can't be cancelled softly",
        (WorkerState.BUSY, WorkerState.STOPPED): "it died in a call",
        (WorkerState.DRAINING, WorkerState.READY): "the answer came",
        (WorkerState.DRAINING, WorkerState.RETIRING): "it didn't come in time: it is killed",
        (WorkerState.DRAINING, WorkerState.STOPPED): "it died",
        (WorkerState.RETIRING, WorkerState.STOPPED): "it is gone",
    }
)
"""(before, after) -> what happened."""


class IllegalTransition(AssertionError):
    """A step that the table doesn't have: a defect of this package."""


def step(before: WorkerState, after: WorkerState) -> WorkerState:
    """Take a step. What is `ready` to the fleet may be `busy` to the pool, so both count where one of them does.

    Raises:
        IllegalTransition: The table doesn't have it.
    """
    if (before, after) in TRANSITIONS:
        return after
    if before is WorkerState.READY and (WorkerState.BUSY, after) in TRANSITIONS:
        return after
    raise IllegalTransition(f"a worker went from {before.value} to {after.value}")


def diagram() -> str:
    """The table as a state diagram, in Mermaid's language."""
    lines = [f"    {before.value} --> {after.value}: {why}" for (before, after), why in TRANSITIONS.items()]
    return "\n".join(["stateDiagram-v2", "    [*] --> starting", *lines, "    stopped --> [*]"])
