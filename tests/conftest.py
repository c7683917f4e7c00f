"""What every test gets: a leak guard, and handlers that can be found."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

HANDLERS = Path(__file__).parent / "handlers.py"


def pytest_collection_finish() -> None:
    """What is there by now stays: leave it out of the leak guard's garbage collections, which take 50 ms otherwise."""
    gc.collect()
    gc.freeze()


def _fds() -> set[str]:
    """What is open, by number and what it is."""
    found = set()
    for entry in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{entry} -> {os.readlink(f'/proc/self/fd/{entry}')}")
        except FileNotFoundError:  # the descriptor of the listing itself
            continue
    return found


def _children() -> set[int]:
    found: set[int] = set()
    for task in os.listdir("/proc/self/task"):
        try:
            text = Path(f"/proc/self/task/{task}/children").read_text()
        except FileNotFoundError:  # a thread that ended meanwhile
            continue
        found.update(map(int, text.split()))
    return found


class _Possessions:
    """What this process has at one moment."""

    def __init__(self) -> None:
        self.threads, self.children, self.fds = set(threading.enumerate()), _children(), _fds()

    def beyond(self, before: _Possessions) -> dict[str, list[str]]:
        """What was not there before, by kind."""
        new = {
            "threads": [thread.name for thread in self.threads - before.threads],
            "children": [str(pid) for pid in self.children - before.children],
            "descriptors": sorted(self.fds - before.fds),
        }
        return {kind: which for kind, which in new.items() if which}


@pytest.fixture(autouse=True)
def _no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that leaves a thread, a child or a descriptor behind fails. Our subject is lifetimes."""
    if request.node.get_closest_marker("leaks"):
        yield
        return
    before = _Possessions()
    yield
    after = _Possessions()
    if after.beyond(before):
        gc.collect()  # only now: it costs more than most tests
        for thread in after.threads - before.threads:
            thread.join(2.0)  # one that was told to end needs a moment
        gc.collect()
        after = _Possessions()
    assert not after.beyond(before), f"this test left behind: {after.beyond(before)}"


@pytest.fixture
def handlers() -> str:
    """Path of the handlers that tests call; `f"{handlers}:Echo"` names one."""
    return str(HANDLERS)
