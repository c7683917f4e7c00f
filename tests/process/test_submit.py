"""submit with real workers: a cancelled call is stopped, and no end of anything hangs."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import CancelledError, as_completed
from pathlib import Path

import pytest

import bridge
from bridge import Bridge
from tests.process.conftest import Connect
from tests.process.waiting import wait_until

LONG = 20.0


def test_calls_go_on_side_by_side(connect: Connect, handlers: str) -> None:
    """As many as there are workers, and what is left over in their turn. Fails with a crew of one thread."""
    b = connect(f"{handlers}:Echo", size=2)
    slow = b.submit("sleep", [60])
    quick = [b.submit("echo", [number]) for number in range(10)]

    assert sorted(future.result() for future in as_completed(quick, LONG)) == [*range(10)]
    assert slow.running()
    assert slow.cancel()


def test_cancelling_a_call_that_runs_stops_it(echo: Bridge) -> None:
    """The worker is told to stop and, since it does, serves the next one. Fails when `cancel` only drops the result."""
    pid = echo.call("pid")
    future = echo.submit("sleep", [60])
    wait_until(lambda: echo.stats().busy == 1, LONG, "the call")
    started = time.monotonic()

    assert future.cancel()
    with pytest.raises(CancelledError):
        future.result(LONG)
    assert echo.submit("pid", timeout=LONG).result(LONG) == pid
    assert time.monotonic() - started < LONG


def test_a_crash_is_the_outcome_of_its_future_alone(echo: Bridge) -> None:
    """WorkerCrashed, and the next future has a new worker. Fails when the crew's thread dies with it."""
    crashed, after = echo.submit("crash"), echo.submit("echo", [1], timeout=LONG)

    assert isinstance(crashed.exception(LONG), bridge.WorkerCrashed)
    assert after.result(LONG) == 1


def test_a_deadline_counts_from_the_submitting(echo: Bridge) -> None:
    """What waited for most of its time has the rest to run. Fails without `began_at`."""
    echo.call("pid")
    first = echo.submit("sleep", [0.5])
    second = echo.submit("sleep", [60], timeout=1.0)
    started = time.monotonic()

    error = second.exception(LONG)
    assert isinstance(error, bridge.CallTimeout)
    assert time.monotonic() - started < 1.45  # 1.5 at the least, had it begun after the first one
    assert first.result(LONG) == 0.5


SLOW = """
import pathlib, time

class Slow:
    def run(self, mark):
        pathlib.Path(mark).touch()
        time.sleep(60)
"""


def test_closing_ends_all_futures(connect: Connect, tmp_path: Path) -> None:
    """The one that runs is cancelled, those that wait were never sent. Fails when either is left open."""
    (tmp_path / "slow.py").write_text(SLOW)
    mark = tmp_path / "runs"
    b = connect(f"{tmp_path / 'slow.py'}:Slow", size=1)
    running = b.submit("run", [str(mark)])
    wait_until(mark.exists, LONG, "the call")  # lent isn't enough: what its worker hasn't read was never begun
    waiting = b.submit("run", [str(mark)])
    b.close(0)

    assert isinstance(running.exception(LONG), bridge.CallCancelled)
    assert isinstance(waiting.exception(LONG), bridge.PoolClosed)


EXIT = """
import bridge, sys
b = bridge.connect(sys.argv[1], adapter="python_port", size=1, shutdown_timeout=0.2)
b.call("pid")
futures = [b.submit("sleep", [60]) for _ in range(3)]
print("ending", flush=True)
"""


def test_interpreter_exit_waits_for_no_future(handlers: str) -> None:
    """One runs, two wait, and the program ends. Fails when the threads aren't daemons."""
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", EXIT, f"{handlers}:Echo"], capture_output=True, text=True, timeout=50)

    assert (done.returncode, done.stdout, done.stderr) == (0, "ending\n", "")
    assert time.monotonic() - started < 30


FORK = """
import bridge, os, sys
b = bridge.connect(sys.argv[1], adapter="python_port", size=1)
b.call("pid")
future = b.submit("sleep", [0.5])
pid = os.fork()
if pid == 0:
    try:
        future.result(20)
    except bridge.PoolClosed:
        os._exit(0 if b.submit("echo", [1]).result(20) == 1 and future.cancel() else 1)
    os._exit(2)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), future.result(20))
b.close()
"""


def test_a_forked_child_does_not_wait_for_its_parents_futures(handlers: str) -> None:
    """PoolClosed there, where it can submit its own; and the parent's goes on. Fails without the pid in a future."""
    command = [sys.executable, "-W", "ignore", "-c", FORK, f"{handlers}:Echo"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)

    assert (done.returncode, done.stdout, done.stderr) == (0, "0 0.5\n", "")


def test_a_served_handler_has_futures_too(handlers: str) -> None:
    """On bridge_mock, by the same crew. Fails when a future needs a process."""
    with bridge.connect(f"{handlers}:Echo", adapter="bridge_mock", size=1) as b:
        assert b.submit("add", [1, 2], returns=float).result(LONG) == 3.0
