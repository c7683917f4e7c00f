"""What the kernel says of a child process, and how it is asked without taking the child's status.

Rules: by pidfd wherever there is one, since a number may be another process's by now. Apart from those who decide what
follows: the adapter of processes, and the demo's accident.
"""

from __future__ import annotations

import os
import select
import time


def cpu_used_by(pid: int) -> float | None:
    """Seconds that a process which isn't reaped has computed, without its children; None when there is none."""
    try:
        return time.clock_gettime(~pid << 3 | 2)  # the clock that clock_getcpuclockid(3) makes of a pid
    except OSError:
        return None


def handle_of(pidfd: int, pid: int) -> tuple[int, int]:
    """How `waitid` is told of a child: by its pidfd, unless the program closed what wasn't its own."""
    try:
        os.fstat(pidfd)
    except OSError:
        return os.P_PID, pid
    return os.P_PIDFD, pidfd


def is_dead(pidfd: int) -> bool:
    """Whether a child has ended, reaped or not."""
    try:
        return os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
    except ChildProcessError:
        return True  # SIGCHLD is ignored, or somebody else waited for it


def ends_within(pidfd: int, milliseconds: int) -> bool:
    """Wait for the end of a process, for so long at most; whether it came."""
    death = select.poll()
    death.register(pidfd, select.POLLIN)
    return bool(death.poll(milliseconds))
