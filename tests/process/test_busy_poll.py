"""Busy polling with real workers: what it must not change."""

from __future__ import annotations

import os
import signal
import threading

import pytest

import bridge
from tests.process.conftest import Connect
from tests.process.waiting import children_of, is_gone, wait_until

pytestmark = pytest.mark.usefixtures("note_children")


def test_calls_are_what_they_are_without_it(connect: Connect, handlers: str) -> None:
    """Quick ones, slow ones, from several threads, late ones. Fails when a look swallows what came, or a deadline."""
    b = connect(f"{handlers}:Echo", size=2, busy_poll_us=200)
    assert [b.call("echo", [n]) for n in range(300)] == list(range(300))
    assert b.call("sleep", [0.05]) == 0.05
    wrong: list[object] = []

    def many(start: int) -> None:
        wrong.extend(n for n in range(start, start + 100) if b.call("echo", [n]) != n)

    threads = [threading.Thread(target=many, args=[1000 * n]) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    with pytest.raises(bridge.CallTimeout):
        b.call("sleep", [30], timeout=0.1)
    assert list(b.map("echo", range(1000), arg="value")) == list(range(1000))


def test_a_worker_that_looks_ends_with_its_caller(connect: Connect, handlers: str) -> None:
    """And a caller that looks sees its worker's death. Fails when either end looks at its pipe alone."""
    b = connect(f"{handlers}:Echo", size=1, busy_poll_us=10_000)
    pid = b.call("pid")
    killer = threading.Timer(0.05, os.kill, (pid, signal.SIGKILL))
    killer.start()
    with pytest.raises(bridge.WorkerCrashed):
        b.call("sleep", [30])
    killer.join()
    other = b.call("pid")
    b.close()
    wait_until(lambda: is_gone(other), what="the end of the other one")
    assert other not in children_of(os.getpid())
