"""Process exit cascades, 15 failures: test processes weren't isolated from the supervision tree.

What makes them impossible: one death fails one call; a scope owns a supervision tree of its own, which ends with it, in
bounded time, and with nobody else. Each docstring names the change by which its test fails.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Final

import pytest

from bridge import (
    CallCancelled,
    CircuitOpen,
    MockAdapter,
    PoolClosed,
    ScopeClosedError,
    ScopedExecutor,
    WorkerCrashed,
    WorkerStartError,
    carry,
    with_adapter,
)
from bridge.adapters.bridge_mock import BridgeMockAdapter
from bridge.runtime import RuntimeState, calls
from bridge.testing import Gate, ScriptedAdapter
from tests.fakes import AnnouncedClaim
from tests.process.waiting import held_open, is_gone, wait_until, wait_until_gone
from tests.seed.application import APP, BRIDGE, BRIEFLY, PATIENCE, Failure, fifo, named, pids, real, run
from tests.seed.workers import Port


class Failed(Exception):
    """What a failing test raises."""


# -- One death fails one call ------------------------------------------------------------------------------


def one_worker_died_and_the_calls_on_the_others_died_with_it() -> None:
    """A crash fails its own call; what runs beside it goes on. Fails when `Supervisor._died` retires all workers
    (one_for_all)."""
    with fifo() as waits, ScopedExecutor() as others, real(size=2):
        before = pids()
        running = others.submit(BRIDGE.call, "read", [str(waits)])
        with held_open(waits) as held:
            with pytest.raises(WorkerCrashed) as caught:
                BRIDGE.call("die", [int(signal.SIGKILL)])
            wait_until(lambda: BRIDGE.stats().idle == 1, what="another worker")
            os.write(held, b"lived on")

        assert running.result(PATIENCE) == "lived on"
        assert len(pids() & (before - {caught.value.pid})) == 1


def one_worker_died_and_its_exit_signal_reached_the_test() -> None:
    """A worker is no member of our process group or session: what it does to its own is an exception here. Fails when
    `python_port` starts it without `start_new_session`."""
    with real():
        (first,) = pids()
        assert BRIDGE.call("group") == [first, first, first]
        with pytest.raises(WorkerCrashed) as caught:
            BRIDGE.call("kill_group")

        assert caught.value.signal_name == "SIGTERM"
        assert BRIDGE.call("pid") in pids()


def crashes_in_a_row_used_up_the_restarts_and_the_supervisor_gave_up() -> None:
    """Restart intensity counts starts that failed, not workers that lived to see a call. Fails when
    `Supervisor._buried` doesn't tell the fleet that one did."""
    with real(max_restarts=0, backoff=30):
        for number in 1, 2, 3:
            os.kill(BRIDGE.call("pid"), signal.SIGKILL)
            wait_until(lambda number=number: (BRIDGE.stats().restarts, BRIDGE.stats().idle) == (number, 1))  # type: ignore[misc]

        assert BRIDGE.call("pid") in pids()
        assert BRIDGE.health().breaker == "closed"


def the_failed_starts_of_one_test_used_up_the_restarts_of_another() -> None:
    """Each scope counts its own. Fails when a `RestartPolicy` shares its state with others."""
    refused = WorkerStartError("crashed", "it always does", handler="theirs")
    with with_adapter(ScriptedAdapter(refused), size=1, max_restarts=0, backoff=30):
        with pytest.raises((WorkerStartError, CircuitOpen)):
            BRIDGE.call("go")
        assert BRIDGE.health().breaker == "open"
        with with_adapter(ScriptedAdapter([("go", "mine")]), size=1, max_restarts=0, backoff=30):
            assert BRIDGE.call("go", timeout=5) == "mine"
            assert BRIDGE.health().breaker == "closed"


# -- The end of one test is nobody else's ------------------------------------------------------------------


def the_end_of_one_test_took_the_workers_of_another() -> None:
    """A call goes on while the scope of another test ends. Fails when `Frame.close` closes all live runtimes."""

    def another_test() -> set[int]:
        with real():
            return pids()

    with fifo() as waits, ScopedExecutor() as others, real():
        before = pids()
        running = others.submit(BRIDGE.call, "read", [str(waits)])
        with held_open(waits) as held:
            theirs = others.submit(another_test).result(PATIENCE)
            wait_until_gone(theirs)
            os.write(held, b"lived on")

        assert running.result(PATIENCE) == "lived on"
        assert pids() == before
        assert not theirs & before


def the_end_of_an_inner_scope_took_the_workers_of_the_outer_one() -> None:
    """After a nested scope the outer one has the very same worker. Fails when a nested scope's frame inherits `owned`
    from its parent."""
    with with_adapter(lambda: BridgeMockAdapter(Port), size=1):
        assert BRIDGE.call("counted") == 1
        with with_adapter(lambda: BridgeMockAdapter(Port), size=1):
            assert BRIDGE.call("counted") == 1

        assert BRIDGE.call("counted") == 2
        assert BRIDGE.stats().restarts == 0


def a_thread_of_a_finished_test_called_into_the_next_one() -> None:
    """Whoever still carries a scope that has ended is told so, and reaches no adapter. Fails when `Frame.check` lets a
    closed frame pass."""
    own = MockAdapter({"go": "mine"})

    def call() -> object:
        return BRIDGE.call("go")

    with with_adapter(MockAdapter({"go": "theirs"})):
        late = carry(call)
        assert late() == "theirs"
    with with_adapter(own):
        with pytest.raises(ScopeClosedError):
            late()

        assert BRIDGE.call("go") == "mine"
        assert len(own.calls) == 1


