"""What became of calls, counted.

Rules: plain values; the pool's lock guards them. Apart from the pool, which decides who is lent a worker, and from
core/stats.py, which is what users read.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from bridge.core.poison import PoisonList
from bridge.core.stats import Histogram
from bridge.errors import PoisonCall, PoolError
from bridge.runtime.claims import Claim
from bridge.runtime.worker import Worker


class Tally:
    """The counters of one pool."""

    __slots__ = ("crashes", "latencies", "refused", "repeats", "retries", "sent_again", "shed", "timeouts")

    def __init__(self) -> None:
        self.timeouts = self.crashes = self.retries = self.repeats = self.shed = self.refused = 0
        self.latencies = Histogram()
        self.sent_again: Counter[str] = Counter()  # calls, by how their workers had ended

    def again(self, worker: Worker, *, started: bool) -> None:
        """A call is sent again, since that worker died before it saw it, or in it."""
        self.retries += not started
        self.repeats += started
        worker.sent_again += 1
        if worker.status is not None:
            self.explain(worker)

    def explain(self, worker: Worker) -> None:
        """It is known how a worker ended, and so why its calls were sent again."""
        count, worker.sent_again = worker.sent_again, 0
        if count:
            self.sent_again[worker.how_it_ended()] += count


class Counting:
    """The part of a pool that counts, and the lock.

    Args:
        name: Labels errors.
        clock: Monotonic seconds.
    """

    def __init__(self, poison_threshold: int | None, name: str, clock: Callable[[], float]) -> None:
        self.tally = Tally()
        self._poison = PoisonList(poison_threshold)
        self._name, self._clock = name, clock
        # Entered with a plain `with`, never through a Python context manager: a signal between the two would leave
        # it locked. Re-entrant, so that a finaliser that runs inside can give a worker back.
        self.lock = threading.RLock()

    @property
    def interrupted_here(self) -> bool:
        """Whether the caller is a signal handler or a finaliser that interrupted a holder of the lock: to wait for
        anything would hang."""
        return self.lock._is_owned()  # type: ignore[attr-defined, no-any-return]  # noqa: SLF001

    def interrupted(self) -> PoolError:
        """For a caller that interrupted the pool itself."""
        return PoolError(
            f"the pool of {self._name} was called by a signal handler or a finaliser that interrupted it; "
            "set a flag there, and call from the main flow"
        )

    def record(self, worker: Worker, sent_at: float) -> None:
        """Count a call that was answered on a worker that stays lent."""
        worker.active_at = now = self._clock()
        with self.lock:
            self.tally.latencies.note(now - sent_at)

    def count_chunk(self, worker: Worker, claim: Claim, calls: Any) -> None:
        """A worker has answered a chunk of so many calls: each is counted, with its share of the time."""
        if isinstance(calls, int) and calls > 1:
            worker.calls += calls - 1
            now = self._clock()
            share = (now - claim.sent_at) / calls
            claim.sent_at = now - share  # the last one is counted when the worker comes back
            with self.lock:
                self.tally.latencies.add(share, calls - 1)

    def count(self, *, timeouts: int = 0, crashes: int = 0) -> None:
        """Count a call that got no answer."""
        with self.lock:
            self.tally.timeouts += timeouts
            self.tally.crashes += crashes

    def count_again(self, worker: Worker, *, started: bool) -> None:
        """Count a call that is sent again, since that worker died before it saw it, or in it."""
        with self.lock:
            self.tally.again(worker, started=started)

    def explain(self, worker: Worker) -> None:
        """It is known by now how a worker ended: so it is why its calls were sent again."""
        with self.lock:
            self.tally.explain(worker)

    def suspect(self, body: bytes, how: str) -> None:
        """A worker died in the call with these bytes."""
        with self.lock:
            self._poison.died(body, how)

    def refuse_poison(self, command: str, body: bytes) -> None:
        """Raise PoisonCall for a call that has killed too many workers."""
        with self.lock:
            verdict = self._poison.verdict(body)
        if verdict is not None:
            raise PoisonCall(command, deaths=verdict[0], how=verdict[1])
