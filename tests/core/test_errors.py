"""Errors as data: each can be copied, sent to another process, and branched on."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from copy import copy, deepcopy

import pytest

import bridge
from bridge import errors
from bridge.endings import signal_name
from bridge.errors import BridgeError

CASES: dict[str, tuple[Callable[[], BridgeError], bool]] = {
    "BridgeError": (lambda: errors.BridgeError("text"), False),
    "CallCancelled": (lambda: errors.CallCancelled("run", pid=7), False),
    "CallError": (lambda: errors.CallError("arguments", "no", command="run", side="caller"), False),
    "SessionLost": (lambda: errors.SessionLost("k", pid=7, why="it was closed"), True),
    "CallTimeout": (lambda: errors.CallTimeout("run", 1.5, pid=None), False),
    "CapabilityError": (lambda: errors.CapabilityError("text"), False),
    "CircuitOpen": (lambda: errors.CircuitOpen("n", last_error="handler: no", retry_in=2.0), True),
    "ConfigurationError": (lambda: errors.ConfigurationError("text"), False),
    "PoisonCall": (lambda: errors.PoisonCall("run", deaths=2, how="exit code 3"), False),
    "PoolClosed": (lambda: errors.PoolClosed("n"), True),
    "PoolError": (lambda: errors.PoolError("text"), True),
    "PoolOverloaded": (lambda: errors.PoolOverloaded("n", queued=3, limit=2), True),
    "PoolTimeout": (lambda: errors.PoolTimeout(1.0, queued=3, workers=4, starting=1, name="n"), True),
    "ProtocolError": (lambda: errors.ProtocolError("odd", pid=7), False),
    "RemoteError": (lambda: errors.RemoteError("m.E", "no", command="run", remote_traceback="T"), False),
    "ScopeClosedError": (lambda: errors.ScopeClosedError("with_adapter('mock')"), False),
    "ScopeError": (lambda: errors.ScopeError("text"), False),
    "UnscopedAccessError": (lambda: errors.UnscopedAccessError("Thread-1", name="n", why="it is so"), False),
    "UnexpectedCall": (lambda: errors.UnexpectedCall("run", answered=("walk",)), False),
    "WorkerCrashed": (lambda: errors.WorkerCrashed(pid=7, exit_code=3, signal=None, command="run"), False),
    "WorkerError": (lambda: errors.WorkerError("text"), False),
    "WorkerStartError": (lambda: errors.WorkerStartError("crashed", "why", handler="m:H", stderr_tail="t"), True),
}
"""How to make one of each, and whether its call was certainly not started."""


def test_every_error_is_looked_at_here() -> None:
    """A new class can't be forgotten."""
    assert sorted(CASES) == errors.__all__


@pytest.mark.parametrize("name", CASES)
def test_an_error_survives_the_way_to_another_process(name: str) -> None:
    """Copied, deeply copied or pickled: same class, message, fields. Fails when `__reduce__` goes."""
    make, retryable = CASES[name]
    error = make()
    error.add_note("seen") if hasattr(error, "add_note") else None

    for twin in (copy(error), deepcopy(error), *(pickle.loads(pickle.dumps(error, n)) for n in range(6))):
        assert type(twin) is type(error)
        assert str(twin) == str(error)
        assert twin.args == error.args
        assert vars(twin) == vars(error)
        assert twin.retryable is retryable
    assert error.retryable is retryable


@pytest.mark.parametrize("name", CASES)
def test_an_error_belongs_to_the_package(name: str) -> None:
    """It shows as `bridge.X`, is found there, derives from the one base, and says what it means."""
    kind = getattr(errors, name)

    assert getattr(bridge, name) is kind
    assert (kind.__module__, kind.__qualname__) == ("bridge", name)
    assert issubclass(kind, BridgeError)
    assert (kind.__doc__ or "").strip()


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("ConfigurationError", ValueError),
        ("PoolTimeout", TimeoutError),
        ("CallTimeout", TimeoutError),
        ("CallError", TypeError),
    ],
)
def test_an_error_is_also_the_builtin_that_callers_know(name: str, builtin: type[Exception]) -> None:
    """`except TimeoutError` and its like work, and show our message alone."""
    error = CASES[name][0]()

    assert isinstance(error, builtin)
    assert str(error) == error.args[0]


def test_an_unknown_name_is_no_error_of_ours() -> None:
    """The lazy module is as strict as another one."""
    with pytest.raises(AttributeError, match="has no attribute 'PoolExploded'"):
        _ = bridge.PoolExploded


