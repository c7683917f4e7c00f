"""`map --resume`: what is done is never done again, what is half written is done again, and inputs aren't mixed up."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bridge.cli import exits, main
from bridge.cli.ledger import Ledger
from bridge.cli.lines import Lines
from bridge.cli.output import UnwritableError
from bridge.cli.stopping import Stop
from tests.facade.mapped import Gates
from tests.facade.terminals import ROOT, Program

HANDLER = f"{Path(__file__).parent / 'mapped.py'}:Mapped"
Run = Callable[..., int]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Maps these numbers to their halves, into the file `out`, in a directory of the test's own."""
    monkeypatch.chdir(tmp_path)
    opened = []

    def mapped(numbers: str, *words: str, command: str = "half") -> int:
        (tmp_path / "in").write_text("".join(f"{number}\n" for number in numbers.split()))
        opened.append(open("in"))  # noqa: SIM115
        monkeypatch.setattr(sys, "stdin", opened[-1])
        return main(["map", HANDLER, command, "--arg", "n", "--size", "1", "--resume", "out", *words])

    yield mapped
    for file in opened:
        file.close()


def called() -> list[str]:
    """What the handler was called for, in all runs."""
    return Path("calls").read_text().split()


def test_a_second_run_does_what_is_left(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Lines that have a result aren't called again; stdout stays free. Fails when it begins at the first line."""
    assert run("2 4") == 0
    assert run("2 4 6") == 0
    assert run("2 4 6") == 0

    assert Path("out").read_text() == "1.0\n2.0\n3.0\n"
    assert called() == ["2", "4", "6"]
    assert capsys.readouterr() == ("", "")


def test_results_that_a_shell_has_kept_can_be_resumed(run: Run) -> None:
    """`> out` leaves no note beside it; its lines count all the same, and a torn one is cut off and done again."""
    Path("out").write_text("1.0\n2.0\n3.")

    assert run("2 4 6") == 0
    assert Path("out").read_text() == "1.0\n2.0\n3.0\n"
    assert called() == ["6"]


def test_a_kill_in_the_middle_loses_nothing_that_was_done(tmp_path: Path) -> None:
    """After kill -9, with half a line in each file, the next run does what isn't there, and the errors stand once."""
    out, errors = tmp_path / "out", tmp_path / "errors"
    (tmp_path / "in").write_text('bad\n1\n2\n')  # fmt: skip
    words = ("map", HANDLER, "gated", "--arg", "n", "--size", "1", "--resume", str(out), "--errors", str(errors))
    environment = {"BRIDGE_WORKER__CWD": str(tmp_path)}
    with Gates(tmp_path) as gates:
        with (tmp_path / "in").open() as stdin, Program(*words, stdin=stdin, env=environment) as program:
            gates.await_begun()
            program.process.kill()
            program.process.wait()
        with out.open("a") as file, errors.open("a") as told:
            file.write("[1, ")
            told.write('{"line": 2, "kind": "CallTimeout"}\n{"line": 3, "k')
        with (tmp_path / "in").open() as stdin, Program(*words, stdin=stdin, env=environment) as program:
            gates.let_through(3)  # one more than there are calls: the dying worker may still take one
            code, _ = program.end()

    assert code == exits.FAULT
    assert out.read_text() == "null\n1\n2\n"
    assert [json.loads(line)["line"] for line in errors.read_text().splitlines()] == [1]


def test_the_exit_code_speaks_for_all_runs(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """A failure of an earlier run counts, though its item isn't called again. Fails when only this run does."""
    assert run("-2 4") == exits.FAULT
    assert run("-2 4 6") == exits.FAULT

    assert called() == ["-2", "4", "6"]
    assert "1 of 3 lines failed" in capsys.readouterr().err


def test_a_failure_is_noted_before_the_line_that_stands_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill right after it doesn't make a success of it. Fails when it waits for the next note."""
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "stdin", None)
    with (
        Ledger(str(out), None, {"command": "x"}, clock=lambda: 0.0) as ledger,
        open(os.devnull) as nothing,
        Stop("test") as stop,
    ):
        assert ledger.catch_up(Lines(nothing.fileno(), stop), lambda _: None)
        ledger.succeed(b"1", "1\n")
        ledger.fail(b"2", "RemoteError", "no", None)
        note = json.loads((tmp_path / "out.resume").read_text())

    assert (note["failed"], note["lines"]) == (1, 1)
    assert out.read_text() == "1\nnull\n"


@pytest.mark.parametrize(
    ("numbers", "words", "command", "told"),
    [
        ("3 4 6", [], "half", "the first 2 lines of the input aren't those whose results are in out"),
        ("2", [], "half", "out has results of 2 lines, and the input ends after 1"),
        ("2 4 6", [], "raw", 'and this run is {"handler": '),
    ],
)
def test_another_input_or_command_is_refused(
    run: Run, capsys: pytest.CaptureFixture[str], numbers: str, words: list[str], command: str, told: str
) -> None:
    """Nothing is called or changed, and the next run with the right one goes on. Fails when the note of the refused run
    takes the place of the old one."""
    run("2 4")
    with open("out", "a") as file:
        file.write("torn")
    before = {name: Path(name).read_bytes() for name in ("out", "out.resume", "calls")}

    assert run(numbers, *words, command=command) == 2
    assert told in capsys.readouterr().err
    assert {name: Path(name).read_bytes() for name in before} == before
    assert run("2 4 6") == 0


def test_whoever_knows_better_removes_the_note(run: Run) -> None:
    """As the message says: without it the number of lines is all that counts."""
    run("2 4")
    Path("out.resume").unlink()

    assert run("3 4 6") == 0
    assert Path("out").read_text() == "1.0\n2.0\n3.0\n"


def test_two_runs_cannot_write_to_one_file(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """The second is refused, at once. Fails without the lock."""
    with open("out", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)

        assert run("2") == 2
    assert "another run is writing to out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("out", "told"),
    [("in", "that is the input itself"), (".", "can't be opened: Is a directory"), ("/dev/null", "no regular file")],
)
def test_a_file_that_can_hold_no_results_is_refused(
    run: Run, capsys: pytest.CaptureFixture[str], out: str, told: str
) -> None:
    """Above all the input, which would be eaten by its own results."""
    assert run("2 4", "--resume", out) == 2
    assert told in capsys.readouterr().err
    assert Path("in").read_text() == "2\n4\n"


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("out", "Dear diary,\n", "line 1 of out is no JSON"),
        ("out.resume", "[]", "out.resume is no note of ours"),
        ("errors", "Dear diary,\n", "errors has other lines than errors of `map`"),
    ],
)
def test_files_of_somebody_else_are_left_alone(
    run: Run, capsys: pytest.CaptureFixture[str], name: str, text: str, told: str
) -> None:
    """A misspelt name doesn't cost a file."""
    Path(name).write_text(text)

    assert run("2 4", "--errors", "errors") == 2
    assert told in capsys.readouterr().err
    assert Path(name).read_text() == text


