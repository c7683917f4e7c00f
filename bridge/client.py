"""The synchronous face: Bridge and Lease.

Rules: no decision is made here; each verb resolves its runtime once, at the door, and hands on. Apart from the
runtime so that several faces can share one pool.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from enum import Enum
from math import inf, isnan
from typing import TYPE_CHECKING, Any, Final, Protocol

from bridge import bulk
from bridge.errors import CallCancelled, ConfigurationError, PoolClosed, WorkerError
from bridge.runtime import Runtime, RuntimeState, calls
from bridge.runtime.claims import Claim
from bridge.runtime.follow import DEFAULT_AHEAD, check_ahead, follow_call, follow_stream
from bridge.runtime.streams import Stream

if TYPE_CHECKING:
    from types import TracebackType

    from bridge.contract import WorkerInfo
    from bridge.core.stats import Health, Stats, WorkerStats
    from bridge.executor import BridgeExecutor


class Default(Enum):
    """Stands for "what the settings say", where None has a meaning of its own."""

    DEFAULT = "default"

    def __repr__(self) -> str:
        return "DEFAULT"


DEFAULT: Final = Default.DEFAULT
Timeout = float | Default | None
"""Seconds; None is no limit; DEFAULT is the setting call.timeout."""


class Source(Protocol):
    """Where a bridge finds the runtime of whoever calls it."""

    def runtime(self) -> Runtime:
        """What answers for the caller; not started."""

    def peek(self) -> Runtime:
        """The same, also when it was closed."""

    def start(self) -> Runtime:
        """Start and warm it."""

    def close(self, timeout: float | None = None) -> None:
        """Close it."""


class Fixed:
    """A source that is one runtime, whatever the scope."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def runtime(self) -> Runtime:
        """It."""
        return self._runtime

    peek = runtime

    def start(self) -> Runtime:
        """Start and warm it."""
        self._runtime.warm()
        return self._runtime

    def close(self, timeout: float | None = None) -> None:
        """Close it."""
        self._runtime.close(timeout)


