"""asyncio callers with real workers, and with what stands in for them: one pool for threads and loops."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

import bridge
from bridge import AsyncBridge, Bridge
from tests.facade.looping import LoopThread, turns
from tests.process.conftest import Connect

HANDLER: Final = f"{Path(__file__).parent / 'stream_handlers.py'}:Streams"
ECHO: Final = f"{Path(__file__).parent.parent / 'handlers.py'}:Echo"
ADAPTERS: Final = ("mock", "bridge_mock", "python_port")


def open_on(connect: Connect, adapter: str, handler: str = ECHO, **settings: Any) -> Bridge:
    """A bridge whose mock calls the handler itself."""
    return connect(handler, adapter=adapter, fake=handler, cancel_grace=30, **settings)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_every_verb_is_awaited(connect: Connect, adapter: str) -> None:
    """call, map, stream, lease, stats, health, recycle; `async with` starts it and closes it."""

    async def main() -> None:
        async with open_on(connect, adapter, size=2) as ab:
            assert isinstance(ab, AsyncBridge)
            assert await ab.call("add", [1, 2]) == 3
            assert [item async for item in ab.map("echo", range(20), arg="value")] == list(range(20))
            unordered = [item async for item in ab.map("echo", range(20), arg="value", ordered=False)]
            assert sorted(unordered) == list(range(20))
            errors = [type(item) async for item in ab.map("fail", range(3), arg="message", return_exceptions=True)]
            assert errors == [bridge.RemoteError] * 3
            async with await ab.lease() as lease:
                assert [await lease.call("counted") for _ in range(2)] == [1, 2]
            with pytest.raises(bridge.RemoteError):
                await ab.call("fail")
            assert ab.health().ok
            await ab.recycle()
            assert (await ab.call("echo", [1]), ab.stats().state) == (1, "open")
        with pytest.raises(bridge.PoolClosed):
            await ab.call("echo", [1])

    asyncio.run(main())


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("ahead", [1, 16])
def test_streams_are_iterated_by_async_for(connect: Connect, adapter: str, ahead: int) -> None:
    """To the end, and left early; progress and questions are awaited."""

    async def look_up(key: str) -> str:
        await turns(2)
        return key.upper()

    async def main() -> None:
        reports = []

        async def note(value: Any) -> None:
            reports.append(value[0])

        async with open_on(connect, adapter, HANDLER) as ab:
            assert [item async for item in ab.stream("numbers", [30], ahead=ahead)] == list(range(30))
            async with ab.stream("numbers", [1_000_000], ahead=ahead) as stream:
                assert [await anext(stream) for _ in range(3)] == [0, 1, 2]
            assert await ab.call("report", [3], on_progress=note) == 3
            ab.expose("look", look_up)
            assert await ab.call("ask", ["look", ["a"]]) == "A"
            assert await ab.call("ask", ["look", None]) == "TypeError"
            assert [item async for item in ab.stream("later", [3])] == [0, 1, 2]
        assert reports == [0, 1, 2]

    asyncio.run(main())


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_task_cancelled_after_any_step_loses_nothing(connect: Connect, adapter: str) -> None:
    """For every number of loop steps until its call is over, with another task that waits behind it: that one gets its
    own answer, and so does everyone afterwards. Fails when a cancelled waiter isn't taken out of the queue, keeps what
    it was offered, or leaves its reader registered."""

    async def main(ab: AsyncBridge) -> None:
        finished = 0
        for steps in [*range(40), *(2**power for power in range(6, 24))]:
            if steps >= 2**14 and finished:
                break  # else its worker had no turn yet: the machine is busy
            task = asyncio.create_task(ab.call("echo", [f"first {steps}"]))
            behind = asyncio.create_task(ab.call("echo", [f"behind {steps}"]))
            await turns(steps)
            finished += task.done()
            task.cancel()
            assert await behind == f"behind {steps}"
            assert await ab.call("echo", [steps]) == steps
            assert task.cancelled() or await task == f"first {steps}"
        assert finished
        assert ab.stats().busy == 0

    b = open_on(connect, adapter)
    b.call("echo", [0])
    asyncio.run(main(b.aio))


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_threads_and_loops_share_one_pool(connect: Connect, loops: list[LoopThread], adapter: str) -> None:
    """Everybody gets his own answers, through two workers."""
    b = open_on(connect, adapter, size=2)

    async def ask(who: int) -> list[Any]:
        return await asyncio.gather(*(b.aio.call("echo", [[who, number]]) for number in range(50)))

    def ask_plainly(who: int) -> list[Any]:
        return [b.call("echo", [[who, number]]) for number in range(50)]

    with ThreadPoolExecutor(4) as threads:
        found = [threads.submit(ask_plainly, who) for who in range(4)]
        found += [loop.submit(ask(who)) for who, loop in enumerate(loops, 4)]
        assert [each.result(60) for each in found] == [[[who, number] for number in range(50)] for who in range(7)]
    assert (b.stats().busy, b.stats().waiting) == (0, 0)


def test_a_worker_that_dies_late_in_a_stream_is_not_asked_again(connect: Connect, tmp_path: Path) -> None:
    """Though credit that it hadn't read lies in its pipe. Fails, by items that come twice, when what was heard of a
    call doesn't count."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    async def main(ab: AsyncBridge) -> None:
        stream = ab.stream("die_when_told", [10, str(fifo)], ahead=16)
        assert [await anext(stream) for _ in range(10)] == list(range(10))
        await asyncio.to_thread(lambda: fifo.open("w").close())
        with pytest.raises(bridge.WorkerCrashed):
            await anext(stream)

    asyncio.run(main(connect(HANDLER).aio))


