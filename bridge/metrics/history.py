"""What was seen at earlier looks: counters say how much in all, and only two of them how much lately.

Rules: a look is made when somebody asks, so there is no thread; a few are kept of each bridge, and of two in the same
second the later one. Apart from the endpoints, whose threads share it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from bridge.core.stats import Stats

KEPT: Final = 120
"""Looks: four minutes of a page that is open, half an hour of a scraper."""
APART: Final = 1.0
"""Seconds between two that are kept, at the least."""


@dataclass(frozen=True)
class Look:
    """What a bridge's counters said at one time."""

    at: float
    calls: int
    seconds: float
    """That these took, together."""
    waiting: int


@dataclass(frozen=True)
class Span:
    """From one look to the next."""

    lasted: float
    rate: float
    """Calls that were answered, in a second."""
    mean: float | None
    """Seconds that one of them took; None when there was none."""
    waiting: int
    """Callers in the queue, at its end."""


class History:
    """Looks at some bridges, by name and adapter.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._looks: dict[tuple[str, str], deque[Look]] = {}
        self._lock = threading.Lock()

    def look(self, stats: Stats) -> list[Span]:
        """Keep one more look, and answer with what there is of this bridge, the oldest first."""
        latest = Look(self._clock(), stats.latencies.count, stats.latencies.sum, stats.waiting)
        with self._lock:
            looks = self._looks.setdefault((stats.name, stats.adapter), deque(maxlen=KEPT))
            if looks and latest.calls < looks[-1].calls:  # it is another one, of the same name
                looks.clear()
            if len(looks) > 1 and latest.at - looks[-2].at < APART:
                looks.pop()
            looks.append(latest)
            return [_span(before, after) for before, after in pairwise(looks) if after.at > before.at]


def _span(before: Look, after: Look) -> Span:
    lasted, calls = after.at - before.at, after.calls - before.calls
    mean = (after.seconds - before.seconds) / calls if calls else None
    return Span(lasted, calls / lasted, mean, after.waiting)
