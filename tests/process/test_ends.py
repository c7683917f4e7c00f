"""Ends in states that are hard to end from: nothing hangs, and everybody is told. (More of them: test_leaks.py.)"""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

import bridge
from tests.process.conftest import Connect
from tests.process.test_leaks import SLACK, timed_close
from tests.process.waiting import wait_until


def test_closing_while_starts_are_paused_is_bounded(connect: Connect, rough: str) -> None:
    """The pause after a failed start, and an open breaker, aren't waited for. Fails when `_post` doesn't wake the
    supervisor, which sleeps until then."""
    b = connect(f"{rough}:Refuses", max_restarts=0, backoff=30)
    with pytest.raises(bridge.WorkerStartError):
        b.call("pid")
    assert b.health().breaker == "open"

    timed_close(b, 0.2)


def test_closing_refuses_all_who_wait(connect: Connect, rough: str) -> None:
    """At once, though the worker is lent to somebody who keeps it. Fails when `Pool.close` leaves the queue alone."""
    b = connect(f"{rough}:Rough")
    outcomes: list[object] = []

    def wait() -> None:
        try:
            outcomes.append(b.call("pid", timeout=None))
        except bridge.BridgeError as error:
            outcomes.append(type(error))

    lease = b.lease()
    waiters = [threading.Thread(target=wait, daemon=True) for _ in range(8)]
    for waiter in waiters:
        waiter.start()
    wait_until(lambda: b.stats().waiting == 8, what="a full queue")
    timed_close(b, 0.2)
    for waiter in waiters:
        waiter.join(SLACK)

    assert outcomes == [bridge.PoolClosed] * 8
    lease.close()


@pytest.mark.thread_unsafe  # signal handlers belong to the process
def test_closing_from_a_signal_handler_ends_the_call_that_it_interrupted(
    connect: Connect, rough: str, tmp_path: Path
) -> None:
    """As SIGTERM's may do: the handler returns, the call under way ends in CallCancelled. Fails when `await_closed`
    waits there without a bound, or `close` leaves the call to its time-out."""
    b = connect(f"{rough}:Rough")
    os.mkfifo(tmp_path / "fifo")
    b.call("pid")

    def end() -> None:
        wait_until(lambda: b.stats().busy == 1, what="the call")
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, lambda *_: b.close(0.2))
    ender = threading.Thread(target=end)
    began = time.monotonic()
    try:
        ender.start()
        with pytest.raises(bridge.CallCancelled, match="closed"):
            b.call("read_fifo", [str(tmp_path / "fifo")], timeout=None)
    finally:
        ender.join()
        signal.signal(signal.SIGUSR1, before)

    assert time.monotonic() - began < SLACK
    timed_close(b, 0.2)


def test_a_worker_that_is_told_to_end_runs_its_exit_hooks(connect: Connect, tmp_path: Path) -> None:
    """Which is how coverage.py and profilers write down what they saw; after `on_close`. Fails when the worker leaves
    by `os._exit`, or is killed though it ends in time."""
    diary = tmp_path / "diary"
    (tmp_path / "measured.py").write_text(
        "import atexit\n"
        "def note(text):\n"
        f"    with open({str(diary)!r}, 'a') as file: print(text, file=file)\n"
        "atexit.register(note, 'exit hook')\n"
        "class Measured:\n"
        "    def ping(self): return 1\n"
        "    def on_close(self): note('on_close')\n"
    )
    with connect(f"{tmp_path / 'measured.py'}:Measured") as b:
        assert b.call("ping") == 1

    assert diary.read_text().split("\n") == ["on_close", "exit hook", ""]
