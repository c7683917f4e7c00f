"""Looking after workers that nobody needs just now: whether they answer, and how much memory they hold.

Rules: a worker is taken out of the pool for it, so that no caller finds it in the middle of a look; memory is measured
between calls only, since what a call holds may be gone after it. Apart from the roster, since it has its own timer.
"""

from __future__ import annotations

import os
from math import inf
from typing import Final

from bridge.core.fleet import Fleet
from bridge.core.hosts import HostFleets
from bridge.runtime.pool import Pool
from bridge.runtime.roster import Roster
from bridge.runtime.worker import Worker

ANSWER_WITHIN: Final = 5.0
"""Seconds that an idle worker has to say how it is."""
FAREWELL_WITHIN: Final = 30.0
"""The same, if sessions have ended there: its handler's `on_session_end` may have something to do."""
MEMORY_LOOK: Final = 1.0
"""Seconds between two looks at the memory of workers, where that is limited."""
PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class Checkups:
    """Looks after idle workers.

    Args:
        interval: Seconds for which a worker has to be idle before it is asked how it is; None never asks.
    """

    def __init__(self, roster: Roster, pool: Pool, fleet: Fleet | HostFleets, interval: float | None) -> None:
        self._roster, self._pool, self._fleet = roster, pool, fleet
        self._interval = inf if interval is None else interval
        self.at = -inf
        """When there is something to do, in monotonic seconds; infinity when nothing is to come."""

    def look(self, now: float) -> None:
        """Do what is due."""
        owing = self._pool.sessions.farewells
        if (now < self.at and not owing) or not self._roster.threaded:
            return
        limited = self._roster.limits_memory
        idle = self._pool.idle_workers()
        for worker, since in idle:
            if limited:
                self._weigh(worker, now)
            owes = worker in owing
            due = max(since, worker.asked_at) + self._interval <= now
            if (due or owes) and self._pool.take(worker):
                worker.asked_at = now
                effects = self._fleet.check_up(worker.generation, FAREWELL_WITHIN if owes else ANSWER_WITHIN, now)
                if effects:
                    self._roster.perform(effects)
                else:
                    self._pool.add(worker)
        times = [max(since, worker.asked_at) + self._interval for worker, since in idle]
        times.append(now + min(self._interval, MEMORY_LOOK if limited or owing else inf))
        self.at = max(min(times), now + min(self._interval, MEMORY_LOOK) / 4)

    def _weigh(self, worker: Worker, now: float) -> None:
        if worker.weighed_at == worker.calls or worker.info.pid is None or worker.info.launcher:
            return
        worker.weighed_at = worker.calls
        why = worker.thresholds.worn_by(worker.calls, resident(worker.info.pid))
        if why is not None:
            self._roster.perform(self._fleet.wear(worker.generation, why, now))


def resident(pid: int) -> int:
    """Bytes of memory that a process has in use; 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as statm:
            return int(statm.read().split()[1]) * PAGE
    except (OSError, IndexError):
        return 0
