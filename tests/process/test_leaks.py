"""What is left after crashes, closes, drops, exits and forks: nothing, and in bounded time."""

from __future__ import annotations

import gc
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

import bridge
from bridge import Bridge, BridgeError, WorkerCrashed
from tests.process.conftest import Connect
from tests.process.rogue import Rogue
from tests.process.waiting import children_of, held_open, is_gone, wait_until, wait_until_gone

ROOT = Path(__file__).parents[2]
SLACK = 15.0
"""Seconds that `close` may take beyond its timeout: 2 for killed workers to be gone, and some for a busy machine."""


@pytest.fixture(autouse=True)
def _note_children() -> None:
    """What was there before the test isn't the test's."""
    offspring.before = children_of(os.getpid())  # type: ignore[attr-defined]


def offspring() -> set[int]:
    """The processes that this process has started since the test began."""
    return children_of(os.getpid()) - getattr(offspring, "before", set())


def census(b: Bridge) -> tuple[int, int, int]:
    """Open descriptors, threads and children of this process, once the bridge is at rest."""
    reaper_and_workers = b.stats().size + 1
    wait_until(
        lambda: b.stats().idle == b.stats().size and len(offspring()) == reaper_and_workers,
        20,
        what=f"rest of {b}",
    )
    gc.collect()
    return len(os.listdir("/proc/self/fd")), threading.active_count(), len(offspring())


def crash(b: Bridge, times: int) -> None:
    """So many crashes in a row, of every kind in turn; each says how it was, and the breaker stays closed."""
    kinds: list[tuple[str, list[object], object]] = [
        ("say_and_leave", ["", 0], 0),
        ("say_and_leave", ["last words\n", 3], 3),
        ("say_and_crash", ["", int(signal.SIGKILL)], "SIGKILL"),
        ("say_and_crash", ["", int(signal.SIGSEGV)], "SIGSEGV"),
        ("run_out_of_memory", [], "SIGABRT"),
    ]
    for number in range(times):
        command, args, how = kinds[number % len(kinds)]
        with pytest.raises(WorkerCrashed) as caught:
            b.call(command, args, timeout=20)
        assert how in (caught.value.exit_code, caught.value.signal_name)
        assert b.health().breaker == "closed"


@pytest.mark.parametrize("times", [10, pytest.param(1_000, marks=pytest.mark.deep)])
def test_crashes_in_a_row_leave_nothing_and_open_no_breaker(connect: Connect, rough: str, times: int) -> None:
    """As many descriptors, threads and children as before: after exits with 0 and 3 in the middle of a call, SIGKILL,
    SIGSEGV, and native code that finds no memory under RLIMIT_AS. Fails when `_release` forgets one, or when a worker
    that had served counts as a failed start."""
    with connect(f"{rough}:Rough", size=2) as b:
        b.call("pid")
        before = census(b)
        crash(b, times)

        assert census(b) == before
        assert b.stats().crashes == times


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, unlike tmp_path."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.mark.deep
def test_a_normal_user_can_crash_workers_too(open_folder: Path) -> None:
    """Limits that root doesn't have (pipe buffers, processes) aren't met: this very module passes as user nobody."""
    if os.geteuid() != 0:
        pytest.skip("the tests run as a normal user anyway")
    nobody = pwd.getpwnam("nobody")
    home = open_folder
    for name in ("bridge", "adapters", "tests", "pyproject.toml"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, home / name)
    for folder, _, files in os.walk(home):
        for path in (folder, *(os.path.join(folder, file) for file in files)):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
    path = os.pathsep.join([str(home), *filter(None, sys.path)])
    environment = {"PYTHONPATH": path, "HOME": str(home), "TMPDIR": str(home), "PATH": os.defpath}
    as_nobody = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": [], "cwd": home, "env": environment}
    look = [sys.executable, "-c", "import bridge, pytest, pydantic_settings"]
    try:
        subprocess.run(look, capture_output=True, check=True, **as_nobody)  # type: ignore[call-overload]
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"the user nobody can't run this interpreter with its packages: {error}")
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "deep or not deep"]
    tests += ["-k", "crashes_in_a_row", "--basetemp", str(home / "base"), "tests/process/test_leaks.py"]
    done = subprocess.run(tests, capture_output=True, text=True, timeout=600, **as_nobody)  # type: ignore[call-overload]

    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_a_bridge_dropped_unclosed_warns_and_its_workers_go(rough: str) -> None:
    """ResourceWarning, and nothing is left. Fails without `Bridge.__del__`."""
    b = bridge.connect(f"{rough}:Rough", adapter="python_port", size=2)
    b.call("pid")
    wait_until(lambda: len(offspring()) == 3, what="two workers and their reaper")
    started = offspring()
    with pytest.warns(ResourceWarning, match="dropped without close"):
        del b

    wait_until_gone(started)
    wait_until(lambda: not offspring(), what="their reaping")


def test_a_bridge_that_was_never_used_has_nothing_to_close(rough: str) -> None:
    """No thread, no process, no warning. Fails when `connect` starts something."""
    threads, descriptors = set(threading.enumerate()), len(os.listdir("/proc/self/fd"))
    b = bridge.connect(f"{rough}:Rough", adapter="python_port")

    # No more than before: a thread of the test before this one may end meanwhile.
    assert set(threading.enumerate()) <= threads
    assert len(os.listdir("/proc/self/fd")) <= descriptors
    assert not offspring()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del b
        gc.collect()


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


def timed_close(b: Bridge, timeout: float, *, within: float | None = None) -> None:
    """Close, within its bound, and see that nobody is left."""
    started = offspring()
    began = time.monotonic()
    b.close(timeout)

    assert time.monotonic() - began < (timeout + SLACK if within is None else within)
    wait_until_gone(started)
    assert b.stats().state == "closed"
    wait_until(lambda: b.stats().workers == (), what="the end of all workers")


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
    with b._source.peek().pool._lock:
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