class Bridge:
    """Calls commands of one handler, on the adapter that the caller's scope says, in a pool of workers.

    Not built by hand: `connect` or a container makes it. Any number of threads may share one; each call obeys the scope
    of whoever makes it.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._functions: dict[str, Callable[..., Any]] = {}

    # -- Calls -------------------------------------------------------------------------------------------

    def call(
        self,
        command: str,
        args: Any = None,
        /,
        *,
        timeout: Timeout = DEFAULT,
        idempotent: bool = False,
        on_progress: Callable[[Any], object] | None = None,
    ) -> Any:
        """Call a command, and wait for its result.

        Args:
            args: A mapping is passed by keyword, a list or tuple by position, None is no argument.
            timeout: Seconds for all of it.
            idempotent: Running it twice does no harm: after a crash it is sent to another worker, inside its deadline.
            on_progress: Called in this thread with what the handler reports by its `progress` parameter; what it
                raises ends the call.

        Raises:
            RemoteError: The handler raised; its traceback is in the message.
            CallError: Unknown command, wrong arguments, or a value that can't travel.
            PoolTimeout, PoolOverloaded, CircuitOpen, PoolClosed, WorkerStartError: It was never sent.
            CallTimeout: It was sent, and no answer came in time; its worker is told to stop.
            WorkerCrashed: Its worker died; if `retryable`, before the handler saw it.
        """
        runtime = self._source.runtime()
        if runtime.state is not RuntimeState.OPEN:
            runtime.start()
        seconds = runtime.call_timeout if timeout is DEFAULT else _checked(timeout)
        follow = follow_call(runtime, self._functions, on_progress)
        return calls.call(runtime, command, args, seconds, idempotent=idempotent, follow=follow)

    def stream(
        self, command: str, args: Any = None, /, *, timeout: Timeout = DEFAULT, ahead: int = DEFAULT_AHEAD
    ) -> Stream:
        """Call a generator method, and iterate over its items as they come.

        It runs ahead of its consumer by so many items and then waits. Closing the stream early (`close()`, `with`, or
        dropping it) closes the generator. A worker is lent from the first item to the last.

        Args:
            timeout: Seconds for each item; what the consumer does between two doesn't count.
            ahead: Items that may be made before they are wanted.

        Raises:
            CapabilityError: The adapter can't stream.
            CallError: Arguments that can't travel. The rest is raised by the items, as by `call`; an error of the
                handler's comes after the items that it had yielded.
        """
        runtime = self._source.runtime()
        seconds = runtime.call_timeout if timeout is DEFAULT else _checked(timeout)
        follow = follow_stream(runtime, self._functions, check_ahead(ahead, command))
        runtime.start()
        return Stream(runtime, command, args, seconds, follow, ahead, self)

    def expose(self, name: str, function: Callable[..., Any]) -> None:
        """Let handlers ask for a function here: `parent.call(name, args)`, with `parent` a parameter of theirs.

        It runs in the thread, the scope and the context of whoever made the call that asks; errors cross both ways.
        It may call the same bridge, on another worker, up to 8 calls deep. Every call of this bridge costs some
        microseconds more once anything is exposed.
        """
        if not isinstance(name, str) or not callable(function):
            raise ConfigurationError(f"expose(name, function) takes a str and a function, not {name!r}, {function!r}")
        self._functions[name] = function

    def map(
        self,
        command: str,
        items: Iterable[Any],
        /,
        *,
        arg: str | None = None,
        ordered: bool = True,
        return_exceptions: bool = False,
        timeout: Timeout = DEFAULT,
    ) -> Generator[Any, None, None]:
        """Call a command for each item, on all workers at once.

        Lazy: items are taken as results are asked for, at most two for each worker ahead. Closing the iterator early
        cancels what is running.

        Args:
            items: The args of each call; with `arg`, plain values of that one parameter.
            ordered: Results in the order of the items; else as they come.
            return_exceptions: Errors take their result's place; else the first one is raised, and ends it.
            timeout: Seconds for each item.
        """
        runtime = self._source.runtime()
        seconds = runtime.call_timeout if timeout is DEFAULT else _checked(timeout)
        calls_args = items if arg is None else ({arg: item} for item in items)
        runtime.start()
        return bulk.run(
            runtime, command, calls_args, seconds, ordered=ordered, return_exceptions=return_exceptions, owner=self
        )

    def executor(self, max_workers: int | None = None) -> BridgeExecutor:
        """A concurrent.futures.Executor whose functions run on these workers; it needs `worker.codec` = "pickle".

        Its shutdown leaves the bridge open.

        Args:
            max_workers: Functions that run at once; None is the size of the pool.
        """
        from bridge.executor import BridgeExecutor  # not above: most bridges are asked for commands

        policy = self._source.runtime().pool.policy
        return BridgeExecutor(max_workers or policy.size + policy.max_overflow, source=lambda: self._source.runtime())

    def lease(self, *, timeout: Timeout = DEFAULT) -> Lease:
        """One worker, exclusively, for several calls; `with` gives it back.

        Args:
            timeout: Seconds to wait for it; the checkout timeout may end the waiting earlier.

        Raises:
            PoolTimeout, PoolOverloaded, CircuitOpen, PoolClosed, WorkerStartError: No worker was lent.
        """
        runtime = self._source.runtime()
        runtime.start()
        seconds = runtime.call_timeout if timeout is DEFAULT else _checked(timeout)
        return Lease(self, runtime, self._functions, seconds)

    # -- Life --------------------------------------------------------------------------------------------

    def stats(self) -> Stats:
        """What it has done and is doing."""
        return self._source.peek().stats()

    def health(self) -> Health:
        """Whether calls can be served."""
        return self._source.peek().health()

    def recycle(self, worker: WorkerStats | int | None = None, *, timeout: float | None = None) -> None:
        """Replace a worker, or one after the other all of them, without losing a call; returns when that is done.

        Args:
            worker: Of `stats()`, or its generation; None is all.
            timeout: Seconds; None is `startup_timeout` for each.

        Raises:
            TimeoutError: It goes on without being waited for.
        """
        generation = worker if worker is None or isinstance(worker, int) else worker.generation
        self._source.runtime().recycle(generation, _checked(timeout))

    def close(self, timeout: float | None = None) -> None:
        """Refuse new calls, let running ones end, then stop the workers; after `timeout` seconds kill them.

        Idempotent. Returns at the latest 2 s after the timeout (None: the setting shutdown_timeout).
        """
        self._source.close(_checked(timeout))

    def __enter__(self) -> Bridge:
        try:
            self._source.start()
        except BaseException:
            self._source.close(0)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # An error that leaves the block, Ctrl-C above all, doesn't wait for calls of other threads.
        self._source.close(None if kind is None else 0)

    def __repr__(self) -> str:
        stats = self.stats()
        return (
            f"<Bridge {stats.name} on {stats.adapter}: {stats.state}, {len(stats.workers)} of {stats.size} workers, "
            f"{stats.busy} busy, {stats.waiting} waiting>"
        )


class Lease:
    """One worker, lent exclusively. `Bridge.lease` makes it."""

    def __init__(
        self, owner: Bridge, runtime: Runtime, functions: Mapping[str, Callable[..., Any]], timeout: float | None
    ) -> None:
        self._owner = owner  # kept alive: a bridge that nobody holds closes
        self._functions = functions
        self._runtime = runtime
        self._pid = os.getpid()
        self._claim = Claim()
        self._returned = False
        self._calling = threading.RLock()  # its own thread can always close, whatever interrupted it
        deadline = float("inf") if timeout is None else runtime.clock() + timeout
        self._info = runtime.pool.checkout(self._claim, deadline).info

    @property
    def info(self) -> WorkerInfo:
        """Who the worker is."""
        return self._info

    def call(
        self,
        command: str,
        args: Any = None,
        /,
        *,
        timeout: Timeout = DEFAULT,
        on_progress: Callable[[Any], object] | None = None,
    ) -> Any:
        """Call a command on this worker. Arguments and errors as for `Bridge.call`.

        Raises:
            WorkerError: The lease was given back, is spent (a call on it timed out, crashed or was cancelled), or is
                being used by another thread.
            CallCancelled: Another thread cancelled the lease, before the call was sent or while it ran.
        """
        seconds = self._runtime.call_timeout if timeout is DEFAULT else _checked(timeout)
        if self._pid != os.getpid():
            raise WorkerError("this lease is the parent's, not this forked child's; take one here with b.lease()")
        if self._runtime.state is RuntimeState.CLOSED:
            raise PoolClosed(self._runtime.name)
        if not self._calling.acquire(blocking=False):
            raise WorkerError("another thread is calling on this lease; a lease has one user at a time")
        try:
            worker = self._claim.worker
            if self._returned:
                raise WorkerError("this lease was given back; take another one with b.lease()")
            if worker is None or not worker.link.clean:
                raise WorkerError(
                    f"the worker of this lease (pid {self._info.pid}) was lost by an earlier call; take another lease"
                )
            if self._claim.cancelled:
                raise CallCancelled(command, pid=None, why="its lease was; take another one with b.lease()")
            try:
                follow = follow_call(self._runtime, self._functions, on_progress)
                return calls.call_on(self._runtime, self._claim, command, args, seconds, follow)
            finally:
                if not worker.link.clean:  # at once: it is told to stop now, not when the lease is given back
                    self._runtime.pool.checkin(self._claim)
        finally:
            self._calling.release()

    def cancel(self) -> None:
        """Stop what the worker is doing, from any thread: its call raises CallCancelled, and the lease is spent."""
        self._runtime.pool.cancel(self._claim)

    def close(self) -> None:
        """Give the worker back, after the handler's `on_reset`. Idempotent. A call of another thread is cancelled.

        Raises:
            RemoteError, CallTimeout, WorkerCrashed: Its `on_reset` failed; the worker is replaced.
        """
        if self._pid != os.getpid():
            return  # a forked child has nothing to give back, and the lock may be held by a thread that isn't here
        if not self._calling.acquire(blocking=False):
            self.cancel()
            self._calling.acquire()  # its worker is being killed: the other thread is about to leave
        try:
            self._returned = True
            if self._claim.worker is None:
                return
            self._claim.cancelled = False  # that was for a call; who cancels from here on ends the `on_reset`
            done = False
            try:
                calls.reset(self._runtime, self._claim, self._runtime.call_timeout)
                done = True
            finally:
                if not done:
                    self._runtime.pool.condemn(self._claim)
                self._runtime.pool.checkin(self._claim)
        finally:
            self._calling.release()

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _checked(timeout: Timeout) -> float | None:
    if timeout is None:
        return None
    seconds = -1.0
    if isinstance(timeout, (int, float)) and not isinstance(timeout, bool):
        try:
            seconds = float(timeout)
        except OverflowError:
            seconds = inf  # beyond what a clock counts
    if isnan(seconds) or seconds < 0:
        raise ConfigurationError(f"a timeout is seconds (0 or more) or None for no limit, not {timeout!r}")
    return seconds
