"""When a worker has served for long enough.

Rules: thresholds are drawn once per worker, with a jitter, so that a fleet that started together doesn't restart
together; nothing here measures. Memory counts only after some calls: a worker that is over the limit as soon as it is
ready would otherwise be replaced for ever (celery's experience). Apart from fleet.py, which replaces before it retires.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import Final

MIN_CALLS: Final = 10
"""Calls before a worker's memory counts."""


class Worn(str, Enum):
    """Why a worker is replaced though it works."""

    CALLS = "max_calls"
    LIFETIME = "max_lifetime"
    MEMORY = "max_rss"
    ASKED = "recycle()"
    UNHEALTHY = "on_health failed"


@dataclass(frozen=True)
class Thresholds:
    """One worker's own."""

    calls: float = inf
    lifetime: float = inf
    """Seconds from readiness."""
    rss: float = inf
    """Bytes."""

    def worn_by(self, calls: int, rss: int) -> Worn | None:
        """What is exceeded between two calls."""
        if calls >= self.calls:
            return Worn.CALLS
        if rss > self.rss and calls >= MIN_CALLS:
            return Worn.MEMORY
        return None


@dataclass(frozen=True)
class RecyclePolicy:
    """What a worker may do at the most; None is no limit.

    Args:
        max_calls: Calls.
        max_lifetime: Seconds from readiness.
        max_rss: Bytes of resident memory, measured between calls.
        jitter: By how much of itself calls and lifetime may be lower, at random: 0 to 1.
    """

    max_calls: int | None = None
    max_lifetime: float | None = None
    max_rss: int | None = None
    jitter: float = 0.1

    def draw(self, chance: Callable[[], float]) -> Thresholds:
        """Thresholds for one more worker."""
        calls, lifetime = self.max_calls, self.max_lifetime
        return Thresholds(
            inf if calls is None else max(1, round(calls * (1 - self.jitter * chance()))),
            inf if lifetime is None else lifetime * (1 - self.jitter * chance()),
            inf if self.max_rss is None else self.max_rss,
        )
