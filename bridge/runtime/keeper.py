"""What the pool needs of its supervisor.

Rules: none of it blocks. Apart from both because each knows the other only so far.
"""

from __future__ import annotations

from typing import Protocol

from bridge.core.recycling import Worn
from bridge.runtime.worker import Worker


class Keeper(Protocol):
    """What the pool needs of its supervisor. None of these blocks."""

    @property
    def interrupted_here(self) -> bool:
        """Whether the caller interrupted a step of it, which can't go on before it returns."""

    def grow(self) -> None:
        """Callers wait, and one more worker is allowed."""

    def retire(self, worker: Worker) -> None:
        """A worker must never be lent again: end it."""

    def abandon(self, worker: Worker, call_id: int) -> None:
        """A worker was left in the middle of that call."""

    def wear(self, generation: int, why: Worn) -> None:
        """A worker has served for long enough."""

    def notice(self) -> None:
        """A lease came back after the end began, or somebody has waited for long."""

    def attend(self, seconds: float) -> bool:
        """Hear workers that are starting, for so long at most. False: the caller has to wait in another way."""
