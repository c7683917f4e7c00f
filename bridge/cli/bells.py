"""What ends the main thread's wait when a signal comes, at whatever moment.

Rules: Python runs a signal's handler between two steps of the main thread: after the wait, if the signal came just
before it began. So whoever waits polls a pipe, too, that the interpreter writes to when the signal comes
(`signal.set_wakeup_fd`). Apart from stopping.py and top.py, which decide what a signal means.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from contextlib import suppress
from math import ceil


class Bell:
    """Rung by each signal that Python handles; `with` hangs it up, in the main thread."""

    def __init__(self) -> None:
        self._hears, self._rings = os.pipe()
        os.set_blocking(self._hears, False)
        os.set_blocking(self._rings, False)
        self._before: int | None = None

    def wait(self, seconds: float | None, *fds: int) -> list[int]:
        """Those of the descriptors that can be read, within so many seconds (None: no limit). It ends sooner, with
        none, when it is rung: once it has returned, the signal's handler has run."""
        look = select.poll()
        for fd in (self._hears, *fds):
            look.register(fd, select.POLLIN)
        ready = [fd for fd, _ in look.poll(None if seconds is None else ceil(max(0.0, seconds) * 1000))]
        if self._hears in ready:
            with suppress(BlockingIOError):
                os.read(self._hears, 4096)
        return [fd for fd in ready if fd != self._hears]

    def __enter__(self) -> Bell:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.set_wakeup_fd(self._rings, warn_on_full_buffer=False)  # full: it was rung
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.set_wakeup_fd(self._before)
        os.close(self._hears)
        os.close(self._rings)
