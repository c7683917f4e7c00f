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
from bridge.link import DeadlinePassed
from bridge.runtime.loop_claims import LoopClaim, Round, Rounds

if TYPE_CHECKING:
    from bridge.runtime import Runtime, watching


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
        rounds: Of the runtime.
        deadline: Monotonic seconds.
    """

    __slots__ = (
        *("_body", "_command", "_future", "_rest", "_round", "_rounds", "_runtime", "_sent", "_started"),
        *("_alarms", "_registration", "deadline", "due"),
    )

    def __init__(self, runtime: Runtime, rounds: Rounds, command: str, body: bytes, deadline: float) -> None:
        super().__init__(runtime.clock, runtime.pool.refuse_grant)
        self._runtime, self._rounds, self._command, self._body = runtime, rounds, command, body
        self.deadline, self._rest = deadline, b""
        self._future: asyncio.Future[Any] | None = None
        self._round: Round | None = None
        self._registration: Registration | None = None
        self._sent, self._started = False, 0.0
        self._alarms = rounds.alarms_of(self._loop)
        self.due = inf  # when it is to look, whatever comes before

    def begin(self) -> asyncio.Future[Any]:
        """Check out a worker, and call; to be awaited. `end` follows, whatever happens.

        Raises:
            PoolTimeout, PoolOverloaded, PoolClosed, CircuitOpen, WorkerStartError, CallCancelled: Nothing was sent.
            WorkerGone: The worker died at the first byte.
        """
        self._future = future = self._loop.create_future()
        self._sent = False
        self._started = now = self._clock()
        if self._runtime.pool.ask(self, now):
            self._send()
        else:
            self._round = self._rounds.enter(self._loop)
            self._goes_on(self._runtime.pool.first_look(self, self.deadline, now))
        return future

    def end(self) -> None:
        """Nothing of it is left behind but the worker, which goes back. Idempotent."""
        if self._future is None:
            return  # it was passed on
        self._future = None
        self._let_go()
        if (registration := self._registration) is not None:
            self._registration = None
            registration.end()
        if self._sent:
            self._runtime.pool.checkin(self)
        else:
            self._runtime.pool.leave(self)

    def _let_go(self) -> None:
        self.due = inf
        if self._round is not None:
            found, self._round = self._round, None
            self._rounds.leave(found)
        worker = self.worker
        if worker is not None and (listener := worker.link.listener) is not None and listener() is self:
            worker.link.listener = None

    # -- In the loop -------------------------------------------------------------------------------------

    def _look(self) -> None:
        self.step()

    ring = LoopClaim.wake

    @property
    def is_over(self) -> bool:
        """Whether its loop is closed: nobody will ever step."""
        return self._loop.is_closed()

    def step(self) -> None:
        """Something has come, or it is time: go on as far as that is possible now."""
        future = self._future
        if future is None or future.done():
            return
        self._offered_at = None
        try:
            if self._sent:
                self._hear(future)
            else:
                self._goes_on(self._runtime.pool.look(self, self.deadline, self._started))
        except Exception as error:
            if not future.done():
                future.set_exception(error)

    def _goes_on(self, left: float | None) -> None:
        """As the pool has said: now, or when so many seconds are over."""
        if left is None:
            self._send()
        elif (due := self._clock() + left) < self.due:
            self._wake_at(due)

    def _send(self) -> None:
        if self.cancelled:
            raise CallCancelled(self._command, pid=None)
        worker = self.worker
        assert worker is not None
        if self._round is not None:
            found, self._round = self._round, None
            self._rounds.leave(found)
        self._sent = True
        worker.calls += 1
        self.sent_at = worker.active_at = now = self._clock()
        link = worker.link
        link.listener = ref(self)
        self._rest = link.begin(self._command, self._body, self.deadline - now, claim=worker.holder)
        watched = link.watched
        if watched is not None:
            if self._registration is None:
                self._registration = Registration(self._loop, watched, self)
            if self._rest:
                self._registration.writes(wanted=True)
            if self.deadline < self.due:
                self._wake_at(self.deadline)
        else:
            self._loop.call_soon(self._look)  # its answer may be there

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
                if self._clock() >= self.deadline:
                    raise DeadlinePassed(started=not self._rest)
                if (due := min(self.deadline, link.next_look)) < self.due:
                    self._wake_at(due)
                return
            future.set_result(found[1])
        self._pass_on()

    def _pass_on(self) -> None:
        """The worker goes back, and on to the next caller here, with what is registered for it."""
        self._let_go()
        registration, self._registration = self._registration, None
        next_one = self._runtime.pool.give_back(self, None if registration is None else self._loop)
        self._future = None
        if registration is not None:
            if isinstance(next_one, LoopCall) and next_one.taken:
                next_one.follow(registration)
                return
            registration.end()
        if next_one is not None:
            next_one.wake()

    def follows(self, loop: object, now: float) -> bool:
        """Not when it is over, or late: then it looks for itself."""
        if self._loop is not loop or self.cancelled or now >= self.deadline:
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

    def _wake_at(self, due: float) -> None:
        """Have it look at a time before that at which it will: most calls end before any is due."""
        self.due = due
        self._alarms.set(self, self._loop)

    def alarm(self) -> None:
        """It is time."""
        self.step()


class WatchedLoopCall(LoopCall):
    """One that somebody wants to hear of (`on_call`): the worker is back before its task goes on."""

    __slots__ = ("watch",)
    watch: watching.Watch

    def _send(self) -> None:
        try:
            super()._send()
        finally:
            self.watch.saw(self)
