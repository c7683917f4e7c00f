"""Recording real workers: what becomes of a cassette when a worker, or the program, ends too early or forks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import bridge
from bridge.cassette import UNFINISHED, read
from tests.process import recorded_handlers

HANDLER = f"{recorded_handlers.__file__}:Worker"
ROOT = Path(__file__).parents[2]
PROGRAM = """
import os, signal, sys
import bridge

handler, cassette, how = sys.argv[1:]
b = bridge.connect(handler, adapter="recording", cassette=cassette, mode="record", size=1)
for number in range(3):
    b.call("echo", [number])
if how == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
"""


def record(path: Path, **options: Any) -> bridge.Bridge:
    """A bridge whose calls are recorded."""
    return bridge.connect(HANDLER, adapter="recording", cassette=path, mode="record", **{"size": 1, **options})


def calls(path: Path | str) -> list[tuple[str, Any]]:
    """Command and args of each line."""
    return [(line.exchange["command"], line.exchange["args"]) for line in read(str(path)).lines]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of a cassette."""
    return tmp_path / "c.jsonl"


@pytest.mark.parametrize("how", ["killed", "unclosed"])
def test_a_program_that_ends_too_early_loses_nothing_that_had_ended(how: str, path: Path) -> None:
    """Killed, it leaves it beside the old cassette, which is as it was; one that only forgot to close has recorded.
    Fails when the recording is in memory, or in the cassette's place too early."""
    with record(path) as b:
        b.call("echo", ["old"])
    before = path.read_text()
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, HANDLER, str(path), how],
        env={"PYTHONPATH": str(ROOT), "PATH": os.defpath},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )

    new = [("echo", [number]) for number in range(3)]
    unfinished = Path(f"{path}{UNFINISHED}")
    if how == "killed":
        assert ended.returncode == -signal.SIGKILL
        assert path.read_text() == before
        assert calls(unfinished) == new
        with record(path) as b:  # what a dead program held is nobody's
            b.call("echo", ["again"])
        assert calls(path) == [("echo", ["again"])]
    else:
        assert (ended.returncode, calls(path)) == (0, new), ended.stderr
    assert not unfinished.exists()


def test_a_crash_is_no_answer_and_a_repeated_call_is_one(path: Path, tmp_path: Path) -> None:
    """What its caller got at last is recorded, once. Fails when a call that was sent again is there twice, or a crash
    as if it were an answer."""
    with record(path) as b:
        with pytest.raises(bridge.WorkerCrashed):
            b.call("die")
        assert b.call("die", [str(tmp_path / "marker")], idempotent=True) == "alive"
        assert b.stats().repeats == 1

    assert calls(path) == [("die", [str(tmp_path / "marker")])]


def test_a_cancelled_call_is_no_answer_and_its_worker_is_heard_on(path: Path) -> None:
    """What it says of that goes nowhere. Fails when its error is recorded, or the call behind it is taken for it."""
    with record(path) as b:
        with pytest.raises(bridge.CallTimeout):
            b.call("spin", timeout=0.3)
        assert b.call("echo", [1]) == 1

    assert calls(path) == [("echo", [1])]


def test_long_values_are_heard_whole(path: Path) -> None:
    """Both ways, longer than what goes through memory that both ends have. Fails when a place is recorded in place of
    what lay there."""
    value = bytes(range(256)) * 4096
    with record(path) as b:
        for _ in range(3):
            assert b.call("echo", [value]) == value
            assert b.call("echo", ["x" * 300_000]) == "x" * 300_000
    with bridge.connect(HANDLER, adapter="recording", cassette=path) as b:
        assert b.call("echo", [value]) == value
        assert b.call("echo", ["x" * 300_000]) == "x" * 300_000


def test_threads_that_share_workers_are_recorded_whole(path: Path) -> None:
    """Every call of theirs, and what follows what. Fails when two lines mix, or one gets lost."""
    with record(path, size=2) as b:
        futures = [b.submit("echo", [number]) for number in range(60)]
        assert [future.result() for future in futures] == list(range(60))
        b.call("echo", ["last"])

    assert sorted(args[0] for _, args in calls(path)[:-1]) == list(range(60))
    assert calls(path)[-1] == ("echo", ["last"])


def test_a_forked_child_leaves_the_recording_to_its_parent(path: Path) -> None:
    """It can't record into the same cassette, and is told so; the parent goes on. Fails when both write, or when the
    child's end ends the recording."""
    with record(path, startup_timeout=10) as b:
        b.call("echo", ["before"])
        reader, writer = os.pipe()
        pid = os.fork()
        if not pid:
            said = "nothing"
            try:
                b.call("echo", ["in the child"], timeout=10)
            except BaseException as error:
                said = str(error)
            finally:
                os.write(writer, json.dumps(said).encode())
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as end:
            said = json.loads(end.read())
        os.waitpid(pid, 0)
        b.call("echo", ["after"])

    assert "another recording of" in said
    assert calls(path) == [("echo", ["before"]), ("echo", ["after"])]
