"""The faults that a mock can be told to have: the same errors as from the real thing, through the same pool."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

import pytest

import bridge
from bridge import CallCancelled, CallTimeout, ConfigurationError, MockAdapter, RemoteError, WorkerCrashed
from tests.contract.conftest import OpenBridge

PROMPTLY = 5.0
"""Seconds; tells an end from a wait."""


def test_fail_raises_so_many_times_or_always(open_bridge: OpenBridge) -> None:
    """Any exception as the handler's, one of ours as it is; faults are played in the order they were given."""
    mock = MockAdapter({"go": 1})
    b = open_bridge(mock)

    mock.fail("go", LookupError("first"), times=2)
    mock.fail("go", bridge.CircuitOpen("n", last_error="e", retry_in=1.0), times=1)
    for _ in range(2):
        with pytest.raises(RemoteError, match="LookupError: first"):
            b.call("go")
    with pytest.raises(bridge.CircuitOpen):
        b.call("go")
    assert b.call("go") == 1

    mock.fail("go", LookupError)
    for _ in range(3):
        with pytest.raises(RemoteError, match="LookupError"):
            b.call("go")
    mock.mend("go")
    assert b.call("go") == 1


def test_crash_ends_the_worker_and_another_takes_its_place(open_bridge: OpenBridge) -> None:
    """WorkerCrashed for this call alone, no pid since there is none; a lease on that worker is spent."""
    mock = MockAdapter({"go": 1})
    b = open_bridge(mock)

    mock.crash("go", times=2)
    with pytest.raises(WorkerCrashed) as caught:
        b.call("go")
    assert (caught.value.pid, caught.value.command, caught.value.retryable) == (None, "go", False)
    lease = b.lease()
    with pytest.raises(WorkerCrashed):
        lease.call("go")
    with pytest.raises(bridge.WorkerError, match="lost by an earlier call"):
        lease.call("go")
    lease.close()

    assert b.call("go") == 1
    assert (b.stats().crashes, b.stats().restarts) == (2, 2)


def test_timeout_never_answers(open_bridge: OpenBridge) -> None:
    """CallTimeout at the call's own deadline; another worker answers the next one."""
    mock = MockAdapter({"go": 1})
    b = open_bridge(mock)
    mock.timeout("go", times=1)

    began = time.monotonic()
    with pytest.raises(CallTimeout) as caught:
        b.call("go", timeout=0.02)

    assert 0.02 <= time.monotonic() - began < PROMPTLY
    assert (caught.value.command, caught.value.timeout) == ("go", 0.02)
    assert b.call("go") == 1
    assert b.stats().timeouts == 1


def test_delay_holds_the_answer_back(open_bridge: OpenBridge) -> None:
    """The answer, or the error, comes after so many seconds, without a thread."""
    mock = MockAdapter({"go": 1, "no": LookupError("late")})
    b = open_bridge(mock)
    threads = threading.active_count()
    for command in ("go", "no"):
        mock.delay(command, 0.03)
    began = time.monotonic()

    assert b.call("go") == 1
    with pytest.raises(RemoteError, match="late"):
        b.call("no")
    assert time.monotonic() - began >= 0.06
    assert threading.active_count() <= threads  # one of the test before may end meanwhile


def test_a_delay_beyond_the_deadline_is_a_timeout_at_the_deadline(open_bridge: OpenBridge) -> None:
    """The caller is free at its deadline, not after the delay. Fails when the driver waits for the delay alone."""
    mock = MockAdapter({"go": 1})
    b = open_bridge(mock)
    mock.delay("go", 60, times=1)

    began = time.monotonic()
    with pytest.raises(CallTimeout):
        b.call("go", timeout=0.02)

    assert time.monotonic() - began < PROMPTLY
    assert b.call("go") == 1


@pytest.mark.parametrize("fault", ["delay", "timeout"])
def test_a_wait_ends_when_the_lease_is_cancelled_or_the_bridge_is_closed(open_bridge: OpenBridge, fault: str) -> None:
    """CallCancelled, at once. Fails when `abort` doesn't end the wait."""
    mock = MockAdapter({"go": 1})
    mock.delay("go", 60) if fault == "delay" else mock.timeout("go")
    b = open_bridge(mock, size=2)
    leases = [b.lease(), b.lease()]
    errors: list[Any] = []

    def call(lease: bridge.Lease) -> None:
        try:
            lease.call("go", timeout=None)
        except bridge.BridgeError as error:
            errors.append(error)

    threads = [threading.Thread(target=call, args=(lease,)) for lease in leases]
    for thread in threads:
        thread.start()
    while len(mock.calls) < 2:
        os.sched_yield()
    began = time.monotonic()
    leases[0].cancel()
    threads[0].join()
    b.close(0)
    threads[1].join()

    assert time.monotonic() - began < PROMPTLY
    assert [type(error) for error in errors] == [CallCancelled, CallCancelled]
    assert "the bridge was closed" in str(errors[1])


def test_a_slow_function_is_a_timeout_too(open_bridge: OpenBridge) -> None:
    """It runs in the caller's thread, which nobody can stop; but its late answer is none. Fails when SubmitLink
    doesn't look at the clock after `submit`."""

    def slow() -> int:
        until = time.monotonic() + 0.05
        while time.monotonic() < until:
            os.sched_yield()
        return 1

    b = open_bridge(MockAdapter({"go": slow}))

    with pytest.raises(CallTimeout):
        b.call("go", timeout=0.01)


@pytest.mark.parametrize("times", [0, -1, 1.5, True, "2"])
def test_times_that_are_none_are_refused(times: Any) -> None:
    """An int from 1, or None for always."""
    with pytest.raises(ConfigurationError, match="times="):
        MockAdapter().crash("go", times=times)


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), "1", None, True])
def test_a_delay_that_is_none_is_refused(seconds: Any) -> None:
    """Seconds, 0 or more; `timeout` is for ever."""
    with pytest.raises(ConfigurationError, match="a delay is in seconds"):
        MockAdapter().delay("go", seconds)
