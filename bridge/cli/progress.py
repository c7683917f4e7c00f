"""How far a long job is, on stderr.

Rules: a terminal gets one line that is drawn over; anything else gets a few plain lines, so that a log stays short.
Nothing is drawn by a thread. Apart from the demo so that it can be watched on a real pseudo-terminal.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, TextIO

from bridge.cli.output import put

BAR_CELLS: Final = 30
REDRAW: Final = 0.05
"""Seconds between two drawings: more often only costs time."""
ECHO: Final = "^C"
"""What a terminal itself shows behind the bar when the user interrupts."""
PLAIN_STEPS: Final = 4
"""Lines for a whole job where there is no terminal."""


class Line:
    """One line of a terminal, drawn over again and again.

    Args:
        stream: Where to; None is nowhere.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._drawn = 0

    def draw(self, text: str) -> None:
        """Show this in place of what it shows."""
        line = text[: self.columns() - 1]  # a line that wraps can't be drawn over
        self._drawn = max(self._drawn, len(line))  # before it is drawn: Ctrl-C may come right after
        put("\r" + line.ljust(self._drawn), self._stream)

    def say(self, text: str) -> None:
        """A line of its own, above it."""
        self.wipe()
        put(text + "\n", self._stream)

    def wipe(self) -> None:
        """Show nothing."""
        # With spaces, not with an escape sequence: every terminal knows those.
        if self._drawn:
            put("\r" + " " * min(self._drawn + len(ECHO), self.columns() - 1) + "\r", self._stream)
            self._drawn = 0

    def end(self) -> None:
        """Leave it as it is, and go to the next one."""
        if self._drawn:
            put("\n", self._stream)
            self._drawn = 0

    def columns(self) -> int:
        """How wide the terminal is."""
        try:
            columns = os.get_terminal_size(self._stream.fileno()).columns if self._stream is not None else 0
        except OSError:
            columns = 0
        return columns or 80  # a terminal that nobody told its size says 0


def bar(share: float) -> str:
    """So much of it, as a picture."""
    return f"[{('#' * round(share * BAR_CELLS)).ljust(BAR_CELLS, '.')}] {share:4.0%}"


class Progress:
    """Counts to `total`; `with` ends its line.

    Args:
        stream: Where to; None is nowhere.
        clock: Monotonic seconds.
    """

    def __init__(
        self, total: int, what: str, stream: TextIO | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._total, self._what, self._stream, self._clock = total, what, stream, clock
        self._line = Line(stream)
        self._live = stream is not None and stream.isatty()
        self._done = self._said = 0
        self._drawn_at = float("-inf")

    def step(self) -> None:
        """One more is done."""
        self._done += 1
        if self._live:
            now = self._clock()
            if now - self._drawn_at >= REDRAW or self._done == self._total:
                self._drawn_at = now
                self._line.draw(f"{bar(self._done / self._total)}  {self._done:,} of {self._total:,} {self._what}")
        elif (reached := self._done * PLAIN_STEPS // self._total) > self._said:
            self._said = reached
            put(f"{self._done:,} of {self._total:,} {self._what}\n", self._stream)

    def say(self, text: str) -> None:
        """A line of its own, above the bar."""
        self._line.say(text)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._line.wipe()  # what is said next shall stand alone
        else:
            self._line.end()
