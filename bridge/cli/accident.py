"""Kill a worker that is really at work.

Rules: the victim is a pid that b.stats() shows as busy and that has computed since, for one that hasn't read its call
yet costs nobody anything: that call is sent to another one. It is frozen first, and killed if its call is still out a
moment later; else it may have answered between look and signal. It counts as hit only when a call raised WorkerCrashed
with that pid. Apart from demo.py because a kill can miss all the same.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import Final

from bridge.children import cpu_used_by
from bridge.client import Bridge
from bridge.errors import WorkerCrashed

MAX_KILLS: Final = 20
"""After so many misses something is wrong."""
AT_WORK: Final = 0.001
"""Seconds of processor time after which a worker has certainly read its call."""
MOMENT: Final = 0.02
"""Seconds for a worker to get to work, and for an answer that it gave just before it was frozen to be read."""
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
        """After each result: kill, if it is due and a worker is in the middle of a call."""
        self._results += 1
        if self.hit is not None or self._results < self._due or self.kills == MAX_KILLS:
            return
        for pid, number in self._calls().items():
            if pid not in self._killed and self._kill(pid, number):
                self._killed.add(pid)
                self.kills += 1
                self._due = self._results + self._window + 1
                return

    def _calls(self) -> dict[int, int]:
        """The busy workers, each with the number of its call."""
        workers = self._bridge.stats().workers
        return {worker.pid: worker.calls for worker in workers if worker.pid and worker.state == "busy"}

    def _kill(self, pid: int, number: int) -> bool:
        """Whether it was killed, in that call."""
        before, until = cpu_used_by(pid) or 0.0, time.monotonic() + MOMENT
        while (cpu_used_by(pid) or 0.0) < before + AT_WORK:
            if time.monotonic() >= until:
                return False
            time.sleep(AT_WORK)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            time.sleep(MOMENT)
            caught = self._calls().get(pid) == number
            os.kill(pid, signal.SIGKILL if caught else signal.SIGCONT)
            return caught
        return False

    def saw(self, error: WorkerCrashed) -> None:
        """A call reports that its worker died."""
        if error.pid in self._killed:
            self.hit = error.pid

    def await_replacement(self) -> None:
        """Give the pool time to fill the places of the dead; whether it did is for its statistics to say."""
        until = time.monotonic() + SETTLE
        while self._bridge.stats().restarts < self.kills and time.monotonic() < until:
            time.sleep(0.01)
