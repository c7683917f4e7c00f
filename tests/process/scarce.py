"""Use a bridge while the system refuses descriptors, processes or threads, and print what became of each attempt.

    python -m tests.process.scarce SUPPLY ADAPTER STAGE FROM TO LIMIT

Rules: a program of its own, whose limits are nobody else's, and which a hang ends (after LIMIT seconds, with all its
stacks); for each count in FROM..TO the system still gives so many, then no more, until the limit is lifted. What it
gives is `descriptors` or `tasks` (processes and threads); the stages are those of `Attempt`. Apart from
test_exhaustion.py, which says what is to come out.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import json
import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import bridge
from bridge import Bridge, BridgeError, CallTimeout, WorkerCrashed
from tests.process.waiting import children_of, wait_until

ROUGH = f"{Path(__file__).parent / 'rough_handlers.py'}:Rough"
ENOUGH = 256
"""Descriptors, so that using them up takes no time."""
NOFILE_HARD = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
NPROC_HARD = resource.getrlimit(resource.RLIMIT_NPROC)[1]
CAP_SYS_ADMIN, CAP_SYS_RESOURCE = 21, 24
Supply = Callable[[int], AbstractContextManager[None]]


@contextlib.contextmanager
def descriptors(left: int) -> Iterator[None]:
    """So many are left. An odd count ends by a higher limit, an even one when the others are given back."""
    taken: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (ENOUGH, NOFILE_HARD))
    with contextlib.suppress(OSError):
        while True:
            taken.append(os.dup(2))
    for _ in range(left):
        os.close(taken.pop())
    try:
        yield
    finally:
        if left % 2:
            resource.setrlimit(resource.RLIMIT_NOFILE, (2 * ENOUGH, NOFILE_HARD))
        for fd in taken:
            os.close(fd)


@contextlib.contextmanager
def tasks(left: int) -> Iterator[None]:
    """So many processes and threads can be made still; about so many, if others run as this user too, but for none."""
    resource.setrlimit(resource.RLIMIT_NPROC, (own_tasks() + left if left else 0, NPROC_HARD))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NPROC, (NPROC_HARD, NPROC_HARD))


def own_tasks() -> int:
    """Processes and threads of our real user."""
    count = 0
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):  # it ended meanwhile
            status = Path(f"/proc/{entry}/status").read_text()
            if int(status.partition("\nUid:")[2].split()[0]) == os.getuid():
                count += len(os.listdir(f"/proc/{entry}/task"))
    return count


def be_bound() -> None:
    """RLIMIT_NPROC binds neither root nor who may exceed limits: be another user, who may still read what root can."""
    if os.geteuid() != 0:
        return
    os.setresuid(2**20 + os.getpid(), 0, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if libc.capget(header, sets):
        raise OSError(ctypes.get_errno(), "capget")
    for kind in (0, 1):  # effective, permitted
        sets[kind] &= ~(1 << CAP_SYS_RESOURCE | 1 << CAP_SYS_ADMIN)
    if libc.capset(header, sets):
        raise OSError(ctypes.get_errno(), "capset")


def possessions() -> dict[str, list[str]]:
    """Descriptors, threads and children of this process."""
    open_: list[str] = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the listing's own
            open_.append(f"{number} -> {os.readlink(f'/proc/self/fd/{number}')}")
    return {
        "descriptors": sorted(open_),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "children": sorted(map(str, children_of(os.getpid()))),
    }


class Attempt:
    """The stages: what is done while there is nothing more to be had. Each takes a bridge that was never used."""

    def __init__(self, adapter: str) -> None:
        self._kills = adapter == "python_port"

    def warm(self, b: Bridge, supply: AbstractContextManager[None]) -> None:
        """All workers are started and waited for."""
        with supply:
            b._source.start()

    def start(self, b: Bridge, supply: AbstractContextManager[None]) -> None:
        """The first call starts them."""
        with supply:
            assert b.call("echo", [1], timeout=5) == 1

    def replace(self, b: Bridge, supply: AbstractContextManager[None]) -> None:
        """All workers die, and are to be replaced."""
        b._source.start()
        with supply:
            for _ in range(2 * self._kills):
                with contextlib.suppress(WorkerCrashed):
                    b.call("say_and_leave", ["", 3])
            assert b.call("echo", [1], timeout=5) == 1

    def use(self, b: Bridge, supply: AbstractContextManager[None]) -> None:
        """A bridge that is warm is used in every way. Nothing is started."""
        b._source.start()
        with supply:
            assert b.call("echo", ["x" * 200_000], timeout=5) == "x" * 200_000
            if self._kills:
                with contextlib.suppress(CallTimeout):
                    b.call("slow_echo", [1, 5], timeout=0.02)
            with b.lease(timeout=5) as lease:
                assert lease.call("echo", [2]) == 2
            assert b.stats().restarts == 0
            assert b.health().ok
            assert b.call("echo", [3], timeout=5) == 3

    def map(self, b: Bridge, supply: AbstractContextManager[None]) -> None:
        """The one use that has threads of its own."""
        b._source.start()
        with supply:
            assert list(b.map("echo", [[1], [2], [3]], timeout=5)) == [1, 2, 3]

    def close(self, b: Bridge, supply: AbstractContextManager[None]) -> None:
        """It ends. Nothing is started."""
        b._source.start()
        with supply:
            b.close(1)


def attempt(adapter: str, stage: str, supply: AbstractContextManager[None]) -> dict[str, Any]:
    """One attempt, then recovery on the same bridge, then its end, and what is left while somebody keeps it."""
    before, began = possessions(), time.monotonic()
    b = bridge.connect(
        ROUGH, adapter=adapter, size=2, timeout=20, startup_timeout=20, backoff=0.01, max_restarts=1, cancel_grace=2.0
    )
    found: dict[str, Any] = {"outcome": "answered", "text": ""}
    try:
        getattr(Attempt(adapter), stage)(b, supply)
    except BridgeError as error:
        found |= {"outcome": type(error).__name__, "text": str(error), "reason": getattr(error, "reason", None)}
    found["seconds"] = time.monotonic() - began

    def serves() -> bool:
        try:
            return bool(b.call("echo", [1]) == 1 and b.stats().idle == 2)
        except BridgeError:
            return False

    if stage != "close":
        wait_until(serves, 5, f"recovery of {b}")
        found["answers"] = b.call("echo", [7])
    b.close(1)
    with contextlib.suppress(AssertionError):
        wait_until(lambda: possessions() == before, 2)
    after = possessions()
    found["left"] = [each for kind in after for each in set(after[kind]) - set(before[kind])]
    return found


def main(supply: str, adapter: str, stage: str, first: int, last: int, limit: float) -> None:
    """Entry: prints one JSON object."""
    faulthandler.dump_traceback_later(limit, exit=True)
    if supply == "tasks":
        try:
            be_bound()
        except OSError as error:
            print(json.dumps({"skip": f"this root can't become somebody whom limits bind: {error}"}))
            return
    give: Supply = {"descriptors": descriptors, "tasks": tasks}[supply]
    attempt(adapter, "close", contextlib.nullcontext())  # what is loaded once is loaded
    found = {count: attempt(adapter, stage, give(count)) for count in range(first, last + 1)}
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]), float(sys.argv[6]))
