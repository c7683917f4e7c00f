"""The parent's side of one worker process: its descriptors, the tail of its stderr, and how it ended.

Rules: nothing in the parent waits for a child here; the status of a child is taken only in `reap`, after its group was
killed. Apart from python_port.py, which starts these processes, and has the ways of its own children; zygote.py has
those of a zygote's.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from signal import SIGKILL, SIGURG
from typing import Final

from bridge.contract import ExitStatus, WorkerInfo, WorkerSpec
from bridge.core.limits import cause_of
from bridge.errors import CapabilityError
from bridge.wire import READ_SIZE

READS_PER_DRAIN: Final = 16
"""Of 64 KiB each: one worker that floods its stderr must not starve the supervisor's other duties."""


class Port:
    """One worker process and the parent's descriptors for it: request, reply, stderr, pidfd (-1: there is none)."""

    def __init__(
        self,
        pid: int | None,
        pidfd: int,
        fds: tuple[int, int, int],
        spec: WorkerSpec,
        sweep: Callable[[], None],
    ) -> None:
        self.info = WorkerInfo(spec.generation, pid)
        self.sweep = sweep
        self._pidfd = pidfd
        self.arena = -1  # memory that it shares with its caller
        self._request, self._reply, self._stderr = fds
        self._tail_bytes, self._limits = spec.stderr_tail_bytes, spec.limits
        self._was_oom_kill: Callable[[], bool] = bool
        self._tail = self._line = b""
        self._stderr_ended = self._killed = False
        self._guard = threading.Lock()  # between kill and reap
        for fd in fds:
            os.set_blocking(fd, False)

    def fileno(self) -> tuple[int, int]:
        """(reply, request): where to read, where to write."""
        return self._reply, self._request

    def submit(self, *_: object) -> None:
        """Never: this channel has descriptors."""
        raise CapabilityError("python_port is driven through its descriptors, not through submit()")

    def cancel(self, call_id: int) -> None:  # noqa: ARG002  the frame says which
        """Have the worker look for the CANCEL frame that was written. Ignored by whatever doesn't know of it."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, SIGURG)

    def sentinel(self) -> int:
        """The pidfd: readable when the worker is dead."""
        return self._pidfd

    def stderr_fileno(self) -> int | None:
        """Where the worker's stderr can be read; None after its end."""
        return None if self._stderr_ended or self._stderr < 0 else self._stderr

    def drain_stderr(self) -> list[str]:
        """Read what is there without blocking; the whole lines that it completed."""
        text = b""
        for _ in range(0 if self.stderr_fileno() is None else READS_PER_DRAIN):
            try:
                data = os.read(self._stderr, READ_SIZE)
            except BlockingIOError:
                break
            if not data:
                self._stderr_ended = True
                break
            text += data
        self._tail = (self._tail + text)[-self._tail_bytes :]
        *lines, self._line = (self._line + text).split(b"\n")
        if len(self._line) > READ_SIZE or self._stderr_ended:
            lines, self._line = [*lines, self._line], b""
        return [line.decode(errors="replace") for line in lines if line]

    def stderr_tail(self) -> str:
        """The last of what the worker wrote to stderr."""
        return self._tail.decode(errors="replace")

    def _how(self, code: int, number: int, cpu_used: float | None) -> ExitStatus:
        """What the kernel says of the end: a CLD_ code, and with it an exit code or a signal."""
        if code == os.CLD_EXITED:
            return ExitStatus(code=number)
        if self._killed:
            return ExitStatus(signal=number)
        if number == SIGKILL and self._was_oom_kill():
            return ExitStatus(signal=number, out_of_memory=True)
        return ExitStatus(signal=number, why=cause_of(number, self._limits, cpu_used))

    def forget(self) -> None:
        """In a forked child: close what it inherited."""
        self.close()

    def close(self) -> None:
        """Give the descriptors back. Idempotent."""
        fds = self._request, self._reply, self._stderr, self._pidfd, self.arena
        # First: their numbers may be other files' as soon as they are closed, by us or by whoever else did it.
        self._request = self._reply = self._stderr = self._pidfd = self.arena = -1
        for fd in fds:
            close_quietly(fd)


def close_quietly(fd: int) -> None:
    """Close it, if there is one."""
    if fd >= 0:
        with contextlib.suppress(OSError):  # EBADF: the program closed what wasn't its own
            os.close(fd)
