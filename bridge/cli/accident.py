"""Kill a worker that is really at work.

Rules: the victim is a pid that b.stats() shows as busy, if possible with the same call as at the look before, since a
worker that hasn't read its call yet costs nobody anything: that call is sent to another one. It counts as hit only when
a call raised WorkerCrashed with that pid. Apart from demo.py because a kill can miss: between look and signal the
worker may have answered.
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
        self._busy: dict[int, int] = {}  # pids at the last look, each with the number of its call

    def look(self) -> None:
        """After each result: kill, if it is due and a worker is in the middle of a call."""
        self._results += 1
        if self.hit is not None or self._results < self._due - 1 or self.kills == MAX_KILLS:
            return
        before, workers = self._busy, self._bridge.stats().workers
        self._busy = {worker.pid: worker.calls for worker in workers if worker.pid and worker.state == "busy"}
        if self._results >= self._due:
            self._kill_one_of(sorted(self._busy, key=lambda pid: before.get(pid) != self._busy[pid]))

    def _kill_one_of(self, pids: list[int]) -> None:
        for pid in pids:
            if pid not in self._killed:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                self._killed.add(pid)
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
