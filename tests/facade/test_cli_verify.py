"""`verify`: a cassette beside the real handler, for people and for scripts."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import bridge
from bridge.cli import exits, main
from tests.contract.test_recording import record
from tests.facade.terminals import Terminal

SAME = "tests.contract.recorded:Shop"
CHANGED = "tests.contract.recorded:Changed"


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Of a cassette with two calls, one of which the changed handler answers otherwise."""

    def use(b: bridge.Bridge) -> None:
        b.call("greet", {"name": "Ada"})
        b.call("turn")

    path = tmp_path / "c.jsonl"
    record(path, use)
    return str(path)


def shown_on_a_terminal(monkeypatch: pytest.MonkeyPatch, words: Sequence[str]) -> str:
    """What a pseudo-terminal got of a command that found a drift."""
    terminal = Terminal()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", terminal.stream)
        assert main(words) == exits.FAULT
    return terminal.shown()


def test_a_handler_that_answers_the_same_ends_with_0(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line says of how many calls that is known, and no byte of the cassette is changed."""
    before = Path(path).read_bytes()

    assert main(["verify", path, SAME]) == exits.OK
    assert capsys.readouterr() == (f"2 calls answered as {path} says\n", "")
    assert Path(path).read_bytes() == before


def test_what_differs_is_on_stdout_and_ends_with_1(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Once, and plain in a pipe. Fails when the log tells the same on stderr."""
    assert main(["verify", path, CHANGED]) == exits.FAULT
    assert capsys.readouterr() == (
        'line 2: greet {"name": "Ada"}\n'
        '    recorded: result "Hello, Ada"\n'
        '    now:      result "Hi, Ada"\n\n'
        f"1 of 2 calls aren't what {path} says\n",
        "",
    )


@pytest.mark.parametrize(
    ("cassette", "handler", "code", "told"),
    [
        ("no.jsonl", SAME, 2, "ConfigurationError: the cassette .*no.jsonl can't be read: No such file"),
        (".", SAME, 2, "ConfigurationError: the cassette .* can't be read: Is a directory"),
        ("text.txt", SAME, 2, "ConfigurationError: .*text.txt:1: this line is no JSON"),
        ("c.jsonl", "no/such/file.py:Class", 2, "ConfigurationError: handler .*there is no file"),
        ("c.jsonl", "no_such_module_anywhere", 7, "WorkerStartError: .*ModuleNotFoundError"),
    ],
)
def test_a_mistake_is_told_in_words_and_is_no_drift(
    path: str, capsys: pytest.CaptureFixture[str], cassette: str, handler: str, code: int, told: str
) -> None:
    """Nothing is known of the handler then: a script can tell it from one that has changed. No traceback of ours."""
    folder = Path(path).parent
    (folder / "text.txt").write_text("text\n")

    assert main(["verify", str(folder / cassette), handler]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert "bridge/cli" not in err
    assert re.match(f"scoped-bridge: {told}", err)


def test_what_is_redacted_is_said_and_not_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Calls that can't be made are counted apart; results are compared as they were written, by the same key. Fails
    when a green line speaks for calls that nobody made, or when --redact gets lost."""

    def use(b: bridge.Bridge) -> None:
        b.call("login", {"user": "ada", "password": "hunter2"})
        b.call("same", [{"token": 1}])
        b.call("same", [1])

    path = tmp_path / "c.jsonl"
    record(path, use, redact=["password", "token"])
    assert main(["verify", str(path), SAME, "--redact", "password", "--redact", "token"]) == exits.OK
    assert capsys.readouterr().out == (
        f"1 call answered as {path} says; 2 not made, since their arguments are redacted\n"
    )
    record(path, lambda b: b.call("login", {"user": "ada", "password": "x"}), redact=["token"])
    assert main(["verify", str(path), SAME, "--redact", "token"]) == exits.OK
    assert main(["verify", str(path), SAME]) == exits.FAULT


def test_a_call_without_an_answer_is_a_drift(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever the handler does instead, after --timeout it is told, and the calls that follow are made. Lasts a
    minute when --timeout gets lost; fails when the call behind it is passed over, or when it says `1 of 0 calls`."""
    module = tmp_path / "waits.py"
    module.write_text("import threading\n\n\ndef wait():\n    threading.Event().wait()\n\n\ndef one():\n    return 1\n")
    lines = [
        {"cassette": 1},
        {"command": "wait", "args": None, "result": 1},
        {"command": "one", "args": [], "result": 1},
    ]
    path = tmp_path / "c.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    assert main(["verify", str(path), str(module), "--timeout", "0.2"]) == exits.FAULT
    assert capsys.readouterr().out == (
        f"line 2: wait null\n    recorded: result 1\n    now:      no answer\n\n1 of 2 calls aren't what {path} says\n"
    )


def test_it_asks_the_real_handler_whatever_the_shell_says(
    path: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Variables that make tests run on a cassette or a mock, and the socket of an application, are not for it."""
    options = {"cassette": "/no/such", "mode": "replay"}
    for name, value in (
        ("BRIDGE_ADAPTER", "recording"),
        ("BRIDGE_ADAPTER_OPTIONS", json.dumps(options)),
        ("TEST_MODE", "mock_adapter"),
        ("BRIDGE_STATUS_SOCKET", "/no/such/socket"),
    ):
        monkeypatch.setenv(name, value)

    assert main(["verify", path, CHANGED]) == exits.FAULT
    assert "1 of 2 calls" in capsys.readouterr().out


@pytest.mark.parametrize(("variable", "coloured"), [("", True), ("1", False)])
def test_on_a_terminal_both_sides_have_their_colour(
    path: str, monkeypatch: pytest.MonkeyPatch, variable: str, coloured: bool
) -> None:
    """What was is red and what is green, in a diff too; NO_COLOR is obeyed."""
    monkeypatch.setenv("NO_COLOR", variable)
    monkeypatch.setenv("TERM", "xterm")
    recorded = {"command": "same", "args": ["x" * 200], "result": "y" * 200}
    with open(path, "a") as file:
        file.write(json.dumps(recorded) + "\n")
    shown = shown_on_a_terminal(monkeypatch, ["verify", path, CHANGED])

    for colour, text in (
        (1, 'line 2: greet {"name": "Ada"}'),
        (31, '    recorded: result "Hello, Ada"'),
        (32, '    now:      result "Hi, Ada"'),
        (31, f'    -  "result": "{"y" * 200}"'),
        (32, f'    +  "result": "{"x" * 200}"'),
        (31, f"2 of 3 calls aren't what {path} says"),
    ):
        assert (f"\x1b[{colour}m{text}\x1b[0m" in shown) is coloured
    assert '    now:      result "Hi, Ada"\r\n' in re.sub(r"\x1b\[\d+m", "", shown)


def test_no_terminal_obeys_a_cassette(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in the file, or comes from a handler, is shown as text. Fails when C1 controls pass, which JSON lets."""
    monkeypatch.setenv("NO_COLOR", "1")
    with open(path, "a") as file:
        file.write(json.dumps({"command": "same", "args": ["\x9b31m"], "result": "\x7f"}) + "\n")
    shown = shown_on_a_terminal(monkeypatch, ["verify", path, SAME])

    assert "\x9b" not in shown
    assert 'line 4: same ["\\x9b31m"]' in shown
    assert 'recorded: result "\\x7f"' in shown
