"""A task's check-out: as a thread's, but that its loop may be stopped, blocked or closed when it is granted a worker.

Rules: waking only posts to the loop. A closed loop refuses the worker, which goes to the next one; the turn of one that
doesn't look within OFFER seconds is taken back by the next audit, and it comes back to its place when it does look.
Apart from claims.py, whose owners always look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final
from weakref import ReferenceType, ref

from bridge.runtime.alarms import Alarms
from bridge.runtime.claims import Claim

HEAR: Final = 0.02
"""Seconds between two looks at workers that are starting, where there is no supervisor's thread."""
OFFER: Final = 0.1
"""Seconds within which a loop has to take a worker that it is offered."""


class LoopClaim(Claim):
    """One task's check-out, in the running loop.

    Args:
        clock: Monotonic seconds.
        refuse: Called with it when its loop is closed.
    """

    # Ten thousand may wait: what each of them has is in slots, for all that the base has none.
    __slots__ = ("_awaited", "_clock", "_loop", "_offered_at", "_refuse", "_timer")

    def __init__(self, clock: Callable[[], float], refuse: Callable[[LoopClaim], object]) -> None:
        self._loop = asyncio.get_running_loop()
        self._clock, self._refuse = clock, refuse
        self._awaited: asyncio.Future[None] | None = None
        self._offered_at: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def arm(self) -> None:
        """Nothing to get ready."""

    def wake(self) -> None:
        """Tell the task to look. Idempotent, from any thread, never blocks."""
        if self._offered_at is None:
            self._offered_at = self._clock()
        if asyncio._get_running_loop() is self._loop:  # noqa: SLF001  # most grants: no need to wake a selector
            self._loop.call_soon(self._look)
            return
        try:
            self._loop.call_soon_threadsafe(self._look)
        except RuntimeError:  # it is closed: the task never looks
            if not self.taken:  # else what it holds isn't an offer, and a reply may be due: that is for the audit
                self._refuse(self)

    def _look(self) -> None:
        if self._awaited is not None and not self._awaited.done():
            self._awaited.set_result(None)

    def waits_in_vain(self, now: float) -> bool:
        """Whether it was told for so long that its loop can't be running."""
        return self._offered_at is not None and now - self._offered_at > OFFER

    def rest(self, seconds: float) -> asyncio.Future[None]:
        """To be awaited: whether it was woken. No loop step lies between the look before and this, so that no ring is
        missed; and no coroutine, since ten thousand may wait. `rested` follows, whatever happens."""
        self._offered_at = None
        self._awaited = self._loop.create_future()
        self._timer = self._loop.call_later(seconds, self._look)
        return self._awaited

    def rested(self) -> None:
        """After it."""
        if self._timer is not None:
            self._timer.cancel()
        self._awaited = self._timer = None


class Round:
    """Of one loop: how many of its tasks wait, and the timer."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop, self.waiting = loop, 0
        self.timer: asyncio.Handle | None = None


class Rounds:
    """Has an audit made now and then while tasks of a loop wait: one timer for all of them. And one for what is due.

    Args:
        attend: Hears workers that are starting, where nobody else does; whether there are any.
        notice: Has the audit made.
        clock: Monotonic seconds.
    """

    def __init__(self, attend: Callable[[], bool], notice: Callable[[], object], clock: Callable[[], float]) -> None:
        self._attend, self._notice, self._clock = attend, notice, clock
        self._of: dict[asyncio.AbstractEventLoop, Round] = {}
        self._alarms: dict[ReferenceType[asyncio.AbstractEventLoop], Alarms] = {}  # a loop may be dropped unclosed

    def alarms_of(self, loop: asyncio.AbstractEventLoop) -> Alarms:
        """Those of the running loop."""
        found = self._alarms.get(ref(loop))
        if found is None:
            for other in list(self._alarms):
                if (there := other()) is None or there.is_closed():
                    self._alarms.pop(other, None)
            found = self._alarms[ref(loop)] = Alarms(self._clock)
        return found

    def enter(self, loop: asyncio.AbstractEventLoop) -> Round:
        """A task of the running loop begins to wait; it ends by `leave`. No context manager: ten thousand may wait."""
        found = self._of.get(loop)
        if found is None:
            for gone in [other for other in list(self._of) if other.is_closed()]:
                self._of.pop(gone, None)
            found = self._of[loop] = Round(loop)
            found.timer = loop.call_soon(self._look, found)
        found.waiting += 1
        return found

    def leave(self, found: Round) -> None:
        """The end of it; perhaps from the collector, when the loop is closed."""
        found.waiting -= 1
        if not found.waiting:
            if found.timer is not None:
                found.timer.cancel()
            self._of.pop(found.loop, None)

    def _look(self, found: Round) -> None:
        if self._attend():
            found.timer = found.loop.call_later(HEAR, self._look, found)
        else:
            found.timer = found.loop.call_later(OFFER, self._look, found)
            self._notice()
