"""The adapter over somebody else's engine: each call is a job of a `concurrent.futures.Executor`.

Rules: a channel is a place in the engine, not a process of it, and there are never more jobs of ours than places. What
an engine has begun can't be stopped, so its place isn't free before that is done. No lock around a job: engines call
back from any thread, and a finaliser may kill. What waits for the engine is bounded: a start by its deadline, the end
by END_WITHIN. Apart from bridge/engine.py, which is what runs there, and from engines.py, which has the executor.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor, CancelledError, Future
from functools import partial
from itertools import count
from math import inf
from secrets import token_hex
from time import monotonic
from typing import Any, Final

from bridge import engine
from bridge.adapters.engines import Engine, Gone, Late, apart, begun, end_made, given_or_made, outcome_of
from bridge.contract import Capability, ExitStatus, Reply, Request, WorkerGone, WorkerInfo, WorkerSpec
from bridge.errors import CapabilityError, WorkerStartError
from bridge.jobs import call_of, check_made, context_of, name_of, reply_of, work_of
from bridge.wire import CALL, START, STOP

__scoped_bridge__: Final = True

END_WITHIN: Final = 2.0
"""Seconds that closing waits for `on_close` in the engine, and then for the end of an executor that is ours."""
HOOKS: Final = frozenset({"on_close", "on_reset"})
"""Said of every handler: only the engine's processes know which it has."""
FOR_GOOD: Final = "If it was shut down or broke for good, hand in another one, or what makes one, which is asked again"

log = logging.getLogger("bridge.supervisor")

Answered = Callable[[Reply], None]


