"""Ctrl-C, and other exceptions that come between any two bytecodes of a caller: one traceback, and nothing is lost."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.process.waiting import children_of, held_open, wait_until, wait_until_gone

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "PATH": os.defpath, "PYTHON_COLORS": "0"}  # 3.13 paints its tracebacks
PROMPTLY = 15.0
"""Seconds; tells an end from a hang."""

PARENT = """
import fcntl, os, signal, sys, termios
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may have it ignored
if os.isatty(0):
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # from here on this terminal's Ctrl-C is for our process group
import contextlib, threading
import bridge
with bridge.connect(sys.argv[1], adapter="python_port", size=3, shutdown_timeout=60) as b:
    def another():
        with contextlib.suppress(bridge.BridgeError):
            b.call("read_fifo", [sys.argv[2]], timeout=None)
    threading.Thread(target=another, daemon=True).start()
    b.call("read_fifo", [sys.argv[2]], timeout=None)
"""

DEAF_PARENT = """
import json, os, signal, sys, threading
heard = threading.Event()
signal.signal(signal.SIGINT, lambda *_: heard.set())
import bridge
with bridge.connect(sys.argv[1], adapter="python_port", size=2) as b:
    before = sorted(worker.pid for worker in b.stats().workers)
    answers = []
    caller = threading.Thread(target=lambda: answers.append(b.call("read_fifo", [sys.argv[2]])))
    caller.start()
    heard.wait()
    print(json.dumps("heard"), flush=True)
    caller.join()
    after = sorted(worker.pid for worker in b.stats().workers)
    print(json.dumps([answers, before == after, b.stats().retries]))
"""


@contextlib.contextmanager
def parent_in_a_call(rough: str, fifo: Path, stdio: int) -> Iterator[subprocess.Popen[bytes]]:
    """A program, leader of its own session, that has three workers and waits for an answer of two of them."""
    os.mkfifo(fifo)
    argv = [sys.executable, "-c", PARENT, f"{rough}:Rough", str(fifo)]
    parent = subprocess.Popen(argv, stdin=stdio, stdout=stdio, stderr=stdio, env=ENVIRONMENT, start_new_session=True)
    try:
        with held_open(fifo):
            wait_until(lambda: len(children_of(parent.pid)) == 4, what="three workers and their reaper")
            started = children_of(parent.pid)
            yield parent
        wait_until_gone(started)
    finally:
        parent.kill()
        parent.communicate()


def assert_one_traceback(text: str) -> None:
    """Of the KeyboardInterrupt, and nothing else."""
    assert text.count("Traceback (most recent call last)") == 1, text
    assert text.count("KeyboardInterrupt") == 1, text
    assert text.rstrip().endswith("KeyboardInterrupt"), text


def test_an_interrupt_of_the_callers_group_prints_one_traceback(rough: str, tmp_path: Path) -> None:
    """The parent alone hears it, ends at once, and takes its workers with it. Fails when waiting happens in
    an `except`, or when `__exit__` waits for the calls of other threads."""
    with parent_in_a_call(rough, tmp_path / "fifo", subprocess.PIPE) as parent:
        began = time.monotonic()
        os.killpg(parent.pid, signal.SIGINT)
        _, text = parent.communicate(timeout=30)

        assert time.monotonic() - began < PROMPTLY
    assert parent.returncode == -signal.SIGINT
    assert_one_traceback(text.decode())


def test_ctrl_c_on_a_terminal_prints_one_traceback(rough: str, tmp_path: Path) -> None:
    """The same through a real terminal."""
    master, slave = os.openpty()
    with open(master, "rb+", buffering=0) as terminal, parent_in_a_call(rough, tmp_path / "fifo", slave) as parent:
        os.close(slave)
        began = time.monotonic()
        terminal.write(b"\x03")
        text = b""
        with contextlib.suppress(OSError):  # EIO: how a terminal whose other end is closed says so
            while data := terminal.read(65536):
                text += data
        parent.wait(30)

        assert time.monotonic() - began < PROMPTLY
    assert parent.returncode == -signal.SIGINT
    assert_one_traceback(text.decode().replace("^C", "", 1).replace("\r\n", "\n"))


def test_an_interrupt_that_the_caller_handles_does_not_reach_its_workers(rough: str, tmp_path: Path) -> None:
    """A parent that goes on after Ctrl-C keeps its workers and the call that is under way. Fails when workers share
    its process group."""
    os.mkfifo(tmp_path / "fifo")
    argv = [sys.executable, "-c", DEAF_PARENT, f"{rough}:Rough", str(tmp_path / "fifo")]
    parent = subprocess.Popen(argv, stdout=subprocess.PIPE, env=ENVIRONMENT, start_new_session=True)
    assert parent.stdout is not None
    try:
        with held_open(tmp_path / "fifo") as fifo:
            os.killpg(parent.pid, signal.SIGINT)
            assert json.loads(parent.stdout.readline()) == "heard"
            os.write(fifo, b"undisturbed")
        text, _ = parent.communicate(timeout=30)
    finally:
        parent.kill()
        parent.communicate()

    assert json.loads(text) == [["undisturbed"], True, 0]


def run_hammer(mode: str, signals: int, *, limit: float) -> dict[str, Any]:
    """What tests/process/hammer.py found out."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.process.hammer", mode, str(signals), "1", str(limit)],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=limit + 30,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return {**found, "stderr": done.stderr}


@pytest.mark.parametrize(
    ("mode", "signals"),
    [
        ("inline", 500),
        ("contended", 50),
        ("process", 5),
        pytest.param("inline", 50_000, marks=pytest.mark.deep),
        pytest.param("lease", 50_000, marks=pytest.mark.deep),
        pytest.param("contended", 8_000, marks=pytest.mark.deep),
        pytest.param("mock", 8_000, marks=pytest.mark.deep),
        pytest.param("threads", 5_000, marks=pytest.mark.deep),
        pytest.param("process", 1000, marks=pytest.mark.deep),
        pytest.param("opening", 8_000, marks=pytest.mark.deep),
    ],
)
def test_an_exception_between_any_two_bytecodes_loses_no_worker(mode: str, signals: int) -> None:
    """No worker is lost, no exception is swallowed, each answer is the caller's own, and calls go on. Fails without the
    audit, when a claim or a lease gets a `__del__`, or when a Condition or an Event is entered on a caller's way."""
    found = run_hammer(mode, signals, limit=max(240, 60 + signals / 10))

    assert found == {
        "fired": signals,
        "caught": signals,
        "calls": found["calls"],
        "wrong": [],
        "rivals": [],
        "after": True,
        "state": "closed",
        "stderr": "",
    }


@pytest.mark.parametrize(
    ("mode", "signals"),
    [
        ("calling", 50),
        pytest.param("calling", 8_000, marks=pytest.mark.deep),
        pytest.param("calling-threads", 1000, marks=pytest.mark.deep),
        pytest.param("calling-process", 600, marks=pytest.mark.deep),
    ],
)
def test_a_signal_handler_may_use_the_very_bridge_that_it_interrupts(mode: str, signals: int) -> None:
    """At any moment of a bridge's start and first calls: it gets its answers, or is told that it interrupted the pool;
    neither hangs. Fails when `Runtime.start` takes a plain lock, or when `_wait` doesn't ask `interrupted_here`."""
    found = run_hammer(mode, signals, limit=max(240, 60 + signals / 10))

    assert (found["fired"], found["wrong"], found["after"], found["stderr"]) == (signals, [], True, "")
    assert found["state"] == "closed"
