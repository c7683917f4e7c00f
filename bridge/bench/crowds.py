"""`throughput` and `async`: many callers at once, on two workers.

Rules: callers are there before the clock runs; each makes its calls one after the other. Apart from calls.py, where
there is one caller.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import perf_counter
from typing import Final

from bridge.bench.found import Effort, Found
from bridge.bench.subjects import PAYLOAD, echo, executor, opened
from bridge.bench.timing import per_second

WORKERS: Final = 2
THREADS: Final = 8
TASKS: Final = 1000


def throughput(effort: Effort, found: Found) -> None:
    """Threads."""
    for part in effort.parts():
        _threads(part, found)


def _threads(effort: Effort, found: Found) -> None:
    each = effort.of(250, 10)
    payload = dict(PAYLOAD)

    def crowd(call: Callable[[], object]) -> None:
        def work(_: int) -> None:
            for _ in range(each):
                call()

        list(threads.map(work, range(THREADS)))

    with executor(WORKERS) as futures, opened(WORKERS) as b, ThreadPoolExecutor(THREADS) as threads:
        subjects: dict[str, Callable[[], object]] = {
            "ProcessPoolExecutor, 8 threads": lambda: futures.submit(echo, payload).result(),
            "bridge, 8 threads": partial(b.call, "echo", {"value": payload}),
        }
        for call in subjects.values():
            crowd(call)
        count = THREADS * each
        rates = {name: partial(per_second, partial(crowd, call), count) for name, call in subjects.items()}
        found.rounds(effort, "calls/s", rates)


def asynchronous(effort: Effort, found: Found) -> None:
    """Tasks of one event loop."""
    for part in effort.parts():
        with executor(WORKERS) as futures:
            asyncio.run(
                _tasks(part, found, lambda value: asyncio.get_running_loop().run_in_executor(futures, echo, value))
            )


async def _tasks(effort: Effort, found: Found, peer: Callable[[object], Awaitable[object]]) -> None:
    each = effort.of(20, 1)  # of fewer, too many are those with which all begin at once
    payload = dict(PAYLOAD)

    async def rate(call: Callable[[], Awaitable[object]]) -> float:
        ready, start = 0, asyncio.Event()

        async def work() -> None:
            nonlocal ready
            ready += 1
            await start.wait()
            for _ in range(each):
                await call()

        tasks = [asyncio.ensure_future(work()) for _ in range(TASKS)]
        while ready < TASKS:
            await asyncio.sleep(0)
        began = perf_counter()
        start.set()
        await asyncio.gather(*tasks)
        return TASKS * each / (perf_counter() - began)

    async with opened(WORKERS).aio as b:
        subjects: dict[str, Callable[[], Awaitable[object]]] = {
            "run_in_executor, 1,000 tasks": lambda: peer(payload),
            "bridge, 1,000 tasks": lambda: b.call("echo", {"value": payload}),
        }
        for call in subjects.values():
            await rate(call)
        for number in range(effort.rounds):
            for name in list(subjects)[:: -1 if number % 2 else 1]:
                found.add(name, "calls/s", await rate(subjects[name]))
