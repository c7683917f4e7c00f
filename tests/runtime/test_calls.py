"""One call, on scripted workers: exactly one outcome, and what becomes of the worker."""

from __future__ import annotations

import threading
from collections.abc import Callable
from math import inf
from typing import Any

import pytest

from bridge.client import Bridge
from bridge.contract import ExitStatus
from bridge.door import Fixed
from bridge.errors import (
    CallCancelled,
    CallError,
    CallTimeout,
    CapabilityError,
    PoolClosed,
    PoolOverloaded,
    PoolTimeout,
    RemoteError,
    WorkerCrashed,
)
from bridge.runtime import calls
from bridge.runtime.claims import Claim
from bridge.testing import CRASH, HANG, FakeClock, Gate, ScriptedAdapter
from tests.fakes import AnnouncedClaim
from tests.runtime.conftest import MakeRuntime

Call = Callable[..., Any]


@pytest.fixture(params=[calls.plain, calls.call], ids=lambda way: str(way.__name__))
def call(request: pytest.FixtureRequest) -> Call:
    """The way of most calls, and that of all."""
    way: Call = request.param
    return way


def test_an_answer_is_returned_and_the_worker_is_lent_again(make_runtime: MakeRuntime, call: Call) -> None:
    """Two calls in a row use the one worker."""
    adapter = ScriptedAdapter([("a", 1), ("b", 2)])
    runtime = make_runtime(adapter)
    runtime.start()

    assert [call(runtime, name, None, 5) for name in "ab"] == [1, 2]
    assert adapter.opened == 1
    assert adapter.finished


def test_an_error_of_the_handler_leaves_the_worker_clean(make_runtime: MakeRuntime, call: Call) -> None:
    """A RemoteError is an answer: the worker isn't replaced. Fails when a handler's error makes the lease dirty."""
    adapter = ScriptedAdapter([("a", RemoteError("ValueError", "no", command="a")), ("b", 2)])
    runtime = make_runtime(adapter)
    runtime.start()

    with pytest.raises(RemoteError):
        call(runtime, "a", None, 5)
    assert call(runtime, "b", None, 5) == 2
    assert adapter.opened == 1


def test_a_crash_fails_one_call_and_the_worker_is_replaced(make_runtime: MakeRuntime, call: Call) -> None:
    """The next call runs on another worker."""
    adapter = ScriptedAdapter([("a", CRASH)], [("b", 2)])
    runtime = make_runtime(adapter)
    runtime.start()

    with pytest.raises(WorkerCrashed):
        call(runtime, "a", None, 5)
    assert call(runtime, "b", None, 5) == 2
    assert runtime.stats().crashes == 1
    assert runtime.stats().restarts == 1
    assert adapter.channels[0].killed


def test_a_timeout_releases_the_caller_and_kills_the_worker(make_runtime: MakeRuntime, call: Call) -> None:
    """A worker with an outstanding reply is never lent again. Fails when `checkin` takes a link that isn't clean."""
    adapter = ScriptedAdapter([("a", HANG)], [("b", 2)])
    runtime = make_runtime(adapter)
    runtime.start()

    with pytest.raises(CallTimeout):
        call(runtime, "a", None, 0.01)
    assert call(runtime, "b", None, 5) == 2
    assert adapter.channels[0].killed
    assert runtime.stats().timeouts == 1


def test_a_late_reply_reaches_nobody(make_runtime: MakeRuntime, call: Call) -> None:
    """The answer to a call that timed out isn't given to the next one."""
    gate = Gate("late")
    adapter = ScriptedAdapter([("a", gate)], [("b", "mine")])
    runtime = make_runtime(adapter)
    runtime.start()

    with pytest.raises(CallTimeout):
        call(runtime, "a", None, 0.01)
    gate.open()

    assert call(runtime, "b", None, 5) == "mine"


def test_arguments_are_encoded_before_a_worker_is_taken(make_runtime: MakeRuntime) -> None:
    """A value that can't travel is refused at once, also while every worker is busy."""
    adapter = ScriptedAdapter([])
    runtime = make_runtime(adapter)
    runtime.start()
    claim = Claim()
    runtime.pool.checkout(claim, float("inf"))

    with pytest.raises(CallError) as caught:
        calls.call(runtime, "a", {"when": {1}}, 5)
    runtime.pool.checkin(claim)

    assert caught.value.side == "caller"
    assert adapter.channels[0].requests == []


def test_waiting_ends_at_the_earlier_of_deadline_and_checkout_timeout(make_runtime: MakeRuntime) -> None:
    """PoolTimeout says that all workers are busy, and leaves the queue as it was."""
    runtime = make_runtime(ScriptedAdapter([]), checkout_timeout=0.01)
    runtime.start()
    claim = Claim()
    runtime.pool.checkout(claim, float("inf"))

    for timeout in (60, 0.005, 0):
        with pytest.raises(PoolTimeout, match="all 1 workers are busy"):
            calls.call(runtime, "a", None, timeout)
    assert runtime.pool.waiting == 0
    runtime.pool.checkin(claim)
    assert runtime.stats().idle == 1


def test_a_full_queue_refuses_at_once(make_runtime: MakeRuntime) -> None:
    """With max_waiting=0 nobody waits: PoolOverloaded. Fails when the limit isn't looked at."""
    runtime = make_runtime(ScriptedAdapter([]), max_waiting=0)
    runtime.start()
    claim = Claim()
    runtime.pool.checkout(claim, float("inf"))

    with pytest.raises(PoolOverloaded):
        calls.call(runtime, "a", None, 5)
    runtime.pool.checkin(claim)


