"""One timer of a loop for all the calls that are made in it.

Rules: a heap as the loop has one, but of tuples, which are compared in C, and of weak references, since what was cut
short must not seem to be held. What is over leaves its entry behind, which costs nothing until it is found: when it is
due, or when there are more than twice the entries that were wanted the last time. Apart from loop_calls.py, whose calls
are what rings. (A TimerHandle for each call: 200 of its 2,760 steps; docs/design/benchmarks.md.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf
from typing import Final, Protocol
from weakref import ReferenceType, ref

FEW: Final = 64
"""Entries that are never looked through."""


class Alarmed(Protocol):
    """Who is to look at a time."""

    due: float
    """Monotonic seconds; inf: no more. An entry for another time is over."""

    def alarm(self) -> None:
        """It is time."""


Entry = tuple[float, int, ReferenceType[Alarmed]]


class Alarms:
    """Those of one loop. Only for its thread. They don't hold it: it may be dropped unclosed, and its calls with it.

    Args:
        clock: Monotonic seconds.
    """

    __slots__ = ("_clock", "_heap", "_most", "_number", "_rings_at")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._heap: list[Entry] = []
        self._most = FEW
        self._number = count()  # so that equal times never compare references
        self._rings_at = inf

    def set(self, who: Alarmed, loop: asyncio.AbstractEventLoop) -> None:
        """Have it ring when `who.due` has come; before that was changed it may have been another time."""
        due, heap = who.due, self._heap
        heappush(heap, (due, next(self._number), ref(who)))
        if len(heap) > self._most:
            heap[:] = [entry for entry in heap if _wanted(entry) is not None]
            heapify(heap)
            self._most = 2 * len(heap) + FEW
        if due < self._rings_at:
            self._ring_at(due, loop)

    def _ring_at(self, due: float, loop: asyncio.AbstractEventLoop) -> None:
        """A timer that was set for a later time is left, and finds nothing."""
        self._rings_at = due
        loop.call_later(max(0.0, due - self._clock()), self._ring, due, loop)

    def _ring(self, set_for: float, loop: asyncio.AbstractEventLoop) -> None:
        heap, now = self._heap, self._clock()
        try:
            while heap and (heap[0][0] <= now or _wanted(heap[0]) is None):
                who = _wanted(heappop(heap))
                if who is not None:
                    who.due = inf
                    who.alarm()
        finally:  # whatever one of them raises, the others' time comes
            if set_for == self._rings_at:
                self._rings_at = inf
                if heap:
                    self._ring_at(heap[0][0], loop)


def _wanted(entry: Entry) -> Alarmed | None:
    """Whose it is, if it isn't over."""
    who = entry[2]()
    return who if who is not None and who.due == entry[0] else None
