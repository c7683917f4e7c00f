"""Port connection, 12 failures (`badarg`): the client had died before its worker was connected to it, or a stale port
reached the next client.

What makes them impossible: the client itself does the I/O on its lease; one that left is refused the grant; a worker
with an outstanding reply, or a dead one, is never lent. Each docstring names the change by which its test fails.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from math import inf
from pathlib import Path
from threading import Barrier
from typing import Final

import pytest

from bridge import (
    CallCancelled,
    CallTimeout,
    MockAdapter,
    ScopedExecutor,
    WorkerCrashed,
    WorkerError,
    with_adapter,
)
from bridge.adapters.bridge_mock import BridgeMockAdapter
from bridge.runtime import calls
from bridge.runtime.claims import Claim
from bridge.testing import ScriptedAdapter, in_turn
from tests.process.waiting import held_open, wait_until
from tests.seed.application import APP, BRIDGE, BRIEFLY, PATIENCE, Death, Failure, fifo, named, pids, real, run


class DyingClaim(Claim):
    """A client that dies while it waits for its worker."""

    def __init__(self, before: Callable[[], object]) -> None:
        super().__init__()
        self._before = before

    def sleep(self, seconds: float) -> bool:
        """It is in the queue. Something happens, and then it dies."""
        self._before()
        raise Death


def the_client_died_before_its_worker_was_connected_to_it() -> None:
    """Who left the queue is refused the grant, and the next one gets it. Fails when `Pool._wait` doesn't leave."""
    adapter = ScriptedAdapter([("go", "mine")])
    with with_adapter(adapter, size=1):
        with BRIDGE.lease(), pytest.raises(Death):
            APP.pool().checkout(DyingClaim(bool), inf)

        assert BRIDGE.stats().waiting == 0
        assert BRIDGE.call("go", timeout=5) == "mine"
        assert adapter.opened == 1


def the_client_died_in_the_instant_in_which_its_worker_was_offered() -> None:
    """An offer that was never taken goes on to the next one, on the same worker. Fails when `PoolState.leave` forgets
    what was offered meanwhile."""
    adapter = ScriptedAdapter([("go", "mine")])
    with with_adapter(adapter, size=1):
        lease = BRIDGE.lease()
        with pytest.raises(Death):
            APP.pool().checkout(DyingClaim(lease.close), inf)

        assert BRIDGE.call("go", timeout=5) == "mine"
        assert adapter.opened == 1


def the_client_was_cancelled_between_the_grant_and_the_connection() -> None:
    """Nothing is sent for a client that is gone, and its worker is as good as before. Fails when `calls.call` doesn't
    look at `cancelled` after the check-out."""
    adapter = ScriptedAdapter([("go", "mine")])
    with with_adapter(adapter, size=1):
        client = Claim()
        APP.pool().cancel(client)
        with pytest.raises(CallCancelled):
            calls.call(APP.runtime(), "go", None, 5, client)

        assert adapter.channels[0].requests == []
        assert BRIDGE.call("go") == "mine"
        assert adapter.opened == 1


def the_client_timed_out_and_the_next_one_got_its_reply() -> None:
    """A worker with an outstanding reply is never lent: it is killed, or ends the call first (if that hadn't come to
    the blocking read yet). Fails when `Pool.checkin` takes a link that isn't clean."""
    with fifo() as waits, real(cancel_grace=BRIEFLY):
        (first,) = pids()
        with pytest.raises(CallTimeout):
            BRIDGE.call("read", [str(waits)], timeout=BRIEFLY)

        assert {BRIDGE.call("pid")} == pids()
        assert (pids() == {first}) == (BRIDGE.stats().restarts == 0)
        assert BRIDGE.call("echo", ["mine"]) == "mine"


def the_client_was_interrupted_and_the_next_one_got_its_reply() -> None:
    """Whatever ends a client between request and reply, its worker is replaced. Fails when `SubmitLink.call` notes that
    a reply is outstanding only after `submit`."""

    def die() -> None:
        raise Death

    mock = MockAdapter({"go": in_turn(die, "mine")})
    with with_adapter(mock, size=1):
        with pytest.raises(Death):
            BRIDGE.call("go")

        assert BRIDGE.call("go") == "mine"
        assert BRIDGE.stats().restarts == 1


def the_client_was_cancelled_and_its_port_was_lent_with_the_call_inside() -> None:
    """Cancelling stops the work; the worker is lent again only when the call's last frame has come, so the next client
    gets its own answer. Fails when `Pool.checkin` takes a link that isn't clean."""
    with fifo() as waits, ScopedExecutor() as others, real():
        (first,) = pids()
        with BRIDGE.lease() as lease:
            running = others.submit(lease.call, "read", [str(waits)])
            with held_open(waits):
                lease.cancel()
                with pytest.raises(CallCancelled):
                    running.result(PATIENCE)

        assert BRIDGE.call("pid") == first
        assert BRIDGE.stats().restarts == 0


