"""One thread's check-out, and how other threads reach it.

Rules: waking takes no lock. A call under way is reached through the link of its worker, whose alarm the wait for a
reply watches too. Apart from the pool, which lends to claims.
"""

from __future__ import annotations

import threading
from math import inf
from typing import Any

from bridge.core.pool_state import Waiter
from bridge.link import HEARING
from bridge.runtime.worker import Worker


class Claim(Waiter[Worker]):
    """One thread's check-out."""

    __slots__ = ("_bell", "begun", "body", "cancelled", "deadline", "fails_fast", "handing", "sent_at", "session")

    def __init__(self) -> None:
        super().__init__()
        self._bell: Any = None
        self.cancelled = False  # by another thread
        self.session: str | None = None  # that it is for
        self.fails_fast = False  # it doesn't wait while others have the worker that it wants
        self.sent_at = 0.0  # monotonic seconds; of the call that the worker was lent for
        self.body: bytes | None = None  # of a call that whoever lends it a worker may begin
        self.deadline = inf  # of that
        self.handing = False  # somebody is about to begin it; the link is his until he is done
        self.begun: bool | Exception = False  # he has, or what came of that

    def arm(self) -> None:
        """Get ready to be woken; before the claim is queued."""
        self._bell = threading.Lock()
        self._bell.acquire()

    def wake(self) -> None:
        """Tell the owner to look. Idempotent."""
        try:
            if self._bell is not None:
                self._bell.release()
        except RuntimeError:
            pass  # it was woken already, and hasn't looked yet

    def await_begun(self) -> None:
        """Wait for whoever is about to begin its call: some microseconds, since it can't be interrupted."""
        while self.handing and self._bell is not None:
            self.sleep(HEARING)

    def sleep(self, seconds: float) -> None:
        """Wait to be woken."""
        self._bell.acquire(timeout=min(seconds, threading.TIMEOUT_MAX))