def test_a_stream_has_one_task_at_a_time(connect: Connect) -> None:
    """Another one is refused, and the first has its item. Fails when nobody looks whether it is running."""

    async def main(ab: AsyncBridge) -> None:
        stream = ab.stream("numbers", [3])
        first = asyncio.create_task(anext(stream))
        await turns(2)
        with pytest.raises(RuntimeError, match="one user"):
            await anext(stream)
        assert (await first, await anext(stream)) == (0, 1)
        await stream.aclose()

    asyncio.run(main(connect(HANDLER).aio))


def test_a_task_that_is_cancelled_in_the_step_of_its_turn_gives_it_on(connect: Connect) -> None:
    """It was offered the worker, and had no step since. Fails when `leave` keeps what was offered."""

    async def main(ab: AsyncBridge) -> None:
        lease = await ab.lease()
        waiting = [asyncio.create_task(ab.call("same", [number])) for number in range(3)]
        await turns(3)
        await lease.close()  # without a hook to run it takes no step
        assert len(b._source.peek().pool._state.offered()) == 1
        waiting[0].cancel()
        assert await asyncio.gather(*waiting[1:]) == [1, 2]
        assert ab.stats().busy == 0

    b = connect(HANDLER)
    b.call("pid")
    asyncio.run(main(b.aio))


def test_a_waiting_task_costs_no_thread_and_little_memory(connect: Connect) -> None:
    """Of ten thousand, each less than 4 KB with its task and its coroutines."""

    async def main(ab: AsyncBridge) -> None:
        lease = await ab.lease()
        threads = threading.active_count()
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        tasks = [asyncio.create_task(ab.call("echo", [number], timeout=100)) for number in range(10_000)]
        await turns(2)
        each = (tracemalloc.get_traced_memory()[0] - before) / 10_000
        tracemalloc.stop()

        assert (ab.stats().waiting, threading.active_count()) == (10_000, threads)
        assert each < 4096
        for task in tasks[100:]:
            task.cancel()
        await lease.close()
        assert await asyncio.gather(*tasks[:100]) == list(range(100))
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (ab.stats().waiting, ab.stats().busy) == (0, 0)

    b = connect(ECHO, checkout_timeout=100)
    asyncio.run(main(b.aio))


def test_a_deadline_in_a_loop_frees_the_task_and_tells_the_worker(connect: Connect) -> None:
    """Its own, that of `asyncio.wait_for`, and where there is one of `asyncio.timeout`; the same worker serves on."""

    async def main(ab: AsyncBridge) -> None:
        pid = await ab.call("pid")
        with pytest.raises(bridge.CallTimeout):
            await ab.call("sleep", [60], timeout=0.1)
        with pytest.raises((asyncio.TimeoutError, TimeoutError)):
            await asyncio.wait_for(ab.call("sleep", [60]), 0.1)
        if sys.version_info >= (3, 11):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await ab.call("sleep", [60])
            with pytest.raises(ExceptionGroup):  # noqa: F821
                await both(ab)
        assert await ab.call("pid") == pid

    asyncio.run(main(connect(ECHO, cancel_grace=30).aio))


async def both(ab: AsyncBridge) -> None:
    """A group that fails, and cancels what it has begun."""
    async with asyncio.TaskGroup() as group:  # type: ignore[attr-defined, unused-ignore]  # from Python 3.11 on
        group.create_task(ab.call("sleep", [60]))
        await turns(5)
        raise KeyError


def test_a_worker_that_dies_fails_one_task(connect: Connect) -> None:
    """With its signal; the others go on with its successor. One that asks for it is sent again."""

    async def main(ab: AsyncBridge) -> None:
        with pytest.raises(bridge.WorkerCrashed, match="SIGKILL"):
            await ab.call("crash")
        assert await ab.call("echo", [1]) == 1
        crashed = asyncio.create_task(ab.call("crash"))
        behind = [asyncio.create_task(ab.call("echo", [number])) for number in range(10)]
        assert await asyncio.gather(*behind) == list(range(10))
        with pytest.raises(bridge.WorkerCrashed):
            await crashed

    asyncio.run(main(connect(ECHO).aio))


def test_requests_and_results_larger_than_the_pipe(connect: Connect) -> None:
    """Each way, while other tasks have their turns."""

    async def main(ab: AsyncBridge) -> None:
        text = "x" * 3_000_000
        assert await asyncio.gather(*(ab.call("echo", [text]) for _ in range(3))) == [text] * 3

    asyncio.run(main(connect(ECHO, size=2).aio))


def test_a_lease_of_a_task_can_be_cancelled_and_is_spent(connect: Connect) -> None:
    """By `cancel`, from a thread too; and a second task on it is refused."""

    async def main(ab: AsyncBridge) -> None:
        async with await ab.lease() as lease:
            running = asyncio.create_task(lease.call("sleep", [60]))
            await turns(3)
            with pytest.raises(bridge.WorkerError, match="one user"):
                await lease.call("echo")
            await asyncio.to_thread(lease.cancel)
            with pytest.raises(bridge.CallCancelled):
                await running
            with pytest.raises(bridge.WorkerError, match="lost"):
                await lease.call("echo")
        assert await ab.call("echo", [1]) == 1

    asyncio.run(main(connect(ECHO).aio))


def test_nothing_is_left_registered_between_calls(connect: Connect) -> None:
    """The descriptors of a worker go from a loop to a thread, to another loop and back. Fails when a reader stays: the
    second loop, or the first, would be told of bytes that aren't its own."""
    b = connect(ECHO)

    async def ask(value: int) -> Any:
        return await b.aio.call("echo", [value])

    for value in range(5):
        assert asyncio.run(ask(value)) == value
        assert b.call("echo", [value]) == value
    assert os.getpid() != b.call("pid")
