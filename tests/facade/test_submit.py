"""submit: futures of calls, on mocks."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from concurrent.futures import ALL_COMPLETED, CancelledError, Future, as_completed, wait
from contextvars import ContextVar
from dataclasses import dataclass
from math import inf
from typing import Any
from weakref import ref

import pytest

import bridge
from bridge.runtime import crew
from bridge.testing import Gate
from tests.process.waiting import wait_until

LONG = 10.0
"""Seconds after which a future that hangs fails its test."""

mark: ContextVar[str] = ContextVar("mark", default="none")


@pytest.fixture
def gate() -> Iterator[Gate]:
    """Where the command "block" waits; open at the end, so that no thread stays."""
    made = Gate()
    yield made
    made.open()


@pytest.fixture
def mock(gate: Gate) -> bridge.MockAdapter:
    """Answers that block, echo and fail."""
    return bridge.MockAdapter(
        {"block": lambda value=None: gate.wait(), "echo": lambda value: value, "fail": ValueError("no")}
    )


@pytest.fixture
def b(mock: bridge.MockAdapter, gate: Gate) -> Iterator[bridge.Bridge]:
    """One worker of that adapter."""
    with bridge.connect("x", adapter=mock, size=1) as made:
        yield made
        gate.open()


def commands(mock: bridge.MockAdapter) -> list[Any]:
    """What reached the adapter."""
    return [(call.command, call.args) for call in mock.calls]


def crew_threads() -> list[str]:
    """The kinds of those that live, without the names of their bridges."""
    return sorted(thread.name.split("-")[1] for thread in threading.enumerate() if "bridge-c" in thread.name)


def test_a_future_has_the_outcome_of_its_call(b: bridge.Bridge) -> None:
    """A result, an error of the handler. Fails when either isn't handed over."""
    assert b.submit("echo", [1]).result(LONG) == 1
    with pytest.raises(bridge.RemoteError, match="no"):
        b.submit("fail").result(LONG)
    assert isinstance(b.submit("fail").exception(LONG), bridge.RemoteError)


def test_a_future_has_the_type_that_was_asked_for(b: bridge.Bridge) -> None:
    """`returns=` is obeyed, and known to mypy, which checks this file: an ignore that isn't needed is an error there.
    Fails without `apply`, or without the overloads."""

    @dataclass
    class Pair:
        left: int
        right: int

    future = b.submit("echo", [{"left": "1", "right": 2}], returns=Pair)

    assert future.result(LONG) == Pair(1, 2)
    with pytest.raises(AttributeError):
        future.result(LONG).middle  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(bridge.CallError, match="valid integer"):
        b.submit("echo", ["x"], returns=int).result(LONG)


def test_what_is_wrong_with_a_call_is_told_at_the_door(b: bridge.Bridge, mock: bridge.MockAdapter) -> None:
    """Arguments that can't travel, a bad timeout, a bad type: no future. Fails when they are encoded by the crew."""
    with pytest.raises(bridge.CallError, match="of type set"):
        b.submit("echo", [{1}])
    with pytest.raises(bridge.ConfigurationError):
        b.submit("echo", [1], timeout=-1)
    with pytest.raises(bridge.ConfigurationError):
        b.submit("echo", [1], returns=5)
    assert mock.calls == []


def test_arguments_are_those_of_the_moment_of_submitting(b: bridge.Bridge, gate: Gate) -> None:
    """Changing them afterwards changes nothing. Fails when they are encoded by the crew."""
    b.submit("block")
    value = [1]
    future = b.submit("echo", [value])
    value.append(2)
    gate.open()

    assert future.result(LONG) == [1]


def test_a_call_that_waits_is_never_sent_once_it_is_cancelled(
    b: bridge.Bridge, gate: Gate, mock: bridge.MockAdapter
) -> None:
    """True, done at once, seen by `wait`, and nothing of it reaches the adapter. Fails without the
    notification."""
    first = b.submit("block")
    gate.await_arrivals(1)
    waiting = b.submit("echo", [1])

    assert not waiting.running()
    assert waiting.cancel()
    assert waiting.cancel()
    assert waiting.cancelled()
    assert wait([waiting], LONG).done == {waiting}
    with pytest.raises(CancelledError):
        waiting.result(LONG)
    gate.open()
    first.result(LONG)
    assert b.submit("echo", [2]).result(LONG) == 2
    assert commands(mock) == [("block", None), ("echo", [2])]


