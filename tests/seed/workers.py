"""The handler of these tests. It runs in a worker, in some of them on a thread; it imports little, to start fast."""

from __future__ import annotations

import os
import signal
from typing import Any


class Port:
    """Answers, waits, and dies.

    Args:
        start: A fifo: its start lasts until somebody has opened and closed that.
    """

    def __init__(self, start: str | None = None) -> None:
        self._calls = 0
        if start is not None:
            self.read(start)

    def pid(self) -> int:
        self._calls += 1
        return os.getpid()

    def counted(self) -> int:
        self._calls += 1
        return self._calls

    def echo(self, value: Any) -> Any:
        return value

    def read(self, fifo: str) -> str:
        """Block until somebody has written to the fifo, and closed it."""
        with open(fifo) as file:
            return file.read()

    def hang(self, started: str) -> None:
        """Open a fifo, to tell that it began, and never return."""
        os.open(started, os.O_WRONLY)
        signal.pause()

    def die(self, number: int) -> None:
        os.kill(os.getpid(), number)

    def group(self) -> list[int]:
        """Its process, its process group and its session."""
        return [os.getpid(), os.getpgrp(), os.getsid(0)]

    def kill_group(self) -> None:
        """What a clean-up does that is too aggressive."""
        os.killpg(0, signal.SIGTERM)
        signal.pause()

    def start_child(self) -> int:
        """A process in our group, without an environment by which a sweep could find it."""
        return os.posix_spawn("/bin/sleep", ["sleep", "600"], {})
