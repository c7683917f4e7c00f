"""Kill a worker that is really at work.

Rules: the victim is a pid that b.stats() shows as busy; it counts as hit only when a call raised WorkerCrashed with
that pid. Apart from demo.py because a kill can miss: between look and signal the worker may have answered.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import Final

from bridge.client import Bridge
from bridge.errors import WorkerCrashed

MAX_KILLS: Final = 20
"""After so many misses something is wrong."""
SETTLE: Final = 5.0
"""Seconds for the dead workers' places to be filled; it takes some milliseconds."""


class Accident:
    """Happens once, to a call in flight.

    Args:
        at: Results after which it is due.
        window: Calls that may be under way at once. Results come in order, so after so many more the outcome of every
            call that a kill may have met is known, and if it met none, another one is due.
    """

    def __init__(self, bridge: Bridge, *, at: int, window: int) -> None:
        self.kills = 0
        self.hit: int | None = None
        """Pid of the worker that died with a call."""
        self._bridge, self._due, self._window = bridge, at, window
        self._results = 0
        self._killed: set[int] = set()

    def look(self) -> None:
        """After each result: kill, if it is due and a worker is busy."""
        self._results += 1
        if self.hit is not None or self._results < self._due or self.kills == MAX_KILLS:
            return
        for worker in self._bridge.stats().workers:
            if worker.state == "busy" and worker.pid is not None and worker.pid not in self._killed:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.pid, signal.SIGKILL)
                self._killed.add(worker.pid)
                self.kills += 1
                self._due = self._results + self._window + 1
                return

    def saw(self, error: WorkerCrashed) -> None:
        """A call reports that its worker died."""
        if error.pid in self._killed:
            self.hit = error.pid

    def await_replacement(self) -> None:
        """Give the pool time to fill the places of the dead; whether it did is for its statistics to say."""
        until = time.monotonic() + SETTLE
        while self._bridge.stats().restarts < self.kills and time.monotonic() < until:
            time.sleep(0.01)
