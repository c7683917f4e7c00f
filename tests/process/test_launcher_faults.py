"""What a launcher does wrong, and what is said of it: by whom, why, and what to try by hand."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

import bridge
from tests.conftest import HANDLERS
from tests.process.conftest import Connect
from tests.process.waiting import read_pid

HANDLER = f"{HANDLERS}:Echo"
FAR = [sys.executable, str(Path(__file__).parent / "far.py")]
SILENT = "sh -c 'exec sleep 60' sh"


def start_error(connect: Connect, **settings: Any) -> bridge.WorkerStartError:
    """Of a bridge that can't start."""
    with pytest.raises(bridge.WorkerStartError) as caught:
        connect(settings.pop("handler", HANDLER), **settings).call("echo", [1], timeout=20)
    return caught.value


@pytest.mark.parametrize(
    "script",
    [
        'exec "$@" </dev/null',
        'exec "$@" <&-',
        'dd bs=1 count=3 of=/dev/null 2>/dev/null; exec "$@"',
        'read line; exec "$@"',
    ],
)
def test_what_keeps_stdin_to_itself_is_told_so(connect: Connect, script: str) -> None:
    """None of it, its beginning or a line. Fails when the interpreter's NameError is all that is told."""
    launcher = shlex.join(["sh", "-c", script, "sh"])
    error = start_error(connect, launcher=launcher, python=sys.executable)

    assert f"its launcher `{launcher}` ended before a worker spoke: exit code 1; it didn't pass on" in str(error)
    assert f"`echo hello | {launcher} cat` has to print hello" in error.detail
    assert "Traceback" not in str(error)


def test_what_passes_on_only_a_part_of_stdin_is_told_so(connect: Connect) -> None:
    """By the line that was still read. Fails when that blames the caller, who is there."""
    error = start_error(connect, launcher="sh -c 'head -n 1 | \"$@\"' sh", python=sys.executable)

    assert "stdin ended before the worker was there: does the launcher pass all of it on?" in str(error)


def test_what_returns_at_once_is_told_to_stay(connect: Connect) -> None:
    """Fails when only its exit code is told."""
    error = start_error(connect, launcher="setsid -f", python=sys.executable)

    assert "its launcher `setsid -f` ended before a worker spoke: exit code 0; it has to stay" in error.detail


def test_what_hangs_is_told_to_have_started_nothing(connect: Connect) -> None:
    """With what it printed, and what to try. Fails when the handler is told to load less."""
    error = start_error(connect, launcher=SILENT, startup_timeout=0.5)
    assert error.reason == "timeout"
    assert error.detail == (
        f"its launcher `{SILENT}` printed nothing within 0.5 s, and started no worker. Does it wait for a password, or "
        "for a host that doesn't answer? If it only is slow, raise `startup_timeout`. Try it by hand: "
        f"`{SILENT} python3 -V` has to print the version of a CPython from 3.8 on"
    )

    error = start_error(connect, launcher="sh -c 'echo Password:; exec sleep 60'", startup_timeout=0.5)
    assert "printed what is below within 0.5 s" in error.detail
    assert str(error).endswith("Password:")


def test_an_interpreter_that_was_not_named_is_tried_by_hand_behind_its_launcher(connect: Connect) -> None:
    """Of a host, too, which is named. Fails when the hint leaves out the launcher, or needs a `python`."""
    hosts = [{"name": "b", "launcher": "sh -c 'exit 127'", "size": 1}]
    error = start_error(connect, hosts=hosts)

    assert error.host == "b"
    assert str(error).startswith(f"no worker for {HANDLER!r} could start on host 'b' (crashed): its launcher")
    assert "Try it by hand: `sh -c 'exit 127' python3 -V` has to print" in error.detail


def test_a_launcher_of_a_host_that_is_missing_names_the_host(connect: Connect) -> None:
    """Nothing was started. Fails when a start that the system refuses has no host."""
    assert start_error(connect, hosts=[{"name": "b", "launcher": "no-such-launcher", "size": 1}]).host == "b"


