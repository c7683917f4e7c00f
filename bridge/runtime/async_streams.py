"""A stream of a task: as streams.py, awaited.

Rules: those of streams.py. Apart from it, since a coroutine and a function can't be one.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from bridge.channel_async import Conversation
from bridge.runtime import async_calls
from bridge.runtime.calls import ENDINGS
from bridge.runtime.loop_claims import LoopClaim, claim_here
from bridge.runtime.streams import BaseStream
from bridge.wire import ASK, CALL, ITEM

if TYPE_CHECKING:
    from types import TracebackType

    from bridge.runtime.worker import Worker


class AsyncStream(BaseStream):
    """An asynchronous iterator over the items; `AsyncBridge.stream` makes it. `async with` closes it."""

    _running = False

    def __aiter__(self) -> AsyncStream:
        return self

    async def __anext__(self) -> Any:
        """The next item. Raises as Stream.__next__."""
        if self._running:
            raise RuntimeError(
                "another task is taking the next item; a stream has one user at a time: have one for each"
            )
        if self._over:
            raise StopAsyncIteration
        going_on, self._running = False, True
        try:
            kind, value = await self._next(self._deadline())
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
            assert isinstance(claim, LoopClaim)
            try:
                with Conversation(worker.link, self._command, self._runtime.clock) as talk:
                    if not self._sent:
                        self._sent = True
                        await talk.say(self._body, deadline, inf, CALL, worker.holder, self._follow)
                    self._give_credit(worker.link)
                    kind, value = await talk.hear(deadline)
                    while kind == ASK:
                        await talk.answer(await async_calls.answer(self._follow, value), deadline)
                        kind, value = await talk.hear(deadline)
                return self._heard(kind, worker.link), value
            except ENDINGS as end:
                if not self._is_to_be_sent_again(end, retries):
                    raise await async_calls.report(
                        self._runtime, claim, worker, self._command, end, deadline, self._timeout, self._body
                    ) from None
                retries += 1
                self._try_another(worker)

    async def _begin(self, deadline: float) -> Worker:
        """Take a worker."""
        self._claim = claim = claim_here(self._runtime)
        visit = self._follow.visit
        if visit is not None:
            return self._took(claim, await async_calls.checkout_for(self._runtime, visit, claim, deadline))
        return self._took(claim, await async_calls.checkout(self._runtime, claim, deadline))

    async def aclose(self) -> None:
        """End it; the handler's generator is closed, so that its `finally` runs. Idempotent. An item that another task
        waits for is cancelled."""
        if self._running and self._claim is not None:
            self._over = True
            self._runtime.pool.cancel(self._claim)
            return
        self._end()

    async def __aenter__(self) -> AsyncStream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
