"""One thread's check-out, and how other threads reach it.

Rules: waking takes no lock. A call under way is reached through the link of its worker, whose alarm the wait for a
reply watches too. Apart from the pool, which lends to claims.
"""

from __future__ import annotations

import threading
from math import inf
from threading import Lock
from typing import Any

from bridge.core.pool_state import Waiter
from bridge.link import HEARING
from bridge.runtime.worker import Worker


def worker_of(claim: Claim) -> Worker:
    """The worker that it was lent, where it certainly was."""
    assert claim.worker is not None
    return claim.worker


class Claim(Waiter[Worker]):
    """One thread's check-out."""

    _bell: Any = None
    cancelled = False
    """By another thread."""
    session: str | None = None
    """That it is for."""
    fails_fast = False
    """It doesn't wait while others have the worker that it wants."""
    sent_at = 0.0
    """Monotonic seconds; of the call that the worker was lent for."""
    body: bytes | None = None
    """Of a call that whoever lends it a worker may begin."""
    deadline = inf
    """Of that, or of a task's."""
    loop: Any = None
    """Of whose callbacks its call is made, if it is a task's."""
    future: Any = None
    """That a task awaits for the result of such a call."""
    handing = False
    """Somebody is about to begin it; the link is his until he is done."""
    begun: bool | Exception = False
    """He has, or what came of that."""

    def arm(self) -> Any:
        """Get ready to be woken; before the claim is queued. What rings then."""
        self._bell = bell = Lock()
        bell.acquire()
        return bell

    def wake(self) -> None:
        """Tell the owner to look. Idempotent."""
        try:
            if self._bell is not None:
                self._bell.release()
        except RuntimeError:
            pass  # it was woken already, and hasn't looked yet

    def follows(self, loop: object, now: float) -> bool:
        """Whether a callback of that loop, whose worker it is lent next, may begin its call here and now. Not when it
        is over, or late: then it looks for itself."""
        future = self.future
        return self.loop is loop and now < self.deadline and future is not None and not future.done()

    def await_begun(self) -> None:
        """Wait for whoever is about to begin its call: some microseconds, since it can't be interrupted."""
        while self.handing and self._bell is not None:
            self.sleep(HEARING)

    def sleep(self, seconds: float) -> bool:
        """Wait to be woken: whether it was."""
        woken: bool = self._bell.acquire(timeout=min(seconds, threading.TIMEOUT_MAX))
        return woken
