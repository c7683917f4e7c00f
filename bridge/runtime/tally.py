"""What became of calls, counted.

Rules: plain values; the pool's lock guards them. Apart from the pool, which decides who is lent a worker, and from
core/stats.py, which is what users read.
"""

from __future__ import annotations

from collections import Counter

from bridge.core.stats import Histogram
from bridge.runtime.worker import Worker


class Tally:
    """The counters of one pool."""

    __slots__ = ("calls", "crashes", "latencies", "refused", "repeats", "retries", "sent_again", "shed", "timeouts")

    def __init__(self) -> None:
        self.calls = self.timeouts = self.crashes = self.retries = self.repeats = self.shed = self.refused = 0
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
