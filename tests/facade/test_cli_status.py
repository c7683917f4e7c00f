"""`status`: one reading of a running application's bridge, for people and for scripts."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import bridge
from bridge.cli import exits, main, reading
from tests.facade.terminals import Terminal


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Of a socket."""
    return str(tmp_path / "s")


@contextlib.contextmanager
def serving(path: str, *answers: bytes) -> Iterator[None]:
    """Somebody who gives these answers, one to each who comes; None of them is an answer that ends."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def serve() -> None:
            for answer in answers:
                with listener.accept()[0] as client:
                    client.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join(10)


def document(**stats: Any) -> dict[str, Any]:
    """What an application tells."""
    worker = {"generation": 2, "pid": 4712, "state": "ready", "calls": 7, "age": 61.0, "rss": 12_300_000, "host": None}
    given = {
        "name": "shop",
        "adapter": "python_port",
        "state": "open",
        "size": 2,
        "waiting": 0,
        "calls": 1234,
        "p50": 0.0012,
        "p99": 0.25,
        "restarts": 1,
        "crashes": 1,
        "timeouts": 0,
        "failed_starts": 0,
        "workers": [worker, {**worker, "generation": 10, "state": "busy", "pid": None, "rss": None, "host": "far"}],
    }
    health = {"breaker": "closed", "last_error": None}
    return {"pid": 4711, "at": 1_000_000_000.0, "stats": {**given, **stats}, "health": health}


def test_it_shows_what_the_application_tells(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A few lines for all of it, a row for each worker; plain in a pipe."""
    with serving(path, json.dumps(document()).encode() + b"\n"):
        assert main(["status", path]) == 0

    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines() == [
        "shop on python_port, process 4711: open",
        "workers   2 of 2, 1 busy, 0 callers wait, 12.3 MB",
        "calls     1,234, -/s, p50 1.20 ms, p99 250 ms",
        "failures  crashes 1, timeouts 0, failed starts 0",
        "starts    restarts 1, breaker closed, last error: -",
        "",
        " start       pid  state             calls       age     memory  host",
        "     2      4712  ready                 7    61.0 s    12.3 MB",
        "    10         -  busy                  7    61.0 s          -  far",
    ]


def test_a_real_bridge_is_shown(handlers: str, path: str, capsys: pytest.CaptureFixture[str]) -> None:
    """From its setting to the screen, and as JSON with the names of `stats()` and `health()`."""
    with bridge.connect(f"{handlers}:Echo", adapter="bridge_mock", size=1, name="shop", status_socket=path) as b:
        b.call("echo", [1])
        assert main(["status", path]) == 0
        shown = capsys.readouterr().out
        assert main(["status", path, "--json"]) == 0
        told = json.loads(capsys.readouterr().out)

    assert shown.startswith(f"shop on bridge_mock, process {os.getpid()}: open\nworkers   1 of 1, 0 busy")
    assert (told["pid"], told["stats"]["calls"], told["health"]["ok"]) == (os.getpid(), 1, True)