def test_cancelling_a_call_that_runs_frees_whoever_waits(mock: bridge.MockAdapter, b: bridge.Bridge) -> None:
    """A call that would take a minute: its future is cancelled, and the next one is served. Fails when `cancel` doesn't
    reach the pool: the next call would wait for the worker."""
    mock.delay("echo", 60, times=1)
    future = b.submit("echo", [1], timeout=None)
    while not mock.calls:  # recorded when it is sent
        assert not future.done()

    assert future.running()
    assert future.cancel()
    assert future.cancelled()
    assert b.submit("echo", [2], timeout=LONG).exception(LONG) is None


def test_a_future_that_is_done_cannot_be_cancelled(b: bridge.Bridge) -> None:
    """False, and its result stays. Fails when `settle` lets two decide."""
    future = b.submit("echo", [1])
    future.result(LONG)

    assert not future.cancel()
    assert not future.running()
    assert future.result() == 1


def test_futures_work_with_the_standard_library(b: bridge.Bridge) -> None:
    """wait, as_completed and callbacks. Fails when a future isn't one of concurrent.futures."""
    called: list[Future[Any]] = []
    futures = [b.submit("echo", [number]) for number in range(5)]
    futures[0].add_done_callback(called.append)

    assert sorted(future.result() for future in as_completed(futures, LONG)) == [0, 1, 2, 3, 4]
    assert wait(futures, LONG, ALL_COMPLETED).not_done == set()
    b.submit("echo", [5]).result(LONG)  # by the one thread, after the callback
    assert called == [futures[0]]


def test_what_waits_ends_at_its_deadline(b: bridge.Bridge, gate: Gate, mock: bridge.MockAdapter) -> None:
    """Though the only thread is busy for longer: PoolTimeout, which was never sent. Fails without the clerk."""
    b.submit("block")
    gate.await_arrivals(1)
    patient = b.submit("echo", [1], timeout=None)
    late = b.submit("echo", [2], timeout=0.01)

    with pytest.raises(bridge.PoolTimeout) as caught:
        late.result(LONG)
    assert caught.value.retryable
    gate.open()
    assert patient.result(LONG) == 1
    assert commands(mock) == [("block", None), ("echo", [1])]


def test_closing_refuses_what_waits(mock: bridge.MockAdapter, gate: Gate) -> None:
    """At once, also while a call runs; and nothing is taken afterwards. Fails without `crew.end` in request_close, or
    when the clerk doesn't hear of it."""
    b = bridge.connect("x", adapter=mock, size=1)
    running = b.submit("block")
    gate.await_arrivals(1)
    waiting = [b.submit("echo", [number], timeout=None) for number in range(3)]
    closing = threading.Thread(target=b.close)
    closing.start()

    for future in waiting:
        assert isinstance(future.exception(LONG), bridge.PoolClosed)
    gate.open()
    closing.join(LONG)
    assert running.done()
    with pytest.raises(bridge.PoolClosed):
        b.submit("echo", [1])


def test_a_job_that_comes_while_the_crew_ends_is_refused() -> None:
    """It came between the look and the end: nobody else would see to it. Fails without the second look in `give`."""
    made = crew.Crew("x", 1, lambda: 0.0)
    refused: list[str] = []

    class Late:
        deadline = 1.0
        begun = False

        def run(self) -> None:
            raise AssertionError("it ran")

        def expire(self) -> None:
            raise AssertionError("it expired")

        def refuse(self) -> None:
            refused.append("refused")

    late = Late()
    made._staff = made.end  # type: ignore[method-assign]

    made.give(late)

    assert refused == ["refused"]


def test_threads_are_made_on_demand_and_end_with_the_bridge(mock: bridge.MockAdapter, gate: Gate) -> None:
    """One thread for each worker at most, a clerk only where something waits. Fails when they don't hear the end."""
    before = set(threading.enumerate())
    with bridge.connect("x", adapter=mock, size=2) as b:
        assert crew_threads() == []
        futures = [b.submit("block")]
        assert crew_threads() == ["crew"]
        futures += [b.submit("block") for _ in range(5)]
        assert crew_threads() == ["clerk", "crew", "crew"]
        gate.open()
        wait(futures, LONG)
    for thread in set(threading.enumerate()) - before:
        thread.join(LONG)
    assert crew_threads() == []