class ExecutorAdapter:
    """Runs calls on an executor: the standard library's, or what Dask, mpi4py, Ray, Parsl or others offer as one.

    Args:
        executor: One, which stays the caller's: it is never shut down here. Or what makes one, a class or a function,
            called at the first start and after one broke; what it made is shut down with the adapter. If that isn't an
            executor but a context manager, its value is, and it is left at the end. Or the text that names either.
        handler: A text, a class or a module. It is sent by its name. Not given: the worker's handler.
        arguments: Keywords for what makes the executor.

    Raises:
        ConfigurationError: It is none of these.
    """

    name = "executor"
    capabilities: frozenset[Capability] = frozenset()

    def __init__(
        self, executor: Any = None, *, handler: Any = None, arguments: Mapping[str, Any] | None = None
    ) -> None:
        self._handler = None if handler is None else name_of(handler)
        self._given, self._make = given_or_made(executor, arguments)
        self._engine = self._given
        self._guard = threading.RLock()  # while an executor is made, and for that only
        self._making: Future[Engine] | None = None
        self._known: set[bytes] = set()  # what handlers have been made from
        self._late: dict[bytes, Future[bytes]] = {}  # first makings that took too long: they may come to an end yet
        self._slots: set[Slot] = set()
        self._held: deque[_Job] = deque()  # until a place is free
        self._running: dict[_Job, None] = {}
        self._endings: deque[Future[bytes]] = deque()
        self._serials, self._turns, self._token = count(1), count(1), token_hex(8)
        self._turn = self._token

    # -- Places ------------------------------------------------------------------------------------------

    def open(self, spec: WorkerSpec, *, deadline: float) -> Slot:
        """One place more. The first one waits until the engine has made a handler, but not in an event loop.

        Raises:
            WorkerStartError: The executor can't be made, or takes no job; or the handler can't be made there.
        """
        handler = self._handler or spec.handler
        if not handler:
            raise WorkerStartError("handler", "none is set: name one in the settings (worker.handler)", handler="")
        work, current = work_of(handler, spec), self._engine or self._made(None, handler, deadline)
        if current.fault or work not in self._known:
            self._probe(current, work, handler, deadline)
        slot = Slot(self, work, handler, spec)
        self._slots.add(slot)
        return slot

    def _probe(self, current: Engine, work: bytes, handler: str, deadline: float) -> None:
        """Have a handler made. Whether it could be is awaited once, and nowhere where others would wait for that."""
        future = self._late.get(work)
        if future is None:
            current, future = self._probing(current, work, handler, deadline)
        current.fault = ""
        if work in self._known or _in_event_loop():
            return
        try:
            # One that was late once is only looked at: each of many starts would wait for it anew.
            frame = outcome_of(future, 0.0 if work in self._late else deadline - monotonic())
        except Late:
            self._late[work] = future
            detail = "the engine made no handler in time. Raise `startup_timeout`, or see whether it has a free process"
            raise WorkerStartError("timeout", detail, handler=handler) from None
        except (Exception, CancelledError) as error:
            self._late.pop(work, None)
            detail = f"{current.blame(error)}. Its processes need scoped-bridge installed, of this release"
            raise WorkerStartError("spawn", detail, handler=handler) from None
        self._late.pop(work, None)
        check_made(frame, handler)
        self._known.add(work)

    def _probing(self, current: Engine, work: bytes, handler: str, deadline: float) -> tuple[Engine, Future[bytes]]:
        """The job of making a handler, and the executor that took it: another one, if that is ours to make."""
        try:
            return current, self._submit(current, work, START)
        except Exception:  # an executor may be anybody's; what it said is its fault from now on
            if self._make is None:
                raise WorkerStartError("spawn", f"{current.fault}. {FOR_GOOD}", handler=handler) from None
        another = self._made(current, handler, deadline)
        try:
            return another, self._submit(another, work, START)
        except Exception:  # as above
            raise WorkerStartError("spawn", another.fault, handler=handler) from None

    def _made(self, broken: Engine | None, handler: str, deadline: float) -> Engine:
        """The executor that is ours; another one in place of one that broke."""
        assert self._make is not None
        with self._guard:
            if self._engine is None or self._engine is broken:
                late, self._making = self._making is not None, self._making or begun(partial(Engine.of, self._make))
                try:
                    self._engine = outcome_of(self._making, 0.0 if late else deadline - monotonic())
                except Late:
                    detail = "no executor was made in time. Raise `startup_timeout`, or see what its maker waits for"
                    raise WorkerStartError("timeout", detail, handler=handler) from None
                except Exception as error:
                    self._making = None
                    detail = f"making the executor raised {type(error).__name__}: {error}"
                    raise WorkerStartError("spawn", detail, handler=handler) from error
                self._making = None
                if broken is not None:
                    apart(broken.end)
            return self._engine

    def close(self) -> None:
        """Await what ends handlers, then end an executor that is ours: for END_WITHIN each. The rest ends later."""
        until = monotonic() + END_WITHIN
        while self._endings:
            try:
                outcome_of(self._endings.popleft(), until - monotonic())
            except (Exception, CancelledError):  # noqa: S110  late, or the engine is gone: `on_close` runs there or not
                pass
        making, self._making = self._making, None
        if making is not None:
            making.add_done_callback(end_made)
        current, self._engine = self._engine, self._given
        if current is not None and current is not self._given:
            try:
                outcome_of(begun(current.end), END_WITHIN)
            except Late:
                pass  # a call runs on that nobody can stop; it ends with that
            except Exception:  # it is somebody's, and closing goes on
                log.exception("the end of the executor %s failed", type(current.executor).__name__)

    def forget(self) -> None:
        """In a forked child, where the engine's threads aren't: what is ours is made anew, what is given is no use."""
        self._engine = self._given = None if self._given is None else Engine(Gone())
        self._guard, self._making = threading.RLock(), None
        self._slots.clear()
        self._held.clear()
        self._running.clear()
        self._endings.clear()
        self._late.clear()

    # -- Jobs --------------------------------------------------------------------------------------------

    def begin(self, job: _Job) -> None:
        """Run it as soon as one of our places is free."""
        self._held.append(job)
        self._push()

    def _push(self) -> None:
        # Whoever adds looks at what runs afterwards, and whoever ends looks at what is held: one of two sees the other.
        while self._held and len(self._running) < max(1, len(self._slots)):
            try:
                job = self._held.popleft()
            except IndexError:  # another thread took it
                return
            if not job.slot.dead:
                self._start(job)

    def _start(self, job: _Job) -> None:
        self._running[job] = None
        current, slot, request = self._engine, job.slot, job.request
        try:
            assert current is not None
            job.engine = current
            call, context, seconds = job.call, context_of(request), request.deadline - monotonic()
            job.future = self._submit(current, slot.work, CALL, request.call_id, call, context, seconds)
            if slot.dead:  # it was killed meanwhile
                job.leave()
            job.future.add_done_callback(lambda future: self._ended(job, future))
        except Exception:  # as above: nothing was begun, which is the answer
            self._running.pop(job, None)
            slot.why = "" if current is None else current.fault
            slot.replaced = self._make is not None
            job.done(Reply(request.call_id, error=WorkerGone(started=False)))
        except BaseException:  # a Ctrl-C: nobody else would free its place
            self._running.pop(job, None)
            self._push()
            raise

    def _ended(self, job: _Job, future: Future[bytes]) -> None:
        self._running.pop(job, None)
        try:
            job.done(_reply(job, future))
        finally:
            self._push()

    def turn(self) -> None:
        """A lease has ended: each handler is reset before its next call, wherever it is."""
        self._turn = f"{self._token}-{next(self._turns)}"

    def end_one(self, slot: Slot, request: Request, done: Answered) -> None:
        """A place is given up: end a handler that is idle, in whatever process."""
        job = _Job(slot, request, b"", done)
        current = job.engine = self._engine
        try:
            assert current is not None
            future = self._submit(current, slot.work, STOP)
        except Exception:  # nothing runs there any more, its handlers neither
            done(Reply(request.call_id))
            return
        while self._endings and self._endings[0].done():
            self._endings.popleft()
        self._endings.append(future)
        future.add_done_callback(lambda future: done(_reply(job, future)))

    def _submit(
        self,
        current: Engine,
        work: bytes,
        kind: int,
        call_id: int = 0,
        call: bytes = b"",
        context: bytes = b"",
        seconds: float = inf,
    ) -> Future[bytes]:
        serial = f"{self._token}-{next(self._serials)}"
        return current.submit(engine.run, work, kind, call_id, call, context, seconds, self._turn, serial)

    def withdraw(self, job: _Job) -> bool:
        """Never run it; False when it may have been begun."""
        try:
            self._held.remove(job)  # else it is whoever's who took it out
        except (ValueError, IndexError):  # IndexError: somebody took another one meanwhile
            return job.leave()
        return True

    def leave_place(self, slot: Slot) -> None:
        """It is there no longer."""
        self._slots.discard(slot)


