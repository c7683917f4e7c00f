"""Checkout timeouts, 8 failures: a start of 1.5 s fell into the checkout timeout; the pool was smaller than the
concurrency; dead workers weren't replaced.

What makes them impossible: readiness is a handshake; a scope is warm before its body runs; a start has a timeout of its
own; waiting is bounded and says why. Time passes on the pool's clock, not for us. Each docstring names the change by
which its test fails.
"""

from __future__ import annotations

import time
from concurrent.futures import Future
from threading import Barrier, Event
from typing import Any, Final

import pytest

from bridge import MockAdapter, PoolTimeout, ScopedExecutor, WorkerCrashed, WorkerStartError, with_adapter
from bridge.adapters.bridge_mock import BridgeMockAdapter
from bridge.runtime import calls
from bridge.testing import FakeClock, Gate, ScriptedAdapter
from tests.process.waiting import held_open
from tests.seed.application import (
    APP,
    BRIDGE,
    BRIEFLY,
    PATIENCE,
    Failure,
    WatchedClaim,
    fifo,
    named,
    pids,
    real,
    run,
)
from tests.seed.workers import Port


def a_worker_start_of_1_5_s_was_charged_to_the_checkout_timeout() -> None:
    """Time without any worker isn't waiting for one. Fails when `PoolState.expiry` doesn't ask whether there are
    workers."""
    clock, looked = FakeClock(time.monotonic()), Gate(timeout=PATIENCE)
    cold: dict[str, Any] = {"prewarm": 0, "checkout_timeout": 1.0}
    with fifo() as start, ScopedExecutor() as others, real(options={"start": str(start)}, **cold):
        runtime = APP.runtime()
        runtime.clock = runtime.pool._clock = clock
        client = others.submit(calls.call, runtime, "pid", None, PATIENCE, WatchedClaim(looked))
        with held_open(start):
            looked.await_arrivals()
            clock.advance(1.5)
            looked.await_arrivals(looked.arrived + 2)
            runtime.clock = runtime.pool._clock = time.monotonic

        assert {client.result(PATIENCE)} == pids()


def a_worker_was_lent_before_its_handler_was_loaded() -> None:
    """A worker is ready when its handler is, not when its process is there. Fails when `Starting._heard` takes HELLO
    for READY."""
    entered = Event()

    def test(start: str) -> bool:
        with real(options={"start": start}):
            entered.set()
            return {BRIDGE.call("pid")} == pids()

    with fifo() as start, ScopedExecutor() as others:
        outcome = others.submit(test, str(start))
        with held_open(start):  # its constructor runs
            assert not entered.wait(2 * BRIEFLY)

        assert outcome.result(PATIENCE)


async def the_test_began_before_its_workers_were_started() -> None:
    """All workers are idle when the body begins. Fails when the entry of a scope whose handler is known starts
    nothing."""
    async with real(size=2):
        assert (BRIDGE.stats().idle, len(pids())) == (2, 2)


def a_start_that_never_ended_was_reported_as_a_busy_pool() -> None:
    """A start has its own timeout, and those who wait are told of it. Fails when a `Member` of the fleet has no
    deadline."""
    gate = Gate(timeout=PATIENCE)

    class Stuck:
        def __init__(self) -> None:
            gate.wait()

        def go(self) -> None:
            """Never."""

    with with_adapter(lambda: BridgeMockAdapter(Stuck), size=1, startup_timeout=BRIEFLY):
        try:
            with pytest.raises(WorkerStartError) as caught:
                BRIDGE.call("go", timeout=5)
        finally:
            gate.open()

        assert (caught.value.reason, caught.value.retryable) == ("timeout", True)
        assert "startup_timeout" in str(caught.value)


def the_pool_was_smaller_than_the_concurrency_and_clients_timed_out() -> None:
    """Clients beyond the size queue up, and each is served. Fails when `PoolState._match` hands nothing on."""
    clients = 12
    barrier = Barrier(clients)

    def client(number: int) -> object:
        barrier.wait(PATIENCE)
        return BRIDGE.call("echo", [number], timeout=5)

    with with_adapter(lambda: BridgeMockAdapter(Port), size=2), ScopedExecutor(clients) as others:
        assert list(others.map(client, range(clients))) == [*range(clients)]


def a_client_waited_without_end_and_was_not_told_why() -> None:
    """Waiting ends at `checkout_timeout`, however long the call may take, with the reason. Fails when
    `PoolState.expiry` knows the deadline only."""
    with with_adapter(ScriptedAdapter([]), size=1, checkout_timeout=BRIEFLY), BRIDGE.lease():
        with pytest.raises(PoolTimeout, match=r"all 1 workers are busy.*Raise `size`") as caught:
            BRIDGE.call("go", timeout=5)

        error = caught.value
        assert BRIEFLY <= error.waited < 5
        assert (error.workers, error.starting, error.queued, error.retryable) == (1, 0, 0, True)


def the_overflow_of_2_was_configured_and_never_used() -> None:
    """A pool of 4 with an overflow of 2 serves 6 clients at once. Fails when `Fleet.grow` starts nobody."""
    gate = Gate("served", timeout=5)
    adapter = ScriptedAdapter([("go", gate)])
    with with_adapter(adapter, size=4, max_overflow=2), ScopedExecutor(6) as others:
        try:
            clients: list[Future[object]] = [others.submit(BRIDGE.call, "go", timeout=PATIENCE) for _ in range(6)]
            gate.await_arrivals(6)
        finally:
            gate.open()

        assert [client.result(PATIENCE) for client in clients] == ["served"] * 6
        assert adapter.opened == 6


def dead_workers_were_not_replaced_and_the_pool_ran_dry() -> None:
    """The size comes back after each death. Fails when `Fleet._fill` starts no more than `size` workers in all."""
    mock = MockAdapter({"go": "mine"})
    mock.crash("go", times=4)
    with with_adapter(mock, size=2):
        for _ in range(4):
            with pytest.raises(WorkerCrashed):
                BRIDGE.call("go", timeout=5)

        assert BRIDGE.stats().idle == 2
        assert BRIDGE.call("go") == "mine"


FAILURES: Final[tuple[Failure, ...]] = (
    a_worker_start_of_1_5_s_was_charged_to_the_checkout_timeout,
    a_worker_was_lent_before_its_handler_was_loaded,
    the_test_began_before_its_workers_were_started,
    a_start_that_never_ended_was_reported_as_a_busy_pool,
    the_pool_was_smaller_than_the_concurrency_and_clients_timed_out,
    a_client_waited_without_end_and_was_not_told_why,
    the_overflow_of_2_was_configured_and_never_used,
    dead_workers_were_not_replaced_and_the_pool_ran_dry,
)


@pytest.mark.parametrize("failure", FAILURES, ids=named)
def test_nobody_waits_in_vain_for_a_worker(failure: Failure) -> None:
    """Each of the eight is tried, and doesn't happen."""
    run(failure)
