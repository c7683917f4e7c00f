"""Streams, progress and callbacks with real workers: what is cut short, killed or left, at every moment of it."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest

import bridge
from bridge import Bridge
from tests.process.conftest import Connect
from tests.process.waiting import wait_until, wait_until_gone

HANDLERS: Final = Path(__file__).parent / "stream_handlers.py"
HANDLER: Final = f"{HANDLERS}:Streams"


@pytest.fixture
def patient(connect: Connect) -> Bridge:
    """One worker, which is killed for a reason only: its grace is long, however busy the machine."""
    b = connect(HANDLER, cancel_grace=30)
    b.call("pid")
    return b


@pytest.mark.parametrize("ahead", [1, 2, 3, 16])
@pytest.mark.parametrize("method", ["numbers", "later"])
def test_a_stream_left_after_any_item_leaves_its_worker_whole(patient: Bridge, method: str, ahead: int) -> None:
    """Whether it waits for its caller, runs, or has ended by itself: its `finally` runs once, the same worker serves
    on, no more was made ahead than was asked for, and no late item reaches the next call. Fails when `listen` doesn't
    look for a cancel, when the supervisor takes an item for the end or doesn't look at what was read already."""
    pid = patient.call("pid")
    for taken in range(8):
        with patient.stream(method, [6], ahead=ahead) as stream:
            got = [item for item, _ in zip(stream, range(taken), strict=False)]
        made, ended = patient.call("state")

        assert got == list(range(min(taken, 6)))
        assert made <= taken + 1 + ahead
        assert [what for what in ended if what == "finally"] == ["finally"] * (taken + 1)
    assert patient.call("pid") == pid


def test_a_million_items_wait_for_a_slow_consumer(patient: Bridge) -> None:
    """After three items at most three and those ahead were made, however long it takes. Fails without credits."""
    with patient.stream("numbers", [1_000_000], ahead=4) as stream:
        assert [next(stream) for _ in range(3)] == [0, 1, 2]
    made, ended = patient.call("state")

    assert 3 <= made <= 3 + 4
    assert ended[-1] == "finally"


def test_items_larger_than_the_pipe_come_whole(patient: Bridge) -> None:
    """Of 300 KB each, while credits go the other way."""
    sizes = [(number, len(text)) for number, text in patient.stream("numbers", [20, 300_000], ahead=2)]

    assert sizes == [(number, 300_000) for number in range(20)]


def test_a_generator_that_yields_on_in_spite_of_its_cancel_is_closed(patient: Bridge, tmp_path: Path) -> None:
    """What it yields then reaches nobody. Fails when `left` isn't looked at: it would wait for credit until it is
    killed."""
    pid = patient.call("pid")
    with patient.stream("stubborn", [str(tmp_path / "waits")], ahead=3) as stream:
        assert next(stream) == 1
        wait_until((tmp_path / "waits").exists)

    assert (patient.call("pid"), patient.call("state")[1]) == (pid, ["Cancelled", "finally"])


def test_a_stream_that_is_dropped_is_closed(patient: Bridge) -> None:
    """Without another call that would look for its worker. Fails without the finaliser: the generator would wait for
    ever."""
    stream = patient.stream("numbers", [100], ahead=2)
    next(stream)
    pid = patient.stats().workers[0].pid
    del stream
    gc.collect()

    wait_until(lambda: patient.stats().busy == 0, what="its worker to be free")
    assert (patient.call("pid"), patient.call("state")[1][-1]) == (pid, "finally")


