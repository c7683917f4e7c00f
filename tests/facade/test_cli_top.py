"""`top` on a real pseudo-terminal, which it has to leave as it was, and in a pipe."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import bridge
from bridge.cli import exits
from bridge.cli.top import ENTER, HINT, HOME, LEAVE, _Screen
from tests.facade.terminals import Program, Terminal, resize

SELDOM = "3600"


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Of a socket."""
    return str(tmp_path / "s")


@pytest.fixture
def shop(handlers: str, path: str) -> Iterator[bridge.Bridge]:
    """An application that serves its status there."""
    with opened(handlers, path) as b:
        b.call("echo", [1])
        yield b


def opened(handlers: str, path: str, size: int = 1) -> bridge.Bridge:
    """A bridge without processes."""
    return bridge.connect(f"{handlers}:Echo", adapter="bridge_mock", size=size, name="shop", status_socket=path)


class Kept:
    """The program's end of its terminal, held open to look at it when the program has gone."""

    def __init__(self, program: Program) -> None:
        self._fd = os.open(program.terminal, os.O_RDWR | os.O_NOCTTY)

    def mode(self) -> list[Any]:
        """How the terminal behaves."""
        return termios.tcgetattr(self._fd)

    def __enter__(self) -> Kept:
        return self

    def __exit__(self, *how: object) -> None:
        os.close(self._fd)


@pytest.mark.parametrize("way", ["q", "\x03", "TERM"])
@pytest.mark.usefixtures("shop")
def test_however_it_ends_the_terminal_is_as_it_was(path: str, way: str) -> None:
    """Screen, cursor and mode, after q, Ctrl-C and a signal. Fails when only the orderly end gives them back."""
    with Program("top", path, "--interval", SELDOM) as program, Kept(program) as terminal:
        before = terminal.mode()
        shown = program.await_text(HINT)
        during = terminal.mode()
        if way == "TERM":
            program.process.send_signal(signal.SIGTERM)
        else:
            program.press(way)
        program.await_text(LEAVE)
        code = program.process.wait()
        after = terminal.mode()

    assert code == {"q": exits.OK, "\x03": exits.INTERRUPTED, "TERM": 128 + signal.SIGTERM}[way]
    assert shown.startswith(ENTER)
    assert f"shop on bridge_mock, process {os.getpid()}: open" in shown
    assert "calls     1, -/s" in shown
    assert during[3] & (termios.ICANON | termios.ECHO) == 0
    assert after == before


def test_whoever_listened_to_signals_listens_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """For those who call `main` in a process of their own. Fails when the handlers stay."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal.stream)
    numbers = (signal.SIGTERM, signal.SIGHUP, signal.SIGWINCH)
    before = [signal.getsignal(number) for number in numbers]
    with _Screen():
        during = [signal.getsignal(number) for number in numbers]

    assert [signal.getsignal(number) for number in numbers] == before
    assert not set(map(id, during)) & set(map(id, before))
    assert terminal.shown() == ENTER + LEAVE


@pytest.mark.usefixtures("shop")
def test_keys_that_mean_nothing_do_nothing(path: str) -> None:
    """And Ctrl-Z, which would leave the shell with a screen that isn't its own, is no key that means anything."""
    with Program("top", path, "--interval", SELDOM) as program:
        program.await_text(HINT)
        program.press("x\x1a\x1cq")
        code, shown = program.end()

    assert code == 0
    assert shown.endswith(LEAVE)


@pytest.mark.usefixtures("shop")
def test_another_size_is_drawn_at_once(path: str) -> None:
    """No line wraps, and none is left of the larger one. Fails when the next look is waited for."""
    with Program("top", path, "--interval", SELDOM) as program:
        program.await_text(HINT)
        resize(program.screen, 20)
        program.await_text(HINT, times=2)
        program.press("q")
        _, shown = program.end()

    last = shown.rpartition(HOME)[2].removesuffix(LEAVE)
    lines = re.sub(r"\x1b\[[0-9?]*[a-zA-Z]", "", last).replace("\r", "").split("\n")
    assert lines[0] == "shop on bridge_mock"
    assert max(map(len, lines)) == 19
    assert last.endswith("\x1b[K\x1b[J")


