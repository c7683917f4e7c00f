"""From one task's call to the next one's, in the loop's callbacks: what stays registered, and what doesn't."""

from __future__ import annotations

import asyncio
import selectors
import threading
from functools import partial
from typing import Any

import pytest

import bridge
from bridge import Bridge
from tests.facade.looping import LoopThread
from tests.process.conftest import Connect

pytestmark = pytest.mark.usefixtures("note_children")


class Counted(asyncio.SelectorEventLoop):
    """Counts what is registered with it."""

    def __init__(self) -> None:
        super().__init__(selectors.DefaultSelector())
        self.registered = 0

    def add_reader(self, fd: Any, callback: Any, *args: Any) -> None:  # type: ignore[override]
        self.registered += 1
        super().add_reader(fd, callback, *args)

    @property
    def watched(self) -> set[int]:
        """Descriptors, but for the loop's own."""
        return {key.fd for key in self._selector.get_map().values()} - {self._ssock.fileno()}  # type: ignore[attr-defined]


def run(main: Any) -> Any:
    """In a loop that counts; what is left registered is an error."""
    loop = Counted()
    try:
        result = loop.run_until_complete(asyncio.wait_for(main(loop), 60))
        assert loop.watched == set()
        return result
    finally:
        loop.close()


def test_a_worker_stays_registered_from_call_to_call(echo: Bridge) -> None:
    """And not behind the last one. Fails when `_hear` ends each registration, or leaves the last."""
    echo.call("echo", [0])

    async def main(loop: Counted) -> int:
        assert await asyncio.gather(*(echo.aio.call("echo", [n]) for n in range(200))) == list(range(200))
        return loop.registered

    assert run(main) <= 2 * echo.stats().size


def test_the_next_call_begins_before_a_task_goes_on(connect: Connect, handlers: str) -> None:
    """So the worker isn't idle meanwhile. Fails when `_hear` only wakes the next one."""
    b = connect(f"{handlers}:Echo", size=1)
    b.call("echo", [0])
    seen: list[int] = []

    async def one(n: int) -> None:
        await b.aio.call("echo", [n])
        seen.append(b.stats().workers[0].calls)

    async def main(loop: Counted) -> None:
        await asyncio.gather(one(1), one(2), one(3))

    run(main)
    assert seen[0] >= 3, f"the second call had begun when the first task went on: {seen}"


def cancel(task: asyncio.Task[Any], _: object) -> None:
    task.cancel()


def test_a_task_that_was_cancelled_at_its_turn_passes_it_on(connect: Connect, handlers: str) -> None:
    """Cancelled between the reply before it and its own beginning, for each place in the queue. Fails when
    what was handed to it stays registered, or its worker bound."""
    b = connect(f"{handlers}:Echo", size=1)
    b.call("echo", [0])

    async def main(loop: Counted) -> None:
        for place in range(1, 5):
            tasks = [asyncio.create_task(b.aio.call("echo", [n])) for n in range(6)]
            tasks[place - 1].add_done_callback(partial(cancel, tasks[place]))
            found = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(value == n or (n == place and isinstance(value, BaseException)) for n, value in enumerate(found))

    run(main)
    assert b.stats().busy == 0
    assert b.call("echo", [1]) == 1


def test_a_thread_that_is_next_finds_the_worker_unwatched(connect: Connect, handlers: str) -> None:
    """Two threads and a loop take turns on one worker. Fails when the registration outlives the turn."""
    b = connect(f"{handlers}:Echo", size=1)
    b.call("echo", [0])
    over = threading.Event()
    wrong: list[Any] = []

    def call() -> None:
        n = 0
        while not over.is_set():
            n += 1
            if (value := b.call("echo", [-n])) != -n:
                wrong.append(value)

    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()

    async def main(loop: Counted) -> None:
        for _ in range(20):
            assert await asyncio.gather(*(b.aio.call("echo", [n]) for n in range(10))) == list(range(10))

    try:
        run(main)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_a_task_whose_worker_dies_is_told_and_the_next_one_is_served(connect: Connect, rough: str) -> None:
    """The death is one call's. Fails when the end of one leaves the other without a worker."""
    b = connect(f"{rough}:Rough", size=1)
    b.call("pid")

    async def main(loop: Counted) -> list[Any]:
        calls = [b.aio.call("say_and_leave", ["bye", 3]), b.aio.call("echo", [1]), b.aio.call("echo", [2])]
        return [*await asyncio.gather(*calls, return_exceptions=True)]

    died, *others = run(main)
    assert isinstance(died, bridge.WorkerCrashed)
    assert others == [1, 2]


def test_a_task_of_another_loop_that_is_next_goes_on_in_its_own(
    connect: Connect, handlers: str, loops: list[LoopThread]
) -> None:
    """Each step of a call is made in its task's thread. Fails when a registration is handed to another loop's call."""
    b = connect(f"{handlers}:Echo", size=1)
    b.call("echo", [0])
    stepped: set[tuple[int, int]] = set()

    async def main() -> None:
        mine = threading.get_ident()

        async def one(n: int) -> None:
            assert await b.aio.call("echo", [n]) == n
            stepped.add((mine, threading.get_ident()))

        asyncio.get_running_loop().set_debug(True)  # what another thread schedules here is an error
        await asyncio.gather(*(one(n) for n in range(100)))

    for future in [loop.submit(main()) for loop in loops[:2]]:
        future.result(60)
    assert len(stepped) == 2
    assert all(mine == ran for mine, ran in stepped)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits has its times within moments, not after a second."""
    for module in ("pool", "loop_calls"):
        monkeypatch.setattr(f"bridge.runtime.{module}.LAST_LOOK", 0.2)
    monkeypatch.setattr("bridge.runtime.loop_claims.LONG", 0.1)


@pytest.mark.usefixtures("soon")
def test_the_deadline_of_who_was_queued_comes(connect: Connect, handlers: str) -> None:
    """Of those that are never sent, and of one that is, whether others wait behind it or not. Fails (by the time limit)
    when nothing gives them times to look at."""
    b = connect(f"{handlers}:Echo", size=1, cancel_grace=30, checkout_timeout=0.9)

    async def late(*calls: Any) -> list[Any]:
        return [type(found) for found in await asyncio.gather(*calls, return_exceptions=True)]

    async def main(loop: Counted) -> None:
        ab = b.aio
        async with await ab.lease():
            unsent = [ab.call("echo", [1], timeout=seconds) for seconds in (60, 0.5)]
            assert await late(*unsent) == [bridge.PoolTimeout] * 2
        for behind in ([], [ab.call("echo", [1])]):
            calls = [ab.call("sleep", [0.1]), ab.call("sleep", [60], timeout=0.5), *behind]
            assert (await late(*calls))[1] is bridge.CallTimeout

    run(main)


def test_the_deadline_of_who_is_alone_comes(connect: Connect, handlers: str) -> None:
    """Of a call that was sent at once. Fails (by the time limit) when `_send` doesn't give it that."""
    b = connect(f"{handlers}:Echo", size=1, cancel_grace=30)
    b.call("echo", [0])

    async def main(loop: Counted) -> None:
        with pytest.raises(bridge.CallTimeout):
            await b.aio.call("sleep", [60], timeout=0.2)

    run(main)
