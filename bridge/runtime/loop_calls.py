"""A task's plain call, made by its loop's callbacks: the task sleeps once, and wakes up to the result.

Rules: whoever ends a call gives its worker back at once and, when the next caller waits in the same loop, begins that
one's call before any task goes on: so no worker idles while tasks are resumed, and its descriptor stays registered with
the loop from call to call. Callbacks run in the loop's thread, so what they leave registered can't fire before they
return. Apart from async_calls.py, whose calls may have more to say than their result.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING, Any
from weakref import ref

from bridge.errors import CallCancelled
from bridge.link import DeadlinePassed, Left
from bridge.runtime.loop_claims import Home, LoopClaim
from bridge.runtime.pool import LAST_LOOK

if TYPE_CHECKING:
    from bridge.runtime import watching


class Registration:
    """A worker's descriptors, registered with a loop for whoever calls there."""

    __slots__ = ("_loop", "_reads", "_writes", "call")

    def __init__(self, loop: asyncio.AbstractEventLoop, fds: tuple[int, int], call: LoopCall) -> None:
        self._loop, (self._reads, self._writes) = loop, fds
        self.call: LoopCall | None = call
        loop.add_reader(self._reads, self._fire)

    def _fire(self) -> None:
        if self.call is not None:
            self.call.step()

    def writes(self, *, wanted: bool) -> None:
        """Whether there is something to be written."""
        if wanted:
            self._loop.add_writer(self._writes, self._fire)
        else:
            self._loop.remove_writer(self._writes)

    def end(self) -> None:
        """Forget the descriptors."""
        self.call = None
        if not self._loop.is_closed():
            self._loop.remove_reader(self._reads)
            self._loop.remove_writer(self._writes)


