"""A handler for the tests of `map`: it keeps a list of what it was called for, and waits on demand."""

from __future__ import annotations

import os
import signal


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
        """Says `begun` to one pipe, then waits until another one was opened and closed."""
        with open("begun", "w") as begun:
            begun.write("x")
        with open("gate") as gate:
            gate.read()
        return n

    def die(self, n: int) -> int:
        """Dies of one item."""
        if n == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return n

    def raw(self, n: int) -> object:
        """What travels, and isn't JSON."""
        return bytes(n) if n else None
