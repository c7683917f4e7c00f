"""Workers that can't start: the reason reaches the caller at once, and nobody ever hangs."""

from __future__ import annotations

import os
import re
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bridge import BridgeError, CircuitOpen, WorkerStartError
from tests.fakes import Haunted
from tests.process.conftest import Connect
from tests.process.rogue import Rogue

AT_ONCE = 15.0
"""Seconds; far below `startup_timeout` and every time-out of a call, far above what a start takes."""


def outcomes(bridge: Any, calls: int) -> list[BridgeError]:
    """What so many calls in a row end in."""
    found: list[BridgeError] = []
    for _ in range(calls):
        with pytest.raises(BridgeError) as caught:
            bridge.call("anything", timeout=20)
        found.append(caught.value)
    return found


deep = partial(pytest.param, marks=pytest.mark.deep)


@pytest.mark.parametrize(
    ("handler", "says", "where"),
    [
        ("no_such_module_anywhere:Handler", "No module named 'no_such_module_anywhere'", "ModuleNotFoundError"),
        deep("math:NoSuchClass", "no attribute 'NoSuchClass'", "AttributeError"),
        deep("{rough}:NoSuchClass", "no attribute 'NoSuchClass'", "AttributeError"),
        ("{rough}:Refuses", "LookupError: no model at this address", "in __init__"),
        deep("{rough}:Exits", "SystemExit: not today", "in __init__"),
        ("{rough}:StartHookFails", "LookupError: no warm-up data", "in on_start"),
    ],
)
def test_a_handler_that_cannot_be_made_is_reported_at_once(
    connect: Connect, rough: str, handler: str, says: str, where: str
) -> None:
    """The first caller gets the worker's own traceback, and so does each later one. Fails when FAILED isn't sent: then
    only the death of the process is reported."""
    b = connect(handler.format(rough=rough), size=2)
    began = time.monotonic()
    first, *others = outcomes(b, 3)

    assert time.monotonic() - began < AT_ONCE
    assert isinstance(first, WorkerStartError)
    assert first.reason == "handler"
    assert says in first.detail
    assert where in first.remote_traceback
    assert all(isinstance(error, (WorkerStartError, CircuitOpen)) and says in str(error) for error in others)
    assert all(error.retryable for error in others)


def test_after_too_many_failed_starts_callers_are_refused_without_waiting(connect: Connect, rough: str) -> None:
    """The breaker is open, and says when it will try again. Fails when `_refuse` doesn't look at the breaker."""
    b = connect(f"{rough}:Refuses", max_restarts=0, backoff=30.0)
    first, second = outcomes(b, 2)

    assert isinstance(first, WorkerStartError)
    assert isinstance(second, CircuitOpen)
    assert 0 < second.retry_in <= 40
    assert b.health().breaker == "open"
    assert not b.health().ok


def test_entering_a_bridge_whose_handler_fails_raises_and_closes_it(connect: Connect, rough: str) -> None:
    """`with` reports the reason, and leaves nothing behind. Fails when `warm` waits for its time-out."""
    began = time.monotonic()
    with pytest.raises(WorkerStartError, match="no model at this address"), connect(f"{rough}:Refuses") as b:
        pytest.fail(f"{b} was entered")

    assert time.monotonic() - began < AT_ONCE


@pytest.mark.parametrize(
    ("python", "reason", "says"),
    [
        ("/no/such/python", "interpreter", "worker.python '/no/such/python': No such file or directory"),
        ("/etc/passwd", "interpreter", "worker.python '/etc/passwd': Permission denied"),
        ("venv:/no/such/venv", "interpreter", "'/no/such/venv/bin/python'"),
        ("/bin/false", "crashed", "exit code 1"),
        ("/bin/cat", "crashed", "exit code 1"),
    ],
)
def test_an_interpreter_that_is_missing_or_none_is_reported_at_once(
    connect: Connect, handlers: str, python: str, reason: str, says: str
) -> None:
    """Every caller gets an answer that names it. Fails when OSErrors of the spawn aren't turned into start errors."""
    b = connect(f"{handlers}:Echo", python=python)
    began = time.monotonic()
    first, *others = outcomes(b, 2)

    assert time.monotonic() - began < AT_ONCE
    assert isinstance(first, WorkerStartError)
    assert first.reason == reason
    assert says in first.detail
    assert all(isinstance(error, (WorkerStartError, CircuitOpen)) for error in others)


def test_what_a_program_that_is_no_interpreter_said_is_in_the_error(connect: Connect, handlers: str) -> None:
    """Its last words explain it. Fails when a failed start doesn't carry the tail of stderr."""
    (error,) = outcomes(connect(f"{handlers}:Echo", python="/bin/cat"), 1)

    assert isinstance(error, WorkerStartError)
    assert re.search("cat: .*option", error.stderr_tail)
    assert error.stderr_tail.strip() in str(error)


def test_an_interpreter_that_never_answers_meets_the_startup_timeout(
    connect: Connect, handlers: str, rogue: Rogue
) -> None:
    """The wait for a worker that never comes is bounded. Fails when `tick` doesn't compare a start's deadline."""
    b = connect(f"{handlers}:Echo", python=rogue.script("exec sleep 600"), startup_timeout=0.2)
    began = time.monotonic()
    (error,) = outcomes(b, 1)

    assert 0.2 <= time.monotonic() - began < AT_ONCE
    assert isinstance(error, WorkerStartError)
    assert error.reason == "timeout"
    assert "not ready after 0.2 s" in error.detail


def test_a_handler_that_never_gets_ready_meets_the_startup_timeout(connect: Connect, rough: str) -> None:
    """So it is for an honest interpreter. Fails when HELLO ends the start's deadline."""
    (error,) = outcomes(connect(f"{rough}:NeverReady", startup_timeout=0.25), 1)

    assert isinstance(error, WorkerStartError)
    assert error.reason == "timeout"


def test_a_working_directory_that_is_missing_is_named(connect: Connect, handlers: str, tmp_path: Path) -> None:
    """The error names the directory, not the interpreter. Fails when `_start_error` doesn't tell them apart."""
    b = connect(f"{handlers}:Echo", cwd=str(tmp_path / "gone"))
    (error,) = outcomes(b, 1)

    assert isinstance(error, WorkerStartError)
    assert error.detail.startswith(f"worker.cwd '{tmp_path / 'gone'}'")


def test_a_start_that_fails_once_costs_no_more_than_one_error(connect: Connect, handlers: str, rogue: Rogue) -> None:
    """The next start is made by itself. Fails when nothing fills the place of a start that failed."""
    b = connect(f"{handlers}:Echo", python=rogue.once("sys.exit('just once')"))
    (error,) = outcomes(b, 1)

    assert isinstance(error, WorkerStartError)
    assert error.reason == "crashed"
    assert "just once" in error.stderr_tail
    assert b.call("echo", [1]) == 1
    assert b.health().breaker == "closed"
    assert b.health().last_error is None


def test_a_variable_that_another_thread_unsets_meanwhile_is_no_failed_start(
    connect: Connect, handlers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment is global; a worker starts with what is left of it. Fails when `_environment` copies it at one
    go: each start is a KeyError then."""
    b = connect(f"{handlers}:Echo", adapter="python_port")
    monkeypatch.setattr("os.environ", unset_while_it_is_read := Haunted(os.environ))

    assert b.call("echo", [1]) == 1
    assert unset_while_it_is_read.seen
