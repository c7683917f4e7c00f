"""map with real workers: many items in one frame, and each with its own outcome."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import bridge
from bridge import Bridge, WorkerCrashed, bulk
from bridge.chunks import Chunk
from tests.process import map_handlers
from tests.process.conftest import Connect
from tests.process.waiting import wait_until

pytestmark = pytest.mark.usefixtures("note_children")

MANY = f"{map_handlers.__file__}:Many"


def results(b: Bridge, how: str, command: str, items: Any, **more: Any) -> list[Any]:
    """Of a map by a thread, or by a task."""
    if how == "threads":
        return list(b.map(command, items, arg="item", **more))

    async def gathered() -> list[Any]:
        return [result async for result in b.aio.map(command, items, arg="item", **more)]

    return asyncio.run(gathered())


both = pytest.mark.parametrize("how", ["threads", "tasks"])


@both
def test_many_quick_calls_go_in_few_frames(connect: Connect, how: str) -> None:
    """And are counted one by one all the same. Fails when each item is sent alone, or a chunk counts as one call."""
    b = connect(MANY, size=2)

    assert results(b, how, "echo", range(20_000)) == list(range(20_000))
    assert sorted(results(b, how, "echo", range(5000), ordered=False)) == list(range(5000))
    stats = b.stats()
    assert stats.calls == sum(worker.calls for worker in stats.workers) == 25_000
    assert stats.p50 is not None
    assert stats.p50 < 5e-5, "the mean of a chunk's calls; a call that is sent alone takes longer anywhere"


@both
def test_a_worker_that_dies_in_a_chunk_loses_no_item(connect: Connect, how: str) -> None:
    """What isn't known to be done fails, each by its name; what was known stays, what is behind it goes on. Fails when
    a chunk's items share one outcome."""
    b = connect(MANY, size=1)
    items = [*range(20), "die", *range(21, 40)]
    found = results(b, how, "act", items, chunksize=10, return_exceptions=True)

    assert len(found) == 40
    assert found[:20] == items[:20]
    assert found[30:] == items[30:]
    assert [(type(each), each.index) for each in found[20:30]] == [(WorkerCrashed, index) for index in range(20, 30)]
    assert all(each.exit_code == 9 for each in found[20:30])


@both
def test_what_may_run_twice_is_called_again_but_for_who_is_to_blame(connect: Connect, how: str) -> None:
    """One error in forty items. Fails when the rest of a chunk isn't called again, each alone."""
    b = connect(MANY, size=2)
    items = [*range(20), "die", *range(21, 40)]
    found = results(b, how, "act", items, chunksize=10, return_exceptions=True, idempotent=True)

    assert [place for place, each in enumerate(found) if isinstance(each, Exception)] == [20]
    assert found[:20] + found[21:] == items[:20] + items[21:]


@both
def test_the_first_error_ends_it(connect: Connect, how: str) -> None:
    """After the results before it. Fails when a chunk's error comes before its results."""
    b = connect(MANY, size=1)
    with pytest.raises(bridge.RemoteError, match="ValueError: raise") as caught:
        results(b, how, "act", [1, 2, 3, "raise", 5], chunksize=5)

    assert caught.value.index == 3
    taken: list[int] = []
    with pytest.raises(bridge.RemoteError):
        taken.extend(b.map("act", [1, 2, 3, "raise", 5], arg="item", chunksize=5))
    assert taken == [1, 2, 3]


@both
def test_each_item_has_the_timeout_for_itself(connect: Connect, how: str) -> None:
    """Ten of 0.1 s within 0.5 s each. Fails when a chunk has one deadline."""
    b = connect(MANY, size=1)
    b.call("pid", [0])  # a start may take longer than the timeout

    assert results(b, how, "rest", [0.1] * 10, chunksize=10, timeout=0.5) == [0.1] * 10
    assert results(b, how, "arest", [0.1] * 10, chunksize=10, timeout=0.5) == [0.1] * 10
    left = results(b, how, "left", [0.1] * 8, chunksize=8, timeout=0.5)
    assert min(left) > 0.2, "the deadline that the handler sees is that of its own call"


