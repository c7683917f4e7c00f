"""Which descriptors one thread waits for, what it does when one is ready, and how others wake it.

Rules: epoll, never select (a descriptor may be above 1023); one thread polls, any thread wakes. Apart from the
supervisor because it knows nothing of workers.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from math import ceil
from typing import Final

MAX_SLEEP: Final = 3600.0


class Poller:
    """An epoll with callbacks and a wake-up descriptor."""

    _wake_fd = -1  # so that `close` works, wherever `__init__` ends

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._callbacks: dict[int, Callable[[], None]] = {}
        # No method of ours: in a circle with it the descriptors would stay open until a garbage collection.
        self.watch(self._wake_fd, partial(_take_notice, self._wake_fd))

    def __del__(self) -> None:
        # Not earlier: a thread that is about to wake us would write into whatever file got the number next.
        self.close()

    def close(self) -> None:
        """Give the descriptors back: when no other thread can wake it any more. Idempotent."""
        wake_fd, self._wake_fd = self._wake_fd, -1  # first: in a forked child the number may be another file's soon
        if wake_fd >= 0:
            os.close(wake_fd)
            self._epoll.close()

    def __contains__(self, fd: int) -> bool:
        return fd in self._callbacks

    def watch(self, fd: int, callback: Callable[[], None], events: int = select.EPOLLIN) -> None:
        """Call back whenever the descriptor is ready."""
        self._callbacks[fd] = callback
        try:
            self._epoll.register(fd, events)
        except BaseException:
            self._callbacks.pop(fd, None)  # else whoever tidies up would unregister what isn't registered
            raise

    def unwatch(self, fd: int | None) -> None:
        """Forget a descriptor, before it is closed. Idempotent.

        Afterwards is too late: a process that another thread forks at that moment holds a copy of it, and until that
        one has called exec the kernel goes on reporting the old number, which may be another file's by then.
        """
        if fd is not None and self._callbacks.pop(fd, None) is not None:
            with suppress(FileNotFoundError):  # `kill` put another file in its place, and the kernel forgot this one
                self._epoll.unregister(fd)

    def poll(self, seconds: float, guard: AbstractContextManager[object] | None = None) -> None:
        """Wait for at most so long, and call back, inside the guard, for all that is ready."""
        sleep = min(max(0.0, seconds), MAX_SLEEP)
        ready = [(fd, self._callbacks.get(fd)) for fd, _ in self._epoll.poll(ceil(sleep * 1000) / 1000)]
        with guard or nullcontext():
            for fd, callback in ready:
                # A callback before this one may have closed the descriptor; its number may be another file's by now.
                if callback is not None and self._callbacks.get(fd) is callback:
                    callback()

    def wait(self, seconds: float) -> None:
        """Wait until there is something to call back for, but don't: for other threads than the one that polls."""
        look = select.poll()
        look.register(self._epoll.fileno(), select.POLLIN)
        look.poll(ceil(min(max(0.0, seconds), MAX_SLEEP) * 1000))

    def wake(self) -> None:
        """End the poll of another thread. Takes no lock: finalisers and signal handlers may call it."""
        with suppress(BlockingIOError):  # full: it is awake
            os.eventfd_write(self._wake_fd, 1)


class Lookout:
    """The one poller of a supervisor, from its start to its end. Before and after, nothing is watched.

    It has no lock: for that the supervisor's thread would wait while a signal handler that interrupted its holder waits
    for that thread. Of several that were made at once, the first one counts.
    """

    def __init__(self) -> None:
        self._made: list[Poller] = []

    @property
    def poller(self) -> Poller | None:
        """The one that counts."""
        return next(iter(self._made), None)

    def open(self) -> None:
        """Begin. Idempotent. Before the first spawn: later, descriptors may be what is short."""
        if not self._made:
            self._made.append(Poller())

    def close(self) -> None:
        """End. Its descriptors are given back when nobody is about to wake it any more."""
        self._made.clear()

    def watch(self, fd: int | None, callback: Callable[[], None]) -> None:
        """Call back whenever the descriptor is ready."""
        if fd is not None and (poller := self.poller) is not None:
            poller.watch(fd, callback)

    def unwatch(self, fd: int | None) -> None:
        """Forget a descriptor, before it is closed. Idempotent."""
        if (poller := self.poller) is not None:
            poller.unwatch(fd)


def _take_notice(wake_fd: int) -> None:
    with suppress(BlockingIOError):
        os.eventfd_read(wake_fd)
