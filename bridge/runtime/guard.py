"""When the adapter's guard against orphans is seen to.

Rules: on the supervisor's thread alone; starting the guard may block, so it waits until the first worker is ready,
or SETTLE_AFTER. Apart from the supervisor because it knows nothing of workers.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from math import inf
from typing import Final

from bridge.contract import Adapter, ProcessAdapter
from bridge.runtime.journal import log, say
from bridge.runtime.poller import Lookout

SETTLE_AFTER: Final = 0.1
"""Seconds after the first spawn at which the guard is seen to, if no worker was ready before."""
RETRY_AFTER: Final = 1.0
"""Seconds until a guard that couldn't be started is tried again."""


class Guard:
    """Keeps the guard of one adapter alive, if it has one.

    Args:
        lookout: Watches it.
        name: Labels log lines.
        clock: Monotonic seconds.
    """

    def __init__(self, adapter: Adapter, lookout: Lookout, name: str, clock: Callable[[], float]) -> None:
        self._adapter = adapter if isinstance(adapter, ProcessAdapter) else None
        self._lookout, self._name, self._clock = lookout, name, clock
        self._fd: int | None = None
        self.at = inf
        """When it is to be seen to, in monotonic seconds."""

    def want(self, at: float) -> None:
        """There is something to guard: see to it at that time, unless there is a guard."""
        if self._adapter is not None and self._fd is None:
            self.at = min(self.at, at)

    def settle(self) -> None:
        """Start it, and watch for its end."""
        self.at = inf
        if self._adapter is None:
            return
        try:
            fd = self._adapter.settle()
        except OSError:
            self.at = self._clock() + RETRY_AFTER
            # With the traceback go the frames: whoever keeps it must not keep the poller, so we ask the lookout for it.
            say(log.exception, "the guard against orphans of %s can't be started; trying again", self._name)
            return
        if fd is not None and fd != self._fd:
            self._fd = fd
            self._lookout.watch(fd, self._gone)

    def _gone(self) -> None:
        self.drop()
        self.at = self._clock()

    def drop(self) -> None:
        """The adapter is about to close it."""
        with suppress(OSError):  # another runtime that shares the adapter heard of two deaths, and closed it
            self._lookout.unwatch(self._fd)
        self._fd = None
