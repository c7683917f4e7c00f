"""Loops that stop, are closed or are dropped, with tasks that wait and calls that are out: nobody loses a worker."""

from __future__ import annotations

import asyncio
import gc
import sys
from pathlib import Path
from typing import Any, Final

import pytest

import bridge
from bridge import Bridge
from tests.facade.looping import LoopThread, turns
from tests.process.conftest import Connect
from tests.process.waiting import wait_until

ECHO: Final = f"{Path(__file__).parent.parent / 'handlers.py'}:Echo"


def test_the_turn_of_a_stopped_loop_goes_to_the_next(connect: Connect, loops: list[LoopThread]) -> None:
    """Its task has its place again when the loop runs on. Fails when an audit withdraws no offer: the thread would wait
    for ever."""
    b = connect(ECHO)
    lease = b.lease()
    waiting = loops[0].submit(b.aio.call("echo", ["late"]))
    wait_until(lambda: b.stats().waiting == 1)
    loops[0].stop()
    lease.close()

    assert b.call("echo", ["other"], timeout=20) == "other"
    loops[0].go_on()
    assert waiting.result(20) == "late"


def test_a_closed_loop_refuses_its_turn(connect: Connect, loops: list[LoopThread]) -> None:
    """Of two thousand tasks, too: the worker goes to whoever lives. Fails when `wake` doesn't hear that it is closed,
    and by the depth of the stack when each refusal is made inside the one before it."""
    b = connect(ECHO)
    lease = b.lease()
    for number in range(2000):
        loops[0].submit(b.aio.call("echo", [number]))
    wait_until(lambda: b.stats().waiting == 2000)
    loops[0].close()
    lease.close()

    assert b.call("echo", ["alive"], timeout=20) == "alive"
    wait_until(lambda: (b.stats().waiting, b.stats().busy) == (0, 0))
    for task in asyncio.all_tasks(loops[0].loop):  # else each is reported when it is collected
        vars_of: Any = task
        vars_of._log_destroy_pending = False
        vars_of.get_coro().close()


def begun(b: Bridge, *, loop: asyncio.AbstractEventLoop) -> asyncio.Task[Any]:
    """A task whose call is out when its loop stops. It isn't reported when it is collected."""
    task: Any = loop.create_task(b.aio.call("sleep", [0.05]))
    loop.run_until_complete(turns(3))
    wait_until(lambda: b.stats().busy == 1)
    task._log_destroy_pending = False
    return task  # type: ignore[no-any-return]


def test_a_call_that_is_out_when_its_loop_is_closed_keeps_no_worker(connect: Connect) -> None:
    """Though its task is still there: whoever waits gets the same worker, and those that waited in that loop are gone.
    Fails when the audit doesn't look whether a loop is closed."""
    b = connect(ECHO, cancel_grace=30)
    pid, loop = b.call("pid"), asyncio.new_event_loop()
    behind: Any = loop.create_task(b.aio.call("echo", ["behind"]))
    behind._log_destroy_pending = False
    task = begun(b, loop=loop)
    loop.close()

    assert b.call("pid", timeout=20) == pid
    wait_until(lambda: (b.stats().busy, b.stats().waiting) == (0, 0))
    assert not task.done()


def test_what_is_left_of_such_a_call_disturbs_no_later_one(connect: Connect, loops: list[LoopThread]) -> None:
    """Its task is dropped while another one's call is out on the same worker, which can still be cancelled. Fails when
    the end of the first takes away who listens for the second."""
    b, loop = connect(ECHO, cancel_grace=30), asyncio.new_event_loop()
    b.call("pid")
    task = begun(b, loop=loop)
    loop.close()
    lease = loops[0].submit(b.aio.lease()).result(20)
    running = loops[0].submit(lease.call("sleep", [60]))
    wait_until(lambda: b.stats().workers[0].calls == 3)
    del task
    gc.collect()
    lease.cancel()

    with pytest.raises(bridge.CallCancelled):
        running.result(20)


def test_a_call_whose_loop_is_closed_can_still_be_cancelled(connect: Connect) -> None:
    """Nobody hears of it there, and its worker isn't lent on before its reply has come. Fails, by an error in whoever
    cancels, when `ring` minds that the loop is closed; and by a worker that isn't clean when `wake` takes it for an
    offer that was refused."""
    b, loop = connect(ECHO, cancel_grace=30), asyncio.new_event_loop()
    pid, lease = b.call("pid"), loop.run_until_complete(b.aio.lease())
    task: Any = loop.create_task(lease.call("sleep", [60]))
    task._log_destroy_pending = False
    loop.run_until_complete(turns(3))
    loop.close()
    lease.cancel()

    assert b.stats().idle == 0
    assert b.call("pid", timeout=20) == pid


@pytest.mark.filterwarnings("ignore:unclosed event loop")
def test_a_call_that_is_dropped_with_its_loop_gives_its_worker_back(connect: Connect) -> None:
    """Which nobody closed. Fails when the worker itself keeps alive who waits for it."""
    b = connect(ECHO, cancel_grace=30)
    b.call("pid")
    begun(b, loop=asyncio.new_event_loop())
    gc.collect()

    wait_until(lambda: b.stats().busy == 0, what="its worker to be free")
    assert b.call("echo", [1]) == 1


def test_a_block_that_is_dropped_with_its_loop_closes_its_bridge(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its task can't go on any more. Fails (RuntimeError: no running event loop) when the end of the block awaits
    something."""
    faults: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda fault: faults.append(fault.exc_value))
    b, loop = connect(ECHO), asyncio.new_event_loop()
    loop.set_exception_handler(lambda _loop, _context: None)  # asyncio says that a task was dropped
    entered = asyncio.Event()
    task = loop.create_task(stay_in(b, entered))
    loop.run_until_complete(entered.wait())
    loop.close()
    del task, loop, entered
    gc.collect()

    assert faults == []
    assert b.health().state == "closed"


async def stay_in(b: bridge.Bridge, entered: asyncio.Event) -> None:
    """For ever."""
    async with b:
        entered.set()
        await asyncio.get_running_loop().create_future()
