"""Commands that are `async def`: they run on the one loop of their worker, and a cancelled call is a cancelled task."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

import pytest

import bridge
from bridge import Bridge
from tests.house import interpreters
from tests.process.conftest import Connect

HANDLERS: Final = Path(__file__).parent / "async_handlers.py"
HANDLER: Final = f"{HANDLERS}:Async"


@pytest.fixture
def patient(connect: Connect) -> Bridge:
    """One worker, which is killed for a reason only: its grace is long, however busy the machine."""
    b = connect(HANDLER, cancel_grace=30)
    b.call("pid")
    return b


def test_a_coroutine_is_run_to_its_end(patient: Bridge) -> None:
    """What it returns is the result, and tasks that it awaits run beside each other."""
    assert patient.call("both", [[1, "a"]]) == [2, "aa"]


def test_all_calls_and_hooks_of_a_worker_share_one_loop(patient: Bridge) -> None:
    """What `on_start` opened on its loop can be used by each call. Fails when each call gets a loop of its own."""
    assert [patient.call("same_loop") for _ in range(3)] == [True] * 3


def test_what_a_coroutine_raises_is_told_with_its_own_lines_only(patient: Bridge) -> None:
    """A SystemExit is an answer too, and so is a CancelledError that nobody asked for. Fails, by lines of asyncio in
    the traceback and by a worker that ends, when the error leaves the task as an error."""
    with pytest.raises(bridge.RemoteError, match="KeyError") as caught:
        patient.call("fail", ["oh"])
    assert caught.value.remote_traceback.count("  File ") == 1
    with pytest.raises(bridge.RemoteError, match="SystemExit"):
        patient.call("leave", [3])
    with pytest.raises(bridge.RemoteError, match="CancelledError: of its own"):
        patient.call("give_up")
    assert patient.call("both", [[1]]) == [2]


def test_wrong_arguments_of_an_async_command_are_the_callers_fault(patient: Bridge) -> None:
    """As of any other command."""
    with pytest.raises(bridge.CallError, match=r"it takes \(seconds\)") as caught:
        patient.call("nap", {"minutes": 1})
    assert caught.value.kind == "arguments"


def test_a_late_call_is_cancelled_as_a_task(patient: Bridge) -> None:
    """Its `finally` runs, and the same worker takes the next call. Fails when the loop doesn't listen for the frame:
    the worker would be busy for a minute."""
    pid = patient.call("pid")
    with pytest.raises(bridge.CallTimeout):
        patient.call("nap", [60], timeout=0.2)

    assert (patient.call("pid"), patient.call("history")) == (pid, ["cancelled", "finally"])


def test_a_coroutine_that_ends_in_spite_of_its_cancel_ends_the_call(patient: Bridge) -> None:
    """The worker is clean again when it has returned; its late result reaches nobody."""
    pid = patient.call("pid")
    with pytest.raises(bridge.CallTimeout):
        patient.call("refuse", [60], timeout=0.2)

    assert patient.call("both", [[5]]) == [10]
    assert patient.call("pid") == pid


def test_tasks_that_calls_leave_behind_are_cancelled_at_the_end(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """After `on_close`, which runs on the same loop; async generators too. Fails when the loop isn't closed with the
    conversation, and when either of the two is left out there."""
    caplog.set_level(logging.INFO, "bridge.worker")
    with connect(HANDLER) as b:
        b.call("leave_behind")

    said = [record.getMessage() for record in caplog.records if record.name == "bridge.worker"]
    assert said == ["closed on the same loop: True", "left behind: ended", "generator: ended"]


def test_a_handler_without_coroutines_does_not_pay_for_asyncio(connect: Connect, tmp_path: Path) -> None:
    """It isn't imported, which takes 50 ms. Fails when the worker's own files import it at start."""
    file = tmp_path / "blunt.py"
    file.write_text("import sys\n\n\ndef loaded():\n    return 'asyncio' in sys.modules\n")
    assert connect(str(file)).call("loaded") is False


@pytest.mark.deep
@pytest.mark.parametrize("minor", interpreters.EACH)
def test_every_other_python_runs_and_cancels_coroutines(minor: int) -> None:
    """The loop's file is loaded beside the worker's wherever that runs."""
    python = interpreters.need(minor)
    with bridge.connect(HANDLER, adapter="python_port", size=1, python=python, cancel_grace=30) as b:
        pid = b.call("pid")
        assert b.call("both", [[1, 2]]) == [2, 4]
        with pytest.raises(bridge.CallTimeout):
            b.call("nap", [60], timeout=0.5)
        assert (b.call("pid"), b.call("history")) == (pid, ["cancelled", "finally"])