@both
def test_an_item_that_takes_too_long_is_late_alone_with_those_behind_it(connect: Connect, how: str) -> None:
    """The results before it had come. Fails when they are kept back until the chunk's end."""
    b = connect(MANY, size=1)
    b.call("pid", [0])  # a start may take longer than the timeout
    items = [0.01, 60.0, 0.0]
    found = results(b, how, "rest", items, chunksize=3, timeout=0.3, return_exceptions=True)

    assert found[0] == 0.01
    assert [type(each) for each in found[1:]] == [bridge.CallTimeout] * 2
    found = results(b, how, "rest", items, chunksize=3, timeout=0.3, return_exceptions=True, idempotent=True)
    assert found[::2] == [0.01, 0.0]
    assert type(found[1]) is bridge.CallTimeout


@both
def test_slow_calls_behind_quick_ones_are_shared_among_the_workers(connect: Connect, how: str) -> None:
    """The worker that got them all leaves most. Fails when a chunk is served to its end, however long that takes."""
    b = connect(MANY, size=2)
    items = [0.0] * 2000 + [0.05] * 12
    found = results(b, how, "rest", items)

    assert found == items
    busy = [worker.calls for worker in b.stats().workers]
    assert min(busy) > 2, f"both had some: {busy}"


def test_results_come_before_their_chunk_is_done(connect: Connect) -> None:
    """The first of a chunk whose second never ends. Fails when results travel at the end."""
    b = connect(MANY, size=1)
    found = b.map("act", [1, "wait"], arg="item", chunksize=2, timeout=60)
    slow = b.map("rest", [0.01, 60.0], arg="item", chunksize=2, timeout=120)

    assert next(slow) == 0.01
    slow.close()
    found.close()
    wait_until(lambda: b.stats().busy == 0, what="the end of the chunk")


@both
def test_leaving_early_cancels_the_chunk(connect: Connect, how: str) -> None:
    """Its worker lives on, by a soft cancel. Fails when `dismiss` leaves a chunk alone."""
    b = connect(MANY, size=1)
    pid = b.call("pid", [0])
    if how == "threads":
        slow = b.map("rest", [0.01] + [30.0] * 3, arg="item", chunksize=4)
        assert next(slow) == 0.01
        slow.close()
    else:

        async def some() -> None:
            slow = b.aio.map("rest", [0.01] + [30.0] * 3, arg="item", chunksize=4)
            assert await anext(slow) == 0.01
            await slow.aclose()

        asyncio.run(some())

    wait_until(lambda: b.stats().busy == 0, what="the end of the chunk")
    assert b.call("pid", [0]) == pid


def test_items_are_taken_as_they_are_wanted(connect: Connect) -> None:
    """Of an endless source, a bounded number. Fails without the window."""
    b = connect(MANY, size=2)
    taken = itertools.count()
    found = b.map("echo", taken, arg="item", chunksize=10)
    first = [next(found) for _ in range(3)]
    found.close()

    assert first == [0, 1, 2]
    assert next(taken) <= 2 * 2 * 10 + 10


def test_what_travels_with_a_call_travels_with_a_chunk(connect: Connect) -> None:
    """The variables of whoever takes the results. Fails when a chunk's frame has no context."""
    here = str(Path(__file__).parents[2])
    b = connect("tests.process.map_handlers:Many", propagate=["tests.process.map_handlers.colour"], path=[here], size=1)
    token = map_handlers.colour.set("red")
    try:
        assert set(b.map("tint", range(30), arg="item", chunksize=10)) == {"red"}
        assert set(b.map("tint", range(3), arg="item", chunksize=1)) == {"red"}
    finally:
        map_handlers.colour.reset(token)


def test_a_worker_is_recycled_after_its_calls_not_its_frames(connect: Connect) -> None:
    """Fails when a chunk counts as one call."""
    b = connect(MANY, size=1, max_calls=50)
    before = b.call("pid", [0])

    assert len(list(b.map("count", range(60), arg="item", chunksize=60))) == 60
    wait_until(lambda: b.call("pid", [0]) != before, what="another worker")


@contextmanager
def killing(b: Bridge, rng: random.Random, deaths: int) -> Iterator[None]:
    """Kill workers, again and again, until the end of the block."""
    over = threading.Event()

    def kill() -> None:
        for _ in range(deaths):
            if over.wait(rng.uniform(0.005, 0.03)):
                return
            # One that was never called counts as a start that failed, and those have a limit.
            workers = [worker.pid for worker in b.stats().workers if worker.pid is not None and worker.calls]
            if workers:
                try:
                    os.kill(rng.choice(workers), signal.SIGKILL)
                except ProcessLookupError:
                    pass  # it was killed before

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield
    finally:
        over.set()
        killer.join()