class LoopCall(LoopClaim):
    """One call of one task.

    Args:
        loop: That runs.
        deadline: Monotonic seconds.
    """

    # Defaults of the class, as any waiter has them: most calls end before they set half of these.
    due = inf
    """When it is to look, whatever comes before."""
    _future: asyncio.Future[Any] | None = None
    """That its task awaits; None: it doesn't."""
    _rest: Any = b""
    """Of its frame, to be written when there is room."""
    _registration: Registration | None = None
    _sent = False

    def __init__(self, home: Home, loop: asyncio.AbstractEventLoop, command: str, body: bytes, deadline: float) -> None:
        self.home, self.loop = home, loop  # as any claim of a task, without another call for that
        self._command = command
        self._body = body
        self.deadline = deadline

    def begin(self) -> asyncio.Future[Any]:
        """Check out a worker, and call; to be awaited. `end` follows, whatever happens.

        Raises:
            PoolTimeout, PoolOverloaded, PoolClosed, CircuitOpen, WorkerStartError, CallCancelled: Nothing was sent.
            WorkerGone: The worker died at the first byte.
        """
        home = self.home
        pool = home.pool
        self._future = future = self.loop.create_future()
        self._started = now = home.clock()
        if pool.queue(self, self.deadline, now):  # in a crowd: it is behind others, and has time
            if not home.watches:
                home.watch(self.loop)
        elif pool.ask(self, now):
            self._send()
        else:
            self._goes_on(pool.first_look(self, self.deadline, now))
        return future

    def end(self) -> None:
        """Nothing of it is left behind but the worker, which goes back. Idempotent; it may begin again."""
        if self._future is None:
            return  # it was passed on
        self._future = None
        self.due = inf
        worker = self.worker
        if worker is not None and (listener := worker.link.listener) is not None and listener() is self:
            worker.link.listener = None
        if (registration := self._registration) is not None:
            self._registration = None
            registration.end()
        if self._sent:
            self.home.pool.checkin(self)
        else:
            self.home.pool.leave(self)
        self._sent, self._rest, self._offered_at = False, b"", None

    # -- In the loop -------------------------------------------------------------------------------------

    def _look(self) -> None:
        self.step()

    ring = LoopClaim.wake

    @property
    def is_over(self) -> bool:
        """Whether its loop is closed: nobody will ever step."""
        return self.loop.is_closed()

    def step(self) -> None:
        """Something has come, or it is time: go on as far as that is possible now."""
        future = self._future
        if future is None or future.done():
            return
        try:
            if self._sent:
                self._hear(future)
            else:
                self._offered_at = None
                self._goes_on(self.home.pool.look(self, self.deadline, self._started))
        except Exception as error:
            if not future.done():
                future.set_exception(error)

    alarm = step

    def _goes_on(self, left: float | None) -> None:
        """As the pool has said: now, or when so many seconds are over."""
        if left is None:
            self._send()
            return
        self.home.watch(self.loop)
        self._wake_at(self.home.clock() + left)

    def look_in_time(self) -> None:
        """It was queued, with more time than this, and has been there for a while."""
        self._wake_at(self._started + LAST_LOOK)

    def _wake_at(self, due: float) -> None:
        """Have it look then, if it wouldn't before: most calls end before any time has come."""
        if due < self.due:
            self.due = due
            self.home.alarms.set(self, self.loop)

    def _send(self) -> None:
        if self.cancelled:
            raise CallCancelled(self._command, pid=None)
        worker = self.worker
        assert worker is not None
        self._sent = True
        worker.calls += 1
        self.sent_at = worker.active_at = now = self.home.clock()
        link = worker.link
        link.listener = ref(self)
        # No claim for `poll` to look at each time: `_hear` asks whether this was cancelled, when nothing has come.
        rest = link.begin(self._command, self._body, self.deadline - now)
        if self._registration is None:
            watched = link.watched
            if watched is None:
                self.loop.call_soon(self._look)  # its answer may be there
                return
            self._registration = Registration(self.loop, watched, self)
            self._wake_at(self.deadline)  # else it was queued, and looks in time
        if rest:
            self._rest = rest
            self._registration.writes(wanted=True)

    def _hear(self, future: asyncio.Future[Any]) -> None:
        worker = self.worker
        assert worker is not None
        link = worker.link
        if self._rest:
            self._rest = link.push_on(self._rest)
            if not self._rest and self._registration is not None:
                self._registration.writes(wanted=False)
        try:
            found = link.poll(self._command)
        except Exception as error:
            if not link.clean:
                raise  # it is dead, or told to end: for the task to find out
            future.set_exception(error)
        else:
            if found is None:
                if self.cancelled:
                    raise Left
                if self.home.clock() >= self.deadline:
                    raise DeadlinePassed(started=not self._rest)
                self._wake_at(min(self.deadline, link.next_look))
                return
            future.set_result(found[1])
        # The worker goes on to the next caller here, with what is registered for it, or back.
        link.listener = None  # before: whoever is lent the worker next may have set its own at once
        self.due = inf
        registration = self._registration
        heir: Any = None if registration is None else self.home.pool.pass_on(self, worker, self.loop)
        if heir is None:
            self._give_back(registration)
        else:  # another call of this loop: no other follows
            self._future = self._registration = None
            heir.follow(registration)

    def _give_back(self, registration: Registration | None) -> None:
        next_one = self.home.pool.give_back(self, None if registration is None else self.loop)
        self._future = self._registration = None
        if registration is not None:
            if isinstance(next_one, LoopCall) and next_one.taken:
                next_one.follow(registration)
                return
            registration.end()
        if next_one is not None:
            next_one.wake()

    def follows(self, loop: object, now: float) -> bool:
        """Not when it is over, or late: then it looks for itself."""
        if self.loop is not loop or now >= self.deadline:
            return False
        future = self._future
        return future is not None and not future.done()

    def follow(self, registration: Registration) -> None:
        """Its turn was taken: begin its call, on the worker whose descriptors are registered."""
        self._registration, registration.call = registration, self
        try:
            self._send()
        except Exception as error:
            if self._future is not None:
                self._future.set_exception(error)


class WatchedLoopCall(LoopCall):
    """One that somebody wants to hear of (`on_call`): the worker is back before its task goes on."""

    watch: watching.Watch

    def _send(self) -> None:
        try:
            super()._send()
        finally:
            self.watch.saw(self)