def test_each_item_has_its_own_timeout(patient: Bridge) -> None:
    """What came before is delivered; the late one is a CallTimeout, the stream is over, and its worker is told."""
    pid = patient.call("pid")
    stream = patient.stream("stuck_after", [3], timeout=0.3)

    assert [next(stream) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(bridge.CallTimeout):
        next(stream)
    assert list(stream) == []
    assert (patient.call("pid"), patient.call("state")[1]) == (pid, ["finally"])


def test_a_worker_that_dies_ends_its_stream_only(patient: Bridge) -> None:
    """The items before it, then WorkerCrashed; another worker takes its place."""
    stream = patient.stream("die_after", [3])

    assert [next(stream) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(bridge.WorkerCrashed):
        next(stream)
    assert list(patient.stream("numbers", [3])) == [0, 1, 2]


def test_a_worker_that_dies_late_in_a_stream_is_not_asked_again(patient: Bridge, tmp_path: Path) -> None:
    """Though credit that it hadn't read lies in its pipe, as a request would that certainly wasn't begun. Fails, by
    items that come twice, when what was heard of a call doesn't count."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    stream = patient.stream("die_when_told", [10, str(fifo)], ahead=16)

    assert [next(stream) for _ in range(10)] == list(range(10))  # with credit sent after the eighth
    fifo.open("w").close()
    with pytest.raises(bridge.WorkerCrashed):
        next(stream)
    assert patient.stats().crashes == 1


@pytest.mark.parametrize("size", [1, 300_000])
def test_a_worker_that_dies_in_a_callback_is_not_asked_again(patient: Bridge, size: int) -> None:
    """Nor when the answer can't be written any more. Fails as the one before does."""
    asked: list[int] = []

    def kill() -> str:
        asked.append(patient.stats().workers[0].pid or 0)
        os.kill(asked[-1], signal.SIGKILL)
        wait_until_gone(asked)
        return "x" * size

    patient.expose("kill", kill)
    with pytest.raises(bridge.WorkerCrashed):
        patient.call("ask", ["kill"])
    assert len(asked) == 1


def test_an_item_that_cannot_travel_ends_the_stream_by_name(patient: Bridge) -> None:
    """The handler's fault, after the items before it."""
    stream = patient.stream("odd_after", [2])

    assert [next(stream) for _ in range(2)] == [0, 1]
    with pytest.raises(bridge.CallError, match="type set") as caught:
        next(stream)
    assert caught.value.side == "handler"


def test_another_thread_can_close_a_stream_that_waits(patient: Bridge) -> None:
    """Whoever waits for the item gets CallCancelled, and is free. Fails when `close` waits for the item."""
    stream = patient.stream("stuck_after", [1])
    next(stream)

    def take() -> None:
        with suppress(bridge.CallCancelled, StopIteration):
            next(stream)

    thread = threading.Thread(target=take)
    thread.start()
    wait_until(lambda: "<locked" in repr(stream._using), what="the thread to wait for the item")
    closing = threading.Thread(target=stream.close)
    closing.start()
    closing.join(20)
    thread.join(20)

    assert not closing.is_alive()
    assert list(stream) == []


@pytest.mark.parametrize(
    ("ahead", "fault"), [(0, "1 to"), (-1, "1 to"), (True, "1 to"), (2**16, "1 to"), ("2", "1 to")]
)
def test_what_is_no_number_of_items_is_refused(patient: Bridge, ahead: Any, fault: str) -> None:
    """Before anything is sent."""
    with pytest.raises(bridge.CallError, match=fault):
        patient.stream("numbers", [1], ahead=ahead)


# -- Progress ----------------------------------------------------------------------------------------------


def test_reports_larger_than_the_pipe_come_whole(patient: Bridge) -> None:
    """And in order."""
    got: list[Any] = []
    assert patient.call("report", [5, 200_000], on_progress=got.append) == 5
    assert [(step, len(text)) for step, text in got] == [(step, 200_000) for step in range(5)]


def test_an_error_of_on_progress_ends_the_call(patient: Bridge) -> None:
    """It reaches the caller as it is, and the worker is told to stop: the next call gets its own answer."""

    def refuse(_value: Any) -> None:
        raise KeyError("mine")

    pid = patient.call("pid")
    with pytest.raises(KeyError, match="mine"):
        patient.call("report", [1000, 1000], on_progress=refuse)
    assert patient.call("pid") == pid


def test_progress_belongs_to_its_call_and_thread(patient: Bridge) -> None:
    """Elsewhere and afterwards it is an error there: its frame would come in the middle of another. Fails when
    `_check` is left out."""
    assert "belongs to the thread" in patient.call("elsewhere", on_progress=print)[0]
    assert "after the end" in patient.call("too_late")


def test_a_report_that_cannot_travel_is_the_handlers_fault(patient: Bridge) -> None:
    """As a result would be."""
    with pytest.raises(bridge.CallError, match="type set") as caught:
        patient.call("odd_report", on_progress=print)
    assert caught.value.side == "handler"


def test_a_parameter_that_the_caller_sends_is_his(patient: Bridge) -> None:
    """One that is filled by the worker is only when it isn't sent. Fails when what is filled wins."""
    assert patient.call("mine", {"progress": "sent"}) == ["sent", 1]
    assert patient.call("mine", {"value": 2})[0] != "default"


def test_a_lease_reports_too(patient: Bridge) -> None:
    """Through the same worker, call after call."""
    got: list[Any] = []
    with patient.lease() as lease:
        assert [lease.call("report", [2], on_progress=got.append) for _ in range(2)] == [2, 2]
    assert [step for step, _ in got] == [0, 1, 0, 1]


# -- Callbacks ---------------------------------------------------------------------------------------------


def test_a_callback_runs_in_its_callers_thread(patient: Bridge) -> None:
    """Of whichever thread made the call."""
    patient.expose("who", threading.get_ident)
    found: list[bool] = []
    threads = [
        threading.Thread(target=lambda: found.append(patient.call("ask", ["who"]) == threading.get_ident()))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [True] * 3


def test_large_values_cross_both_ways(patient: Bridge) -> None:
    """Larger than the pipes, each way."""
    patient.expose("turn", lambda text: text[::-1])
    text = "ab" * 200_000
    assert patient.call("ask", ["turn", [text]]) == text[::-1]


@pytest.mark.parametrize("adapter", ["mock", "bridge_mock", "python_port"])
def test_an_answer_that_comes_after_the_deadline_is_too_late(connect: Connect, adapter: str) -> None:
    """Of a callback that takes longer than its call has: CallTimeout, on every adapter, though the handler would answer
    at once. Fails when the time is looked at only while there is nothing to read."""
    b = connect(HANDLER, adapter=adapter, fake=HANDLER, cancel_grace=30)
    b.expose("dawdle", lambda: threading.Event().wait(0.3))
    for _ in range(3):
        b.call("pid")
        with pytest.raises(bridge.CallTimeout):
            b.call("ask", ["dawdle"], timeout=0.1)
    b.call("pid")
    with pytest.raises(bridge.CallTimeout):
        asyncio.run(b.aio.call("ask", ["dawdle"], timeout=0.1))


def test_an_error_of_a_callback_can_leave_the_handler(patient: Bridge) -> None:
    """Then it is a RemoteError of its call, with the function's own error named."""
    patient.expose("fail", lambda: dict[str, int]()["key"])
    with pytest.raises(bridge.RemoteError, match="KeyError: 'key'"):
        patient.call("ask_raw", ["fail"])


def test_a_caller_that_leaves_in_a_callback_frees_the_worker(patient: Bridge) -> None:
    """What isn't an Exception, as Ctrl-C, is for the caller: the handler, which waits for its answer, is cancelled
    there. Fails when `hear_answer` doesn't look for a cancel."""

    def leave() -> None:
        raise KeyboardInterrupt

    pid = patient.call("pid")
    patient.expose("leave", leave)
    with pytest.raises(KeyboardInterrupt):
        patient.call("ask", ["leave"])
    assert (patient.call("pid"), patient.call("state")[1]) == (pid, ["Cancelled"])


def test_a_stream_can_ask_too(connect: Connect) -> None:
    """Between two items. A generator's parameters are filled as any method's."""
    b = connect(f"{HANDLERS.parent / 'asking_handlers.py'}:Asking")
    b.expose("next_after", lambda value: value + 1)
    assert list(b.stream("climb", [3])) == [1, 2, 3]
