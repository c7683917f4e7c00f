"""A task's check-out: as a thread's, but that its loop may be stopped, blocked or closed when it is granted a worker.

Rules: waking only posts to the loop. A closed loop refuses the worker, which goes to the next one; the turn of one that
doesn't look within OFFER seconds is taken back by the next audit, and it comes back to its place when it does look.
Apart from claims.py, whose owners always look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final
from weakref import ReferenceType, ref

from bridge.runtime.alarms import Alarms
from bridge.runtime.claims import Claim

if TYPE_CHECKING:
    from bridge.runtime import Runtime
    from bridge.runtime.pool import Pool

HEAR: Final = 0.02
"""Seconds between two looks at workers that are starting, where there is no supervisor's thread."""
OFFER: Final = 0.1
"""Seconds within which a loop has to take a worker that it is offered."""
LONG: Final = 1.0
"""Seconds after which a call that is still there is given times to look at; less than LAST_LOOK."""


class Home:
    """A runtime in one loop: what all calls that are made there have in common, looked up once for each.

    While tasks wait, one timer for all of them has audits made, and gives those times to look at that have been there
    for long: most calls are over before that. It doesn't hold the loop, which may be dropped unclosed, and its calls
    with it.

    Args:
        attend: Hears workers that are starting, where nobody else does; whether there are any.
        notice: Has an audit made.
        clock: Monotonic seconds.
    """

    __slots__ = ("_attend", "_notice", "_times_at", "alarms", "clock", "pool", "watches")

    def __init__(
        self, pool: Pool, attend: Callable[[], bool], notice: Callable[[], object], clock: Callable[[], float]
    ) -> None:
        self.pool, self.clock, self.alarms = pool, clock, Alarms(clock)
        self._attend, self._notice = attend, notice
        self.watches = False
        """There is such a timer."""
        self._times_at = 0.0

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """A task of its loop begins to wait, or goes on waiting."""
        if not self.watches:
            self.watches = True
            self._times_at = self.clock() + LONG
            loop.call_soon(self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        timer = loop.call_later(OFFER, self._look, loop)  # first: whatever interrupts this, it goes on
        # They are looked for: a count of them would cost each of them more, and an interruption could leave it wrong.
        everybody = self.pool.unserved()
        waits = any(map(self._is_mine, everybody))  # mostly the first is
        if not waits or self.clock() >= self._times_at:
            self._times_at = self.clock() + LONG
            for claim in [*everybody, *self.pool.served()]:
                if isinstance(claim, LoopClaim) and claim.home is self:
                    claim.look_in_time()
        if not waits:
            timer.cancel()
            self.watches = False
        elif self._attend():
            timer.cancel()
            loop.call_later(HEAR, self._look, loop)
        else:
            self._notice()

    def _is_mine(self, claim: Claim) -> bool:
        return isinstance(claim, LoopClaim) and claim.home is self


Homes = dict[ReferenceType[asyncio.AbstractEventLoop], Home]


def home_of(runtime: Runtime, loop: asyncio.AbstractEventLoop) -> Home:
    """That of the running loop."""
    homes = runtime.homes
    home = homes.get(ref(loop))
    if home is None:
        for other in list(homes):
            if (there := other()) is None or there.is_closed():
                homes.pop(other, None)
        keeper = runtime.supervisor
        runtime.pool.last_look = OFFER
        home = homes[ref(loop)] = Home(runtime.pool, lambda: keeper.attend(0.0), keeper.notice, runtime.clock)
    return home


def claim_here(runtime: Runtime) -> LoopClaim:
    """A claim of the task that runs."""
    loop = asyncio.get_running_loop()
    return LoopClaim(home_of(runtime, loop), loop)


class LoopClaim(Claim):
    """One task's check-out.

    Args:
        loop: That runs.
    """

    loop: asyncio.AbstractEventLoop
    # Defaults of the class, as any waiter has them.
    _awaited: asyncio.Future[None] | None = None
    _offered_at: float | None = None
    _timer: asyncio.TimerHandle | None = None

    def __init__(self, home: Home, loop: asyncio.AbstractEventLoop) -> None:
        self.home, self.loop = home, loop

    def arm(self) -> None:
        """Nothing to get ready."""

    def wake(self) -> None:
        """Tell the task to look. Idempotent, from any thread, never blocks."""
        if self._offered_at is None:
            self._offered_at = self.home.clock()
        if asyncio._get_running_loop() is self.loop:  # noqa: SLF001  # most grants: no need to wake a selector
            self.loop.call_soon(self._look)
            return
        try:
            self.loop.call_soon_threadsafe(self._look)
        except RuntimeError:  # it is closed: the task never looks
            if not self.taken:  # else what it holds isn't an offer, and a reply may be due: that is for the audit
                self.home.pool.refuse_grant(self)

    def _look(self) -> None:
        if self._awaited is not None and not self._awaited.done():
            self._awaited.set_result(None)

    def look_in_time(self) -> None:
        """It has been there for a while. A task that rests has a timer of its own."""

    def waits_in_vain(self, now: float) -> bool:
        """Whether it was told for so long that its loop can't be running."""
        return self._offered_at is not None and now - self._offered_at > OFFER

    def rest(self, seconds: float) -> asyncio.Future[None]:
        """To be awaited: whether it was woken. No loop step lies between the look before and this, so that no ring is
        missed; and no coroutine, since ten thousand may wait. `rested` follows, whatever happens."""
        self._offered_at = None
        self._awaited = self.loop.create_future()
        self._timer = self.loop.call_later(seconds, self._look)
        return self._awaited

    def rested(self) -> None:
        """After it."""
        if self._timer is not None:
            self._timer.cancel()
        self._awaited = self._timer = None