def test_an_unexpected_call_names_the_ways_to_answer_it() -> None:
    """A table, `answer` and a fake handler; it is a CallError, and says what the mock does answer."""
    error = errors.UnexpectedCall("run", answered=("walk", "sit"))

    assert "MockAdapter({'run': ...})" in str(error)
    assert "mock.answer('run', ...)" in str(error)
    assert "worker.fake=" in str(error)
    assert "only for: walk, sit." in str(error)
    assert (error.kind, error.side, error.command) == ("command", "caller", "run")


def test_a_crash_says_how_the_worker_ended() -> None:
    """A signal by name, else the exit code, else that nobody knows; it is retryable if it certainly never started."""
    killed = errors.WorkerCrashed(pid=7, exit_code=None, signal=9, command="run", stderr_tail="last words\n")
    left = errors.WorkerCrashed(pid=7, exit_code=3, signal=None, command="run", started=False)
    unknown = errors.WorkerCrashed(pid=None, exit_code=None, signal=None, command="run")

    assert "killed by SIGKILL. If nobody killed it, it was possibly out of memory." in str(killed)
    assert str(killed).endswith("stderr:\nlast words")
    assert (killed.signal_name, killed.retryable, killed.started) == ("SIGKILL", False, True)
    assert "exit code 3." in str(left)
    assert "out of memory" not in str(left)
    assert (left.signal_name, left.retryable, left.started) == (None, True, False)
    assert "status is unknown" in str(unknown)


def test_a_crash_gives_its_reason_where_one_is_known() -> None:
    """Then nothing is guessed, and handlers can branch on it. Fails when the guess is made all the same."""
    starved = errors.WorkerCrashed(pid=7, exit_code=None, signal=9, command="run", out_of_memory=True)
    spent = errors.WorkerCrashed(pid=7, exit_code=None, signal=9, command="run", why="it had used up its time")

    assert "killed by SIGKILL, out of memory: its cgroup counted an oom_kill." in str(starved)
    assert (starved.out_of_memory, starved.why) == (True, "")
    assert "killed by SIGKILL; it had used up its time." in str(spent)
    assert (spent.out_of_memory, spent.why) == (False, "it had used up its time")
    assert "possibly" not in str(starved) + str(spent)


def test_a_remote_error_shows_the_workers_traceback_if_there_is_one() -> None:
    """The message alone otherwise."""
    bare = errors.RemoteError("m.E", "no", command="run")
    traced = errors.RemoteError("m.E", "no", command="run", remote_traceback="T\n")

    assert str(bare) == "'run' raised m.E: no"
    assert str(traced) == "'run' raised m.E: no\n\nIn the worker:\nT"


def test_a_signal_without_a_name_is_its_number() -> None:
    """Real-time signals have none."""
    assert signal_name(11) == "SIGSEGV"
    assert signal_name(63) == "signal 63"
    assert signal_name(None) is None


def test_a_pool_timeout_says_why_nobody_came_free() -> None:
    """Busy workers and workers that aren't there yet have different cures."""
    busy = errors.PoolTimeout(1.0, queued=2, workers=4, starting=0, name="n")
    absent = errors.PoolTimeout(1.0, queued=2, workers=0, starting=3, name="n")

    assert "all 4 workers are busy, 2 other callers wait" in str(busy)
    assert "max_overflow" in str(busy)
    assert "no worker is ready yet (3 starting)" in str(absent)
    assert "longer timeout" in str(absent)


def test_a_cancelled_call_says_whether_it_ran() -> None:
    """Not every worker has a pid. Fails when only those that have one count as running it."""
    before, during = errors.CallCancelled("run", pid=None), errors.CallCancelled("run", pid=7)
    on_a_thread = errors.CallCancelled("run", pid=None, started=True)

    assert ("while its worker ran it" in str(on_a_thread), on_a_thread.retryable) == (True, False)
    assert ("before it was sent" in str(before), before.retryable) == (True, True)
    assert ("while its worker (pid 7) ran it" in str(during), during.retryable) == (True, False)


def test_a_failed_start_shows_the_best_that_is_known() -> None:
    """The handler's own traceback, else the end of stderr; a broken handler or interpreter is final."""
    traced = errors.WorkerStartError("handler", "no", handler="m:H", remote_traceback="T\n", stderr_tail="tail")
    tailed = errors.WorkerStartError("timeout", "late", handler="m:H", stderr_tail="tail\n")

    assert str(traced) == "no worker for 'm:H' could start (handler): no\n\nIn the worker:\nT"
    assert str(tailed).endswith("(timeout): late\n\nThe last it wrote to stderr:\ntail")
    assert [errors.WorkerStartError(r, "", handler="h").final for r in ("handler", "interpreter", "spawn")] == [
        True,
        True,
        False,
    ]
    assert not tailed.final
