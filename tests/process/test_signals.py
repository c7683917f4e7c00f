"""Signals that a sleeping caller doesn't hear: Python runs their handlers when the main thread wakes up."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import bridge
from bridge import Bridge
from bridge.testing import HANG, ScriptedAdapter
from tests.process.conftest import Connect
from tests.process.waiting import wait_until

pytestmark = [
    pytest.mark.usefixtures("note_children"),
    pytest.mark.thread_unsafe,  # signal handlers belong to the process
]

LONG = 30.0
"""Seconds; what an unheard signal would wait for."""


class Heard(Exception):
    """The handler ran."""


def hear(*_: object) -> None:
    raise Heard


@contextmanager
def another_thread_takes_a_signal(b: Bridge) -> Iterator[None]:
    """Once the call sleeps. The same happens to a signal that comes between the main thread's last look and its system
    call, which no test can hit at will."""

    def take() -> None:
        wait_until(lambda: b.stats().busy and main_thread_sleeps(), what="the call")
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR2)

    before = signal.signal(signal.SIGUSR2, hear)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    taker = threading.Thread(target=take)
    taker.start()
    began = time.monotonic()
    try:
        yield
    finally:
        taker.join()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})
        signal.signal(signal.SIGUSR2, before)
        assert time.monotonic() - began < LONG / 2, "it was heard only when the call's time was up"


def main_thread_sleeps() -> bool:
    """It waits in the kernel, be it for a lock."""
    stat = Path(f"/proc/self/task/{os.getpid()}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] == "S"


def test_a_signal_that_another_thread_took_ends_a_call_under_way(connect: Connect, rough: str, tmp_path: Path) -> None:
    """Fails when `FdLink` polls until the deadline at once."""
    os.mkfifo(tmp_path / "fifo")
    b = connect(f"{rough}:Rough")
    b.call("pid")
    with pytest.raises(Heard), another_thread_takes_a_signal(b):
        b.call("read_fifo", [str(tmp_path / "fifo")], timeout=LONG)


def test_a_signal_that_another_thread_took_ends_a_call_of_a_fake() -> None:
    """Fails when `SubmitLink` waits for its bell until the deadline at once."""
    b = bridge.connect("x", adapter=ScriptedAdapter([("a", HANG)]), size=1)
    with pytest.raises(Heard), another_thread_takes_a_signal(b):
        b.call("a", timeout=LONG)
    b.close()