# -- A test leaves nothing behind --------------------------------------------------------------------------


def a_test_failed_and_left_its_workers_running() -> None:
    """An error that leaves the block ends the tree as well. Fails when `Scope.__exit__` closes only without one."""
    workers: set[int] = set()

    def test() -> None:
        with real(size=2):
            workers.update(pids())
            raise Failed

    with pytest.raises(Failed):
        test()

    assert len(workers) == 2
    assert all(map(is_gone, workers))


def a_test_passed_and_its_workers_exited_during_the_next_one() -> None:
    """When the block is left, its workers are gone, not going. Fails when `Scope.close` doesn't await the frame."""
    with real(size=2):
        workers = pids()

    assert len(workers) == 2
    assert all(map(is_gone, workers))


async def an_async_test_was_cancelled_and_left_its_workers_running() -> None:
    """A cancelled task tears its tree down on its way out. Fails when `Scope.__aexit__` closes only without an
    error."""
    workers: set[int] = set()
    entered = asyncio.Event()

    async def test() -> None:
        async with real():
            workers.update(pids())
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(test())
    await asyncio.wait_for(entered.wait(), PATIENCE)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert len(workers) == 1
    assert all(map(is_gone, workers))


def the_children_of_a_worker_lived_on_after_the_test() -> None:
    """A worker is killed with its whole group. Fails when `PythonPort.reap` doesn't."""
    with real():
        child = BRIDGE.call("start_child")
        assert not is_gone(child)

    wait_until_gone([child])


# -- The clean-up is neither too aggressive nor endless ----------------------------------------------------


def the_cleanup_killed_an_operation_that_was_still_pending() -> None:
    """At the end of a scope running calls have `shutdown_timeout` to finish. Fails when `Supervisor._close` gives them
    no time."""
    with fifo() as waits, ScopedExecutor() as others:

        def finish() -> None:
            with held_open(waits) as held:
                wait_until(lambda: runtime.state is RuntimeState.CLOSING, what="the clean-up")
                os.write(held, b"finished")

        with real(shutdown_timeout=PATIENCE):
            runtime = APP.runtime()
            running = others.submit(BRIDGE.call, "read", [str(waits)])
            wait_until(lambda: BRIDGE.stats().busy == 1, what="the operation")
            others.submit(finish)

        assert running.result(PATIENCE) == "finished"


def the_teardown_hung_on_a_worker_that_never_returned() -> None:
    """What isn't over after `shutdown_timeout` is killed, and its caller told. Fails when `Fleet.close` sets no
    deadline for busy workers."""
    with fifo() as started, ScopedExecutor() as others:
        with real(shutdown_timeout=BRIEFLY):
            workers = pids()
            running = others.submit(BRIDGE.call, "hang", [str(started)])
            with open(started, "rb"):
                pass
            began = time.monotonic()

        assert time.monotonic() - began < PATIENCE / 2
        assert all(map(is_gone, workers))
        with pytest.raises(CallCancelled, match="closed"):
            running.result(PATIENCE)


def the_test_ended_and_a_client_in_the_queue_waited_for_ever() -> None:
    """Whoever waits for a worker when the scope ends is refused at once. Fails when `Pool.close` fails nobody
    who waits already."""
    queued = Gate(timeout=PATIENCE)
    with ScopedExecutor() as others:
        with with_adapter(ScriptedAdapter([]), size=1, shutdown_timeout=BRIEFLY):
            lease = BRIDGE.lease()
            waiting = others.submit(calls.call, APP.runtime(), "go", None, 5, AnnouncedClaim(queued))
            queued.await_arrivals()

        with pytest.raises(PoolClosed):
            waiting.result(PATIENCE)
        lease.close()


def the_teardown_came_before_a_background_task_had_completed() -> None:
    """What a scope has spawned is told to stop, and joined before anything is torn down. Fails when `Scope.close`
    doesn't join its crew."""
    mock = MockAdapter({"last": "words"})
    with with_adapter(mock) as scope:

        def background() -> object:
            scope.stopping.wait(PATIENCE)
            return BRIDGE.call("last")

        task = scope.spawn(background)

    assert task.done()
    assert task.result() == "words"


FAILURES: Final[tuple[Failure, ...]] = (
    one_worker_died_and_the_calls_on_the_others_died_with_it,
    one_worker_died_and_its_exit_signal_reached_the_test,
    crashes_in_a_row_used_up_the_restarts_and_the_supervisor_gave_up,
    the_failed_starts_of_one_test_used_up_the_restarts_of_another,
    the_end_of_one_test_took_the_workers_of_another,
    the_end_of_an_inner_scope_took_the_workers_of_the_outer_one,
    a_thread_of_a_finished_test_called_into_the_next_one,
    a_test_failed_and_left_its_workers_running,
    a_test_passed_and_its_workers_exited_during_the_next_one,
    an_async_test_was_cancelled_and_left_its_workers_running,
    the_children_of_a_worker_lived_on_after_the_test,
    the_cleanup_killed_an_operation_that_was_still_pending,
    the_teardown_hung_on_a_worker_that_never_returned,
    the_test_ended_and_a_client_in_the_queue_waited_for_ever,
    the_teardown_came_before_a_background_task_had_completed,
)


@pytest.mark.parametrize("failure", FAILURES, ids=named)
def test_no_exit_goes_further_than_its_own_scope(failure: Failure) -> None:
    """Each of the fifteen is tried, and doesn't happen."""
    run(failure)
