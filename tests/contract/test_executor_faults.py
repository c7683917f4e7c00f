"""What becomes of calls when their engine is busy, broken, shut down, or answers oddly."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import CancelledError, Executor, Future
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

import bridge
from bridge.adapters.executor import ExecutorAdapter
from bridge.runtime.supervisor import SupervisorPolicy
from bridge.wire import CODEC_JSON, HEADER, READY, RESULT, SHARED, pack
from tests.contract import engines
from tests.contract.conftest import OpenBridge
from tests.contract.engines import HANDLER, Counted, opened
from tests.process.waiting import wait_until, wait_until_gone

# -- Time --------------------------------------------------------------------------------------------------


def test_a_place_is_taken_until_the_engine_has_done_its_call(threads: Counted, tmp_path: Path) -> None:
    """The caller is free at its deadline; the next call isn't begun before the first has ended, though the engine has
    threads for it. Fails when the place is lent again at once: each timeout would take one more of those; or when one
    that wasn't begun isn't told from one that runs on."""
    go = tmp_path / "go"
    with opened(threads) as b:
        with pytest.raises(bridge.CallTimeout, match="The adapter executor can't stop it, so it may run on") as late:
            b.call("until", [str(go)], timeout=0.1)
        assert (late.value.retryable, late.value.adapter) == (False, "executor")
        taken = threads.taken
        with pytest.raises(bridge.CallTimeout, match=r"was not begun within its 0\.100 s, and") as held:
            b.call("keep", timeout=0.1)
        with pytest.raises(bridge.CallTimeout) as awaited:
            asyncio.run(b.aio.call("keep", timeout=0.1))
        assert [held.value.retryable, awaited.value.retryable] == [True, True]
        later = b.submit("keep")
        with pytest.raises(futures.TimeoutError):  # its own class on Python 3.10
            later.result(0.1)
        assert threads.taken == taken
        go.touch()
        # 1: the call that wasn't begun at its deadline never was.
        assert later.result(10) == 1


def test_a_call_that_has_not_begun_never_does(tmp_path: Path) -> None:
    """Its job is cancelled, at its deadline and by its caller. Fails when the engine runs it later all the same."""
    go = tmp_path / "go"
    with Counted(1) as executor:
        other = executor.submit(engines.Worker().until, str(go))
        b = opened(executor)
        with pytest.raises(bridge.CallTimeout) as caught:  # no start is awaited in a loop
            asyncio.run(b.aio.call("keep", timeout=0.1))
        assert caught.value.retryable
        go.touch()
        other.result()
        assert b.call("keep") == 1
        b.close()


def test_an_engine_without_a_free_process_is_a_start_that_takes_too_long(tmp_path: Path) -> None:
    """It is said so, after one `startup_timeout` for all of the pool, and a later call finds the handler that was made
    meanwhile. Fails when each start asks for one, and waits, anew."""
    go = tmp_path / "go"
    waits: list[float] = []

    class Watched(Counted):
        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            future = super().submit(fn, *args, **kwargs)
            result = future.result

            def watched(timeout: float | None = None) -> Any:
                waits.extend([timeout] if timeout else [])
                return result(timeout)

            future.result = watched  # type: ignore[method-assign]
            return future

    with Watched(1) as executor:
        other = executor.submit(engines.Worker().until, str(go))
        taken = executor.taken
        b = opened(executor, 2, startup_timeout=0.2)
        with pytest.raises((bridge.WorkerStartError, bridge.CircuitOpen), match="no handler in time"):
            b.call("keep")
        assert (executor.taken, len(waits)) == (taken + 1, 1)
        go.touch()
        other.result()
        assert b.call("keep") == 1
        b.close()


def test_a_loop_awaits_no_start(threads: Counted) -> None:
    """A handler that can't be made fails the first call there, and doesn't hold up the others before. Fails when `open`
    waits in the loop's thread."""

    async def call() -> str:
        b = bridge.connect("tests.contract.engines:Unmakeable", adapter=ExecutorAdapter(threads))
        with pytest.raises(bridge.WorkerStartError, match="no model") as caught:
            await asyncio.wait_for(b.aio.call("echo"), 10)
        await b.aio.close()
        return caught.value.reason

    assert asyncio.run(call()) == "handler"