def test_a_breaker_names_the_host_that_failed_last(connect: Connect) -> None:
    """As does `health()`. Fails when the last error is told without its host."""
    hosts = [{"name": "b", "launcher": "sh -c 'exit 3'", "size": 1}]
    b = connect(HANDLER, hosts=hosts, max_restarts=0, backoff=30)
    with pytest.raises(bridge.WorkerStartError):
        b.call("echo")
    with pytest.raises(bridge.CircuitOpen, match=r": crashed on host 'b': its launcher"):
        b.call("echo")

    assert (b.health().last_error or "").startswith("crashed on host 'b': ")


def test_a_handler_that_was_not_sent_is_told_of_ship(connect: Connect, tmp_path: Path) -> None:
    """Or what it imports. Fails when all that is said is that there is no such module: here there is."""
    file = tmp_path / "shop.py"
    file.write_text("import no_such_module_there\n")
    for handler in (str(file), "no_such_module_there:X", "/no/such/file.py:X"):
        assert "name it in worker.ship" in start_error(connect, handler=handler, launcher="nice").detail
    assert "worker.ship" not in start_error(connect, handler=str(file)).detail


def test_a_directory_that_is_not_there_is_the_interpreters_fault(connect: Connect) -> None:
    """As here: no other start is tried. Fails when it is the handler's."""
    error = start_error(connect, launcher="nice", cwd="/no/such/folder")

    assert (error.reason, error.final) == ("interpreter", True)
    assert error.detail.startswith(
        "worker.cwd '/no/such/folder': No such file or directory. Name one that exists there"
    )


def test_a_launcher_that_is_killed_is_what_died(connect: Connect, tmp_path: Path) -> None:
    """And the worker's memory isn't blamed. Fails when its signal is taken for the worker's."""
    nest = f"{Path(__file__).parent / 'nest_handlers.py'}:Nest"
    b = connect(nest, launcher=FAR, python=sys.executable, options={"folder": str(tmp_path)})
    b.call("idle")
    (tmp_path / "state").unlink()
    future = b.submit("spin")
    read_pid(tmp_path / "state")
    (worker,) = b.stats().workers
    assert worker.launcher_pid is not None
    os.kill(worker.launcher_pid, signal.SIGKILL)
    with pytest.raises(bridge.WorkerCrashed) as caught:
        future.result(20)

    assert (caught.value.launcher, caught.value.signal_name) == (shlex.join(FAR), "SIGKILL")
    assert f"its connection was cut, since the launcher, `{shlex.join(FAR)}`, was killed by SIGKILL" in str(
        caught.value
    )
    assert "memory" not in str(caught.value)


def test_a_launcher_that_became_the_worker_dies_as_that(connect: Connect) -> None:
    """`nice` does. Fails when each signal is the connection's."""
    b = connect(HANDLER, launcher="nice", python=sys.executable)
    with pytest.raises(bridge.WorkerCrashed, match=r"died during 'crash': killed by SIGKILL. If nobody") as caught:
        b.call("crash")

    assert caught.value.launcher == ""


def test_crashes_and_time_outs_name_the_host(connect: Connect) -> None:
    """In the text, too. Fails when an error only has a number of a process somewhere."""
    b = connect(HANDLER, hosts=[{"name": "b", "launcher": "nice", "size": 1}], python=sys.executable, cancel_grace=20)
    with pytest.raises(bridge.WorkerCrashed, match=r"the worker \(pid \d+ on host 'b'\) died") as crashed:
        b.call("crash")
    with pytest.raises(bridge.CallTimeout, match=r"Its worker \(pid \d+ on host 'b'\)") as late:
        b.call("sleep", [60], timeout=0.2)

    assert (crashed.value.host, late.value.host) == ("b", "b")
