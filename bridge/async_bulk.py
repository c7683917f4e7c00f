"""map, for tasks: chunks of calls, a bounded number at a time.

Rules: items are taken where the results are asked for; the window bounds both what runs and what waits to be fetched;
leaving early cancels what runs. Apart from bulk.py, which has threads for it, and from aio.py, the face of asyncio.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable
from typing import TYPE_CHECKING, Any

from bridge.bulk import Errand, fetched
from bridge.chunks import AHEAD, Chunk, Pace, Request, Window
from bridge.runtime import async_calls

if TYPE_CHECKING:
    from bridge.runtime import Runtime


class _Crew:
    """Tasks that call, one for each chunk; how they tell of what came."""

    def __init__(self) -> None:
        self._heard: asyncio.Queue[Chunk] = asyncio.Queue()
        self._tasks: dict[Chunk, asyncio.Task[None]] = {}

    def give(self, chunk: Chunk, work: Any) -> None:
        """Have the calls of one chunk made."""
        self._tasks[chunk] = asyncio.create_task(work)

    def tell(self, chunk: Chunk) -> None:
        """Something of it has come."""
        self._heard.put_nowait(chunk)

    async def listen(self) -> Chunk:
        """Wait until something has come of any chunk."""
        return await self._heard.get()

    async def await_front(self, chunk: Chunk) -> None:
        """Wait until something has come of one."""
        while not (chunk.outcomes or chunk.ended):
            await self.listen()
        while not self._heard.empty():  # what it says is in the chunks: kept, it would keep all of them
            self._heard.get_nowait()

    def forget(self, chunk: Chunk) -> None:
        """It has ended."""
        self._tasks.pop(chunk)

    async def dismiss(self) -> None:
        """End: what still runs is cancelled."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


async def run(
    runtime: Runtime,
    command: str,
    items: Iterable[Any] | AsyncIterable[Any],
    timeout: float | None,
    *,
    arg: str | None,
    chunksize: int | None,
    ordered: bool,
    return_exceptions: bool,
    idempotent: bool,
) -> AsyncGenerator[Any, None]:
    """The results of one command for many items; see AsyncBridge.map. As bulk.run."""
    pace, crew = Pace(chunksize), _Crew()
    window = Window(AHEAD * (runtime.pool.policy.size + runtime.pool.policy.max_overflow), pace, lambda: None)
    errand = Errand(runtime, command, timeout, arg, pace, idempotent=idempotent)

    async def call(request: Request, chunk: Chunk) -> Any:
        again, follow = errand.terms(request, lambda: crew.tell(chunk))
        args, body = request.args, request.body
        return await async_calls.call(runtime, command, args, timeout, idempotent=again, follow=follow, body=body)

    async def work(chunk: Chunk) -> None:
        calls = errand.steps(chunk)
        try:
            request = next(calls)
            while True:
                try:
                    value = await call(request, chunk)
                except asyncio.CancelledError:
                    raise
                except BaseException as error:
                    request = calls.throw(error)
                else:
                    request = calls.send(value)
                crew.tell(chunk)
        except StopIteration:
            pass  # all its calls were made
        except Exception as error:
            chunk.fail(error)
        chunk.ended = True
        crew.tell(chunk)

    source = aiter(items) if isinstance(items, AsyncIterable) else _async_iterator(items)
    try:
        while True:
            while (wanted := window.wants) and (some := await _take(source, wanted)):
                crew.give(chunk := window.add(some), work(chunk))
            if not window.under_way:
                return
            chunk = window.under_way[0]
            if ordered:
                await crew.await_front(chunk)
            else:
                chunk = await crew.listen()
            while chunk.outcomes:
                for result in fetched(chunk.outcomes.popleft(), return_exceptions=return_exceptions):
                    yield result
            if chunk.ended and not chunk.outcomes and chunk in window.under_way:
                crew.forget(chunk)
                for fresh in window.take(chunk):
                    crew.give(fresh, work(fresh))
    finally:
        await crew.dismiss()


async def _async_iterator(items: Iterable[Any]) -> AsyncIterator[Any]:
    for item in items:
        yield item


async def _take(source: AsyncIterator[Any], most: int) -> list[Any]:
    """So many items, or those that there are."""
    found: list[Any] = []
    while len(found) < most:
        try:
            found.append(await anext(source))
        except StopAsyncIteration:
            break
    return found
