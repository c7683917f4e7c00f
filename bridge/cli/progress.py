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
        self._live = stream is not None and stream.isatty()
        self._done = self._drawn = self._said = 0
        self._drawn_at = float("-inf")

    def step(self) -> None:
        """One more is done."""
        self._done += 1
        if self._live:
            now = self._clock()
            if now - self._drawn_at >= REDRAW or self._done == self._total:
                self._drawn_at = now
                self._draw()
        elif (reached := self._done * PLAIN_STEPS // self._total) > self._said:
            self._said = reached
            self._write(f"{self._done:,} of {self._total:,} {self._what}\n")

    def say(self, text: str) -> None:
        """A line of its own, above the bar."""
        self._wipe()
        self._write(text + "\n")

    def _draw(self) -> None:
        share = self._done / self._total
        bar = ("#" * round(share * BAR_CELLS)).ljust(BAR_CELLS, ".")
        line = f"[{bar}] {share:4.0%}  {self._done:,} of {self._total:,} {self._what}"
        line = line[: self._columns() - 1]  # a line that wraps can't be drawn over
        self._drawn = max(self._drawn, len(line))  # before it is drawn: Ctrl-C may come right after
        self._write("\r" + line.ljust(self._drawn))

    def _wipe(self) -> None:
        # With spaces, not with an escape sequence: every terminal knows those.
        if self._drawn:
            self._write("\r" + " " * min(self._drawn + len(ECHO), self._columns() - 1) + "\r")
            self._drawn = 0

    def _columns(self) -> int:
        try:
            columns = os.get_terminal_size(self._stream.fileno()).columns if self._stream is not None else 0
        except OSError:
            columns = 0
        return columns or 80  # a terminal that nobody told its size says 0

    def _write(self, text: str) -> None:
        put(text, self._stream)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._wipe()  # what is said next shall stand alone
        elif self._drawn:
            self._write("\n")