@pytest.mark.parametrize(
    ("seed", "seconds"), [(1, 0.6), pytest.param(2, 15.0, marks=pytest.mark.deep)], ids=["short", "deep"]
)
@pytest.mark.parametrize("idempotent", [True, False])
def test_in_a_storm_of_kills_every_item_has_its_own_outcome(
    connect: Connect, seed: int, seconds: float, *, idempotent: bool
) -> None:
    """In its place: its value, or what says that its worker died. Fails when a death in mid-chunk shifts the results,
    loses one, or counts one twice."""
    b = connect(MANY, size=3)
    rng = random.Random(seed)
    until = time.monotonic() + seconds
    crashed = total = 0
    with killing(b, rng, 100_000):
        while time.monotonic() < until:
            count = rng.randint(1, 4000)
            found = list(b.map("echo", range(count), arg="item", return_exceptions=True, idempotent=idempotent))
            assert len(found) == count
            odd = [place for place, value in enumerate(found) if value != place]
            assert all(isinstance(found[place], WorkerCrashed) and found[place].index == place for place in odd)
            crashed, total = crashed + len(odd), total + count

    print(f"{total} items, of which {crashed} failed with their worker; {b.stats().crashes} crashes")
    assert crashed == 0 or not idempotent or crashed < total / 100, "only a call that met four deaths fails"


@both
def test_a_chunk_never_exceeds_what_a_frame_may_have(connect: Connect, how: str) -> None:
    """Whatever stands before it counts too. Fails when a chunk may have the whole of it: its worker would hang up."""
    b = connect(MANY, size=1, max_frame_bytes=1024)
    for size in range(70, 110):
        items = ["x" * size] * 10
        assert results(b, how, "echo", items, chunksize=10) == items

    assert b.stats().crashes == 0


@both
def test_numbers_travel_as_what_they_are(connect: Connect, how: str) -> None:
    """Many of one kind as a buffer, any mixture as texts. Fails when a kind is taken for another."""
    b = connect(MANY, size=1)
    for items in (
        list(range(-50, 50)),
        [0.5 * n for n in range(100)] + [float("inf"), -0.0],
        [2**63 - 1, -(2**63)] * 40,
        [2**63] * 80,
        [True, False] * 40,
        [*range(60), 0.5, *range(60)],
        [None] * 80,
        [*range(60), "text", *range(60)],
    ):
        found = results(b, how, "echo", items, chunksize=80)
        assert list(map(repr, found)) == list(map(repr, items))


@both
def test_a_defect_of_ours_is_an_error_not_a_hang(connect: Connect, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every item that it left. Fails when whoever works for the map dies of it in silence."""

    def defect(*_: object) -> None:
        raise ZeroDivisionError

    b = connect(MANY, size=1)
    b.call("pid", [0])
    monkeypatch.setattr(bulk, "encode_chunk", defect)
    found = results(b, how, "echo", range(20), chunksize=10, return_exceptions=True)

    assert [type(each) for each in found] == [ZeroDivisionError] * 20


@both
def test_a_map_keeps_no_chunk_that_was_fetched(connect: Connect, how: str) -> None:
    """Whose consumer is slower than its workers, so that it never has to wait. Fails when what the workers have told
    is kept: each of it holds the items of a chunk."""
    b = connect(MANY, size=1)
    living: list[int] = []

    def look() -> None:
        wait_until(lambda: b.stats().busy == 0, what="all that it may be ahead")
        b.call("pid", [0])  # meanwhile the threads of the map come to their ends
        living.append(sum(type(each) is Chunk for each in gc.get_objects()))

    async def by_task() -> None:
        async for _ in b.aio.map("echo", range(60), arg="item", chunksize=2):
            for _ in range(20):
                await asyncio.to_thread(int)  # what runs in this loop gets its turn
            living.append(sum(type(each) is Chunk for each in gc.get_objects()))

    if how == "tasks":
        asyncio.run(by_task())
    else:
        for _ in b.map("echo", range(60), arg="item", chunksize=2):
            look()
    assert max(living) <= living[0] + 4
