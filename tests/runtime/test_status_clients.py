"""Those who ask for a bridge's status: none of them can hold up the bridge, or the next one."""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from bridge.runtime import status
from bridge.runtime.worker import Latch
from tests.runtime.statuses import ask, opened


def test_clients_that_say_nothing_and_never_read_cost_nothing(handlers: str, path: str) -> None:
    """However many: calls go on, others are answered, and `close` doesn't wait for them."""
    clients = [socket.socket(socket.AF_UNIX) for _ in range(status.BACKLOG)]
    with opened(handlers, path) as b:
        for client in clients:
            client.connect(path)
        assert b.call("echo", [1]) == 1
        assert ask(path)["stats"]["calls"] == 1
    for client in clients:
        client.close()


def test_an_answer_that_nobody_takes_is_given_up(handlers: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than the kernel keeps for a client that doesn't read: the next one gets its own. Hangs without PATIENCE."""
    monkeypatch.setattr(status, "PATIENCE", 0.01)
    monkeypatch.setattr(status, "told_of", lambda _: json.dumps("x" * 10_000_000).encode())
    with opened(handlers, path), socket.socket(socket.AF_UNIX) as deaf:
        deaf.connect(path)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            assert client.recv(1) == b'"'


def test_a_reading_that_fails_is_logged_and_the_next_one_comes(
    handlers: str, path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A defect of ours isn't the end of it."""
    answers: list[Any] = [ValueError("a defect"), b"{}\n"]

    def tell(_: object) -> bytes:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        found: bytes = answer
        return found

    monkeypatch.setattr(status, "told_of", tell)
    with opened(handlers, path):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            assert client.recv(1) == b""
        assert ask(path) == {}
    assert "the status of shop can't be told" in caplog.text


def test_a_client_that_cannot_be_accepted_is_served_later(
    handlers: str, path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the process has no descriptor left just now, who connects waits. Fails when the thread ends of it."""
    accept, troubles = socket.socket.accept, [OSError(errno.EMFILE, "Too many open files")]

    def short_of_descriptors(self: socket.socket) -> Any:
        if troubles:
            raise troubles.pop()
        return accept(self)

    monkeypatch.setattr(status, "AFTER_TROUBLE", 0.0)
    monkeypatch.setattr(socket.socket, "accept", short_of_descriptors)
    with opened(handlers, path):
        assert ask(path)["pid"] == os.getpid()
    assert "status_socket of shop: [Errno 24] Too many open files" in caplog.text


def test_whoever_asks_in_a_loop_gets_a_tenth_of_a_core(
    handlers: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each answer there is a pause, nine times as long as that took. Fails when the next one comes at once."""
    pauses: list[float] = []
    told = threading.Event()

    class Noted(Latch):
        __slots__ = ()

        def wait(self, seconds: float) -> bool:
            pauses.append(seconds)
            if len(pauses) == 2:
                told.set()
            return super().wait(0.0)

    ticks = iter([0.0, 2.0, 2.0, 2.0])
    monkeypatch.setattr(status, "Latch", Noted)
    monkeypatch.setattr(status, "time", SimpleNamespace(monotonic=lambda: next(ticks), sleep=None))
    monkeypatch.setattr(status, "told_of", lambda _: b"{}\n")
    monkeypatch.setattr(status.StatusSocket, "_alone", lambda _: nullcontext())
    with opened(handlers, path):
        ask(path)
        ask(path)
        assert told.wait(10)

    assert pauses[:2] == [status.SHARE * 2.0, status.BREATH]