def test_results_and_errors_cannot_be_one_file(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither would be readable."""
    assert run("2 4", "--errors", "out") == 2
    assert "is named twice" in capsys.readouterr().err


FULL = """
import resource, sys
from bridge.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
sys.exit(main(sys.argv[1:]))
"""
"""A disk that has room for 819 results and one byte of the next."""


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("resume", [True, False])
def test_a_full_disk_says_what_is_done_and_how_to_go_on(tmp_path: Path, resume: bool, unbuffered: str) -> None:
    """One line, and what is said there is true: the same input goes on behind the last whole line. Fails when it isn't
    said; when a stream without a buffer counts a result that it wrote in part; when the last flush of stdout is told in
    place of it."""
    numbers = "".join(f"{number}\n" for number in range(1000, 3000))
    source, out = tmp_path / "in", tmp_path / "out"
    source.write_text(numbers)
    words = ["map", HANDLER, "die", "--arg", "n", "--size", "1"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered}
    with open(source) as stdin, open(os.devnull if resume else out, "w") as stdout:
        done = subprocess.run(
            [sys.executable, "-c", FULL, *words, *(["--resume", str(out)] if resume else [])],
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            env=env,
        )
    name = out if resume else "<stdout>"

    assert done.returncode == exits.UNWRITABLE
    assert done.stderr == (
        f"scoped-bridge: {name} can't be written: File too large; done: 819 lines, failed: 0. To go on: the same "
        f"command and input, with --resume {out}\n"
    )
    with open(source) as stdin:
        subprocess.run([sys.executable, "-m", "bridge", *words, "--resume", str(out)], stdin=stdin, check=True, env=env)
    assert out.read_text() == numbers


def test_what_cannot_be_resumed_says_how_it_could() -> None:
    """/dev/full is no file that keeps results."""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "bridge", "map", HANDLER, "die", "--arg", "n"],
            input="1\n",
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    assert done.returncode == exits.UNWRITABLE
    assert done.stderr == (
        "scoped-bridge: <stdout> can't be written: No space left on device; done: 0 lines, failed: 0. Results in a "
        "file can be resumed: --resume OUT\n"
    )


def test_what_fails_first_is_told_and_a_note_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk the last note fails, too. Fails when that is told in place of it, or when nothing is, at an end
    without another error; and when an empty file lies there afterwards."""

    def refuse(old: str, new: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def run(reader: int, error: Exception | None) -> None:
        with Ledger(str(tmp_path / "out"), None, {}) as ledger, Stop("test") as stop:
            ledger.catch_up(Lines(reader, stop), lambda _: None)
            if error is not None:
                raise error

    monkeypatch.setattr(os, "replace", refuse)
    for error, told in ((UnwritableError("the first"), "^the first$"), (None, "resume can't be written: No space")):
        with open(os.devnull) as empty:
            monkeypatch.setattr(sys, "stdin", empty)
            with pytest.raises(UnwritableError, match=told):
                run(empty.fileno(), error)

    assert [*tmp_path.iterdir()] == [tmp_path / "out"]
