"""A handler for the tests of `map`: it keeps a list of what it was called for, and waits on demand."""

from __future__ import annotations

import os
import signal
from pathlib import Path


class Mapped:
    """Its files are in the directory that it was started in."""

    def half(self, n: float) -> float:
        """A result, and a line in `calls`."""
        with open("calls", "a") as file:
            file.write(f"{n}\n")
        if n < 0:
            raise ValueError(f"{n} is negative")
        return n / 2

    def gated(self, n: int) -> int:
        """Says `begun` to one pipe, then waits for a byte from another one."""
        with open("begun", "w") as begun:
            begun.write("x")
        with open("gate", "rb", buffering=0) as gate:
            gate.read(1)
        return n

    def die(self, n: int) -> int:
        """Dies of one item."""
        if n == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return n

    def raw(self, n: int) -> object:
        """What travels, and isn't JSON."""
        return bytes(n) if n else None


class Gates:
    """A test's ends of the two pipes of `gated`. Open both ways, so that no open waits for anybody."""

    def __init__(self, folder: Path) -> None:
        self._fds = []
        for name in ("begun", "gate"):
            os.mkfifo(folder / name)
            self._fds.append(os.open(folder / name, os.O_RDWR))

    def await_begun(self) -> None:
        """Wait until one more call has begun."""
        os.read(self._fds[0], 1)

    def let_through(self, calls: int) -> None:
        """So many may end, now or when they come."""
        os.write(self._fds[1], b"x" * calls)

    def __enter__(self) -> Gates:
        return self

    def __exit__(self, *how: object) -> None:
        for fd in self._fds:
            os.close(fd)
