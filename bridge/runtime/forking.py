"""How a fork waits until other threads have their descriptors in order.

Rules: the wait is bounded, so that it can't become a deadlock, whatever the other thread waits for; who holds what is
noted by thread, since several may fork at once. Apart from the supervisor, whose work it must not cut in two: between
two of its lines the numbers of open descriptors are known to nobody, and the child would keep them.
"""

from __future__ import annotations

import threading
import time
from typing import Any


class ForkHold:
    """Locks that are held across a fork by the thread that forks.

    Args:
        locks: Re-entrant ones: a signal handler may fork in the very thread that holds them.
    """

    def __init__(self, *locks: Any) -> None:
        self._locks = locks
        self._held: list[tuple[int, Any]] = []

    def hold(self, until: float) -> None:
        """Before the fork: take what can be had by then, in seconds of time.monotonic."""
        for lock in self._locks:
            if lock.acquire(timeout=max(0.0, until - time.monotonic())):
                self._held.append((threading.get_ident(), lock))

    def release(self) -> None:
        """In the parent, after it: give back what this thread took."""
        for entry in [entry for entry in self._held if entry[0] == threading.get_ident()]:
            self._held.remove(entry)
            entry[1].release()
