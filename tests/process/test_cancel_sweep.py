"""A call is cancelled by another thread just before the k-th line that it runs of ours, for every k.

The tracer counts the lines of check-out, send, wait and check-in that the calling thread runs inside the package, and
has the call cancelled before one of them. Each call has one outcome; what comes after it gets its own answers.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import bridge
from bridge import Bridge, CallCancelled, CallTimeout
from bridge.runtime import calls
from bridge.runtime.claims import Claim
from tests.conftest import HANDLERS
from tests.process.conftest import Connect
from tests.process.waiting import wait_until

OURS = str(Path(bridge.__file__).parent)
LIMIT = 0.1
"""Seconds; of a call that never ends, and of an answer that is late."""
MOST_LINES = 600
Cancel = Callable[[], None]
Act = tuple[Callable[[], object], Cancel]


class Line:
    """Whether it was reached, and when."""

    reached_at: float | None = None

    def __init__(self, count: int, then: Cancel) -> None:
        self._left, self._then = count, then

    def _trace(self, frame: FrameType, event: str, arg: Any) -> Any:
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        if event == "line":
            if self._left == 0:
                self.reached_at = time.monotonic()
                other = threading.Thread(target=self._then, daemon=True)
                other.start()
                other.join(10)
                assert not other.is_alive(), "a cancel waits for the thread whose call it ends"
            self._left -= 1
        return self._trace

    def run(self, act: Callable[[], object]) -> object:
        """Run something until that line and on."""
        before = sys.gettrace()
        sys.settrace(self._trace)
        try:
            return act()
        finally:
            sys.settrace(before)


@contextlib.contextmanager
def untraced() -> Iterator[None]:
    """Lines that count for nothing."""
    before = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(before)


class Giving(Claim):
    """Gives a lease back when it is queued and about to sleep, so that it is its turn."""

    def __init__(self, lease: bridge.Lease) -> None:
        super().__init__()
        self._lease = lease

    def sleep(self, seconds: float) -> bool:
        """As ever, after that."""
        with untraced():
            self._lease.close()
        return super().sleep(seconds)


# -- What is cancelled: each answers with its argument --------------------------------------------------------


def call_of(b: Bridge, command: str, args: list[Any], claim: Claim, timeout: float = 20) -> Act:
    runtime = b._source.runtime()
    return lambda: calls.call(runtime, command, args, timeout, claim), lambda: runtime.pool.cancel(claim)


def a_call(b: Bridge, value: Any) -> Act:
    return call_of(b, "echo", [value], Claim())


def a_large_call(b: Bridge, value: Any) -> Act:
    act, cancel = call_of(b, "echo", [[value, "x" * 200_000]], Claim())
    return lambda: act()[0], cancel  # type: ignore[index]


def a_queued_call(b: Bridge, value: Any) -> Act:
    lease = b.lease()
    act, cancel = call_of(b, "echo", [value], Giving(lease))

    def and_back() -> object:
        try:
            return act()
        finally:
            with untraced():
                lease.close()

    return and_back, cancel


def a_lease(b: Bridge, value: Any) -> Act:
    lease = b.lease()

    def act() -> object:
        try:
            return lease.call("echo", [value])
        finally:
            with contextlib.suppress(CallCancelled):  # its `on_reset` was what was cancelled
                lease.close()

    return act, lease.cancel


def a_call_without_end(b: Bridge, value: Any) -> Act:
    return call_of(b, "sleep", [LIMIT * 2], Claim(), timeout=LIMIT)


SCENES = (a_call, a_large_call, a_queued_call, a_lease, a_call_without_end)


def sweep(b: Bridge, scene: Callable[[Bridge, Any], Act], step: int = 1) -> Counter[str]:
    """Outcomes of calls that were cancelled before each step-th of their lines, until one comes through untouched."""
    found: Counter[str] = Counter()
    size = b.stats().size
    for count in range(0, MOST_LINES, step):
        act, cancel = scene(b, count)
        line, began = Line(count, cancel), time.monotonic()
        try:
            assert line.run(act) == count
            outcome = "answered"
        except CallCancelled:
            outcome = "cancelled"
        except CallTimeout:
            outcome = "late"
        found[outcome] += 1
        reached = line.reached_at
        if outcome == "late":
            assert reached is None or reached - began >= LIMIT, f"a cancel before line {count} was lost"
        assert [b.call("echo", [f"{count} {i}"], timeout=10) for i in range(2)] == [f"{count} 0", f"{count} 1"]
        wait_until(lambda: b.stats().idle == size, 10, f"full size of {b} after a cancel before line {count}")
        if reached is None or outcome == "late":
            assert outcome != "cancelled"
            return found
    raise AssertionError("it never came through")


@pytest.fixture
def mock() -> bridge.MockAdapter:
    """Answers at once, but for what never ends."""
    mock = bridge.MockAdapter({"echo": lambda value: value, "sleep": None})
    mock.timeout("sleep")
    return mock


@pytest.mark.parametrize("scene", [a_call, a_queued_call, a_lease, a_call_without_end], ids=lambda f: str(f.__name__))
def test_a_cancel_before_any_line_loses_nothing_without_descriptors(
    connect: Connect, mock: bridge.MockAdapter, scene: Callable[[Bridge, Any], Act]
) -> None:
    """One outcome, the next calls' own answers, full size. Fails when `SubmitLink.call` doesn't look whether it was
    cancelled before it had its bell: a call that hung, hung on until its deadline."""
    found = sweep(connect(f"{HANDLERS}:Echo", adapter=mock), scene)

    assert found["cancelled"] > 10
    assert found["late" if scene is a_call_without_end else "answered"] >= 1


def test_a_cancel_before_any_line_ends_the_wait_for_a_late_answer(connect: Connect, mock: bridge.MockAdapter) -> None:
    """Whatever it meets, a cancelled call doesn't wait for it. Fails when `_is_cut_short` doesn't look whether the call
    was cancelled: its ring may have been lost in that of the reply."""
    with connect(f"{HANDLERS}:Echo", adapter=mock) as b:
        for count in range(MOST_LINES):
            mock.delay("echo", LIMIT)
            act, cancel = a_call(b, count)
            line, began = Line(count, cancel), time.monotonic()
            with contextlib.suppress(CallCancelled):
                line.run(act)
                assert line.reached_at is None or line.reached_at - began >= LIMIT, f"lost before line {count}"
                break
            mock.mend("echo")
            assert b.call("echo", [-1], timeout=10) == -1


@pytest.mark.parametrize(
    ("adapter", "scene", "step"),
    [
        pytest.param(adapter, scene, step, id=f"{adapter}-{scene.__name__}-{step}", marks=mark)
        for adapter in ("bridge_mock", "python_port")
        for scene in SCENES
        for step, mark in ([(1, [])] if scene is a_call else [(1, [pytest.mark.deep]), (20, [])])
        if step == 1 or scene in (a_queued_call, a_lease)
    ],
)
def test_a_cancel_before_any_line_loses_no_worker(
    connect: Connect, adapter: str, scene: Callable[[Bridge, Any], Act], step: int
) -> None:
    """The same on descriptors; a process keeps its place, and its state, whatever moment it was. Fails when `call`
    doesn't look at the claim between check-out and send; when the alarm isn't watched, or not left for the call that it
    was rung for; when `checkin` lends a worker whose answer is still to come."""
    with connect(f"{HANDLERS}:Echo", adapter=adapter, cancel_grace=5) as b:
        found = sweep(b, scene, step)

        assert found["cancelled"] > 0  # before it was sent for certain; later it may be answered first
        if adapter == "python_port":
            # Half a request can't be followed by anything, and who wasn't reset can't be lent.
            assert b.stats().restarts == 0 or scene in (a_large_call, a_lease)


@pytest.mark.parametrize("adapter", ["mock", "bridge_mock", "python_port"])
def test_a_cancel_that_comes_too_late_for_the_call_is_not_for_the_reset(connect: Connect, adapter: str) -> None:
    """The call was answered: its worker is reset, and lent again. Fails when `close` leaves the lease cancelled: it
    raised CallCancelled in place of the answer, and cost the worker."""
    with connect(f"{HANDLERS}:Echo", adapter=adapter, fake=f"{HANDLERS}:Echo") as b:
        with b.lease() as lease:
            assert lease.call("counted") == 1
            lease.cancel()

        assert b.call("counted") == 1
        assert b.stats().restarts == 0
