"""One adapter under several bridges, each of which has a thread of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import bridge
from bridge.adapters.python_port import PythonPortAdapter
from tests.process.waiting import children_of, wait_until, wait_until_gone


def reapers() -> set[int]:
    """The reapers of this process."""
    found = set()
    for pid in children_of(os.getpid()):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if "reaper.py" in Path(f"/proc/{pid}/cmdline").read_text():
                found.add(pid)
    return found


@pytest.fixture
def shared() -> Iterator[PythonPortAdapter]:
    """An adapter that the test hands to its bridges; closed after them."""
    adapter = PythonPortAdapter()
    yield adapter
    adapter.close()


@pytest.mark.parametrize("count", [5, pytest.param(40, marks=pytest.mark.deep)])
def test_bridges_that_start_at_once_on_one_adapter_share_its_guard(shared: PythonPortAdapter, count: int) -> None:
    """One lifeline and one reaper for all of them, and nothing is left. Fails without the lock in `_next_start` (a
    lifeline is lost) or in `settle` (two reapers, one of which nobody ends)."""
    bridges = [bridge.connect("math", size=1, adapter=shared) for _ in range(count)]
    answers: list[object] = []
    threads = [threading.Thread(target=lambda b=b: answers.append(b.call("sqrt", [4]))) for b in bridges]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert answers == [2] * count
    wait_until(lambda: len(reapers()) == 1, what="their reaper")
    for b in bridges:
        b.close()


def test_a_shared_guard_that_was_killed_is_replaced_once_and_watched_by_all(shared: PythonPortAdapter) -> None:
    """Whichever bridge hears of it first, the others follow, also the second time. Fails when the descriptor of the
    dead one is closed at once: its number is that of its successor, for which nobody else then looks."""
    bridges = [bridge.connect("math", size=1, adapter=shared) for _ in range(3)]
    for b in bridges:
        assert b.call("sqrt", [4]) == 2
    for round_ in range(4):
        wait_until(lambda: len(reapers()) == 1, what="a reaper")
        before = reapers()
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        wait_until_gone(before)
        if round_ == 2:
            bridges.pop(0).close()  # perhaps the one that has seen to it so far
    wait_until(lambda: len(reapers()) == 1, what="the last reaper")

    for b in bridges:
        b.close()


def test_a_guard_whose_descriptor_the_program_closed_ends_without_an_error() -> None:
    """Closing goes on with the rest. Fails when `_bury_reaper` lets EBADF out."""
    adapter, before = PythonPortAdapter(), children_of(os.getpid())
    os.close(adapter.settle() or -1)
    (reaper,) = children_of(os.getpid()) - before
    adapter.close()

    os.waitpid(reaper, 0)  # nobody else can, without its descriptor
