"""Signals that interrupt the handler of a signal: what one of two nudges has seen, the other may read."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from typing import Any

import pytest

from bridge.handler import Cancelled
from bridge.wire import CANCEL, CREDIT, HEADER
from bridge.worker import Pipes

CALL = 7


def of_call(kind: int, count: int = 0) -> bytes:
    return HEADER.pack(kind, 0, count, 0, CALL)


def interrupt_once(monkeypatch: pytest.MonkeyPatch, interrupt: Any) -> None:
    """Have it run where a signal arrives just when the kernel has said that there is something to read."""
    real, left = select.poll, [interrupt]

    class Poll:
        def __init__(self) -> None:
            self._poll = real()
            self.register = self._poll.register

        def poll(self, timeout: int) -> Any:
            there = self._poll.poll(timeout)
            while left:
                left.pop()()
            return there

    monkeypatch.setattr(select, "poll", Poll)


@pytest.mark.parametrize("kind", [CREDIT, CANCEL])
def test_a_nudge_within_a_nudge_leaves_the_other_its_frame(monkeypatch: pytest.MonkeyPatch, kind: int) -> None:
    """Of two, the inner one would read all that there is, and the outer one wait for more, in the middle of the
    handler's code. Fails (BlockingIOError: the wait) when `_look` stays armed while it reads."""
    request, there = os.pipe()
    os.set_blocking(request, False)
    pipes = Pipes(request, -1)
    os.write(there, of_call(CREDIT, 2))

    def again() -> None:
        os.write(there, of_call(kind, 3))
        pipes.nudge(0, None)

    interrupt_once(monkeypatch, again)
    try:
        if kind == CANCEL:
            with pytest.raises(Cancelled):
                pipes.run(CALL, pipes.nudge, (0, None))
        else:
            pipes.run(CALL, pipes.nudge, (0, None))
    finally:
        os.close(request)
        os.close(there)

    assert (pipes.credit, pipes.left, pipes.pending) == (2 + 3 * (kind == CREDIT), kind == CANCEL, b"")


SWEEP = """
import os, signal
from bridge.remote import has_hung_up

request, there = os.pipe()
signal.signal(signal.SIGALRM, lambda *_: has_hung_up(request))
answers = set()
for step in range(30_000):
    signal.setitimer(signal.ITIMER_REAL, 1e-6 + step % 300 * 1e-7)
    answers.add(has_hung_up(request))
os.close(there)
print(answers, has_hung_up(request))
"""


def test_a_hang_up_is_looked_for_while_it_is_looked_for() -> None:
    """Fails (RuntimeError: concurrent poll() invocation) when the looks share one poll object."""
    done = subprocess.run([sys.executable, "-c", SWEEP], capture_output=True, text=True, timeout=60)

    assert (done.stderr, done.stdout) == ("", "{False} True\n")
