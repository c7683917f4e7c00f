"""One thread's check-out, and how other threads reach it.

Rules: waking takes no lock; a claim that others may cancel has an alarm, a descriptor that the wait for a reply watches
too. Apart from the pool, which lends to claims.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import Any

from bridge.core.pool_state import Waiter
from bridge.runtime.worker import Worker


class Alarm:
    """A descriptor that becomes readable, once and for all."""

    __slots__ = ("__weakref__", "fd")

    def __init__(self) -> None:
        self.fd = -1  # so that `__del__` works, should the next line fail
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def __del__(self) -> None:
        # Not earlier: who is about to ring would write into whatever file got the number next.
        if self.fd >= 0:
            os.close(self.fd)

    def ring(self) -> None:
        """Make it readable. Takes no lock, never blocks."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_write(self.fd, 1)


class Claim(Waiter[Worker]):
    """One thread's check-out.

    Args:
        cancellable: Whether other threads may cancel what it does.
    """

    __slots__ = ("_bell", "alarm", "cancelled", "sent_at")

    def __init__(self, *, cancellable: bool = False) -> None:
        super().__init__()
        self._bell: Any = None
        self.alarm = Alarm() if cancellable else None
        self.cancelled = False  # by another thread
        self.sent_at = 0.0  # monotonic seconds; of the call that the worker was lent for

    @property
    def alarm_fd(self) -> int:
        """What the wait for a reply watches too; -1: nothing."""
        return -1 if self.alarm is None else self.alarm.fd

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

    def sleep(self, seconds: float) -> None:
        """Wait to be woken."""
        self._bell.acquire(timeout=min(seconds, threading.TIMEOUT_MAX))