def the_worker_died_before_the_client_was_connected_to_it() -> None:
    """A call that its worker certainly never read goes to another one. Fails when `FdLink._was_read` says yes."""
    with ScopedExecutor() as others, real():
        (first,) = pids()
        os.kill(first, signal.SIGSTOP)
        wait_until(lambda: Path(f"/proc/{first}/stat").read_text().rpartition(")")[2].split()[0] == "T")
        call = others.submit(BRIDGE.call, "pid")
        wait_until(lambda: BRIDGE.stats().workers[0].calls == 1, what="the call")
        os.kill(first, signal.SIGKILL)

        assert call.result(PATIENCE) not in {first, os.getpid()}
        assert BRIDGE.stats().crashes == 0


def a_closed_port_stayed_in_the_pool_and_reached_the_next_client() -> None:
    """An idle worker's death takes it out of the pool. Fails when `Supervisor._buried` doesn't."""
    with real():
        (first,) = pids()
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: BRIDGE.stats().restarts == 1 and BRIDGE.stats().idle, what="another worker")

        assert [worker.info.pid for worker in APP.pool().states()] == [*pids()] != [first]
        assert BRIDGE.call("pid") in pids()
        assert BRIDGE.stats().retries == 0


def badarg_the_number_of_the_closed_port_was_another_file_by_then() -> None:
    """Descriptors of a dead worker belong to whoever holds its lease, until that is back. Fails when
    `Supervisor._buried` always releases them."""
    with real():
        lease = BRIDGE.lease()
        worker = next(iter(APP.pool().states()))
        numbers = worker.channel.fileno()
        assert numbers is not None
        before = [os.readlink(f"/proc/self/fd/{number}") for number in numbers]
        os.kill(lease.info.pid or 0, signal.SIGKILL)
        wait_until(lambda: BRIDGE.stats().restarts == 1, what="its burial")

        assert [os.readlink(f"/proc/self/fd/{number}") for number in numbers] == before
        with pytest.raises(WorkerCrashed):
            lease.call("pid")
        lease.close()
        assert BRIDGE.call("pid") in pids()


def badarg_the_client_did_not_own_the_port_any_more() -> None:
    """A lease that was given back reaches no worker, whoever has it now. Fails when `PoolState.checkin` doesn't unbind
    the worker from its waiter."""
    adapter = ScriptedAdapter([("go", "mine")])
    with with_adapter(adapter, size=1):
        with BRIDGE.lease() as before:
            pass
        with BRIDGE.lease() as now:
            with pytest.raises(WorkerError, match="given back"):
                before.call("go")
            assert now.call("go") == "mine"

        assert len(adapter.channels[0].requests) == 1


class Exclusive:
    """A handler that notices a second client."""

    def __init__(self) -> None:
        self._clients = 0

    def serve(self, number: int) -> list[int]:
        self._clients += 1
        os.sched_yield()
        clients, self._clients = self._clients, self._clients - 1
        return [number, clients]


def two_clients_were_connected_to_one_port() -> None:
    """A worker is lent to one client at a time, and each gets its own answer. Fails when `PoolState.checkout` leaves
    the worker among the idle ones."""
    clients = 8
    barrier = Barrier(clients)

    def client(number: int) -> list[list[int]]:
        barrier.wait(PATIENCE)
        return [BRIDGE.call("serve", [number], timeout=PATIENCE) for _ in range(5)]

    with with_adapter(lambda: BridgeMockAdapter(Exclusive), size=2), ScopedExecutor(clients) as others:
        assert list(others.map(client, range(clients))) == [[[number, 1]] * 5 for number in range(clients)]
        with BRIDGE.lease() as one, BRIDGE.lease() as other:
            assert one.info.generation != other.info.generation
        assert BRIDGE.stats().restarts == 0


def a_mocks_fake_port_was_connected_to_a_real_client() -> None:
    """A mock and real workers answer side by side, on one bridge. Fails when `frames.CURRENT` is a global variable."""
    barrier = Barrier(2)

    def mocked() -> tuple[object, object, str]:
        with with_adapter(MockAdapter({"pid": "fake"})):
            barrier.wait(PATIENCE)
            return BRIDGE.call("pid"), BRIDGE.call("pid"), APP.adapter().name

    with ScopedExecutor() as others, real():
        other = others.submit(mocked)
        barrier.wait(PATIENCE)
        answers = {BRIDGE.call("pid") for _ in range(5)}

        assert answers == pids()
        assert other.result(PATIENCE) == ("fake", "fake", "mock")
        assert APP.adapter().name == "python_port"


FAILURES: Final[tuple[Failure, ...]] = (
    the_client_died_before_its_worker_was_connected_to_it,
    the_client_died_in_the_instant_in_which_its_worker_was_offered,
    the_client_was_cancelled_between_the_grant_and_the_connection,
    the_client_timed_out_and_the_next_one_got_its_reply,
    the_client_was_interrupted_and_the_next_one_got_its_reply,
    the_client_was_cancelled_and_its_port_was_lent_with_the_call_inside,
    the_worker_died_before_the_client_was_connected_to_it,
    a_closed_port_stayed_in_the_pool_and_reached_the_next_client,
    badarg_the_number_of_the_closed_port_was_another_file_by_then,
    badarg_the_client_did_not_own_the_port_any_more,
    two_clients_were_connected_to_one_port,
    a_mocks_fake_port_was_connected_to_a_real_client,
)


@pytest.mark.parametrize("failure", FAILURES, ids=named)
def test_no_client_meets_a_port_that_is_not_its_own(failure: Failure) -> None:
    """Each of the twelve is tried, and doesn't happen."""
    run(failure)
