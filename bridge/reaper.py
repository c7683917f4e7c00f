"""Kill whatever a runtime left behind, when its process is gone, however it went.

Rules: a process of its own, in a session of its own; standard library only; it kills by pidfd, and only what carries
the run's random token in its environment, read after the pidfd was opened, so that a reused pid is never touched. It
ends as soon as a scan finds nothing. Apart from the lifeline (bridge/worker.py), which is faster but reaches only
the process group of a worker.
"""

import os
import select
import sys
from _signal import (  # type: ignore[import-not-found]  # `signal` imports enum: 5 ms
    SIG_IGN,
    SIGHUP,
    SIGINT,
    SIGKILL,
    SIGTERM,
    pidfd_send_signal,
    signal,
)

VARIABLE = "_SCOPED_BRIDGE_RUN"
"""Holds marks, `token:start`, one for each runtime that encloses a process, separated by spaces."""

GIVE_UP_AFTER = 200
"""Scans; a process in the kernel's uninterruptible sleep outlives SIGKILL until its device answers."""
SCAN_PAUSE_MS = 5


def sweep(carries: bytes) -> None:
    """Kill every process whose variable has an item that begins with `carries`, until a scan finds none."""
    pause = select.poll()
    for _ in range(GIVE_UP_AFTER):
        if not scan(carries):
            return
        pause.poll(SCAN_PAUSE_MS)


def scan(carries: bytes) -> int:
    """Kill once; how many were killed."""
    killed = 0
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            killed += _kill_if_marked(int(entry), carries)
    return killed


def _kill_if_marked(pid: int, carries: bytes) -> bool:
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        with open(f"/proc/{pid}/environ", "rb") as environ:
            marked = is_marked(environ.read(), carries)
        if marked:
            pidfd_send_signal(pidfd, SIGKILL)
        return marked
    except OSError:  # it is gone, or somebody else's
        return False
    finally:
        os.close(pidfd)


def is_marked(environ: bytes, carries: bytes) -> bool:
    """Whether an environment, as the kernel shows it, names the run (`token:`) or one start (`token:7 `)."""
    prefix = VARIABLE.encode() + b"="
    for entry in environ.split(b"\0"):
        if entry.startswith(prefix):
            return any((item + b" ").startswith(carries) for item in entry[len(prefix) :].split(b" "))
    return False


def main(argv: list[str]) -> None:
    """Entry: the owner's pid and the run's token; marks (`token:7`) to sweep come as lines on descriptor 0."""
    owner, token = int(argv[1]), argv[2].encode()
    for number in (SIGINT, SIGTERM, SIGHUP):
        signal(number, SIG_IGN)  # a whole service being told to stop: its owner still needs us
    poll = select.poll()
    poll.register(0, select.POLLIN)
    try:
        pidfd = os.pidfd_open(owner)
        poll.register(pidfd, select.POLLIN)
    except OSError:
        pidfd = -1
    lines = b""
    while pidfd >= 0 and os.getppid() == owner:
        ready = [fd for fd, _ in poll.poll()]
        data = os.read(0, 4096) if 0 in ready else b""
        if pidfd in ready or not data:
            break
        *whole, lines = (lines + data).split(b"\n")
        for mark in whole:
            sweep(mark + b" ")
    sweep(token + b":")


if __name__ == "__main__":
    main(sys.argv)
