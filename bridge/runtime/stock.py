"""The workers of a pool, and what the supervisor does with them: the part without waiting.

Rules: the lock is the pool's; waking happens after it is released. Apart from pool.py, where callers are lent workers
and wait for them.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import main_thread

from bridge.core.members import View
from bridge.core.sessions import SessionBook, SessionPolicy
from bridge.runtime.claims import Claim
from bridge.runtime.pool_policy import PoolPolicy, state_of
from bridge.runtime.tally import Counting
from bridge.runtime.worker import Worker


class Stock(Counting):
    """Which workers there are, and what sessions they have.

    Args:
        sessions: How sessions are kept.
        name: Labels errors.
        clock: Monotonic seconds.
    """

    def __init__(
        self, policy: PoolPolicy, sessions: SessionPolicy | None, name: str, clock: Callable[[], float]
    ) -> None:
        super().__init__(policy.poison_threshold, name, clock)
        self.sessions: SessionBook[Worker] = SessionBook(sessions or SessionPolicy())
        self._state = state_of(policy)
        self.policy = policy
        self.fleet = View()  # what the supervisor last said of its workers
        self._closed = False
        self._main = main_thread().ident  # where a signal handler may run

    # -- Who waits, and who has a worker ------------------------------------------------------------------

    def unserved(self) -> list[Claim]:
        """Whoever waits, or was given a worker and has not looked yet."""
        with self.lock:
            return self._state.unserved()  # type: ignore[return-value]

    def served(self) -> list[Claim]:
        """Whoever has a worker."""
        with self.lock:
            return [holder for _, holder in self._state.lent() if isinstance(holder, Claim)]

    # -- For the supervisor ------------------------------------------------------------------------------

    def add(self, worker: Worker) -> None:
        """A worker became ready."""
        with self.lock:
            next_one = self._state.add(worker, self._clock())
        if next_one is not None:
            next_one.wake()

    def remove(self, worker: Worker) -> None:
        """A worker is dead or to die; whoever holds it finds out by itself."""
        with self.lock:
            self._state.remove(worker)

    def bury(self, worker: Worker, how: str) -> None:
        """A worker is dead, or was told to end: so is what it had of sessions, and whoever wants that one is refused.
        Idempotent."""
        with self.lock:
            self.sessions.worker_gone(worker, worker.info.pid, how, worker.host or None)
            refused = self._state.bury(worker)
        for waiter in refused:
            waiter.wake()

    def take(self, worker: Worker) -> bool:
        """Remove a worker if it is idle."""
        with self.lock:
            return self._state.take_out(worker)

    def idle_workers(self) -> list[tuple[Worker, float]]:
        """Those that can be lent, and since when."""
        with self.lock:
            return list(self._state.idle.items())

    def has(self, worker: Worker) -> bool:
        """Whether a worker is lent or can be."""
        return worker in self._state.workers

    def take_idle(self, before: float, keep: int) -> Worker | None:
        """Remove the worker that was idle for longest, if since `before`, and if more than `keep` remain."""
        with self.lock:
            coldest = self._state.coldest()
            if coldest is None or coldest[1] > before or len(self._state.workers) <= keep:
                return None
            self._state.remove(coldest[0])
            return coldest[0]

    @property
    def strength(self) -> int:
        """Workers that are lent or can be."""
        return len(self._state.workers)

    def coldest(self) -> tuple[Worker, float] | None:
        """The worker that has been idle for longest, and since when."""
        with self.lock:
            return self._state.coldest()

    # -- For those who look ------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Callers in the queue, and in those of single workers."""
        return self._state.all_waiting

    @property
    def waiting_for_any(self) -> int:
        """Callers whom one more worker would help."""
        return len(self._state.waiting)

    def is_away(self, worker: Worker) -> bool:
        """Whether a worker is neither idle nor lent: it is being looked after, and comes back soon or never."""
        with self.lock:
            return worker not in self._state.idle and not worker.lent

    @property
    def forsaken(self) -> bool:
        """Whether one that was lent has nobody who could give it back: its lease was dropped, and an audit is due."""
        with self.lock:
            return not all(worker.lent or worker in self._state.idle for worker in self._state.workers)

    def states(self) -> dict[Worker, str]:
        """Each worker that can be lent or is: ready or busy."""
        with self.lock:
            return {worker: "ready" if worker in self._state.idle else "busy" for worker in self._state.workers}
