"""The lines of stdin, as they come.

Rules: read from the descriptor itself, since a buffer of Python's would hide what has come; whoever has results to hand
out asks only for what is there, so that a program that feeds us and waits for its answers gets them. Apart from map.py
because that needs no descriptor.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from typing import Final

from bridge.cli.stopping import Stop
from bridge.errors import ConfigurationError

AT_ONCE: Final = 65536
"""Bytes of one read."""


class Lines:
    """Lines without their ends; the last one may lack its own.

    Args:
        fd: Where they come from; it stays open.
        stop: Once that is asked for, no more are waited for.
    """

    def __init__(self, fd: int, stop: Stop) -> None:
        self._fd, self._stop = fd, stop
        self._lines: deque[bytes] = deque()
        self._begun: list[bytes] = []  # pieces of a line whose end hasn't come
        self._over = False
        found = os.fstat(fd)
        self.size = found.st_size - os.lseek(fd, 0, os.SEEK_CUR) if stat.S_ISREG(found.st_mode) else None
        """Bytes of all of them; None where that can't be known."""

    def next(self, *, wait: bool) -> bytes | None:
        """The next one; None: there is no more, or none yet, or the end was asked for.

        Raises:
            ConfigurationError: They can't be read.
        """
        while not self._lines:
            if self._over or not self._something_came(wait=wait):
                return None
            try:
                self._take(os.read(self._fd, AT_ONCE))
            except OSError as error:
                raise ConfigurationError(
                    f"stdin can't be read: {error.strerror}; give it a file of JSON lines"
                ) from error
        return self._lines.popleft()

    def put_back(self, line: bytes) -> None:
        """It is the next one again."""
        self._lines.appendleft(line)

    @property
    def ended(self) -> bool:
        """Whether there is certainly no more."""
        return self._over and not self._lines

    def _something_came(self, *, wait: bool) -> bool:
        while not self._stop.asked:
            came = self._stop.bell.wait(None if wait else 0, self._fd)
            if came or not wait:
                return bool(came) and not self._stop.asked
        return False

    def _take(self, data: bytes) -> None:
        if not data:
            self._over = True
            if self._begun:
                self._lines.append(b"".join(self._begun))
            return
        first, *others = data.split(b"\n")
        self._begun.append(first)
        for piece in others:
            self._lines.append(b"".join(self._begun))
            self._begun = [piece] if piece else []
