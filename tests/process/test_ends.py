"""Closing a bridge, in whatever state it is: in bounded time, everybody is told, and nobody is left."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

import bridge
from bridge import Bridge, BridgeError
from tests.process.conftest import Connect
from tests.process.endings import SLACK, offspring, timed_close
from tests.process.rogue import Rogue
from tests.process.waiting import held_open, is_gone, wait_until

pytestmark = pytest.mark.usefixtures("note_children")


def in_thread(b: Bridge, command: str, caught: list[BridgeError], args: list[str] | None = None) -> threading.Thread:
    """Call without a limit, in a thread, and keep the error."""

    def call() -> None:
        try:
            b.call(command, args, timeout=None)
        except BridgeError as error:
            caught.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


def test_closing_while_workers_start_is_bounded(connect: Connect, rough: str) -> None:
    """A start that never ends isn't waited for. Fails when `Fleet.close` leaves starting members alone."""
    b = connect(f"{rough}:NeverReady", size=2)
    caught: list[BridgeError] = []
    caller = in_thread(b, "anything", caught)
    wait_until(lambda: len(offspring()) >= 2, what="two starts")
    timed_close(b, 60, within=30)
    caller.join(20)

    assert [type(error) for error in caught] == [bridge.PoolClosed]


def test_closing_during_a_call_that_never_ends_is_bounded(connect: Connect, rough: str, tmp_path: Path) -> None:
    """The call gets an error when the time is up. Fails when `close` waits for leases."""
    os.mkfifo(tmp_path / "fifo")
    b = connect(f"{rough}:Rough")
    caught: list[BridgeError] = []
    caller = in_thread(b, "read_fifo", caught, [str(tmp_path / "fifo")])
    with held_open(tmp_path / "fifo"):  # now it is under way, and won't end
        timed_close(b, 0.2)
        caller.join(10)

    assert [type(error) for error in caught] == [bridge.CallCancelled]


def test_closing_lets_a_running_call_finish(connect: Connect, rough: str, tmp_path: Path) -> None:
    """What ends in time gets its answer. Fails when `close` kills at once."""
    os.mkfifo(tmp_path / "fifo")
    b = connect(f"{rough}:Rough")
    answers: list[object] = []
    caller = threading.Thread(daemon=True, target=lambda: answers.append(b.call("read_fifo", [str(tmp_path / "fifo")])))
    caller.start()
    with held_open(tmp_path / "fifo") as fifo:
        closer = threading.Thread(daemon=True, target=b.close, args=(20,))
        closer.start()
        wait_until(lambda: b.stats().state == "closing", what="the close")
        with pytest.raises(bridge.PoolClosed):
            b.call("pid")
        os.write(fifo, b"finished")
    caller.join(20)
    closer.join(20)

    assert answers == ["finished"]
    assert not closer.is_alive()


def test_closing_sleeps_while_a_worker_takes_its_leave(connect: Connect, tmp_path: Path) -> None:
    """Waiting costs no processor time. Fails when `await_closed` and the supervisor wake each other."""
    source = "import select\nclass Slow:\n    def on_close(self): select.select([], [], [], 0.15)\n"
    (tmp_path / "slow.py").write_text(source)
    spent = 0.0
    for _ in range(2):  # whether they did depended on who was first
        with connect(f"{tmp_path / 'slow.py'}:Slow") as b:
            spent -= time.process_time()
            timed_close(b, 20)
            spent += time.process_time()

    assert spent < 0.1


def test_closing_a_worker_that_ignores_everything_is_bounded(connect: Connect, handlers: str, rogue: Rogue) -> None:
    """It neither reads STOP nor obeys signals that can be ignored. Fails when neither `close` nor `stop` sets a
    deadline."""
    deaf = "[signal.signal(n, signal.SIG_IGN) for n in (1, 2, 3, 13, 15)]; get_ready()\nwhile True: signal.pause()"
    b = connect(f"{handlers}:Echo", python=rogue.once(deaf))
    with b:
        timed_close(b, 0.2)


def test_closing_a_frozen_worker_is_bounded(connect: Connect, rough: str) -> None:
    """SIGSTOP doesn't stop the end. Fails when the kill isn't SIGKILL."""
    b = connect(f"{rough}:Rough")
    pid = b.call("pid")
    os.kill(pid, signal.SIGSTOP)
    timed_close(b, 0.2)

    assert is_gone(pid)


def test_closing_from_a_frame_that_interrupted_the_pool_returns_at_once(connect: Connect, rough: str) -> None:
    """As a handler of SIGTERM may: the supervisor needs the lock that the interrupted frame holds. Fails (after a
    minute) when `await_closed` doesn't ask whose the lock is."""
    b = connect(f"{rough}:Rough")
    b.call("pid")
    began = time.monotonic()
    with b._source.peek().pool.lock:
        b.close(60)
    assert time.monotonic() - began < SLACK
    timed_close(b, 60, within=SLACK)


def test_closing_twice_and_from_two_threads_is_one_close(connect: Connect, rough: str) -> None:
    """Everybody returns, after the end. Fails when a second close begins anew, or returns before."""
    b = connect(f"{rough}:Rough", size=2)
    b.call("pid")
    states: list[str] = []

    def close() -> None:
        b.close(20)
        states.append(b.stats().state)

    threads = [threading.Thread(daemon=True, target=close) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    b.close(20)

    assert states == ["closed"] * 4
    assert not offspring()
    with pytest.raises(bridge.PoolClosed):
        b.call("pid")


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
