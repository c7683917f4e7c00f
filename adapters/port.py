"""The parent's side of one worker process: its descriptors, the tail of its stderr, and how it ended.

Rules: nothing in the parent waits for a child here; the status of a child is taken only in `reap`, after its group was
killed. Apart from python_port.py, which starts these processes; zygote.py has the ways of a zygote's, launched.py those
of a worker that is behind another program.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from signal import SIGKILL, SIGURG
from typing import Final

from bridge.children import cpu_used_by, handle_of, is_dead
from bridge.contract import Capability, ExitStatus, WorkerInfo, WorkerSpec
from bridge.core.limits import cause_of
from bridge.errors import CapabilityError
from bridge.wire import READ_SIZE

READS_PER_DRAIN: Final = 16
"""Of 64 KiB each: one worker that floods its stderr must not starve the supervisor's other duties."""


class Port:
    """One worker process and the parent's descriptors for it: request, reply, stderr, pidfd (-1: there is none)."""

    capabilities = frozenset(Capability)

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


class PythonPort(Port):
    """A child of ours: the parent's five descriptors for it, and its number until it is reaped."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        pidfd: int,
        fds: tuple[int, int, int],
        spec: WorkerSpec,
        sweep: Callable[[], None],
        was_oom_kill: Callable[[], bool],
        arena: int,
    ) -> None:
        super().__init__(process.pid, pidfd, fds, spec, sweep)
        self.arena = arena
        self._process, self._was_oom_kill = process, was_oom_kill
        self._reaped = False  # a pid is only ours until then

    def kill(self) -> None:
        """SIGKILL to the worker's whole process group. Idempotent; never blocks."""
        with self._guard:
            if self._pidfd >= 0 and self._is_ours():
                if not self._killed:
                    with contextlib.suppress(OSError):  # EBADF: the program closed what wasn't its own
                        self._killed = not is_dead(self._pidfd)  # if it is, its status has a reason of its own
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._process.pid, SIGKILL)

    def _is_ours(self) -> bool:
        """Whether its number is still its own, dead or alive."""
        try:
            signal.pidfd_send_signal(self._pidfd, 0)
        except ProcessLookupError:
            return False  # also when somebody else took its status, as where SIGCHLD is ignored
        except OSError:
            return not self._reaped  # EBADF: the program closed what wasn't its own
        return True

    def reap(self) -> ExitStatus:
        """Kill what is left of the group, then take the status. Only once the sentinel is readable."""
        with self._guard:
            pid = self._process.pid
            cpu_used = cpu_used_by(pid) if "cpu_seconds" in self._limits else None
            try:
                # While the dead leader isn't reaped, its number can't be anybody else's group.
                # This raises when somebody else took its status: then the number may be another child's of ours.
                whom = handle_of(self._pidfd, pid)
                os.waitid(*whom, os.WEXITED | os.WNOWAIT | os.WNOHANG)
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, SIGKILL)
                status = os.waitid(*whom, os.WEXITED)
            except ChildProcessError:
                status = None  # SIGCHLD is ignored, or somebody else waited for it
            self._reaped = True
            self._process.returncode = 0  # Popen's own finaliser must not wait for this number again
        if status is None:
            return ExitStatus()
        return self._how(status.si_code, status.si_status, cpu_used)

    def close(self) -> None:
        """Give the descriptors back. Idempotent."""
        self._process.returncode = 0
        super().close()


def close_quietly(fd: int) -> None:
    """Close it, if there is one."""
    if fd >= 0:
        with contextlib.suppress(OSError):  # EBADF: the program closed what wasn't its own
            os.close(fd)
