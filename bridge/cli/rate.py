"""How fast a long job goes and how long it will take, on one line of a terminal.

Rules: what is left is judged by bytes, since nobody has counted the lines; the rate is that of the last seconds, and
nothing that was done by an earlier run counts for it. Where there is no terminal, nothing is shown. Apart from
progress.py, whose jobs know their number.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final, TextIO

from bridge.cli.progress import REDRAW, Line, bar

RECENT: Final = 10.0
"""Seconds from which the rate is taken."""


class Rate:
    """Counts lines and their bytes.

    Args:
        total: Bytes of all; None: nobody knows.
        stream: Where to; None is nowhere.
        visible: Whether it is shown, if the stream is a terminal.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        total: int | None,
        what: str,
        stream: TextIO | None,
        *,
        visible: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total, self._what, self._clock = total, what, clock
        self._live = visible and stream is not None and stream.isatty()
        self.line = Line(stream)
        self._done = self._bytes = 0
        self._drawn_at = float("-inf")
        self._seen = deque([(clock(), 0, 0)])  # when, and how much was done

    def skip(self, size: int) -> None:
        """One was done before."""
        self._done += 1
        self._bytes += size
        self._seen[0] = (self._clock() if self._live else 0.0, self._done, self._bytes)

    def step(self, size: int) -> None:
        """One more is done."""
        self._done += 1
        self._bytes += size
        if self._live and (now := self._clock()) - self._drawn_at >= REDRAW:
            self._drawn_at = now
            self._draw(now)

    def end(self) -> None:
        """All is done: the last state stays."""
        if self._live and self._done:
            self._draw(self._clock())
            self.line.end()

    def _draw(self, now: float) -> None:
        while len(self._seen) > 1 and self._seen[1][0] <= now - RECENT:
            self._seen.popleft()
        since, lines, size = self._seen[0]
        self._seen.append((now, self._done, self._bytes))
        seconds = max(now - since, 1e-9)
        text = f"{self._done:,} {self._what}  {(self._done - lines) / seconds:,.0f}/s"
        if self._total is not None:
            text = f"{bar(min(1.0, self._bytes / max(self._total, 1)))}  {text}"
            if self._bytes > size:
                left = max(0, self._total - self._bytes) * seconds / (self._bytes - size)
                text += f"  ETA {duration(left)}"
        self.line.draw(text)


def duration(seconds: float) -> str:
    """As a clock shows it: 0:07, 12:30, 3:00:00."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