def test_the_path_may_come_from_the_environment(
    handlers: str, path: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same variable says where the application serves and where its status is asked for; without it one is told."""
    assert main(["status"]) == 2
    assert "BRIDGE_STATUS_SOCKET" in capsys.readouterr().err
    monkeypatch.setenv("BRIDGE_STATUS_SOCKET", path)
    with bridge.connect(f"{handlers}:Echo", adapter="bridge_mock", size=1):
        assert main(["status"]) == 0


def test_other_commands_leave_the_socket_to_the_application(
    handlers: str, path: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the variable is set for the shell, what `call` and `doctor` start doesn't ask for the same path."""
    monkeypatch.setenv("BRIDGE_STATUS_SOCKET", path)
    with bridge.connect(f"{handlers}:Echo", adapter="bridge_mock", size=1):
        assert main(["call", f"{handlers}:Echo", "echo", "[1]"]) == 0
        assert main(["doctor", f"{handlers}:Echo"]) in (exits.OK, exits.FAULT)
    assert "status_socket" not in "".join(capsys.readouterr())


def test_nobody_there_is_one_line_and_a_code_of_its_own(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No such socket, one whose application is dead, what is no socket, one that isn't ours, one that tells something
    else. Fails when a file or a folder is told as an application that has ended."""
    told = []
    assert main(["status", path]) == exits.NOBODY
    told.append(capsys.readouterr().err)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    assert main(["status", path]) == exits.NOBODY
    told.append(capsys.readouterr().err)
    os.unlink(path)
    Path(path).write_text("")
    assert main(["status", path]) == exits.NOBODY
    told.append(capsys.readouterr().err)
    assert main(["status", str(Path(path).parent)]) == exits.NOBODY
    told.append(capsys.readouterr().err)
    assert main(["status", "x" * 200]) == exits.NOBODY
    told.append(capsys.readouterr().err)
    os.unlink(path)
    with serving(path, b"220 mail.example ESMTP\n", b"[]\n", b'{"stats": 1}\n', b""):
        for _ in range(4):
            assert main(["status", path]) == exits.NOBODY
            told.append(capsys.readouterr().err)

    assert [line.count("\n") for line in told] == [1] * 9
    reasons = [
        "no such socket",
        "nobody serves that socket",
        *["that is no socket"] * 2,
        "too long",
        *["something else"] * 4,
    ]
    for line, reason in zip(told, reasons, strict=True):
        assert line.startswith("scoped-bridge: no status of a bridge at ")
        assert reason in line


def test_the_socket_of_another_user_is_told_as_such(
    path: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As whom to ask. Fails when it reads as if nobody were there."""

    def refuse(path: str) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(reading, "_asked", refuse)

    assert main(["status", path]) == exits.NOBODY
    assert "it is another user's. Ask as the user that the application runs as" in capsys.readouterr().err


def test_a_socket_that_too_many_ask_is_asked_until_there_is_room(
    path: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And if there is none in time, its application is stopped, or as good as. Fails when that error is taken for any
    other, or isn't waited for; hangs without PATIENCE."""
    with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as waiting:
        listener.bind(path)
        listener.listen(0)
        ahead = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                client = waiting.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                client.connect(path)
                ahead += 1

        monkeypatch.setattr(reading, "PATIENCE", 0.1)
        assert main(["status", path]) == exits.NOBODY
        assert "Is the application stopped?" in capsys.readouterr().err

        def make_room(_: float) -> None:
            for _ in range(ahead):
                listener.accept()[0].close()
            threading.Thread(target=answer).start()

        def answer() -> None:
            with listener.accept()[0] as asking:
                asking.sendall(json.dumps(document()).encode() + b"\n")

        monkeypatch.setattr(reading, "PATIENCE", 10.0)
        monkeypatch.setattr("bridge.cli.reading.time.sleep", make_room)
        assert main(["status", path]) == exits.OK


def test_an_application_that_does_not_answer_is_not_waited_for(
    path: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have been stopped by a signal. Hangs without PATIENCE."""
    monkeypatch.setattr(reading, "PATIENCE", 0.01)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(path)
        silent.listen()
        assert main(["status", path]) == exits.NOBODY
    assert "no answer within 0.01 s" in capsys.readouterr().err


def test_what_is_missing_or_strange_is_shown_as_text(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Another version has other fields, and what a worker printed may be in the last error: no terminal obeys it."""
    told = document(name="shöp\x1b[31m\nx", calls=None, workers=[{}, 3])
    told["health"] = {"last_error": "crashed: \x1b]0;title\x07", "breaker": "open"}
    with serving(path, json.dumps(told).encode() + b"\n", b'{"stats": {}}\n'):
        assert main(["status", path]) == 0
        assert main(["status", path]) == 0

    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert out.startswith("sh\\xf6p?[31m x on python_port")
    assert "last error: crashed: ?]0;title?" in out
    assert "- on -, process -: -\n" in out


@pytest.mark.parametrize(("variable", "coloured"), [("", True), ("1", False)])
def test_colours_are_for_terminals(path: str, monkeypatch: pytest.MonkeyPatch, variable: str, coloured: bool) -> None:
    """The state, what failed and what waits stand out; NO_COLOR is obeyed."""
    monkeypatch.setenv("NO_COLOR", variable)
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal.stream)
    with serving(path, json.dumps(document()).encode() + b"\n"):
        assert main(["status", path]) == 0
    shown = terminal.shown()

    assert ("\x1b[32mshop on" in shown) is coloured
    assert ("\x1b[33mfailures" in shown) is coloured
    assert re.sub(r"\x1b\[\d+m", "", shown).startswith("shop on python_port, process 4711: open\r\n")


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.00012, "0.12 ms"), (0.25, "250 ms"), (61, "61.0 s"), (600, "10 min"), (20_000, "5.6 h"), (None, "-")],
)
def test_durations_are_short(value: float | None, shown: str) -> None:
    """Three digits and a unit."""
    assert reading.duration(value) == shown


def test_a_rate_is_between_two_readings_of_the_same_process() -> None:
    """A restarted application counts anew. Fails when the counts of two processes are compared."""
    first, second, other = (reading.Reading(document(calls=calls)) for calls in (10, 30, 500))
    second.fields["at"] += 4
    other.fields.update(at=second.fields["at"] + 1, pid=1)

    assert second.rate_since(first) == 5
    assert second.rate_since(None) is None
    assert other.rate_since(second) is None
