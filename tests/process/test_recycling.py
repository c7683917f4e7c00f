"""Workers that are replaced though they work, and calls that are sent again though their worker died."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import bridge
from tests.process.conftest import Connect
from tests.process.waiting import is_gone, wait_until

WORN = f"{Path(__file__).parent / 'worn_handlers.py'}:Worn"
ILL = f"{Path(__file__).parent / 'worn_handlers.py'}:Ill"
SILENT = f"{Path(__file__).parent / 'worn_handlers.py'}:Silent"


def test_a_worker_is_replaced_after_so_many_calls(connect: Connect) -> None:
    """No call is lost, and it counts as recycled, not as a crash. Fails when the return doesn't look at the count."""
    b = connect(WORN, max_calls=5, jitter=0)
    pids = [b.call("pid") for _ in range(5)]
    wait_until(lambda: b.stats().recycled == 1 and len(b.stats().workers) == 1, what="the successor")

    assert len(set(pids)) == 1
    assert b.call("pid") not in pids
    stats = b.stats()
    assert (stats.recycled, stats.restarts, stats.crashes, stats.failed_starts) == (1, 0, 0, 0)
    wait_until(lambda: is_gone(pids[0]), what="the old one's end")


def test_a_worker_is_replaced_when_it_has_lived_for_long_enough(connect: Connect) -> None:
    """By the clock, without any call. Fails when readiness doesn't set the time."""
    b = connect(WORN, max_lifetime=0.2)
    pid = b.call("pid")

    wait_until(lambda: b.stats().recycled >= 1, what="the successor")
    wait_until(lambda: is_gone(pid), what="the old one's end")


def test_a_worker_that_has_grown_is_replaced_between_calls(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is looked at while it is idle, and only after some calls: one that is born too large doesn't loop."""
    monkeypatch.setattr("bridge.runtime.checkups.MEMORY_LOOK", 0.1)
    b = connect(WORN, max_rss=64 * 1024 * 1024)
    pid = b.call("grow", [128 * 1024 * 1024])
    for _ in range(10):
        b.call("pid")

    wait_until(lambda: b.stats().recycled == 1, what="the successor")
    assert b.call("pid") != pid


def test_all_workers_can_be_replaced_by_hand_under_traffic(connect: Connect) -> None:
    """One after the other, and no call fails; when it returns, every worker is a new one."""
    b = connect(WORN, size=3)
    b.call("pid")
    wait_until(lambda: b.stats().idle == 3, what="full size")
    before = {worker.pid for worker in b.stats().workers}
    stop, answers = threading.Event(), []

    def traffic() -> None:
        while not stop.is_set():
            answers.append(b.call("pid", timeout=20))

    callers = [threading.Thread(target=traffic) for _ in range(4)]
    for caller in callers:
        caller.start()
    b.recycle(timeout=30)
    stop.set()
    for caller in callers:
        caller.join(20)

    after = {worker.pid for worker in b.stats().workers if worker.state in ("ready", "busy")}
    assert not before & after
    assert (b.stats().recycled, b.stats().crashes, b.stats().restarts) == (3, 0, 0)
    assert answers


def test_one_worker_can_be_replaced_by_hand(connect: Connect) -> None:
    """Named by its line of the statistics."""
    b = connect(WORN, size=2)
    b.call("pid")
    wait_until(lambda: b.stats().idle == 2, what="full size")
    first, second = sorted(b.stats().workers, key=lambda worker: worker.generation)
    b.recycle(first, timeout=20)

    pids = {worker.pid for worker in b.stats().workers}
    assert first.pid not in pids
    assert second.pid in pids


# -- Health ------------------------------------------------------------------------------------------------


def test_a_worker_that_says_it_is_ill_is_replaced(connect: Connect, tmp_path: Path) -> None:
    """`on_health` is asked of idle workers; a well one is left alone. Fails when the answer isn't looked at."""
    b = connect(ILL, options={"folder": str(tmp_path)}, health_interval=0.05)
    pid = b.call("pid")
    assert b.call("pid") == pid
    (tmp_path / "ill").touch()

    wait_until(lambda: b.stats().recycled >= 1, what="the successor")
    (tmp_path / "ill").unlink()
    wait_until(lambda: is_gone(pid), what="the old one's end")


def test_a_worker_that_does_not_say_how_it_is_is_killed(
    connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is idle and doesn't answer: nobody may get it. Fails when a look has no time limit."""
    monkeypatch.setattr("bridge.runtime.checkups.ANSWER_WITHIN", 0.1)
    os.mkfifo(tmp_path / "fifo")
    b = connect(SILENT, options={"folder": str(tmp_path)}, health_interval=0.1)
    pid = b.call("pid")

    wait_until(lambda: is_gone(pid), what="its end")


# -- Retries -----------------------------------------------------------------------------------------------


def test_an_idempotent_call_is_sent_again_after_a_crash(connect: Connect, tmp_path: Path) -> None:
    """On another worker, inside its deadline, and counted; without the word it is an error."""
    b = connect(WORN, options={"folder": str(tmp_path)})

    with pytest.raises(bridge.WorkerCrashed):
        b.call("crash_once", ["first"])
    assert b.call("crash_once", ["second"], idempotent=True) > 0
    assert (b.stats().repeats, b.stats().crashes) == (1, 2)


def test_a_call_that_kills_every_worker_is_given_up(connect: Connect) -> None:
    """Also an idempotent one: after three more the crash is the caller's to know."""
    b = connect(WORN)

    with pytest.raises(bridge.WorkerCrashed):
        b.call("crash", idempotent=True, timeout=30)
    assert b.stats().crashes == 4


def test_a_call_that_killed_too_many_workers_is_refused(connect: Connect) -> None:
    """By command and arguments, with the reason; other calls go on. Fails when deaths aren't counted."""
    b = connect(WORN, poison_threshold=2)
    for _ in range(2):
        with pytest.raises(bridge.WorkerCrashed):
            b.call("crash")

    with pytest.raises(bridge.PoisonCall, match="killed 2 workers, the last one so: killed by SIGABRT") as refused:
        b.call("crash")
    assert (refused.value.deaths, refused.value.command) == (2, "crash")
    assert b.call("pid") > 0


@pytest.mark.parametrize(
    "call",
    [
        lambda b: b.call("crash", idempotent=True),
        lambda b: b.call("crash", idempotent=True, on_progress=print),
        lambda b: asyncio.run(b.aio.call("crash", idempotent=True)),
        lambda b: asyncio.run(b.aio.call("crash", idempotent=True, on_progress=print)),
        lambda b: list(b.map("crash", [None], idempotent=True)),
    ],
    ids=["call", "followed", "task", "followed task", "map"],
)
def test_a_call_made_again_is_refused_as_soon(connect: Connect, call: Callable[[bridge.Bridge], object]) -> None:
    """An idempotent call kills no more workers than any other. Fails when the threshold is looked at only before the
    first time."""
    b = connect(WORN, poison_threshold=2)
    with pytest.raises(bridge.PoisonCall, match="killed 2 workers, the last one so: killed by SIGABRT"):
        call(b)

    assert (b.stats().crashes, b.stats().repeats) == (2, 1)
    assert b.call("pid") > 0
