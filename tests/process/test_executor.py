"""BridgeExecutor: what concurrent.futures promises, on supervised workers, and what only these can do."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ALL_COMPLETED, CancelledError, as_completed, wait
from pathlib import Path
from typing import Any, Final

import pytest

import bridge
from bridge import BridgeExecutor, CallError, CapabilityError, RemoteError, WorkerCrashed, WorkerStartError
from tests.process import pickle_handlers
from tests.process.conftest import Connect
from tests.process.pickle_handlers import Odd
from tests.process.waiting import children_of, wait_until

LONG: Final = 60

SCRIPT: Final = """\
import sys
from concurrent.futures import wait

from bridge import BridgeExecutor


class Point:
    def __init__(self, x):
        self.x = x


def shift(point):
    return Point(point.x + 1)


def tell(future):
    print("told", future.result().x, flush=True)


if __name__ == "__main__":
    executor = BridgeExecutor(max_workers=1)
    assert executor.submit(shift, Point(1)).result().x == 2
    assert "pydantic" not in sys.modules
    for number in (4, 5):
        executor.submit(shift, Point(number)).add_done_callback(tell)
    {end}
"""

CARELESS: Final = """\
from bridge import BridgeExecutor


def double(value):
    return value * 2


executor = BridgeExecutor(max_workers=1)
future = executor.submit(double, 1)
print(future.exception(), flush=True)
executor.shutdown()
"""


@pytest.fixture(scope="module")
def shared() -> Iterator[BridgeExecutor]:
    """Two workers, for the tests that leave them as they were."""
    before = children_of(os.getpid())
    with BridgeExecutor(max_workers=2) as executor:
        wait([executor.submit(pickle_handlers.pid), executor.submit(pickle_handlers.pid)], LONG)
        wait_until(lambda: len(children_of(os.getpid()) - before) == 3, 20, what="two workers and their reaper")
        yield executor


@pytest.fixture
def executor() -> Iterator[BridgeExecutor]:
    """One worker."""
    with BridgeExecutor(max_workers=1) as executor:
        yield executor
        executor.shutdown(wait=False, cancel_futures=True)


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """Through which `pickle_handlers.wait` says that it runs."""
    os.mkfifo(tmp_path / "started")
    return tmp_path / "started"


def test_a_function_runs_in_another_process(shared: BridgeExecutor) -> None:
    """Any callable, by reference, with all its arguments. Fails when it is run here."""
    assert shared.submit(pickle_handlers.pid).result(LONG) != os.getpid()
    assert shared.submit(pickle_handlers.add, 1, right=2).result(LONG) == 3
    assert shared.submit("a,b".split, ",").result(LONG) == ["a", "b"]


@pytest.mark.parametrize("chunksize", [1, 3])
def test_map_is_in_order(shared: BridgeExecutor, chunksize: int) -> None:
    """Of several iterables, the shortest ends it; in chunks too."""
    assert list(shared.map(pow, range(7), [2] * 6, timeout=LONG, chunksize=chunksize)) == [0, 1, 4, 9, 16, 25]


def test_the_futures_work_with_the_standard_library(shared: BridgeExecutor) -> None:
    """`wait` and `as_completed` take them."""
    futures = [shared.submit(abs, -number) for number in range(4)]
    assert {future.result() for future in as_completed(futures, LONG)} == {0, 1, 2, 3}
    assert wait(futures, LONG, ALL_COMPLETED).not_done == set()


def test_a_future_raises_the_original_exception(shared: BridgeExecutor) -> None:
    """With what the worker saw as its cause. Fails when a RemoteError comes in its place."""
    with pytest.raises(Odd) as caught:
        shared.submit(pickle_handlers.fail, 1, "two").result(LONG)

    assert caught.value.args == (1, "two")
    assert isinstance(caught.value.__cause__, RemoteError)
    assert "raise Odd(*args)" in str(caught.value.__cause__)


@pytest.mark.parametrize(
    ("name", "kept"), [("Shrinking", False), ("Unwilling", True)], ids=["no exception any more", "takes no cause"]
)
def test_an_exception_that_cannot_be_raised_so_is_told_as_text(shared: BridgeExecutor, name: str, kept: bool) -> None:
    """Its future ends, with RemoteError. Fails, by a future that runs for ever, when what was unpickled is taken for an
    exception unseen, or when its class is relied on to take a cause."""
    with pytest.raises(RemoteError, match=name) as caught:
        shared.submit(pickle_handlers.fail_with, name).result(LONG)
    assert (caught.value.original is not None) is kept


@pytest.mark.parametrize("no_function", [5, "name", None])
def test_what_cannot_be_called_is_refused_at_once(shared: BridgeExecutor, no_function: Any) -> None:
    """A TypeError, and no future. Fails when the worker is asked."""
    with pytest.raises(TypeError, match="can't be called"):
        shared.submit(no_function)


def test_what_cannot_be_pickled_is_an_error_of_its_future(shared: BridgeExecutor) -> None:
    """The worker lives on."""
    assert isinstance(shared.submit(lambda: None).exception(LONG), CallError)
    assert isinstance(shared.submit(threading.Lock).exception(LONG), CallError)
    assert shared.submit(pickle_handlers.add, 1).result(LONG) == 1


def test_a_crash_fails_one_future(executor: BridgeExecutor) -> None:
    """Those behind it run on the next worker. Fails when the executor is broken by it."""
    crash, after = executor.submit(pickle_handlers.crash), executor.submit(pickle_handlers.add, 1)
    error = crash.exception(LONG)
    assert isinstance(error, WorkerCrashed)
    assert (error.exit_code, error.command) == (9, "crash")
    assert after.result(LONG) == 1


def test_cancel_stops_what_runs(executor: BridgeExecutor, fifo: Path) -> None:
    """Its worker, which waits for ever, serves the next future. Fails when a running future can't be cancelled."""
    future = executor.submit(pickle_handlers.wait, str(fifo))
    fifo.read_text()
    told: list[bool] = []
    future.add_done_callback(lambda done: told.append(done.cancelled()))

    assert future.cancel()
    assert future.cancelled()
    assert told == [True]
    with pytest.raises(CancelledError):
        future.result()
    assert executor.submit(pickle_handlers.add, 1).result(LONG) == 1
    assert wait([future], LONG).done == {future}


