"""Pseudo-terminals for tests of what programs show: what was written, and a program whose terminal it is.

Rules: reading ends by an end of file or by a text that comes, never by time. Apart from the tests because several need
them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path
from types import TracebackType
from typing import IO, Any

ROOT = Path(__file__).parents[2]
ADOPT = "import fcntl, os, sys, termios; fcntl.ioctl(2, termios.TIOCSCTTY, 0); os.execv(sys.executable, sys.argv[1:])"
"""Makes its stderr the terminal that rules its session, so that Ctrl-C there reaches it; then becomes what is named."""


def resize(terminal: int, columns: int, rows: int = 24) -> None:
    """Tell a terminal how large it is."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


class Terminal:
    """A pseudo-terminal: `stream` is its program's end, as text."""

    def __init__(self, columns: int = 80) -> None:
        self._screen, program = pty.openpty()
        resize(program, columns)
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


class Program:
    """`python -m bridge ...` on a terminal of its own, which is its stderr and whatever else isn't said.

    Args:
        words: Behind `bridge`.
        pipes: stdin and stdout, as for Popen, where they are something else.
    """

    def __init__(
        self, *words: str, columns: int = 80, rows: int = 24, env: dict[str, str] | None = None, **pipes: Any
    ) -> None:
        self.screen, program = pty.openpty()
        resize(program, columns, rows)
        self.terminal = os.ttyname(program)
        self.seen = ""
        streams = {"stdin": program, "stdout": program, **pipes}
        argv = [sys.executable, "-c", ADOPT, sys.executable, "-m", "bridge", *words]
        environment = {**os.environ, "TERM": "xterm", **(env or {})}
        self.process = subprocess.Popen(
            argv, stderr=program, cwd=ROOT, env=environment, start_new_session=True, **streams
        )
        os.close(program)

    def press(self, keys: str) -> None:
        """As somebody at the terminal would."""
        os.write(self.screen, keys.encode())

    def await_text(self, text: str, times: int = 1) -> str:
        """Read until the screen has shown this so often; all that it showed."""
        while self.seen.count(text) < times:
            try:
                data = os.read(self.screen, 4096)
            except OSError:  # how Linux says that nobody has the other end any more
                data = b""
            assert data, f"it ended without {text!r}: {self.seen}"
            self.seen += data.decode(errors="replace")
        return self.seen

    def end(self) -> tuple[int, str]:
        """Wait for its end: the exit code, and all that the screen showed."""
        with contextlib.suppress(OSError):
            while data := os.read(self.screen, 4096):
                self.seen += data.decode(errors="replace")
        return self.process.wait(), self.seen

    @property
    def input(self) -> IO[bytes]:
        """Where it is a pipe."""
        assert self.process.stdin is not None
        return self.process.stdin

    @property
    def output(self) -> IO[bytes]:
        """Where it is a pipe."""
        assert self.process.stdout is not None
        return self.process.stdout

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what it didn't read
                    pipe.close()
        os.close(self.screen)
