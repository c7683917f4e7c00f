"""Calls that are cancelled: who is released when, which worker lives on, and that nobody gets another's answer."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import bridge
from bridge import Bridge
from bridge.channel import FdLink
from tests.process.conftest import Connect
from tests.process.waiting import is_gone, wait_until

GRACE = 1.0


HANDLER = f"{Path(__file__).parent / 'stubborn_handlers.py'}:Stubborn"


@pytest.fixture
def stubborn(connect: Connect) -> Bridge:
    """One worker, with a second to end a cancelled call."""
    b = connect(HANDLER, cancel_grace=GRACE)
    b.call("pid")  # it is warm: the tests' time-outs are about calls
    return b


@pytest.fixture
def hasty(connect: Connect) -> Bridge:
    """One worker, which is killed soon."""
    b = connect(HANDLER, cancel_grace=0.1)
    b.call("pid")
    return b


@pytest.fixture
def patient(connect: Connect) -> Bridge:
    """One worker, which is killed for a reason only: its grace is long, however busy the machine."""
    b = connect(HANDLER, cancel_grace=30)
    b.call("pid")
    return b


def timed(function: Callable[[], object]) -> float:
    """Seconds that it took to raise CallTimeout or CallCancelled."""
    began = time.monotonic()
    with pytest.raises((bridge.CallTimeout, bridge.CallCancelled)):
        function()
    return time.monotonic() - began


@pytest.mark.usefixtures("each_start_method")
@pytest.mark.parametrize("command", ["nap", "spin", "tidy"])
def test_a_worker_that_ends_a_late_call_lives_on(stubborn: Bridge, command: str) -> None:
    """The caller is released at its deadline, and the same process takes the next call. Fails without the signal."""
    pid = stubborn.call("pid")

    assert timed(lambda: stubborn.call(command, [60], timeout=0.05)) < 1
    assert stubborn.call("pid", timeout=10) == pid
    assert stubborn.stats().restarts == 0


def test_the_handler_gets_an_exception_and_runs_its_finally(stubborn: Bridge) -> None:
    """Cancelled, a BaseException, inside the command."""
    with pytest.raises(bridge.CallTimeout):
        stubborn.call("tidy", [60], timeout=0.05)

    assert stubborn.call("history", timeout=10) == ["Cancelled", "finally"]


@pytest.mark.parametrize("command", ["swallow", "mask", "block"])
def test_a_worker_that_does_not_stop_is_killed_when_its_grace_is_over(hasty: Bridge, command: str) -> None:
    """It swallows the exception, masks the signal, or blocks in C: the caller is released on time all the same."""
    pid = hasty.call("pid")

    assert timed(lambda: hasty.call(command, [60], timeout=0.05)) < 1
    assert hasty.call("pid", timeout=20) != pid
    assert is_gone(pid)


def test_an_answer_that_comes_within_the_grace_is_dropped_and_the_worker_kept(stubborn: Bridge) -> None:
    """A handler that returns in spite of the exception ends its call with a result, which nobody gets."""
    pid = stubborn.call("pid")
    with pytest.raises(bridge.CallTimeout):
        stubborn.call("swallow_once", [60], timeout=0.05)

    assert stubborn.call("pid", timeout=10) == pid
    assert stubborn.call("echo", [5]) == 5


def test_a_frozen_worker_is_killed_and_its_caller_released_on_time(hasty: Bridge) -> None:
    """SIGSTOP: it can't answer, nor be interrupted. The pool works on."""
    pid = hasty.call("pid")
    os.kill(pid, signal.SIGSTOP)

    assert timed(lambda: hasty.call("echo", [1], timeout=0.05)) < 1
    assert hasty.call("echo", [2], timeout=20) == 2
    assert is_gone(pid)


def test_a_lease_can_be_cancelled_from_another_thread(stubborn: Bridge) -> None:
    """Its call is released at once, also while C code blocks, and a worker that stops lives on."""
    pid = stubborn.call("pid")
    with stubborn.lease() as lease:
        canceller = threading.Timer(0.1, lease.cancel)
        canceller.start()
        seconds = timed(lambda: lease.call("nap", [60]))
        canceller.join()
        with pytest.raises(bridge.WorkerError, match="lost by an earlier call"):
            lease.call("pid")

    assert seconds < 1
    assert stubborn.call("pid", timeout=10) == pid


def test_the_handler_is_reset_before_the_worker_of_a_cancelled_lease_is_lent_again(stubborn: Bridge) -> None:
    """`on_reset` runs after the drain. Fails when the drain ends with the cancelled call."""
    pid = stubborn.call("pid")
    with stubborn.lease() as lease, pytest.raises(bridge.CallTimeout):
        lease.call("tidy", [60], timeout=0.05)

    assert stubborn.call("history", timeout=10) == []
    assert stubborn.call("pid") == pid


def test_a_request_that_was_not_wholly_written_costs_the_worker(stubborn: Bridge) -> None:
    """Half of it is in the pipe: nothing can follow. Fails when a partial request is cancelled softly."""
    pid = stubborn.call("pid")
    for worker in stubborn._source.runtime().supervisor.roster.workers.values():
        assert isinstance(worker.link, FdLink)
        worker.link.arena = None  # there it would be written at once
    os.kill(pid, signal.SIGSTOP)

    assert timed(lambda: stubborn.call("echo", ["x" * 1_000_000], timeout=0.1)) < 1
    wait_until(lambda: is_gone(pid), GRACE / 2, "the end of a worker that can't be cancelled softly")
    assert stubborn.call("echo", [2], timeout=20) == 2


def sweep(patient: Bridge, steps: int, width: float) -> None:
    """Cancel at every moment around the length of a call: each caller gets its own answer or its own time-out."""
    for step in range(steps):
        timeout = width * (step + 1) / steps
        size = (step * 997) % 20_000
        try:
            answer = patient.call("reply", [size], timeout=timeout)
        except (bridge.CallTimeout, bridge.PoolTimeout):
            continue
        assert len(answer) == size
    assert patient.call("echo", [5], timeout=10) == 5


def test_a_cancel_never_meets_the_wrong_call(patient: Bridge) -> None:
    """Time-outs from before the write to after the answer: no answer is misdelivered, no later call cancelled."""
    sweep(patient, 300, 0.002)

    assert patient.stats().restarts == 0


@pytest.mark.deep
def test_a_cancel_never_meets_the_wrong_call_in_a_fine_sweep(patient: Bridge) -> None:
    """The same, 20,000 times."""
    for _ in range(20):
        sweep(patient, 1_000, 0.001)

    assert patient.stats().restarts == 0
