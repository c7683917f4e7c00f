"""The synchronous face: Bridge and Lease.

Rules: no decision is made here; each verb resolves its runtime once, at the door, and hands on. Apart from the
runtime so that several faces can share one pool.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from bridge import bulk, futures
from bridge.chunks import chunk_size
from bridge.door import DEFAULT, OPEN, Source, Timeout, checked, enter
from bridge.errors import BridgeError
from bridge.leasing import Lease
from bridge.returns import Returns, apply
from bridge.runtime import calls
from bridge.runtime.follow import DEFAULT_AHEAD, check_ahead, expose, follow_call, follow_stream
from bridge.runtime.streams import Stream
from bridge.sessions import Session
from bridge.stubs import Stub

if TYPE_CHECKING:
    from concurrent.futures import Future
    from types import ModuleType, TracebackType

    from bridge.aio import AsyncBridge
    from bridge.core.sessions import Affinity
    from bridge.core.stats import Health, Stats, WorkerStats
    from bridge.executor import BridgeExecutor


T = TypeVar("T")


class Bridge:
    """Calls commands of one handler, on the adapter that the caller's scope says, in a pool of workers.

    Not built by hand: `connect` or a container makes it. Any number of threads may share one; each call obeys the scope
    of whoever makes it.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._functions: dict[str, Callable[..., Any]] = {}
        self._returns = Returns()
        self._aio: AsyncBridge | None = None  # it doesn't hold this one: what a dropped bridge leaves is freed at once

    # -- Calls -------------------------------------------------------------------------------------------

    @overload
    def call(
        self,
        command: str,
        args: Any = ...,
        /,
        *,
        timeout: Timeout = ...,
        session: Session | str | None = ...,
        idempotent: bool = ...,
        on_progress: Callable[[Any], object] | None = ...,
        returns: type[T],
    ) -> T: ...
    @overload
    def call(
        self,
        command: str,
        args: Any = ...,
        /,
        *,
        timeout: Timeout = ...,
        session: Session | str | None = ...,
        idempotent: bool = ...,
        on_progress: Callable[[Any], object] | None = ...,
        returns: object = ...,
    ) -> Any: ...
    def call(
        self,
        command: str,
        args: Any = None,
        /,
        *,
        timeout: Timeout = DEFAULT,
        session: Session | str | None = None,
        idempotent: bool = False,
        on_progress: Callable[[Any], object] | None = None,
        returns: Any = None,
    ) -> Any:
        """Call a command, and wait for its result.

        Args:
            args: A mapping is passed by keyword, a list or tuple by position, None is no argument.
            timeout: Seconds for all of it.
            session: That it belongs to, or the key of one; see `session`.
            idempotent: Running it twice does no harm: after a crash it is sent to another worker, inside its deadline.
            on_progress: Called in this thread with what the handler reports by its `progress` parameter; what it
                raises ends the call.
            returns: A type that the result is converted to: a dataclass, a model, datetime, `list[int]`. None: as is.

        Raises:
            RemoteError: The handler raised; its traceback is in the message.
            CallError: Unknown command, wrong arguments, a value that can't travel, or a result that isn't `returns`.
            PoolTimeout, PoolOverloaded, CircuitOpen, PoolClosed, WorkerStartError: It was never sent.
            CallTimeout: It was sent, and no answer came in time; its worker is told to stop.
            WorkerCrashed: Its worker died; if `retryable`, before the handler saw it.
        """
        if session is not None:
            chosen = session if isinstance(session, Session) else self.session(session)
            chosen.check_home(self._source)
            return chosen.call(
                command, args, timeout=timeout, idempotent=idempotent, on_progress=on_progress, returns=returns
            )
        if returns is not None:
            convert = self._returns.convert(returns)
            value = self.call(command, args, timeout=timeout, idempotent=idempotent, on_progress=on_progress)
            return apply(convert, value, command)
        # As `enter`, whose call would cost most calls more than what it finds out.
        runtime = self._source.runtime()
        seconds = runtime.call_timeout if timeout is DEFAULT else checked(timeout)
        if runtime.plain and on_progress is None and not self._functions:
            return calls.plain(runtime, command, args, seconds, idempotent)
        if runtime.state is not OPEN:
            runtime.start()
        follow = follow_call(runtime, self._functions, on_progress)
        return calls.call(runtime, command, args, seconds, None, idempotent, follow)

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
        runtime, seconds = enter(self._source, timeout)
        follow = follow_stream(runtime, self._functions, check_ahead(ahead, command))
        return Stream(runtime, command, args, seconds, follow, ahead, self)

    def session(self, key: str, *, affinity: Affinity | str | None = None, durable: bool = False) -> Session:
        """Calls that share a state: the handler's keyword-only `session` parameter is the same dict in each of them.

        It begins with its first call, and ends when it is closed, when it wasn't used for `session.ttl` seconds, or as
        the one least recently used of more than `session.max_sessions`. The handler's `on_session_start(key, session)`
        and `on_session_end(key, session)` are called where the state is. No worker is held between calls.

        Args:
            key: Whose state it is; every handle with this key is the same session.
            affinity: What its calls do when the worker that has the state is busy: "hint" goes to another one and a
                new state, "strict_queue" waits for it, "strict_fail_fast" is refused by PoolOverloaded. When that
                worker is gone: "hint" has a new state, the strict ones raise SessionLost, once. None: the setting.
            durable: A snapshot of the state comes with each result and is kept here, so that the session goes on
                wherever its worker was lost or busy, from the last call that returned. The state has to be encodable.

        Raises:
            ConfigurationError: The key isn't a text of 1 to 256 characters, or there is no such affinity.
        """
        return Session(self._source, self._functions, self._returns, self, key, affinity, durable=durable)

    def expose(self, name: str, function: Callable[..., Any]) -> None:
        """Let handlers ask for a function here: `parent.call(name, args)`, with `parent` a parameter of theirs.

        It runs in the thread, the scope and the context of whoever made the call that asks; errors cross both ways.
        It may call the same bridge, on another worker, up to 8 calls deep. Every call of this bridge costs some
        microseconds more once anything is exposed.
        """
        expose(self._functions, name, function)

    def map(
        self,
        command: str,
        items: Iterable[Any],
        /,
        *,
        arg: str | None = None,
        ordered: bool = True,
        chunksize: int | Literal["auto"] = "auto",
        return_exceptions: bool = False,
        idempotent: bool = False,
        timeout: Timeout = DEFAULT,
    ) -> Generator[Any, None, None]:
        """Call a command for each item, on all workers at once.

        Lazy: items are taken as results are asked for, at most two chunks for each worker ahead. Closing the iterator
        early cancels what is running. Results come as they are there, not only when their chunk is done.

        Args:
            items: The args of each call; with `arg`, plain values of that one parameter.
            ordered: Results in the order of the items; else as they come.
            chunksize: Items that are sent to a worker together: "auto" makes it as many as take some milliseconds, by
                what their calls have taken so far, and never many bytes; slow calls go alone.
            return_exceptions: Errors take their result's place; else the first one is raised, and ends it. Each error
                of this package has the `index` of its item.
            idempotent: Running one twice does no harm: what a worker that died or was late isn't known to have done is
                called again, each alone. Else all those items fail, by name.
            timeout: Seconds for each item.

        Raises:
            CallError: There is no such chunksize. The rest is raised by the results, as by `call`.
        """
        runtime, seconds = enter(self._source, timeout)
        return bulk.run(
            runtime,
            command,
            items,
            seconds,
            arg=arg,
            chunksize=chunk_size(chunksize, command, together=bulk.goes_together(runtime)),
            ordered=ordered,
            return_exceptions=return_exceptions,
            idempotent=idempotent,
            owner=self,
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
        runtime, seconds = enter(self._source, timeout)
        return Lease(self, runtime, self._functions, seconds, self._returns)

    @overload
    def submit(
        self, command: str, args: Any = ..., /, *, timeout: Timeout = ..., idempotent: bool = ..., returns: type[T]
    ) -> Future[T]: ...
    @overload
    def submit(
        self, command: str, args: Any = ..., /, *, timeout: Timeout = ..., idempotent: bool = ..., returns: object = ...
    ) -> Future[Any]: ...
    def submit(
        self,
        command: str,
        args: Any = None,
        /,
        *,
        timeout: Timeout = DEFAULT,
        idempotent: bool = False,
        returns: Any = None,
    ) -> Future[Any]:
        """Begin a call, and go on; arguments and errors are those of `call`, the future has the outcome.

        Its `cancel` also stops a call that runs. What waits for its turn is bounded by its timeout alone.

        Raises:
            CallError, ConfigurationError, PoolClosed, WorkerStartError: There is no future; nothing was begun.
        """
        convert = self._returns.convert(returns)
        runtime, seconds = enter(self._source, timeout)
        return futures.submit(runtime, command, args, seconds, idempotent=idempotent, convert=convert, owner=self)

    @overload
    def proxy(self, handler: ModuleType, /, *, timeout: Timeout = ..., idempotent: bool = ...) -> Any: ...
    @overload
    def proxy(self, handler: Callable[..., T], /, *, timeout: Timeout = ..., idempotent: bool = ...) -> T: ...
    def proxy(self, handler: Any, /, *, timeout: Timeout = DEFAULT, idempotent: bool = False) -> Any:
        """A stand-in for the handler: its methods are the commands, with their own signatures and types.

        Args:
            handler: Its class, a Protocol that says what it does, or a module. None of it runs here.
            timeout: Seconds for each call, or each item of a stream.
        """
        call = partial(self.call, timeout=timeout, idempotent=idempotent)
        return Stub(handler, call, partial(self.stream, timeout=timeout), self._returns)

    @property
    def aio(self) -> AsyncBridge:
        """The same bridge for asyncio: the same verbs, awaited, on the same pool."""
        if self._aio is None:
            from bridge.aio import AsyncBridge  # not above: asyncio costs 50 ms

            self._aio = AsyncBridge(self._source, self._functions, self._returns)
        return self._aio

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
        self._source.runtime().recycle(generation, checked(timeout))

    def close(self, timeout: float | None = None) -> None:
        """Refuse new calls, let running ones end, then stop the workers; after `timeout` seconds kill them.

        Idempotent. Returns at the latest 2 s after the timeout (None: the setting shutdown_timeout).

        Raises:
            BridgeError: What the adapter said at its end, once. All is closed.
        """
        self._source.close(checked(timeout))

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
        if kind is None:
            self._source.close()
            return
        # An error that leaves the block, Ctrl-C above all, doesn't wait for calls of other threads, and is the one to
        # be seen: what the adapter said is in the log.
        with suppress(BridgeError):
            self._source.close(0)

    async def __aenter__(self) -> AsyncBridge:
        return await self.aio.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aio.__aexit__(kind, error, trace)

    def __repr__(self) -> str:
        stats = self.stats()
        return (
            f"<Bridge {stats.name} on {stats.adapter}: {stats.state}, {len(stats.workers)} of {stats.size} workers, "
            f"{stats.busy} busy, {stats.waiting} waiting>"
        )
