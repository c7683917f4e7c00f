"""A wait that a signal ends, at whatever moment it comes."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from bridge.cli.bells import Bell

SOON = 0.001
LONG = 15.0
"""Seconds: a wait that lasts for so long is one that no signal has ended."""
real = select.poll


class Rung(Exception):
    """By the handler."""


class LatePoll:
    """A poll before which a signal comes when Python can't run its handler any more: both are one step, in C.

    Args:
        found: Gets what each part of the step returned, though its handler raises.
    """

    def __init__(self, found: list[Any]) -> None:
        self._found, self._poll = found, real()
        self.register = self._poll.register

    def poll(self, milliseconds: float) -> Any:
        """The signal, some ten milliseconds without a step of the interpreter, the wait."""
        parts = [
            partial(signal.setitimer, signal.ITIMER_REAL, SOON),
            partial(sum, range(1_000_000)),
            partial(self._poll.poll, milliseconds),
        ]
        call: Any = partial.__call__
        self._found.extend(map(call, parts))
        return self._found[-1]


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Each poll comes after a signal; what it returned, last."""
    found: list[Any] = []

    def ring(*_: object) -> None:
        raise Rung

    monkeypatch.setattr(select, "poll", partial(LatePoll, found))
    before = signal.signal(signal.SIGALRM, ring)
    yield found
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_a_signal_that_comes_just_before_the_wait_ends_it(late: list[Any]) -> None:
    """Its handler runs at once. Fails without the wake-up descriptor: by Ctrl-C or SIGTERM at that moment `top` ended
    with its next look, and `map` with its next line."""
    with Bell() as bell, pytest.raises(Rung):
        bell.wait(LONG)

    assert late[-1] != [], "it waited till the end, and heard of the signal then"


def rings(bell: Bell) -> bool:
    """Whether it rings."""
    return bool(select.select([bell._hears], [], [], 0)[0])


def test_what_can_be_read_is_told_and_the_bell_falls_silent() -> None:
    """A signal ends one wait, not all that follow; whoever listened before listens again. Fails when the pipe isn't
    emptied."""
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    reader, writer = os.pipe()
    try:
        with Bell() as bell:
            os.kill(os.getpid(), signal.SIGUSR1)
            assert bell.wait(LONG) == []
            assert not rings(bell)
            os.write(writer, b"x")
            assert bell.wait(LONG, reader) == [reader]
            os.kill(os.getpid(), signal.SIGUSR1)
            assert rings(bell)
            assert bell.wait(LONG, reader) == [reader]
            assert not rings(bell)
        assert signal.set_wakeup_fd(-1) == -1
    finally:
        signal.signal(signal.SIGUSR1, before)
        os.close(reader)
        os.close(writer)
