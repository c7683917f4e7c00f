"""What a handler does with descriptors 0, 1 and 2, and that none of it reaches the protocol."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from bridge import Bridge, WorkerCrashed
from tests.process.conftest import Connect
from tests.process.waiting import wait_until


@pytest.fixture
def b(connect: Connect, rough: str) -> Bridge:
    """One worker of the handler Rough."""
    return connect(f"{rough}:Rough")


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Catches what is logged as a worker's output."""
    caplog.set_level(logging.INFO, "bridge.worker")
    return caplog


def said(log: pytest.LogCaptureFixture) -> list[str]:
    """The lines that workers wrote."""
    return [record.getMessage() for record in log.records if record.name == "bridge.worker"]


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("print", "printed"),
        ("write_to_1", "written"),
        ("printf", "printed by C"),
        ("child_echo", "echoed"),
    ],
)
def test_output_of_every_kind_leaves_the_protocol_intact(
    b: Bridge, log: pytest.LogCaptureFixture, command: str, answer: str
) -> None:
    """What Python, a descriptor, C and a child program write to stdout goes where stderr goes. Fails when the worker
    speaks the protocol on 1, or when neither its spawn nor `silence` sees to 1."""
    pid = b.call("pid")

    assert b.call(command, ["out of\nplace\n"]) == answer
    assert b.call(command, ["\u00b9\x01\x00"] if command == "write_to_1" else ["again\n"]) == answer
    assert b.call("pid") == pid
    wait_until(lambda: {"out of", "place"} <= set(said(log)), what="the log")


def test_reading_stdin_meets_its_end_at_once(b: Bridge) -> None:
    """In Python, at the descriptor and in a child program. Fails when neither the spawn nor `silence` sees to 0."""
    assert b.call("read_stdin", timeout=10) == ["", 0, ""]


def test_ten_megabytes_on_stderr_stall_no_call_and_the_tail_is_bounded(b: Bridge) -> None:
    """Somebody always drains; only the last of it is kept. Fails when stderr isn't read, or `_tail` isn't cut."""
    assert b.call("flood_stderr", [10], timeout=30) == "still here"
    with pytest.raises(WorkerCrashed) as caught:
        b.call("say_and_leave", ["last words\n", 1])

    assert caught.value.stderr_tail.endswith("x\nlast words\n")
    assert len(caught.value.stderr_tail) <= 8192


def test_stderr_lines_reach_logging_with_their_worker(b: Bridge, log: pytest.LogCaptureFixture) -> None:
    """Each line is one record of the logger bridge.worker that names bridge and pid; a line without an end comes with
    the worker's. Fails when `drain_stderr` doesn't hand out lines."""
    pid = b.call("pid")
    b.call("complain", ["first line\nsecond line"])
    b.call("complain", ["caf\u00e9"])
    with pytest.raises(WorkerCrashed):
        b.call("say_and_leave", ["without an end", 1])

    wait_until(lambda: "without an end" in said(log), what="the last line")
    assert said(log) == ["first line", "second line", "caf\u00e9", "without an end"]
    (record, *_) = (record for record in log.records if record.name == "bridge.worker")
    assert record.__dict__["worker_pid"] == pid
    assert record.__dict__["bridge"].endswith("rough_handlers.py:Rough")


def test_bytes_that_are_no_text_are_logged_all_the_same(b: Bridge, log: pytest.LogCaptureFixture) -> None:
    """Fails when the tail is decoded strictly."""
    b.call("write_bytes_to_2", ["ff fe 0a"])

    wait_until(lambda: said(log), what="the log")
    assert said(log) == ["\ufffd\ufffd"]
    assert b.call("echo", [1]) == 1


def test_a_sitecustomize_that_prints_does_not_break_the_handshake(
    connect: Connect, rough: str, tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    """Code that runs before our first line can't reach the protocol either. Fails when the protocol's descriptors
    are 0 and 1 at the start."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nprint('printed at start', flush=True)\nos.write(1, b'written at start\\n')\nsys.stdin.read()\n"
    )
    b = connect(f"{rough}:Rough", env={"PYTHONPATH": str(tmp_path)})

    assert b.call("echo", [1]) == 1
    wait_until(lambda: len(said(log)) == 2, what="the log")
    assert said(log) == ["printed at start", "written at start"]


def test_what_a_handler_printed_before_its_crash_is_in_the_report(connect: Connect, rough: str) -> None:
    """print() isn't lost in a buffer. Fails when stdout isn't line-buffered in the worker."""
    b = connect(f"{rough}:Rough", env={"PYTHONUNBUFFERED": ""})
    with pytest.raises(WorkerCrashed, match="printed and gone"):
        b.call("print_and_die", ["printed and gone"])
