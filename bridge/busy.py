"""Look for what is to come for a while, before going to sleep: a wake-up across cores costs ten times a small call.

Rules: standard library only, Python 3.8 syntax: both ends load it, and only where it was asked for. It pays where the
answer comes soon and a core is free for whoever looks; where it doesn't, it is left out more and more often. Apart from
the two ends because they do the same.
"""

from os import sched_getaffinity
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Optional

__scoped_bridge__ = True  # frames of modules that have this are left out of a handler's traceback, as in unittest

RAREST = 1024
"""Waits of which at least one is still looked for, in case it pays again."""


class BusyPoll:
    """One end's.

    Args:
        poll: Answers, for the argument 0 at once, whether something is there.
        microseconds: For so long it looks.
    """

    def __init__(
        self, poll: "Callable[[int], Any]", microseconds: float, clock: "Callable[[], float]" = monotonic
    ) -> None:
        self._poll, self._seconds, self._clock = poll, microseconds * 1e-6, clock
        self._pause = self._left = 0

    def look(self) -> None:
        """Until something is there, or it was looked for long enough; not at all if that didn't pay lately."""
        if self._left:
            self._left -= 1
            return
        poll, clock = self._poll, self._clock
        until = clock() + self._seconds
        while not poll(0):
            if clock() >= until:
                self._left = self._pause = min(RAREST, 2 * self._pause + 1)
                return
        self._pause = 0


def busy_poll_of(poll: "Callable[[int], Any]", microseconds: float) -> "Optional[BusyPoll]":
    """What looks, if it was asked for and could pay: on one core whoever looks keeps the other one from answering."""
    return BusyPoll(poll, microseconds) if microseconds > 0 and len(sched_getaffinity(0)) > 1 else None


def worker_side(request: int, microseconds: float) -> "Optional[BusyPoll]":
    """That of a worker, for its request pipe."""
    from select import POLLIN, poll

    there = poll()
    there.register(request, POLLIN)
    return busy_poll_of(there.poll, microseconds)