def test_a_system_without_threads_says_so(
    mock: bridge.MockAdapter, b: bridge.Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WorkerStartError, and nothing waits for a thread that never comes. Fails when the error is swallowed."""

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(bridge.WorkerStartError, match="The system refused a thread"):
            b.submit("echo", [1])
    assert b.submit("echo", [2]).result(LONG) == 2
    assert commands(mock) == [("echo", [2])]


def test_a_bridge_that_nobody_holds_finishes_its_calls(mock: bridge.MockAdapter, gate: Gate) -> None:
    """The call keeps it. Fails without `owner`."""
    b = bridge.connect("x", adapter=mock, size=1)
    future = b.submit("block")
    gate.await_arrivals(1)
    del b
    gc.collect()
    gate.value = 5

    def finish() -> None:
        gate.open()
        for thread in threading.enumerate():
            if thread.name.startswith("bridge-crew"):
                thread.join(LONG)

    with pytest.warns(ResourceWarning, match="dropped without close"):
        finish()
    assert future.result(LONG) == 5


def test_a_callback_that_exits_harms_nobody(b: bridge.Bridge, gate: Gate, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the thread goes on. Fails without `_do`."""

    def leave(future: Future[Any]) -> None:
        raise SystemExit(3)

    blocked = b.submit("block")
    gate.await_arrivals(1)
    blocked.add_done_callback(leave)
    gate.open()

    assert blocked.result(LONG) is None
    assert b.submit("echo", [2]).result(LONG) == 2
    assert "a callback of a future of x raised" in caplog.text


def test_what_answers_in_a_mock_has_the_context_of_the_submitter(mock: bridge.MockAdapter, b: bridge.Bridge) -> None:
    """As it has for a plain call: it may call another bridge, in the same scope. Fails without copy_context."""
    mock.answer("where", lambda: mark.get())
    token = mark.set("mine")
    future = b.submit("where")
    mark.reset(token)

    assert future.result(LONG) == "mine"


def test_a_cancel_that_a_signal_cut_short_is_completed(b: bridge.Bridge, gate: Gate, mock: bridge.MockAdapter) -> None:
    """It had decided the outcome and no more: whoever waits hears of it when the call ends, or at its turn,
    and it isn't sent then. Fails without `give_up` in the job, or without the look at the fate in `run`."""
    running = b.submit("block")
    gate.await_arrivals(1)
    waiting = b.submit("echo", [1])
    for future in (running, waiting):
        assert future._job.settle("cancelled")  # type: ignore[attr-defined]
    gate.open()

    for future in (running, waiting):
        with pytest.raises(CancelledError):
            future.result(LONG)
    assert commands(mock) == [("block", None)]


def test_a_short_deadline_is_kept_behind_many_long_ones(b: bridge.Bridge, gate: Gate) -> None:
    """The clerk, who is asleep, is told of it. Fails when `give` doesn't ring."""
    b.submit("block")
    gate.await_arrivals(1)
    patient = [b.submit("echo", [number], timeout=60) for number in range(200)]
    wait_until(lambda: b._source.runtime().crew._look_at < inf, LONG, "the clerk's first look")
    late = [b.submit("echo", [0], timeout=0.05 - number / 1000) for number in range(20)]

    assert {type(future.exception(LONG)) for future in late} == {bridge.PoolTimeout}
    gate.open()
    assert [future.result(LONG) for future in patient] == [*range(200)]


def test_an_idle_thread_keeps_nothing_alive(b: bridge.Bridge) -> None:
    """Neither a call nor its result, of which there may be much. Fails without the `del` in the crew."""
    future = ref(b.submit("echo", [1]))

    wait_until(lambda: future() is None, LONG, "the end of the future")


def test_a_kept_error_does_not_keep_its_bridge(mock: bridge.MockAdapter) -> None:
    """Its traceback has the frames of the call. Fails without `let_go`."""
    b = bridge.connect("x", adapter=mock, size=1)
    future = b.submit("fail")
    assert isinstance(future.exception(LONG), bridge.RemoteError)
    kept, bridges = ref(b), [b]
    del b

    with pytest.warns(ResourceWarning, match="dropped without close"):
        bridges.clear()
    assert kept() is None