# -- Trouble -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("server")
def test_a_pool_that_breaks_is_made_anew() -> None:
    """The call that was out is a WorkerCrashed with the engine's words; the next ones find another executor, where we
    made it. Fails when the broken one is asked again."""
    with bridge.connect(HANDLER, adapter="executor", executor=engines.processes, size=2) as b:
        first = b.call("pid")
        for _ in range(2):
            with pytest.raises(bridge.WorkerCrashed, match="ProcessPoolExecutor said BrokenProcessPool") as caught:
                b.call("crash")
            assert not caught.value.retryable
            assert "Its place is being filled" in str(caught.value)
            assert b.call("pid") != first
        assert b.health().ok
        assert b.stats().crashes == 2


@pytest.mark.usefixtures("server")
def test_a_pool_of_the_callers_that_breaks_stays_so() -> None:
    """Calls are refused at once, in clear words, and `health` says why. Fails when one waits for ever, or is told that
    the place is being filled."""
    with engines.processes() as executor, opened(executor, supervisor={"max_restarts": 1}) as b:
        with pytest.raises(bridge.WorkerCrashed, match="Nothing takes its place, since what broke was handed in"):
            b.call("crash")
        for _ in range(3):
            with pytest.raises((bridge.WorkerStartError, bridge.CircuitOpen), match="hand in another one"):
                b.call("pid", timeout=20)
        assert not b.health().ok


@pytest.mark.usefixtures("server")
def test_a_child_that_a_handler_forked_does_not_stay() -> None:
    """It comes back from the call in a process of the engine's, which it isn't: its parent's is the answer. Fails when
    it goes on there, and waits for jobs that never come."""
    with engines.processes() as executor, opened(executor) as b:
        child = b.call("fork", timeout=20)
        wait_until_gone([child])

        assert b.call("pid") != child


def test_a_handler_that_is_made_anew_has_a_traceback_of_its_own(threads: Counted) -> None:
    """Fails when the look for an idle one is in it."""
    b = bridge.connect("tests.contract.engines:Unmakeable", adapter=ExecutorAdapter(threads), size=1)
    with pytest.raises(bridge.WorkerStartError, match="no model") as caught:
        b.call("echo", timeout=20)
    b.close()

    assert "IndexError" not in caught.value.remote_traceback


def test_an_executor_that_was_shut_down_is_an_error_at_once(threads: Counted) -> None:
    """Before the start and after it. Fails when a call waits for ever."""
    with opened(threads, supervisor={"max_restarts": 1}) as b:
        assert b.call("keep") == 1
        threads.shutdown()
        with pytest.raises((bridge.WorkerStartError, bridge.CircuitOpen), match=r"after shutdown.*hand in another one"):
            b.call("keep", timeout=20)
    with pytest.raises(bridge.WorkerStartError, match="hand in another one"), opened(threads):
        pass


ODD_ANSWERS = [
    *(None, b"", b"x" * 16, "text", pack(RESULT, 1, b"{"), pack(0xB1, 1), pack(READY, 1)),
    HEADER.pack(RESULT, CODEC_JSON, 0, 5, 1) + b"null",
    HEADER.pack(RESULT, CODEC_JSON, SHARED, 4, 1) + b"null",
]


class Odd(Executor):
    """Ends every job but the first in the same way."""

    def __init__(self, value: Any, *, whole: bool = False) -> None:
        self.value, self.jobs, self.whole = value, 0, whole

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """In the caller's own thread."""
        self.jobs += 1
        future: Future[Any] = Future()
        if self.jobs == 1 or self.whole:
            future.set_result(fn(*args, **kwargs))
        elif self.value is RuntimeError:
            raise RuntimeError("no more")
        elif isinstance(self.value, BaseException):
            future.set_exception(self.value)
        elif self.value is Future:
            future.cancel()
            future.set_running_or_notify_cancel()
        else:
            future.set_result(self.value)
        return future


@pytest.mark.parametrize("value", ODD_ANSWERS)
def test_an_answer_that_is_none_of_ours_is_a_protocol_error(value: Any) -> None:
    """Whatever the engine brings back. Fails when it reaches the caller, or stops the bridge."""
    with opened(Odd(value)) as b:
        with pytest.raises(bridge.ProtocolError):
            b.call("keep")
        assert b.health().ok


