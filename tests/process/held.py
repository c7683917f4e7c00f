"""What the workers of a pool run in tests.process.situations, and how a check holds them by two named pipes.

Rules: imports nothing but the standard library, since a worker imports it, in whichever way its pool imports; nothing
is timed. A call that is held has told who runs it, and ends once its gate is opened.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Final

LONG: Final = 240.0
"""Seconds in which everything that is to happen has happened."""
SOON: Final = 2.0
"""Seconds after which work that wasn't stopped is let on, to show that it goes on."""
KEPT: Final[list[str]] = []
"""What this worker was last held by."""


# -- What workers run --------------------------------------------------------------------------------------


def hold(folder: str, wait: Callable[[str], None] | None = None) -> int:
    """Tell who runs, wait until the gate is open, and tell what came of it."""
    KEPT[:] = [folder]
    with open(f"{folder}/told", "w") as end:
        try:
            end.write(f"{os.getpid()}\n")
            end.flush()
            (wait or wait_at)(folder)
        except BaseException:
            end.write("stopped\n")
            raise
        end.write("went on\n")
    return os.getpid()


def hold_in_system(folder: str) -> int:
    """The same, but it waits in one call of the system's."""
    return hold(folder, sit_at)


def wait_at(folder: str) -> None:
    """Until the gate is open. Each round runs some Python, as most work does."""
    with open(f"{folder}/gate", "rb", buffering=0) as gate:
        while not select.select([gate], [], [], 0.05)[0]:
            pass
        gate.read(1)


def sit_at(folder: str) -> None:
    """Until the gate is open."""
    with open(f"{folder}/gate", "rb", buffering=0) as gate:
        gate.read(1)


def kept() -> list[object]:
    """Who this worker is, and what it kept."""
    return [os.getpid(), *KEPT]


def crash(folder: str) -> None:
    """Die as native code does, and leave a line that says so."""
    mark(f"{folder}/deaths")
    sys.stderr.write("last words\n")
    sys.stderr.flush()
    os.abort()


def mark(path: str) -> None:
    """Leave a line."""
    with open(path, "a") as file:
        file.write("x\n")


def marks(path: str) -> int:
    """How many lines there are."""
    return len(Path(path).read_text().splitlines()) if os.path.exists(path) else 0


class Money:
    """An object of one's own."""

    def __init__(self, amount: int) -> None:
        self.amount = amount


def double(money: Money) -> Money:
    """Takes and returns such an object."""
    return Money(2 * money.amount)


def negative(number: int) -> int:
    """As quick as can be."""
    return -number


def apply(function: Callable[[int], int], number: int) -> int:
    """Call what was sent."""
    return function(number)


def two(folder: str) -> Iterator[int]:
    """One item, and after the gate was opened another one."""
    yield 1
    wait_at(folder)
    yield 2


def prefix() -> str:
    """The environment that this interpreter is in; fails in one that can't see what is installed there."""
    return str(import_module("only_there").PREFIX)


class Handler:
    """The same for a bridge."""

    hold = staticmethod(hold)
    hold_in_system = staticmethod(hold_in_system)
    kept = staticmethod(kept)
    crash = staticmethod(crash)
    mark = staticmethod(mark)
    double = staticmethod(double)
    negative = staticmethod(negative)
    apply = staticmethod(apply)
    two = staticmethod(two)
    prefix = staticmethod(prefix)

    def count(self, *, session: dict[str, int]) -> int:
        """How often this session was here."""
        session["count"] = session.get("count", 0) + 1
        return session["count"]


# -- How a check holds them --------------------------------------------------------------------------------


@contextmanager
def gate(folder: str) -> Iterator[Callable[[], None]]:
    """Open the gate of what is held; nobody waits for somebody at the other end."""
    Path(folder).mkdir()
    for name in ("told", "gate"):
        os.mkfifo(f"{folder}/{name}")
    ends = [os.open(f"{folder}/{name}", os.O_RDWR) for name in ("told", "gate")]

    def go() -> None:
        os.write(ends[1], b"x")

    try:
        yield go
    finally:
        for end in ends:
            os.close(end)


def told(folder: str) -> int:
    """Wait until `hold` says who runs it."""
    return int(line(folder))


def line(folder: str) -> str:
    """What `hold` says next, and nothing of what it says after that."""
    said = bytearray()
    with open(f"{folder}/told", "rb", buffering=0) as end:
        while not said.endswith(b"\n"):
            said += end.read(1)
    return said.decode().strip()


def ends(process: int, seconds: float) -> bool:
    """Whether a process ends within so many seconds."""
    return bool(first(process, None, seconds))


def became(process: int, folder: str, go: Callable[[], None], patience: float) -> str:
    """What became of a call that is held: "stopped", "ended" with its process, or "went on" until its gate was open."""
    happened = first(process, folder, patience)
    if happened:
        return line(folder) if happened == "told" else happened
    go()
    return "went on" if first(process, folder, LONG) else "hangs"


def first(process: int, folder: str | None, seconds: float) -> str:
    """What is first, that `hold` says something or that its process ends; nothing when neither is within that time."""
    watch = ended = -1
    poll = select.poll()
    try:
        if folder is not None:
            watch = os.open(f"{folder}/told", os.O_RDONLY | os.O_NONBLOCK)
            poll.register(watch, select.POLLIN)
        try:
            ended = os.pidfd_open(process)
            poll.register(ended, select.POLLIN)
        except ProcessLookupError:
            seconds = 0  # whatever it has said, it has said
        ready = [end for end, _ in poll.poll(1000 * seconds)]
        return "told" if watch in ready else "ended" if ended in ready or ended == -1 else ""
    finally:
        for end in (watch, ended):
            if end != -1:
                os.close(end)
