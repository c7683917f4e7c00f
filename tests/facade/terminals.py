"""A pseudo-terminal, for tests of what a program shows on one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import struct
import termios


class Terminal:
    """A pseudo-terminal: `stream` is its program's end, as text."""

    def __init__(self, columns: int = 80) -> None:
        self._screen, program = pty.openpty()
        fcntl.ioctl(program, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.stream = open(program, "w")  # noqa: SIM115  closed by `shown`

    def shown(self) -> str:
        """Close the program's end; all that was written to it."""
        self.stream.close()
        text = b""
        # The kernel hands it over in pieces, at its leisure; only the end of file says that there is no more.
        with contextlib.suppress(OSError):
            while data := os.read(self._screen, 4096):
                text += data
        os.close(self._screen)
        return text.decode()