def test_a_cancelled_claim_ends_its_call_alone(make_runtime: MakeRuntime) -> None:
    """Another thread cancels the call: CallCancelled there, and the next call gets a fresh worker."""
    gate = Gate()
    adapter = ScriptedAdapter([("a", gate)], [("b", 2)])
    runtime = make_runtime(adapter)
    runtime.start()
    claim = Claim()
    outcomes: list[BaseException] = []

    def caller() -> None:
        try:
            calls.call(runtime, "a", None, 30, claim)
        except CallCancelled as error:
            outcomes.append(error)

    thread = threading.Thread(target=caller)
    thread.start()
    gate.await_arrivals()
    runtime.pool.cancel(claim)
    thread.join(5)

    assert [type(error) for error in outcomes] == [CallCancelled]
    assert calls.call(runtime, "b", None, 5) == 2


def test_cancelling_a_call_that_is_over_kills_nobody(make_runtime: MakeRuntime) -> None:
    """A cancel that comes too late can't hit the next holder. Fails when `cancel` doesn't look at the holder."""
    adapter = ScriptedAdapter([("a", 1), ("b", 2)])
    runtime = make_runtime(adapter)
    runtime.start()
    claim = Claim()
    calls.call(runtime, "a", None, 5, claim)

    runtime.pool.cancel(claim)

    assert calls.call(runtime, "b", None, 5) == 2
    assert adapter.opened == 1


def test_a_cancelled_waiter_leaves_the_queue(make_runtime: MakeRuntime) -> None:
    """A call that is cancelled while it waits for a worker was never sent, and says so."""
    adapter = ScriptedAdapter([])
    runtime = make_runtime(adapter)
    runtime.start()
    queued = Gate()
    holder, waiter = Claim(), AnnouncedClaim(queued)
    runtime.pool.checkout(holder, float("inf"))
    outcomes: list[bool] = []

    def caller() -> None:
        try:
            calls.call(runtime, "a", None, 30, waiter)
        except CallCancelled as error:
            outcomes.append(error.retryable)

    thread = threading.Thread(target=caller)
    thread.start()
    queued.await_arrivals()
    runtime.pool.cancel(waiter)
    thread.join(5)
    runtime.pool.checkin(holder)

    assert outcomes == [True]
    assert runtime.pool.waiting == 0
    assert adapter.channels[0].requests == []


def test_a_closed_runtime_refuses_calls(make_runtime: MakeRuntime, call: Call) -> None:
    """After close a call is PoolClosed; it is never started again by accident."""
    adapter = ScriptedAdapter([])
    runtime = make_runtime(adapter)
    runtime.start()
    runtime.close()

    with pytest.raises(PoolClosed):
        runtime.start()
    with pytest.raises(PoolClosed):
        call(runtime, "a", None, 5)
    assert adapter.closed


def test_the_age_of_a_heartbeat_is_that_of_the_call_or_of_the_last_answer(make_runtime: MakeRuntime) -> None:
    """Of a busy worker how long its call has been out, of an idle one how long ago it answered, on a lease too. Fails
    when one of `call`, `_call_on`, `checkin` and `record` doesn't note the time."""
    clock = FakeClock()

    def ages() -> list[float | None]:
        return [worker.heartbeat_age for worker in runtime.stats().workers]

    def look(_: object) -> list[float | None]:
        clock.advance(3)
        return ages()

    runtime = make_runtime(ScriptedAdapter([("go", look)] * 4), clock=clock)
    runtime.start()
    clock.advance(50)
    assert ages() == [50]
    for _ in range(2):
        assert calls.call(runtime, "go", None, 5) == [3]
        clock.advance(20)
        assert ages() == [20]
    claim = Claim()
    runtime.pool.checkout(claim, inf)
    for _ in range(2):
        assert calls.call_on(runtime, claim, "go", None, 5) == [3]
        clock.advance(20)
        assert ages() == [20]
    runtime.pool.checkin(claim)


def test_what_a_call_was_sent_again_for_is_counted_when_it_is_known(make_runtime: MakeRuntime) -> None:
    """Its worker may be reaped before or after. Fails when `again` or `explain` forgets one of the two."""
    runtime = make_runtime(ScriptedAdapter([]))
    runtime.start()
    (worker,) = runtime.supervisor.workers.values()
    runtime.pool.count_again(worker, started=False)
    assert runtime.stats().sent_again == {}

    worker.status = ExitStatus(signal=9)
    runtime.pool.explain(worker)
    runtime.pool.count_again(worker, started=True)

    assert runtime.stats().sent_again == {"killed by SIGKILL": 2}
    assert (runtime.stats().retries, runtime.stats().repeats) == (1, 1)


def test_what_an_adapter_cannot_do_is_said_before_anything_is_sent(make_runtime: MakeRuntime) -> None:
    """A stream, or a report of progress. Fails when the capabilities aren't looked at."""
    adapter = ScriptedAdapter([("work", 1)])
    b = Bridge(Fixed(make_runtime(adapter)))

    with pytest.raises(CapabilityError, match="can't stream"):
        b.stream("count")
    with pytest.raises(CapabilityError, match="report progress"):
        b.call("work", on_progress=print)
    assert b.call("work") == 1
    assert adapter.finished