def test_more_workers_than_there_is_room_for_are_counted(handlers: str, path: str) -> None:
    """The screen never scrolls. Fails when all lines are drawn."""
    with opened(handlers, path, size=9), Program("top", path, "--interval", SELDOM, rows=12) as program:
        program.await_text(HINT)
        program.press("q")
        _, shown = program.end()

    drawn = shown.rpartition(HOME)[2]
    assert drawn.count("\r\n") == 11
    assert "and 7 more" in drawn


def test_what_changes_is_drawn_in_its_place(shop: bridge.Bridge, path: str) -> None:
    """Each look begins at the first line again, with the calls that were made meanwhile."""
    with Program("top", path, "--interval", "0.1") as program:
        program.await_text("calls     1, ")
        shop.call("echo", [2])
        program.await_text("calls     2, ")
        program.press("q")
        code, shown = program.end()

    assert code == 0
    assert shown.count(ENTER) == 1
    assert shown.count(HOME) >= 2


def test_the_end_of_the_application_is_told_and_its_successor_shown(handlers: str, path: str) -> None:
    """On a terminal somebody is watching: the last state stays beside the trouble. Fails when it ends."""
    with Program("top", path, "--interval", "0.1", columns=300) as program:
        assert program.end()[0] == exits.NOBODY
    with opened(handlers, path) as b, Program("top", path, "--interval", "0.1", columns=300) as program:
        program.await_text(HINT)
        b.close()
        program.await_text(f"no such socket. Is the application running, with status_socket={path}?; {HINT}")
        with opened(handlers, path) as successor:
            successor.call("echo", [1])
            program.await_text("calls     1, ")
            program.press("q")
            assert program.end()[0] == 0


@pytest.mark.usefixtures("shop")
def test_no_color_is_obeyed(path: str) -> None:
    """What draws is left, what colours is not."""
    for variable, coloured in (("", True), ("1", False)):
        with Program("top", path, "--interval", SELDOM, env={"NO_COLOR": variable}) as program:
            program.await_text(HINT)
            program.press("q")
            _, shown = program.end()

        assert ("\x1b[32m" in shown) is coloured
        assert (re.search(r"\x1b\[\d+m", shown) is not None) is coloured


@pytest.mark.parametrize("dumb", [False, True])
@pytest.mark.usefixtures("shop")
def test_in_a_pipe_each_look_is_a_line(path: str, dumb: bool) -> None:
    """Plain, one after the other, until the reader goes away; a dumb terminal gets the same, until Ctrl-C."""
    expected = r"\d\d:\d\d:\d\d shop open  workers 1/1  busy 0  waiting 0  calls 1  calls/s {}  p50 .*  last error -"
    if dumb:
        with Program("top", path, "--interval", "0.1", columns=300, env={"TERM": "dumb"}) as program:
            lines = program.await_text("\r\n", times=2).split("\r\n")
            program.press("\x03")
            code, _ = program.end()
    else:
        with Program("top", path, "--interval", "0.1", stdout=subprocess.PIPE) as program:
            lines = [program.output.readline().decode().rstrip("\n") for _ in range(2)]
            program.output.close()
            code, shown = program.end()

            assert shown == ""
    assert code == (exits.INTERRUPTED if dumb else exits.UNREAD)
    assert re.fullmatch(expected.format("-"), lines[0])
    assert re.fullmatch(expected.format("0"), lines[1])


def test_in_a_pipe_the_end_of_the_application_is_the_end(handlers: str, path: str) -> None:
    """A script doesn't wait for ever."""
    with (
        opened(handlers, path) as b,
        Program("top", path, "--interval", "0.1", stdout=subprocess.PIPE, columns=300) as program,
    ):
        program.output.readline()
        b.close()
        code, shown = program.end()

    assert code == exits.NOBODY
    assert "scoped-bridge: no status of a bridge at" in shown
