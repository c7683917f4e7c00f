"""`map` on the command line: one line of output for each line of input, whatever becomes of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bridge.cli import exits, main
from bridge.cli.ledger import Ledger
from bridge.cli.lines import Lines
from bridge.cli.map import MOST_BAD, Options, Work
from bridge.cli.rate import Rate
from bridge.cli.stopping import SAID, Stop
from tests.facade.mapped import Gates
from tests.facade.terminals import ROOT, Program

HANDLER = f"{Path(__file__).parent / 'mapped.py'}:Mapped"

Map = Callable[..., int]


@pytest.fixture
def feed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], None]]:
    """Makes a file of these bytes stdin, in a directory of the test's own."""
    monkeypatch.chdir(tmp_path)
    opened = []

    def give(data: bytes) -> None:
        (tmp_path / "in").write_bytes(data)
        opened.append(open("in"))  # noqa: SIM115
        monkeypatch.setattr(sys, "stdin", opened[-1])

    yield give
    for file in opened:
        file.close()


def test_results_come_in_the_order_of_the_lines(feed: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """One JSON line each, and nothing on stderr in a pipe; the last line may lack its end."""
    feed("\n".join(map(str, range(500))).encode())

    assert main(["map", HANDLER, "half", "--arg", "n", "--size", "2"]) == 0
    out, err = capsys.readouterr()
    assert [*map(json.loads, out.splitlines())] == [n / 2 for n in range(500)]
    assert err == ""


def test_without_arg_a_line_is_the_arguments_of_its_call(feed: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """An object goes by keyword, an array by position."""
    feed(b'{"n": 4}\n[6]\n')

    assert main(["map", HANDLER, "half"]) == 0
    assert capsys.readouterr().out == "2.0\n3.0\n"


def test_a_failed_item_keeps_its_place(feed: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """null stands for it, and the file of errors says what it was: bad lines, an error of the handler's, a result that
    isn't JSON. Fails when a bad line ends the job, or overtakes the results before it."""
    feed(b"4\nnonsense\n\n-1\n\xff\n" + b"[" * 100_000 + b"\n6\n")

    assert main(["map", HANDLER, "half", "--arg", "n", "--errors", "errors"]) == exits.FAULT
    out, err = capsys.readouterr()
    assert out == "2.0\nnull\nnull\nnull\nnull\nnull\n3.0\n"
    assert err == "scoped-bridge: 5 of 7 lines failed; see errors\n"
    told = [*map(json.loads, Path("errors").read_text().splitlines())]
    assert [(error["line"], error["kind"]) for error in told] == [
        (2, "BadLine"),
        (3, "BadLine"),
        (4, "RemoteError"),
        (5, "BadLine"),
        (6, "BadLine"),
    ]
    assert told[2]["message"] == "ValueError: -1 is negative"
    assert "in half" in told[2]["traceback"]
    assert told[0]["message"].startswith("'nonsense' is not JSON: ")
    assert told[0]["traceback"] is None


def test_a_plain_value_without_arg_is_an_error_of_its_line(feed: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """It names the option that was forgotten; the first few are told where no file takes them."""
    feed(b"4\n[4]\n5\n6\n7\n")

    assert main(["map", HANDLER, "half"]) == exits.FAULT
    out, err = capsys.readouterr()
    assert out == "null\n2.0\nnull\nnull\nnull\n"
    assert err.splitlines() == [
        *(f"line {n}: BadLine: '{v}' is neither an object nor an array: plain values need --arg NAME"
          for n, v in ((1, 4), (3, 5), (4, 6))),
        "scoped-bridge: 4 of 5 lines failed; --errors F.jsonl keeps what each of them said",
    ]  # fmt: skip


def test_a_result_that_is_no_json_is_an_error_of_its_item(feed: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """bytes come back, but can't be printed; a result that is null is none. Fails by a traceback of ours."""
    feed(b"3\n0\n")

    assert main(["map", HANDLER, "raw", "--arg", "n", "--errors", "errors"]) == exits.FAULT
    assert capsys.readouterr().out == "null\nnull\n"
    (told,) = map(json.loads, Path("errors").read_text().splitlines())
    assert (told["line"], told["kind"]) == (1, "CallError")
    assert "bytes" in told["message"]


def test_a_call_whose_result_is_no_json_is_told_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    """`call` as well. Fails by a traceback of ours."""
    assert main(["call", HANDLER, "raw", "[3]"]) == 3
    assert "the result can't be printed as JSON" in capsys.readouterr().err


def test_a_worker_that_dies_costs_the_items_it_may_have_begun(feed: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Each that isn't known to be done is named; with --idempotent only the one to blame fails."""
    feed(b"1\n2\n3\n")

    assert main(["map", HANDLER, "die", "--arg", "n", "--size", "1", "--idempotent", "--errors", "errors"]) == 1
    assert capsys.readouterr().out == "1\nnull\n3\n"
    (told,) = map(json.loads, Path("errors").read_text().splitlines())
    assert (told["line"], told["kind"]) == (2, "WorkerCrashed")


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ([HANDLER, "nothing"], 3, "'nothing': the handler has no such command"),
        (["no_such_module_anywhere", "x"], 7, "ModuleNotFoundError"),
        (["no/such/file.py:X", "x"], 2, "there is no file"),
        ([HANDLER, "half", "--size", "0"], 2, "pool.size"),
        ([HANDLER, "half", "--errors", "no/such/folder/errors"], 2, "can't be opened"),
        ([HANDLER, "half", "--errors", "in"], 2, "that is the input itself"),
    ],
)
def test_what_would_hit_every_item_ends_the_job(
    feed: Any, capsys: pytest.CaptureFixture[str], words: list[str], code: int, told: str
) -> None:
    """A misspelt command isn't a million errors, and the input isn't overwritten: one paragraph, one code."""
    feed(b"[1]\n[2]\n")

    assert main(["map", *words]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert told in err
    assert Path("in").read_bytes() == b"[1]\n[2]\n"


def test_an_empty_input_starts_no_worker(feed: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing to do is no error, not even for a handler that isn't there."""
    feed(b"")

    assert main(["map", "no_such_module_anywhere", "x"]) == 0
    assert capsys.readouterr() == ("", "")


def test_an_input_that_cannot_be_read_is_told_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder, and no stdin at all."""
    monkeypatch.chdir(tmp_path)
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(fileno=lambda: folder, isatty=lambda: False))
        assert main(["map", HANDLER, "half"]) == 2
    finally:
        os.close(folder)
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["map", HANDLER, "half"]) == 2

    folder_told, closed_told = capsys.readouterr().err.splitlines()
    assert "stdin can't be read: Is a directory" in folder_told
    assert "stdin is closed" in closed_told


def test_whoever_feeds_it_line_by_line_gets_its_answers_so() -> None:
    """A program that waits for each result before it says the next line. Hangs when lines are waited for while results
    are there."""
    with subprocess.Popen(
        [sys.executable, "-m", "bridge", "map", "math", "sqrt", "--size", "2"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        for number in range(1, 5):
            program.stdin.write(b"[%d]\n" % number**2)
            program.stdin.flush()
            assert program.stdout.readline() == b"%d.0\n" % number
        program.stdin.close()
        assert program.wait() == 0


def test_a_reader_that_went_away_ends_the_map() -> None:
    """As in `... | head -1`: 141, and silently. Fails when it is taken for an error of an item."""
    with subprocess.Popen(
        [sys.executable, "-m", "bridge", "map", "math", "sqrt"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        assert program.stderr is not None
        program.stdin.write(b"[4]\n")
        program.stdin.flush()
        assert program.stdout.readline() == b"2.0\n"
        program.stdout.close()
        program.stdin.write(b"[9]\n")
        program.stdin.close()

        assert program.stderr.read() == b""
        assert program.wait() == exits.UNREAD


class Lazy:
    """A bridge whose map takes all items before it gives a result, as no real one does."""

    def __init__(self, look: Callable[[], object]) -> None:
        self._look = look

    def map(self, command: str, items: Iterator[Any], **how: Any) -> Iterator[Any]:
        """Look after each item."""
        taken = 0
        for _ in items:
            taken += 1
            self._look()
        self._look()
        yield from [None] * taken


def test_bad_lines_do_not_pile_up_behind_a_slow_call(feed: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A million of them stay a thousand in memory. Fails without MOST_BAD."""
    feed(b"[1]\n" + b"bad\n" * (3 * MOST_BAD) + b"[2]\n")
    most = 0
    with Stop("test") as stop, Ledger(None, None, {}) as ledger:
        lines = Lines(sys.stdin.fileno(), stop)
        options = Options(HANDLER, "half", None, None, None, None, None, None, False)
        work = Work(options, lines, ledger, Rate(None, "", None), stop)

        def look() -> None:
            nonlocal most
            most = max(most, len(work._ahead))

        bridge: Any = Lazy(look)
        while not lines.ended:
            work._run_some(bridge)

    assert most == 1 + MOST_BAD
    assert (ledger.done, ledger.failed) == (2 + 3 * MOST_BAD, 3 * MOST_BAD)
    assert capsys.readouterr().out == "null\n" * ledger.done


def test_a_terminal_gets_a_bar_and_says_what_is_waited_for(tmp_path: Path) -> None:
    """Share, lines, rate and time left, on one line; where the results go to the terminal too there is no bar."""
    (tmp_path / "in").write_text("[4]\n[9]\n")
    with (
        (tmp_path / "in").open() as stdin,
        (tmp_path / "out").open("w") as stdout,
        Program("map", "math", "sqrt", stdin=stdin, stdout=stdout) as program,
    ):
        code, shown = program.end()
    with Program("map", "math", "sqrt") as typing:
        typing.await_text("reading items from the terminal")
        typing.press("[16]\n\x04")
        typed = typing.end()

    assert (code, (tmp_path / "out").read_text()) == (0, "2.0\n3.0\n")
    assert "] 100%  2 lines  " in shown.rpartition("\r[")[2]
    assert "ETA 0:00" in shown
    assert typed[0] == 0
    assert "4.0" in typed[1]
    assert "lines" not in typed[1].rpartition("ends them")[2]


@pytest.mark.parametrize("again", [False, True])
def test_ctrl_c_lets_what_is_in_flight_end_and_the_second_one_does_not(tmp_path: Path, again: bool) -> None:
    """What runs and what is ready to follow it are finished, no more is begun, and it is said how to go on. Fails when
    the first one ends the calls, or the second one waits for them."""
    (tmp_path / "in").write_text("1\n2\n3\n4\n5\n6\n7\n8\n9\n")
    environment = {"BRIDGE_WORKER__CWD": str(tmp_path)}
    words = ("map", HANDLER, "gated", "--arg", "n", "--size", "1", "--resume", str(tmp_path / "out"))
    with (
        Gates(tmp_path) as gates,
        (tmp_path / "in").open() as stdin,
        Program(*words, stdin=stdin, env=environment) as program,
    ):
        gates.await_begun()
        program.press("\x03")
        program.await_text(SAID)
        if again:
            program.press("\x03")
        else:
            gates.let_through(9)
        code, shown = program.end()

    done = (tmp_path / "out").read_text().count("\n")
    assert done in ([0] if again else [1, 2])  # whether the second one was taken before Ctrl-C is a race
    assert code == exits.INTERRUPTED
    assert f"interrupted; done: {done} line{'s' * (done != 1)}, failed: 0." in shown
    assert f"with --resume {tmp_path / 'out'}" in "".join(shown.split("\r\n"))
    assert (tmp_path / "out").read_text() == "1\n2\n"[: 2 * done]


def test_ctrl_c_while_it_waits_for_a_line_ends_it(tmp_path: Path) -> None:
    """Nothing is in flight, so there is nothing to wait for. Hangs when only the read is interrupted."""
    with Program("map", "math", "sqrt", stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        program.input.write(b"[4]\n")
        program.input.flush()
        assert program.output.readline() == b"2.0\n"
        program.press("\x03")
        code, shown = program.end()

    assert code == exits.INTERRUPTED
    assert "interrupted; done: 1 line, failed: 0. Results in a file can be resumed: --resume OUT" in "".join(
        shown.split("\r\n")
    )
