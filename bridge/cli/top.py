"""`top`: what a running application says of its bridge, again and again.

Rules: a terminal is left as it was, however the end comes, and is drawn over in place; anything else gets a plain line
for each reading. One thread waits for the next moment, a key, another size and the end, all at once. Apart from
status.py, which looks once.
"""

from __future__ import annotations

import os
import signal
import sys
import termios
import time
from contextlib import suppress
from types import FrameType
from typing import Any, Final

from bridge.cli import exits
from bridge.cli.bells import Bell
from bridge.cli.output import Colour, NobodyError, painted, put
from bridge.cli.reading import Line, Reading, in_lines, in_one_line, read
from bridge.cli.status import where
from bridge.settings import is_dumb

ENTER: Final = "\x1b[?1049h\x1b[?25l"
"""Another screen, and no cursor."""
LEAVE: Final = "\x1b[?25h\x1b[?1049l"
HOME, REST_OF_LINE, REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"
QUIT: Final = b"qQ"
HINT: Final = "q ends it"
SIZE: Final = (80, 24)
"""Where nobody has told the terminal its own."""


def run(path: str | None, *, interval: float) -> int:
    """Show it until somebody ends that, and answer the exit code.

    Args:
        interval: Seconds between two readings.

    Raises:
        ConfigurationError: Nobody said where.
        NobodyError: Nobody serves there; on a terminal, only at the beginning.
    """
    path = where(path)
    first = read(path)
    if sys.stdout is not None and sys.stdout.isatty() and not is_dumb():
        with _Screen() as screen:
            return _show(screen, path, first, interval)
    return _tell(path, first, interval)


def _tell(path: str, reading: Reading, interval: float) -> int:
    before, due = None, time.monotonic()
    with Bell() as bell:
        while True:
            put(in_one_line(reading, before) + "\n", sys.stdout)
            due = max(due + interval, time.monotonic())
            while (left := due - time.monotonic()) > 0:
                bell.wait(left)
            before, reading = reading, read(path)


def _show(screen: _Screen, path: str, reading: Reading, interval: float) -> int:
    before: Reading | None = None
    trouble: str | None = None
    while True:
        due = time.monotonic() + interval
        while True:
            screen.draw([*in_lines(reading, before)], trouble)
            if screen.await_key(due - time.monotonic()):
                return exits.OK
            if time.monotonic() >= due:
                break
        try:
            found = read(path)
        except NobodyError as error:  # it may come back
            trouble = str(error)
        else:
            before, reading, trouble = reading, found, None


class _Screen:
    """The whole of a terminal, until the `with` ends."""

    def __init__(self) -> None:
        self._keys = sys.stdin.fileno() if sys.stdin is not None and sys.stdin.isatty() else None
        self._bell = Bell()

    def __enter__(self) -> _Screen:
        self._bell.__enter__()
        self._before = None if self._keys is None else termios.tcgetattr(self._keys)
        self._handlers: dict[int, Any] = {}
        try:
            self._take_over()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _take_over(self) -> None:
        def ended(number: int, _: FrameType | None) -> None:
            raise SystemExit(128 + number)  # through all that gives the terminal back

        def resized(*_: object) -> None:
            pass  # it has rung the bell

        for number, handler in ((signal.SIGTERM, ended), (signal.SIGHUP, ended), (signal.SIGWINCH, resized)):
            self._handlers[number] = signal.signal(number, handler)
        if self._keys is not None and self._before is not None:
            mode = [*self._before[:6], [*self._before[6]]]
            mode[3] &= ~(termios.ICANON | termios.ECHO)
            for key in (termios.VSUSP, termios.VQUIT):  # what would leave the terminal as it is now
                mode[6][key] = b"\0"
            termios.tcsetattr(self._keys, termios.TCSADRAIN, mode)
        put(ENTER, sys.stdout)

    def __exit__(self, *how: object) -> None:
        try:
            put(LEAVE, sys.stdout)
        finally:
            if self._keys is not None and self._before is not None:
                with suppress(termios.error):  # the terminal is gone
                    termios.tcsetattr(self._keys, termios.TCSADRAIN, self._before)
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            self._bell.__exit__()

    def draw(self, lines: list[Line], trouble: str | None) -> None:
        """Show these lines, as many as there is room for, and what is wrong."""
        columns, rows = _size_of(sys.stdout.fileno())
        room = max(1, rows - 2)
        if len(lines) > room:
            lines = [*lines[: room - 1], (f"and {len(lines) - room + 1} more", None)]
        last: Line = (HINT, Colour.FAINT) if trouble is None else (f"{trouble}; {HINT}", Colour.RED)
        shown = [_cut(line, columns) for line in [*lines, ("", None), last][:rows]]
        put(HOME + f"{REST_OF_LINE}\r\n".join(shown) + REST_OF_LINE + REST_OF_SCREEN, sys.stdout)

    def await_key(self, seconds: float) -> bool:
        """Wait for so long, or until it has another size. True: somebody wants to end it."""
        keys = [] if self._keys is None else [self._keys]
        if not self._bell.wait(seconds, *keys):
            return False
        typed = os.read(keys[0], 64)
        return not typed or any(key in QUIT for key in typed)  # nothing: the terminal is gone


def _cut(line: Line, columns: int) -> str:
    # One less than there is room for: at the edge, what wipes the rest of a line would wipe its last character.
    text, colour = line[0][: columns - 1], line[1]
    return text if colour is None else painted(text, colour, sys.stdout)


def _size_of(fd: int) -> tuple[int, int]:
    try:
        columns, rows = os.get_terminal_size(fd)
    except OSError:
        return SIZE
    return columns or SIZE[0], rows or SIZE[1]
