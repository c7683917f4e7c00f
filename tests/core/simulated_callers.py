"""The callers of the simulation: threads, and coroutines on loops that may stop.

Rules: a call is a generator that yields until when it sleeps; between two yields is one step. Whatever ends a call
early is an `End`, thrown or raised; one that is dropped cleans nothing up. Apart from the pool, whose users they are.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from math import inf
from typing import TYPE_CHECKING, Final

from bridge.core.pool_state import Departed, Waiter
from tests.core.simulated_workers import Actor, Worker

if TYPE_CHECKING:
    from tests.core.simulated_pool import SimPool

GO_ON: Final = -inf
"""Yielded by a program that isn't through: its next step belongs to the same moment."""
FIRST_LOOK: Final = 0.02
LAST_LOOK: Final = 0.4
STATUS_WAIT: Final = 1.0
MAX_RETRIES: Final = 3
Program = Generator[float, None, None]


class Loop:
    """An event loop: it runs, is stopped for a while, or is closed for good."""

    def __init__(self) -> None:
        self.stopped = self.closed = False


class Call:
    """One call of one caller, from the door to its outcome."""

    __slots__ = ("deadline", "id", "large", "outcome", "sent", "waiter")

    def __init__(self, number: int, deadline: float, large: bool, waiter: SimWaiter) -> None:
        self.id, self.deadline, self.large, self.waiter = number, deadline, large, waiter
        self.outcome: str | None = None
        self.sent = False


class SimWaiter(Waiter[Worker]):
    """A check-out that wakes its caller."""

    __slots__ = ("caller", "cancelled", "deadline", "number", "offered_at", "place")

    def __init__(self, caller: Caller, number: int, deadline: float) -> None:
        super().__init__()
        self.caller, self.number, self.deadline = caller, number, deadline
        self.cancelled = False  # by another thread
        self.offered_at = inf
        self.place = 0  # the simulation's own count of who came when

    def __repr__(self) -> str:
        return f"call {self.number} of {self.caller}"

    def wake(self) -> None:
        """Let the caller look."""
        self.caller.wake(self)


class End(Exception):
    """A call ends without a result."""


class Cancelled(End):
    """Whoever made it doesn't want it any more."""


class Gone(End):
    """Its worker died."""


class Caller(Actor):
    """A thread, or a coroutine on a loop, that makes one call after the other."""

    __slots__ = ("call", "loop", "name", "phase", "program", "shell")

    def __init__(self, shell: SimPool, name: str, loop: Loop | None) -> None:
        super().__init__()
        self.shell, self.name, self.loop = shell, name, loop
        self.program: Program | None = None
        self.call: Call | None = None
        self.phase = "idle"

    def __repr__(self) -> str:
        return self.name

    @property
    def stalled(self) -> bool:
        """Its loop doesn't run."""
        return self.loop is not None and (self.loop.stopped or self.loop.closed)

    def wake(self, waiter: SimWaiter) -> None:
        """Something happened to its check-out; a waiter that it has left behind wakes nobody."""
        if self.call is not None and self.call.waiter is waiter:
            self.ready_at = min(self.ready_at, self.shell.now)

    def begin(self, call: Call) -> None:
        """Make a call."""
        self.call = call
        self.program = self._program(call)
        self.ready_at, self.phase = self.shell.now, "door"

    def run(self) -> None:
        """One step of its call."""
        self._advance(lambda program: program.send(None))

    def interrupt(self) -> None:
        """Throw: Ctrl-C in a thread, `task.cancel()` on a loop."""
        self._advance(lambda program: program.throw(Cancelled("cancelled")))

    def vanish(self) -> None:
        """Drop the call: nobody cleans up, nobody hears its outcome."""
        self.program = self.call = None
        self.ready_at, self.phase = inf, "idle"

    def _advance(self, step: Callable[[Program], float]) -> None:
        assert self.program is not None
        since, self.ready_at = self.ready_at, inf
        try:
            until = step(self.program)
        except StopIteration:
            self.program = self.call = None
            self.phase = "idle"
        else:
            self.ready_at = min(self.ready_at, min(since, self.shell.now) if until == GO_ON else until)

    def _program(self, call: Call) -> Program:
        retries = 0
        while True:
            try:
                outcome = yield from self._attempt(call)
            except Gone as gone:
                retries += 1
                if str(gone) == "unread" and retries <= MAX_RETRIES:
                    continue
                outcome = "crashed"
            except End as end:
                outcome = str(end)
            self.shell.settle(self, call, outcome)
            return

    def _attempt(self, call: Call) -> Generator[float, None, str]:
        shell, waiter = self.shell, call.waiter
        try:
            yield from self._queue(call)
            worker = waiter.worker
            assert worker is not None
            self.phase = "running"
            yield GO_ON
            if waiter.cancelled:
                raise Cancelled("cancelled")
            if not shell.holds(waiter):
                raise End("timeout")
            yield from self._converse(call, worker)
            self.phase = "returning"
            yield GO_ON
        except End:
            shell.checkin(waiter)
            raise
        shell.checkin(waiter)
        return "result"

    def _queue(self, call: Call) -> Program:
        shell, waiter = self.shell, call.waiter
        if shell.now >= call.deadline:  # its loop was stopped meanwhile
            raise End("pool timeout")
        if shell.checkout(waiter):
            return
        pause = FIRST_LOOK
        self.phase = "waiting"
        while True:
            if waiter.wants is None:
                shell.ask_for_more()
            if shell.now >= call.deadline:
                raise End("pool timeout")  # before the look: an expired waiter is never run
            if shell.checkout(waiter) if waiter.withdrawn else shell.take(waiter):
                return
            if waiter.cancelled:
                raise Cancelled("cancelled")
            if waiter.error is not None:
                raise End("departed" if isinstance(waiter.error, Departed) else "refused")
            expiry, shed_at = shell.expiry(waiter, call.deadline), shell.shed_at(waiter)
            if shell.now >= expiry:
                raise End("pool timeout")
            if shell.now >= shed_at:
                shell.turned_away.append(waiter)
                raise End("shed")
            yield min(shell.now + pause, expiry, shed_at)
            pause = min(2 * pause, LAST_LOOK)
            shell.post("notice")

    def _converse(self, call: Call, worker: Worker) -> Program:
        shell, waiter = self.shell, call.waiter
        call.sent = True
        worker.calls += 1
        worker.out, worker.written, worker.was_read = call.id, not call.large, False
        if call.large:  # more than the pipe takes at once
            yield shell.now
            while worker.frozen and shell.now < call.deadline:
                yield min(shell.now + FIRST_LOOK, call.deadline)
            shell.check_link(waiter, worker)
            worker.written = not worker.frozen
        worker.take_request(call.id)
        while True:
            shell.check_link(waiter, worker)
            if worker.reply:
                assert worker.reply == call.id, f"{self} was given the reply to call {worker.reply}"
                worker.reply = worker.out = 0
                return
            if waiter.cancelled:
                raise Cancelled("cancelled")
            if not worker.alive:
                yield from self._hear_of_death(call, worker)
            if shell.now >= call.deadline:
                raise End("timeout")
            yield call.deadline

    def _hear_of_death(self, call: Call, worker: Worker) -> Program:
        self.shell.post("lost", worker)  # it may only have closed its pipe
        limit = min(self.shell.now + STATUS_WAIT, call.deadline)
        while not worker.buried and self.shell.now < limit:
            yield limit
        raise Gone("unread" if not worker.was_read and self.shell.now < call.deadline else "read")
