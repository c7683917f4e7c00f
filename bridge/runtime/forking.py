"""How a fork waits until other threads have their descriptors in order.

Rules: the wait is bounded, so that it can't become a deadlock, whatever the other thread waits for; who holds what is
noted by thread, since several may fork at once. Apart from the supervisor, whose work it must not cut in two: between
two of its lines the numbers of open descriptors are known to nobody, and the child would keep them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any


class ForkHold:
    """A lock that is held across a fork by the thread that forks.

    Args:
        lock: A re-entrant one: a signal handler may fork in the very thread that holds it.
        before: Called before each fork.
    """

    def __init__(self, lock: Any, before: Callable[[], object]) -> None:
        self._lock, self._before = lock, before
        self._holders: list[int] = []

    def hold(self, until: float) -> None:
        """Before the fork: take it, if it can be had by then, in seconds of time.monotonic."""
        if self._lock.acquire(timeout=max(0.0, until - time.monotonic())):
            self._holders.append(threading.get_ident())
        self._before()

    def release(self) -> None:
        """In the parent, after it: give back what this thread took."""
        while threading.get_ident() in self._holders:
            self._holders.remove(threading.get_ident())
            self._lock.release()
