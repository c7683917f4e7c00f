"""The supervisor's shell without processes: failed starts, the breaker, warming, closing."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest

from bridge.adapters.bridge_mock import BridgeMockAdapter
from bridge.contract import WorkerSpec
from bridge.errors import CallCancelled, CircuitOpen, PoolClosed, WorkerStartError
from bridge.runtime import calls
from bridge.runtime.poller import Poller
from bridge.runtime.pool import Claim
from bridge.runtime.supervisor import SupervisorPolicy
from bridge.testing import FakeClock, Gate, ScriptedAdapter, ScriptedChannel
from tests.fakes import AnnouncedClaim
from tests.runtime.conftest import MakeRuntime

BROKEN = WorkerStartError("handler", "ImportError: no", handler="scripted:Handler")


def test_warming_waits_for_all_workers(make_runtime: MakeRuntime) -> None:
    """After `warm` every worker is ready."""
    runtime = make_runtime(ScriptedAdapter([]), size=3)

    runtime.warm(3)

    assert runtime.health().ready == 3
    assert runtime.stats().idle == 3


def test_a_start_that_fails_for_good_is_raised_by_warm(make_runtime: MakeRuntime) -> None:
    """A handler that can't be made is reported at once, not after the start-up timeout."""
    runtime = make_runtime(ScriptedAdapter(BROKEN))

    with pytest.raises(WorkerStartError, match="ImportError: no"):
        runtime.warm(1)
    assert runtime.health().last_error == "handler: ImportError: no"
    assert not runtime.health().ok


def test_starts_that_fail_too_often_open_the_breaker(make_runtime: MakeRuntime) -> None:
    """Callers are refused at once with the last start's error; after a pause one probe closes it again."""
    clock = FakeClock()
    adapter = ScriptedAdapter(BROKEN, BROKEN, [("go", 1)])
    policy = SupervisorPolicy(max_restarts=1, backoff=0.1)
    runtime = make_runtime(adapter, supervisor=policy, clock=clock)
    runtime.start()

    clock.advance(0.5)
    runtime.supervisor.notice()
    with pytest.raises(CircuitOpen, match="ImportError: no") as caught:
        calls.call(runtime, "go", None, 5)
    assert caught.value.retry_in > 0
    assert runtime.health().breaker == "open"
    assert adapter.opened == 2

    clock.advance(caught.value.retry_in + 0.01)
    runtime.supervisor.notice()

    assert calls.call(runtime, "go", None, 5) == 1
    assert runtime.health().breaker == "closed"
    assert runtime.health().last_error is None


def test_a_failed_start_is_told_to_those_who_wait(make_runtime: MakeRuntime) -> None:
    """With nobody alive and nobody starting, each waiter gets an error of its own, with the reason."""
    clock = FakeClock()
    adapter = ScriptedAdapter([], BROKEN)
    runtime = make_runtime(adapter, clock=clock)
    runtime.start()
    claim = Claim()
    worker = runtime.pool.checkout(claim, float("inf"))
    errors: list[WorkerStartError] = []

    queued = Gate()

    def caller() -> None:
        try:
            calls.call(runtime, "go", None, 30, AnnouncedClaim(queued))
        except WorkerStartError as error:
            errors.append(error)

    threads = [threading.Thread(target=caller) for _ in range(2)]
    for thread in threads:
        thread.start()
    queued.await_arrivals(2)
    worker.calls = 1
    runtime.supervisor.retire(worker)
    for thread in threads:
        thread.join(10)
    runtime.pool.checkin(claim)

    assert [error.reason for error in errors] == ["handler", "handler"]
    assert errors[0] is not errors[1]


def test_an_adapter_that_raises_anything_is_a_failed_start(make_runtime: MakeRuntime) -> None:
    """A defect of somebody's adapter is a typed error, and no crash loop."""

    class Broken(ScriptedAdapter):
        def open(self, spec: WorkerSpec, *, deadline: float) -> ScriptedChannel:
            raise KeyError("oops")

    runtime = make_runtime(Broken(), supervisor=SupervisorPolicy(max_restarts=0))

    with pytest.raises(WorkerStartError, match="raised KeyError: 'oops'"):
        runtime.warm(1)


def test_closing_refuses_waiters_and_lets_running_calls_end(make_runtime: MakeRuntime) -> None:
    """Who waits gets PoolClosed at once; who runs gets its answer; then the worker goes."""
    gate, queued = Gate("done"), Gate()
    adapter = ScriptedAdapter([("go", gate)])
    runtime = make_runtime(adapter)
    runtime.start()
    results: list[object] = []

    def caller() -> None:
        try:
            results.append(calls.call(runtime, "go", None, 30, AnnouncedClaim(queued)))
        except PoolClosed:
            results.append("closed")

    first, second = threading.Thread(target=caller), threading.Thread(target=caller)
    first.start()
    gate.await_arrivals()
    second.start()
    queued.await_arrivals()
    closer = threading.Thread(target=runtime.close)
    closer.start()
    second.join(10)
    assert results == ["closed"]
    gate.open()
    first.join(10)
    closer.join(10)

    assert results == ["closed", "done"]
    assert adapter.channels[0].killed
    assert adapter.closed


@pytest.mark.parametrize("timeout", [0, 0.05])
def test_a_call_that_outlasts_the_closing_is_cancelled_and_told_why(make_runtime: MakeRuntime, timeout: float) -> None:
    """Not a crash: nobody's native code is to blame. Fails when `_lost` doesn't ask why the worker was killed, and
    (with time to spare) when `await_closed` leaves it to a thread that isn't there to notice the end of the time.
    """
    gate = Gate()
    runtime = make_runtime(ScriptedAdapter([("go", gate)]))
    runtime.start()
    errors: list[CallCancelled] = []

    def caller() -> None:
        try:
            calls.call(runtime, "go", None, 30)
        except CallCancelled as error:
            errors.append(error)

    thread = threading.Thread(target=caller)
    thread.start()
    gate.await_arrivals()
    runtime.close(timeout)
    thread.join(10)

    assert [str(error).endswith("the bridge was closed") for error in errors] == [True]
    assert runtime.stats().crashes == 0


def test_an_adapter_that_was_handed_in_is_not_closed(make_runtime: MakeRuntime) -> None:
    """Who made it closes it: others may share it."""
    adapter = ScriptedAdapter([])
    runtime = make_runtime(adapter, owns_adapter=False)
    runtime.start()

    runtime.close()

    assert not adapter.closed
    assert adapter.channels[0].killed


def test_closing_is_idempotent_in_every_state(make_runtime: MakeRuntime) -> None:
    """Never started, open, closed: close returns, and the state is closed."""
    never, started = make_runtime(ScriptedAdapter([])), make_runtime(ScriptedAdapter([]))
    started.start()

    for runtime in (never, started):
        runtime.close()
        runtime.close()
        assert runtime.health().state == "closed"


def test_callers_who_start_at_once_share_one_poller(make_runtime: MakeRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a thread of its own the supervisor is started by whoever comes first, perhaps by two. Fails when `start`
    makes the poller without the lock: workers that the replaced one watches are never heard."""
    made: list[Poller] = []
    both = threading.Barrier(2)

    class Slow(Poller):
        def __init__(self) -> None:
            with suppress(threading.BrokenBarrierError):
                both.wait(0.1)  # for a second one that is being made at the same time
            super().__init__()
            made.append(self)

    monkeypatch.setattr("bridge.runtime.supervisor.Poller", Slow)
    runtime = make_runtime(BridgeMockAdapter(lambda: None))
    threads = [threading.Thread(target=runtime.start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert made == [runtime.supervisor.poller]
    made.clear()
