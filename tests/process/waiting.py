"""How a test waits for another process: by looking until it is so, never by napping a fixed time.

Rules: the only `sleep` of the whole suite is here, and it is bounded. Apart from conftest.py so that programs that the
tests start can use it too.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

LOOK_EVERY = 0.002


def wait_until(condition: Callable[[], object], seconds: float = 10.0, what: str = "the condition") -> None:
    """Return as soon as the condition holds; AssertionError when it doesn't within so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come within {seconds:g} s"
        time.sleep(LOOK_EVERY)


def is_gone(pid: int) -> bool:
    """Whether a process has ended. A zombie has: it runs nothing and holds nothing."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] in "ZX"


def wait_until_gone(pids: Iterable[int], seconds: float = 10.0) -> None:
    """Return when all of these processes have ended."""
    left = set(pids)

    def all_gone() -> bool:
        left.difference_update([pid for pid in left if is_gone(pid)])
        return not left

    wait_until(all_gone, seconds, what=f"the end of {sorted(left)}")


def children_of(pid: int) -> set[int]:
    """The processes that a process has started and that live or weren't reaped."""
    found: set[int] = set()
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            found.update(map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split()))
    except (FileNotFoundError, ProcessLookupError):
        pass  # a thread, or the process, ended while we looked
    return found


def read_pid(path: Path) -> int:
    """The pid that a process wrote to a file, once it has."""
    wait_until(lambda: path.exists() and path.read_text().endswith("\n"), 10, what=f"a pid in {path.name}")
    return int(path.read_text())


@contextlib.contextmanager
def held_open(fifo: Path, seconds: float = 10.0) -> Iterator[int]:
    """Open a fifo once somebody reads it; until it is closed again that reader blocks."""
    found: list[int] = []

    def try_it() -> bool:
        with contextlib.suppress(OSError):  # ENXIO: nobody reads it yet
            found.append(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
        return bool(found)

    wait_until(try_it, seconds, what=f"a reader of {fifo.name}")
    try:
        yield found[0]
    finally:
        os.close(found[0])
