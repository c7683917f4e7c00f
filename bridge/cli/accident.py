"""Kill a worker that is really at work; of one behind a launcher, cut the connection: kill the launcher.

Rules: the victim is a worker that b.stats() shows as busy, and whose process, if it is here, has computed since, for
one that hasn't read its call yet costs nobody anything: that call is sent to another one. It is frozen first, and
killed if its call is still out a moment later; else it may have answered between look and signal. It counts as hit only
when a call raised WorkerCrashed with its pid. Apart from demo.py because a kill can miss all the same.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import Final

from bridge.children import cpu_used_by
from bridge.client import Bridge
from bridge.core.stats import WorkerStats
from bridge.errors import WorkerCrashed

MAX_KILLS: Final = 20
"""After so many misses something is wrong."""
AT_WORK: Final = 0.001
"""Seconds of processor time after which a worker has certainly read its call."""
MOMENT: Final = 0.02
"""Seconds for a worker to get to work, and for an answer that it gave just before it was frozen to be read."""
SETTLE: Final = 20.0
"""Seconds for the dead workers' places to be filled; it takes some milliseconds, and what a launcher does besides."""


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
        for pid, worker in self._busy().items():
            if pid not in self._killed and self._kill(pid, worker):
                self._killed.add(pid)
                self.kills += 1
                self._due = self._results + self._window + 1
                return

    def _busy(self) -> dict[int, WorkerStats]:
        """The busy workers."""
        return {worker.pid: worker for worker in self._bridge.stats().workers if worker.pid and worker.state == "busy"}

    def _kill(self, pid: int, worker: WorkerStats) -> bool:
        """Whether it was killed, in its call."""
        if worker.launcher_pid is None and not _computes(pid):
            return False
        target = pid if worker.launcher_pid is None else -worker.launcher_pid  # whatever that has started here, too
        with contextlib.suppress(ProcessLookupError):
            os.kill(target, signal.SIGSTOP)
            time.sleep(MOMENT)
            then = self._busy().get(pid)
            caught = then is not None and then.calls == worker.calls
            os.kill(target, signal.SIGKILL if caught else signal.SIGCONT)
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


def _computes(pid: int) -> bool:
    """Whether a process is at work, within a moment."""
    before, until = cpu_used_by(pid) or 0.0, time.monotonic() + MOMENT
    while (cpu_used_by(pid) or 0.0) < before + AT_WORK:
        if time.monotonic() >= until:
            return False
        time.sleep(AT_WORK)
    return True