def test_whoever_waits_for_a_future_that_is_cancelled_is_told(executor: BridgeExecutor, fifo: Path) -> None:
    """Though it ran. Fails when `cancel` doesn't tell the waiters."""
    future, told = executor.submit(pickle_handlers.wait, str(fifo)), []
    fifo.read_text()
    thread = threading.Thread(target=lambda: told.append(wait([future], LONG).done))
    thread.start()
    wait_until(lambda: future._waiters)
    assert future.cancel()
    thread.join(20)

    assert told == [{future}]


def test_cancel_of_what_is_over_does_nothing(shared: BridgeExecutor) -> None:
    """It answers False, as in the standard library."""
    future = shared.submit(abs, -1)
    assert future.result(LONG) == 1
    assert not future.cancel()


def test_shutdown_cancels_what_waits_and_ends_the_workers(fifo: Path) -> None:
    """What runs is waited for, in the background if asked. Fails when a future is left without an outcome."""
    executor = BridgeExecutor(max_workers=1)
    running = executor.submit(pickle_handlers.wait, str(fifo))
    waiting = executor.submit(abs, -1)
    fifo.read_text()
    executor.shutdown(wait=False, cancel_futures=True)

    assert waiting.cancelled()
    assert not running.done()
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(abs, -1)
    assert running.cancel()
    executor.shutdown()
    wait_until(
        lambda: not any(each.name == "bridge-executor-end" for each in threading.enumerate()), 20, what="its end"
    )


def test_an_initializer_runs_first_in_each_worker() -> None:
    """In the process that runs the functions, once."""
    with BridgeExecutor(max_workers=1, initializer=os.putenv, initargs=("A", "1")) as executor:
        assert executor.submit(abs, -1).result(LONG) == 1
    with BridgeExecutor(max_workers=1, initializer=pickle_handlers.fail, initargs=("no",)) as executor:
        error = executor.submit(abs, -1).exception(LONG)
    assert isinstance(error, WorkerStartError)
    assert "Odd: no" in str(error)


def test_arguments_are_checked() -> None:
    """As the standard library does it."""
    with pytest.raises(ValueError, match="max_workers must be greater than 0"):
        BridgeExecutor(0)
    with pytest.raises(TypeError, match="initializer must be a callable"):
        BridgeExecutor(initializer=1)  # type: ignore[arg-type]
    with BridgeExecutor(1) as executor, pytest.raises(ValueError, match="chunksize"):
        executor.map(abs, [1], chunksize=0)


@pytest.mark.parametrize("adapter", ["python_port", "bridge_mock"])
def test_a_bridge_has_an_executor_of_its_workers(connect: Connect, adapter: str) -> None:
    """Its shutdown leaves the bridge open."""
    b = connect("tests.process.pickle_handlers:Shapes", codec="pickle", adapter=adapter)
    with b.executor() as executor:
        assert list(executor.map(pickle_handlers.add, [1, 2], chunksize=2)) == [1, 2]
    assert b.call("union", [{1}, set()]) == {1}


def test_a_bridge_that_speaks_json_has_none(connect: Connect) -> None:
    """It says which setting is missing."""
    b = bridge.connect("tests.process.pickle_handlers:Shapes", adapter="bridge_mock")
    with b, b.executor() as executor, pytest.raises(CapabilityError, match="codec='pickle'"):
        executor.submit(abs, -1)


def test_one_that_is_dropped_ends_its_workers() -> None:
    """Without a word, as in the standard library. Fails when the workers live as long as the program."""
    executor = BridgeExecutor(max_workers=1)
    worker = executor.submit(pickle_handlers.pid).result(LONG)
    del executor
    gc.collect()
    wait_until(lambda: not Path(f"/proc/{worker}").exists(), 20, what="the worker's end")


@pytest.mark.parametrize("end", ["pass", "executor.shutdown(wait=False)"])
def test_functions_of_the_main_program_run_and_its_exit_waits_for_them(tmp_path: Path, end: str) -> None:
    """As under multiprocessing's spawn. Fails when a worker doesn't find what a script defines."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.replace("{end}", end))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=LONG)
    assert (done.stdout, done.stderr, done.returncode) == ("told 5\ntold 6\n", "", 0)


def test_a_program_without_a_guard_does_not_start_workers_for_ever(tmp_path: Path) -> None:
    """A worker that imports it is told the cure. Fails, without an end, when each starts workers of its own."""
    script = tmp_path / "careless.py"
    script.write_text(CARELESS)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=LONG)
    assert "below `if __name__ == '__main__':`" in done.stdout
    assert done.returncode == 0