class Speechless(Exception):
    """Can't say what it is."""

    def __str__(self) -> str:
        raise LookupError


@pytest.mark.parametrize("value", [LookupError("lost"), CancelledError(), KeyboardInterrupt(), Future, Speechless()])
def test_a_job_that_the_engine_loses_is_a_crash(value: Any) -> None:
    """Its words are in the error; the place is filled again. Fails when the caller is left waiting."""
    with opened(Odd(value)) as b:
        with pytest.raises(bridge.WorkerCrashed, match="the executor Odd said"):
            b.call("keep", timeout=20)
        assert b.health().ok


def test_one_of_ours_that_takes_no_more_jobs_is_replaced_and_ended() -> None:
    """No call is lost by it, since none had begun. Fails when the old one is asked again, or left as it is."""
    made: list[Odd] = []
    ended = Event()

    class Tired(Odd):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            if self is made[0]:
                ended.set()

    def make() -> Executor:
        made.append(Tired(None if made else RuntimeError, whole=bool(made)))
        return made[-1]

    with opened(make) as b:
        assert [b.call("keep"), b.call("keep")] == [1, 2]
    assert len(made) == 2
    assert ended.wait(10)


@pytest.mark.thread_unsafe  # an interrupt belongs to the main thread
def test_an_interrupt_of_the_caller_is_no_answer() -> None:
    """An executor that runs jobs where they are submitted runs them in the caller's thread, and a Ctrl-C there is his;
    the place is free again. Fails when it becomes a RemoteError, or when the next call waits for ever."""
    with opened(Odd(None, whole=True)) as b:
        with pytest.raises(KeyboardInterrupt):
            b.call("interrupt")
        assert b.call("keep", timeout=20) == 1


def test_what_makes_no_executor_is_a_failed_start(tmp_path: Path) -> None:
    """In its own words. Fails when they are lost, or when what was entered in vain isn't left."""
    diary = tmp_path / "diary"
    for make, words in [
        (engines.unmade, "making the executor raised LookupError: no cluster there"),
        (dict, "is no executor: it has no submit"),
        (partial(engines.nothing, str(diary)), "7 is no executor"),
    ]:
        b = bridge.connect(HANDLER, adapter=ExecutorAdapter(make), max_restarts=0)
        with pytest.raises(bridge.WorkerStartError, match=words):
            b.__enter__()
        b.close()
    assert diary.read_text() == "left"


def test_what_hangs_instead_of_making_one_is_a_failed_start() -> None:
    """After one `startup_timeout` for all of the pool; what comes later is ended. Fails when each start asks
    for another one, or when a thread of the late one is left."""
    go, asked, ended = Event(), [], Event()

    class Late(Counted):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            super().shutdown(wait, cancel_futures=cancel_futures)
            ended.set()

    def make() -> Executor:
        asked.append(1)
        go.wait()
        return Late(1)

    adapter = ExecutorAdapter(make)
    b = bridge.connect(HANDLER, adapter=adapter, startup_timeout=0.2, max_restarts=0)
    with pytest.raises(bridge.WorkerStartError, match="no executor was made in time"):
        b.__enter__()
    b.close()
    adapter.close()
    go.set()
    assert len(asked) == 1
    assert ended.wait(10)


def test_the_place_of_a_lost_lease_is_filled(open_bridge: OpenBridge, threads: Counted, tmp_path: Path) -> None:
    """Cancelling a lease frees its caller, while the call runs on. Fails when the caller waits for that."""
    b = open_bridge(ExecutorAdapter(threads), HANDLER, size=2, policy=SupervisorPolicy())
    go, ends = tmp_path / "go", []
    lease = b.lease()

    def call() -> None:
        try:
            lease.call("until", [str(go)])
        except bridge.CallCancelled as error:
            ends.append(error)

    thread = Thread(target=call)
    thread.start()
    wait_until(lambda: Path(f"{go}.begun").exists())
    lease.cancel()
    thread.join(10)
    lease.close()

    assert len(ends) == 1
    assert b.call("keep") == 1
    go.touch()
