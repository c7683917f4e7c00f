"""`growth`: costs that must not grow with how many workers, callers or sessions there are.

Rules: on the mock, so that nothing but our own bookkeeping is measured; many and one take turns. Apart from the other
sections, whose subjects are few.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from time import perf_counter
from typing import Any, Final

import bridge
from bridge import AsyncBridge, Bridge, MockAdapter
from bridge.bench.found import Effort, Found
from bridge.bench.subjects import HANDLER
from bridge.bench.timing import p50

WORKERS: Final = ((1, "1 idle worker"), (100, "100 idle workers"), (1000, "1,000 idle workers"))
WAITERS: Final = ((1, "1 caller waits"), (10_000, "10,000 callers wait"))
SESSIONS: Final = ((1, "1 session"), (100_000, "100,000 sessions"))
TOO_LONG: Final = "takes longer than --quick allows"


class Quiet:
    """A fake handler."""

    def touch(self) -> None:
        """Nothing happens."""

    def visit(self, *, session: dict[str, Any]) -> None:
        """A call of a session."""


def growth(effort: Effort, found: Found) -> None:
    """Workers, callers, sessions."""
    _workers(effort, found)
    if effort.quick:
        found.miss([name for _, name in (*WAITERS, *SESSIONS)], TOO_LONG)
        return
    asyncio.run(_waiters(effort, found))
    _sessions(effort, found)


def _opened(size: int, **settings: Any) -> Bridge:
    return bridge.connect(HANDLER, adapter=MockAdapter(Quiet), size=size, **settings)


def _workers(effort: Effort, found: Found) -> None:
    calls = effort.of(2000, 20)
    with ExitStack() as stack:
        subjects: dict[str, Callable[[], float]] = {}
        for size, name in WORKERS:
            b = stack.enter_context(_opened(size))
            subjects[name] = partial(p50, partial(b.call, "touch"), calls)
        for sample in subjects.values():
            sample()
        found.rounds(effort, "us", subjects)


async def _waiters(effort: Effort, found: Found) -> None:
    """So many tasks stand in the queue of one worker all the time, but for the end."""
    async with _opened(1).aio as b:
        for number in range(effort.rounds):
            for waiting, name in WAITERS[:: -1 if number % 2 else 1]:
                found.add(name, "us", await _queued(b, waiting))


async def _queued(b: AsyncBridge, waiting: int) -> float:
    """Microseconds of a call."""
    calls = 20_000 // (waiting + 1)

    async def work() -> None:
        for _ in range(calls):
            await b.call("touch", timeout=None)

    async with await b.lease() as lease:
        await lease.call("touch")
        tasks = [asyncio.ensure_future(work()) for _ in range(waiting + 1)]
        while b.stats().waiting <= waiting:
            await asyncio.sleep(0)
    began = perf_counter()
    await asyncio.gather(*tasks)
    return (perf_counter() - began) / (calls * (waiting + 1)) * 1e6


def _sessions(effort: Effort, found: Found) -> None:
    calls = effort.of(1000, 20)
    with ExitStack() as stack:
        subjects: dict[str, Callable[[], float]] = {}
        for count, name in SESSIONS:
            b = stack.enter_context(_opened(8, max_sessions=200_000))
            for number in range(count):
                b.call("visit", session=f"user-{number:07d}")
            subjects[name] = partial(_visits, b, count, calls)
        found.rounds(effort, "us", subjects)


def _visits(b: Bridge, count: int, calls: int) -> float:
    """Microseconds of a call of one of so many sessions, not the same one twice in a row."""
    began = perf_counter()
    for number in range(calls):
        b.call("visit", session=f"user-{number * 37 % count:07d}")
    return (perf_counter() - began) / calls * 1e6