class Slot:
    """A place in the engine: one call at a time."""

    hooks = HOOKS

    def __init__(self, adapter: ExecutorAdapter, work: bytes, handler: str, spec: WorkerSpec) -> None:
        self.info = WorkerInfo(spec.generation)
        self.work, self.handler, self.dead, self.why, self.replaced = work, handler, False, "", True
        self._adapter = adapter
        self._job: _Job | None = None

    def fileno(self) -> None:
        """None: calls go through `submit`."""

    def submit(self, request: Request, done: Answered) -> None:
        """Begin a call; it is answered from a thread of the engine's."""
        if not request.hook:
            self._job = _Job(self, request, call_of(request), done)
            self._adapter.begin(self._job)
        elif request.command == "on_close":
            self._adapter.end_one(self, request, done)
        else:
            if request.command == "on_reset":
                self._adapter.turn()
            done(Reply(request.call_id))

    def cancel(self, call_id: int) -> None:
        """Never: CapabilityError."""
        raise CapabilityError(f"an executor can't stop call {call_id} once it has begun; the adapter python_port can")

    def withdraw(self, call_id: int) -> bool:
        """Have a call never run, if the engine hasn't begun it."""
        return self._job is not None and self._job.request.call_id == call_id and self._adapter.withdraw(self._job)

    def kill(self) -> None:
        """Give up the place. A call that hasn't begun never does; one that has goes on, and nobody hears of it."""
        if not self.dead:
            self.dead = True
            self._adapter.leave_place(self)
            if self._job is not None:
                self._job.leave()

    def sentinel(self) -> None:
        """None: there is no process of ours."""

    def ending(self) -> ExitStatus:
        """What the engine said when it lost a job."""
        return ExitStatus(why=self.why, replaced=self.replaced)

    def stderr_tail(self) -> str:
        """Nothing: what is written there goes where the engine has it go."""
        return ""


class _Job:
    """A call on its way through the engine."""

    def __init__(self, slot: Slot, request: Request, call: bytes, done: Answered) -> None:
        self.slot, self.request, self.call, self.done = slot, request, call, done
        self.engine: Engine | None = None
        self.future: Future[bytes] | None = None

    def leave(self) -> bool:
        """Cancel it, if it hasn't begun; whether that is certain."""
        return self.future is not None and self.engine is not None and self.engine.cancel(self.future)


def _reply(job: _Job, future: Future[bytes]) -> Reply:
    request, slot = job.request, job.slot
    try:
        frame = future.result()
    except BaseException as error:  # not the handler's, which is an answer: the engine's own
        if job.engine is not None and not slot.dead:
            slot.why = job.engine.blame(error)
            slot.replaced = not (job.engine.given and isinstance(error, BrokenExecutor))
        return Reply(request.call_id, error=WorkerGone(started=True))
    return reply_of(frame, request, slot.handler)


def _in_event_loop() -> bool:
    if "asyncio" not in sys.modules:  # not imported for this: it costs 50 ms
        return False
    from bridge.coroutines import is_running

    return is_running()
