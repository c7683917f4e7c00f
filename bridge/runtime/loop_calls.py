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
from bridge.runtime.claims import worker_of
from bridge.runtime.loop_claims import Home, LoopClaim
from bridge.runtime.pool import LAST_LOOK

if TYPE_CHECKING:
    from bridge.runtime import watching
    from bridge.runtime.worker import Worker


class Registration:
    """A worker's descriptors, registered with a loop for whoever calls there."""

    __slots__ = ("_loop", "_pool", "_reads", "_worker", "_writes", "call")

    def __init__(self, worker: Worker, fds: tuple[int, int], call: LoopCall) -> None:
        self._worker, self._pool = worker, call.home.pool
        self._loop, (self._reads, self._writes) = call.loop, fds
        self.call: LoopCall | None = call
        self._loop.add_reader(self._reads, self._hear)

    def _hear(self) -> None:
        """Mostly the result has come, and the next call is to begin: on one page, since each of a crowd costs its loop
        this. What else there is, the call sees to."""
        call, worker = self.call, self._worker
        if call is None:
            return
        future = call.future
        if future is None or call.rest or future.done():
            call.step()
            return
        try:
            found = worker.link.poll(call.command)
        except Exception as error:
            call.fail(future, error)
            return
        if found is None:
            call.linger(future)
            return
        future.set_result(found[1])
        heir: Any = self._pool.pass_on(call, worker, self._loop)
        if heir is None:
            call.give_back()
        else:  # another call of this loop: no other follows
            call.future = None
            heir.follow(self, worker)

    def _step(self) -> None:
        if self.call is not None:
            self.call.step()

    def writes(self, *, wanted: bool) -> None:
        """Whether there is something to be written."""
        if wanted:
            self._loop.add_writer(self._writes, self._step)
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
    future: asyncio.Future[Any] | None = None
    """That its task awaits; None: it doesn't."""
    rest: Any = b""
    """Of its frame, to be written when there is room."""
    registration: Registration | None = None
    retries = 0
    """Times that it was sent again."""

    def __init__(self, home: Home, loop: asyncio.AbstractEventLoop, command: str, body: bytes, deadline: float) -> None:
        self.home = home  # as any claim of a task, without another call for that
        self.loop = loop
        self.command = command
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
        self.future = future = self.loop.create_future()
        now = home.clock()
        if pool.queue(self, now):  # in a crowd: it is behind others, and has time
            if not home.watches:
                home.watch(self.loop)
            return future
        self.enqueued_at = now
        if pool.ask(self, now):
            self._send()
        else:
            self._goes_on(pool.first_look(self, self.deadline, now))
        return future

    def end(self) -> None:
        """Nothing of it is left behind but the worker, which goes back. Idempotent; it may begin again."""
        if self.future is None:
            return  # it was passed on
        self.future = None
        self.due = inf
        worker = self.worker
        if worker is not None and (listener := worker.link.listener) is not None and listener() is self:
            worker.link.listener = None
        if (registration := self.registration) is not None:
            self.registration = None
            registration.end()
        if self.sent_at:
            self.home.pool.checkin(self)
        else:
            self.home.pool.leave(self)
        self.sent_at, self.rest, self._offered_at = 0.0, b"", None

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
        future = self.future
        if future is None or future.done():
            return
        try:
            if self.sent_at:
                self._hear(future)
            else:
                self._offered_at = None
                self._goes_on(self.home.pool.look(self, self.deadline, self.enqueued_at))
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
        self._wake_at(self.enqueued_at + LAST_LOOK)

    def _wake_at(self, due: float) -> None:
        """Have it look then, if it wouldn't before: most calls end before any time has come."""
        if due < self.due:
            self.due = due
            self.home.alarms.set(self, self.loop)

    def _send(self) -> None:
        """Begin its call, on the worker that it was lent."""
        if self.cancelled:
            raise CallCancelled(self.command, pid=None)
        worker = worker_of(self)
        worker.calls += 1
        self.sent_at = worker.active_at = now = self.home.clock()
        link = worker.link
        link.listener = ref(self)
        # No claim for `poll` to look at each time: `linger` asks whether this was cancelled, when nothing has come.
        rest = link.begin(self.command, self._body, self.deadline - now)
        watched = link.watched
        if watched is None:
            self.loop.call_soon(self._look)  # its answer may be there
            return
        self.registration = Registration(worker, watched, self)
        self._wake_at(self.deadline)  # else it was queued, and looks in time
        if rest:
            self.rest = rest
            self.registration.writes(wanted=True)

    def _hear(self, future: asyncio.Future[Any]) -> None:
        link = worker_of(self).link
        if self.rest:
            self.rest = link.push_on(self.rest)
            if not self.rest and self.registration is not None:
                self.registration.writes(wanted=False)
        try:
            found = link.poll(self.command)
        except Exception as error:
            self.fail(future, error)
            return
        if found is None:
            self.linger(future)
            return
        future.set_result(found[1])
        self.give_back()

    def linger(self, future: asyncio.Future[Any]) -> None:
        """Nothing has come yet, so it goes on waiting, or has waited in vain."""
        if self.cancelled:
            future.set_exception(Left())
        elif self.home.clock() >= self.deadline:
            future.set_exception(DeadlinePassed(started=not self.rest))
        else:
            self._wake_at(min(self.deadline, worker_of(self).link.next_look))

    def fail(self, future: asyncio.Future[Any], error: Exception) -> None:
        """It has ended with an error; if that was the answer, its worker goes on."""
        future.set_exception(error)
        if worker_of(self).link.clean:
            self.give_back()  # else it is dead, or told to end: for the task to find out

    def give_back(self) -> None:
        """Its worker goes to the next caller: with what is registered for it, if that is a call of this loop."""
        registration = self.registration
        worker = worker_of(self)
        worker.link.listener = None  # before: whoever is lent the worker next may have set its own at once
        self.due = inf
        next_one = self.home.pool.give_back(self, None if registration is None else self.loop)
        self.future = self.registration = None
        if registration is not None:
            if isinstance(next_one, LoopCall) and next_one.taken:
                next_one.follow(registration, worker)
                return
            registration.end()
        if next_one is not None:
            next_one.wake()

    def follow(self, registration: Registration, worker: Worker) -> None:
        """Its turn was taken, just now: begin its call, on the worker whose descriptors are registered. As `_send`, but
        that nobody else can have seen it meanwhile."""
        self.registration = registration
        registration.call = self
        try:
            worker.calls += 1
            self.sent_at = now = worker.active_at
            link = worker.link
            link.listener = worker.holder
            rest = link.begin(self.command, self._body, self.deadline - now)
            if rest:
                self.rest = rest
                registration.writes(wanted=True)
        except Exception as error:  # it died: for the task to find out
            assert self.future is not None
            self.future.set_exception(error)


class WatchedLoopCall(LoopCall):
    """One that somebody wants to hear of (`on_call`): the worker is back before its task goes on."""

    watch: watching.Watch

    def _send(self) -> None:
        try:
            super()._send()
        finally:
            self.watch.saw(self)

    def follow(self, registration: Registration, worker: Worker) -> None:
        """The same."""
        try:
            super().follow(registration, worker)
        finally:
            self.watch.saw(self)
