"""The asyncio face: AsyncBridge and AsyncLease.

Rules: the verbs of client.py, awaited; no thread is taken for a call. Starting and closing, which block, have a thread
of their own for as long as they last. Apart from client.py, which imports no asyncio.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Mapping
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from bridge import async_bulk
from bridge.async_sessions import AsyncSession
from bridge.bulk import goes_together
from bridge.chunks import chunk_size
from bridge.door import DEFAULT, OPEN, Source, Timeout, checked, enter
from bridge.errors import BridgeError, WorkerError
from bridge.leasing import lent, refuse_forked
from bridge.returns import Returns, apply
from bridge.runtime import Runtime, async_calls
from bridge.runtime.async_streams import AsyncStream
from bridge.runtime.follow import DEFAULT_AHEAD, check_ahead, expose, follow_call, follow_stream
from bridge.runtime.loop_claims import LoopClaim, claim_here

if TYPE_CHECKING:
    from types import TracebackType

    from bridge.contract import WorkerInfo
    from bridge.core.sessions import Affinity
    from bridge.core.stats import Health, Stats, WorkerStats

T = TypeVar("T")


class AsyncBridge:
    """A bridge for asyncio. `Bridge.aio`, `async with connect(...)` or a container makes it.

    Tasks of any number of loops, and threads by `Bridge`, share one pool and wait in one queue. A cancelled task
    cancels its call.
    """

    def __init__(self, source: Source, functions: dict[str, Callable[..., Any]], returns: Returns) -> None:
        self._source, self._functions, self._returns = source, functions, returns

    @overload
    async def call(
        self,
        command: str,
        args: Any = ...,
        /,
        *,
        timeout: Timeout = ...,
        session: AsyncSession | str | None = ...,
        idempotent: bool = ...,
        on_progress: Callable[[Any], object] | None = ...,
        returns: type[T],
    ) -> T: ...
    @overload
    async def call(
        self,
        command: str,
        args: Any = ...,
        /,
        *,
        timeout: Timeout = ...,
        session: AsyncSession | str | None = ...,
        idempotent: bool = ...,
        on_progress: Callable[[Any], object] | None = ...,
        returns: object = ...,
    ) -> Any: ...
    async def call(
        self,
        command: str,
        args: Any = None,
        /,
        *,
        timeout: Timeout = DEFAULT,
        session: AsyncSession | str | None = None,
        idempotent: bool = False,
        on_progress: Callable[[Any], object] | None = None,
        returns: Any = None,
    ) -> Any:
        """Call a command, and wait for its result. As Bridge.call; `on_progress` may be a coroutine function."""
        if session is not None:
            chosen = session if isinstance(session, AsyncSession) else self.session(session)
            chosen.check_home(self._source)
            return await chosen.call(
                command, args, timeout=timeout, idempotent=idempotent, on_progress=on_progress, returns=returns
            )
        if returns is not None:
            convert = self._returns.convert(returns)
            value = await self.call(command, args, timeout=timeout, idempotent=idempotent, on_progress=on_progress)
            return apply(convert, value, command)
        # As `enter`, whose call would cost most calls more than what it finds out.
        runtime = self._source.runtime()
        seconds = runtime.call_timeout if timeout is DEFAULT else checked(timeout)
        if runtime.plain and on_progress is None and not self._functions:
            return await async_calls.plain(runtime, command, args, seconds, idempotent)
        if runtime.state is not OPEN:
            runtime.start()
        follow = follow_call(runtime, self._functions, on_progress)
        return await async_calls.call(runtime, command, args, seconds, idempotent, follow)

    def session(self, key: str, *, affinity: Affinity | str | None = None, durable: bool = False) -> AsyncSession:
        """Calls that share a state. As Bridge.session; the sessions of both are the same."""
        return AsyncSession(self._source, self._functions, self._returns, self, key, affinity, durable=durable)

    def stream(
        self, command: str, args: Any = None, /, *, timeout: Timeout = DEFAULT, ahead: int = DEFAULT_AHEAD
    ) -> AsyncStream:
        """Call a generator method, and iterate by `async for`. As Bridge.stream; `async with` closes it."""
        runtime, seconds = enter(self._source, timeout)
        follow = follow_stream(runtime, self._functions, check_ahead(ahead, command))
        return AsyncStream(runtime, command, args, seconds, follow, ahead, self)

    def map(
        self,
        command: str,
        items: Iterable[Any] | AsyncIterable[Any],
        /,
        *,
        arg: str | None = None,
        ordered: bool = True,
        chunksize: int | Literal["auto"] = "auto",
        return_exceptions: bool = False,
        idempotent: bool = False,
        timeout: Timeout = DEFAULT,
    ) -> AsyncGenerator[Any, None]:
        """Call a command for each item, on all workers at once, and iterate over the results. As Bridge.map."""
        runtime, seconds = enter(self._source, timeout)
        return async_bulk.run(
            runtime,
            command,
            items,
            seconds,
            arg=arg,
            chunksize=chunk_size(chunksize, command, together=goes_together(runtime)),
            ordered=ordered,
            return_exceptions=return_exceptions,
            idempotent=idempotent,
        )

    async def lease(self, *, timeout: Timeout = DEFAULT) -> AsyncLease:
        """One worker, exclusively, for several calls; `async with` gives it back. As Bridge.lease."""
        runtime, seconds = enter(self._source, timeout)
        claim = claim_here(runtime)
        deadline = inf if seconds is None else runtime.clock() + seconds
        worker = await async_calls.checkout(runtime, claim, deadline)
        return AsyncLease(self, runtime, self._functions, self._returns, claim, worker.info)

    def expose(self, name: str, function: Callable[..., Any]) -> None:
        """Let handlers ask for a function here, which may be a coroutine function. As Bridge.expose, and for both."""
        expose(self._functions, name, function)

    # -- Life --------------------------------------------------------------------------------------------

    def stats(self) -> Stats:
        """What it has done and is doing."""
        return self._source.peek().stats()

    def health(self) -> Health:
        """Whether calls can be served."""
        return self._source.peek().health()

    async def recycle(self, worker: WorkerStats | int | None = None, *, timeout: float | None = None) -> None:
        """Replace a worker, or all of them. As Bridge.recycle."""
        generation = worker if worker is None or isinstance(worker, int) else worker.generation
        await asyncio.to_thread(self._source.runtime().recycle, generation, checked(timeout))

    async def close(self, timeout: float | None = None) -> None:
        """Refuse new calls, let running ones end, then stop the workers. As Bridge.close."""
        await asyncio.to_thread(self._source.close, checked(timeout))

    async def __aenter__(self) -> AsyncBridge:
        entry = asyncio.ensure_future(asyncio.to_thread(self._source.start))
        try:
            await asyncio.shield(entry)
        except BaseException:
            await self.close(0)  # also ends the waiting of a thread whose task was cancelled
            await asyncio.wait([entry])
            if entry.cancelled() or entry.exception() is None:
                await self.close(0)  # it was about to start when that was closed
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self.close()
            return
        with suppress(BridgeError):  # the one that leaves the block is to be seen; this one is in the log
            if kind is GeneratorExit:  # the task was dropped, perhaps with its loop: nothing can be awaited
                self._source.close(0)
            else:
                await self.close(0)

    def __repr__(self) -> str:
        return f"<AsyncBridge of {self._source.peek().name}>"


class AsyncLease:
    """One worker, lent exclusively. `AsyncBridge.lease` makes it."""

    def __init__(
        self,
        owner: AsyncBridge,
        runtime: Runtime,
        functions: Mapping[str, Callable[..., Any]],
        returns: Returns,
        claim: LoopClaim,
        info: WorkerInfo,
    ) -> None:
        self._owner = owner  # kept alive: a bridge that nobody holds closes
        self._runtime, self._functions, self._returns, self._claim = runtime, functions, returns, claim
        self._returned = self._calling = False
        self._pid = os.getpid()
        self.info = info
        """Who the worker is."""

    @overload
    async def call(
        self,
        command: str,
        args: Any = ...,
        /,
        *,
        timeout: Timeout = ...,
        on_progress: Callable[[Any], object] | None = ...,
        returns: type[T],
    ) -> T: ...
    @overload
    async def call(
        self,
        command: str,
        args: Any = ...,
        /,
        *,
        timeout: Timeout = ...,
        on_progress: Callable[[Any], object] | None = ...,
        returns: object = ...,
    ) -> Any: ...
    async def call(
        self,
        command: str,
        args: Any = None,
        /,
        *,
        timeout: Timeout = DEFAULT,
        on_progress: Callable[[Any], object] | None = None,
        returns: Any = None,
    ) -> Any:
        """Call a command on this worker. As Lease.call."""
        convert = self._returns.convert(returns)
        seconds = self._runtime.call_timeout if timeout is DEFAULT else checked(timeout)
        refuse_forked(self._pid)
        if self._calling:
            raise WorkerError(
                "another task is calling on this lease; a lease has one user at a time: take one for each"
            )
        worker = lent(self._runtime, self._claim, self.info, command, returned=self._returned)
        self._calling = True
        try:
            follow = follow_call(self._runtime, self._functions, on_progress)
            result = await async_calls.call_on(self._runtime, self._claim, command, args, seconds, follow)
        finally:
            self._calling = False
            if not worker.link.clean:
                self._runtime.pool.checkin(self._claim)
        return apply(convert, result, command)

    def cancel(self) -> None:
        """Stop what the worker is doing: its call raises CallCancelled, and the lease is spent."""
        self._runtime.pool.cancel(self._claim)

    async def close(self) -> None:
        """Give the worker back, after the handler's `on_reset`. Idempotent. As Lease.close."""
        if self._pid != os.getpid():
            return  # a forked child has nothing to give back
        self._returned = True
        if self._calling:
            self.cancel()
            return  # the task that calls gives it back: its call can't end otherwise any more
        if self._claim.worker is None:
            return
        self._claim.cancelled = False
        done = False
        try:
            await async_calls.reset(self._runtime, self._claim, self._runtime.call_timeout)
            done = True
        finally:
            if not done:
                self._runtime.pool.condemn(self._claim)
            self._runtime.pool.checkin(self._claim)

    async def __aenter__(self) -> AsyncLease:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
