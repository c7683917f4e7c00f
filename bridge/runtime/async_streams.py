"""A stream of a task: as streams.py, awaited.

Rules: those of streams.py. Apart from it, since a coroutine and a function can't be one.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from bridge.channel_async import Conversation
from bridge.contract import WorkerGone
from bridge.errors import CallCancelled
from bridge.runtime import async_calls
from bridge.runtime.calls import ENDINGS, MAX_RETRIES, encoded
from bridge.runtime.loop_claims import LoopClaim
from bridge.wire import ASK, CALL, ITEM

if TYPE_CHECKING:
    from types import TracebackType

    from bridge.runtime import Runtime
    from bridge.runtime.follow import Follow
    from bridge.runtime.worker import Worker


class AsyncStream:
    """An asynchronous iterator over the items; `AsyncBridge.stream` makes it. `async with` closes it.

    Args:
        timeout: Seconds for each item; None is no limit.
        ahead: Items that may be made ahead of the caller.
        owner: Kept alive: a bridge that nobody holds closes.
    """

    def __init__(
        self,
        runtime: Runtime,
        command: str,
        args: Any,
        timeout: float | None,
        follow: Follow,
        ahead: int,
        owner: object,
    ) -> None:
        self._runtime, self._command, self._timeout, self._owner = runtime, command, timeout, owner
        self._body = encoded(runtime, command, args, follow)
        self._follow, self._half, self._taken = follow, max(1, ahead // 2), 0
        self._claim: LoopClaim | None = None
        self._worker: Worker | None = None
        self._sent = self._over = self._running = False

    def __aiter__(self) -> AsyncStream:
        return self

    async def __anext__(self) -> Any:
        """The next item. Raises as Stream.__next__."""
        if self._running:
            raise RuntimeError("another task is taking the next item; a stream has one user at a time")
        if self._over:
            raise StopAsyncIteration
        going_on, self._running = False, True
        try:
            kind, value = await self._next(inf if self._timeout is None else self._runtime.clock() + self._timeout)
            going_on = kind == ITEM
        finally:
            self._running = False
            if not going_on:
                self._end()
        if not going_on:
            raise StopAsyncIteration
        return value

    async def _next(self, deadline: float) -> tuple[int, Any]:
        retries = 0
        while True:
            worker = self._worker or await self._begin(deadline)
            claim = self._claim
            assert claim is not None
            try:
                with Conversation(worker.link, self._command, self._runtime.clock) as talk:
                    if not self._sent:
                        self._sent = True
                        await talk.say(self._body, deadline, inf, CALL, worker.holder, self._follow)
                    if self._taken >= self._half and worker.link.credit(self._taken):
                        self._taken = 0
                    kind, value = await talk.hear(deadline)
                    while kind == ASK:
                        await talk.answer(await async_calls.answer(self._follow, value), deadline)
                        kind, value = await talk.hear(deadline)
                self._taken += 1
                return kind, value
            except ENDINGS as end:
                again = isinstance(end, WorkerGone) and not end.started and retries < MAX_RETRIES
                if not again or claim.cancelled:
                    raise await async_calls.report(
                        self._runtime, claim, worker, self._command, end, deadline, self._timeout, self._body
                    ) from None
                retries += 1
                self._let_go()
                self._runtime.pool.count_again(worker, started=False)

    async def _begin(self, deadline: float) -> Worker:
        """Take a worker."""
        self._claim = claim = LoopClaim(self._runtime.clock, self._runtime.pool.refuse_grant)
        worker = await async_calls.checkout(self._runtime, claim, deadline)
        if claim.cancelled:
            raise CallCancelled(self._command, pid=None)
        self._worker = worker
        worker.calls += 1
        claim.sent_at = worker.active_at = self._runtime.clock()
        return worker

    async def aclose(self) -> None:
        """End it; the handler's generator is closed, so that its `finally` runs. Idempotent. An item that another task
        waits for is cancelled."""
        if self._running and self._claim is not None:
            self._over = True
            self._runtime.pool.cancel(self._claim)
            return
        self._end()

    def _end(self) -> None:
        self._over = True
        self._let_go()

    def _let_go(self) -> None:
        claim, worker = self._claim, self._worker
        if claim is not None:
            try:
                if worker is not None and claim.worker is worker:
                    worker.link.leave()
            finally:
                self._worker, self._sent = None, False
                self._runtime.pool.checkin(claim)

    async def __aenter__(self) -> AsyncStream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if getattr(self, "_worker", None) is not None and not self._over:
            self._claim = self._worker = None
            self._runtime.supervisor.notice()  # it finds a worker whose holder is gone
