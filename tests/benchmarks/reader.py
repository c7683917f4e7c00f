"""Who reads the reply: the caller itself, or a thread that hands it over? `python -m tests.benchmarks.reader`.

64 bytes over a pipe pair to a child that echoes them, pinned to one core; p50 of each, in interleaved rounds.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable

from bridge.bench.timing import p50

ECHO = "import os, sys; r, w = map(int, sys.argv[1:])\nwhile data := os.read(r, 65536): os.write(w, data)"
MESSAGE = b"x" * 64
ROUNDS, CALLS = 15, 2000


def echo() -> tuple[int, int, subprocess.Popen[bytes]]:
    """A child, and where to read and write."""
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    fds = (theirs_in, theirs_out)
    child = subprocess.Popen([sys.executable, "-c", ECHO, *map(str, fds)], pass_fds=fds)
    for fd in fds:
        os.close(fd)
    return ours_in, ours_out, child


def by_holder() -> Callable[[], object]:
    """The caller reads."""
    source, sink, _ = echo()

    def call() -> bytes:
        os.write(sink, MESSAGE)
        return os.read(source, 65536)

    return call


def by_thread() -> Callable[[], object]:
    """A thread reads, and wakes the caller."""
    source, sink, _ = echo()
    bell = threading.Lock()
    bell.acquire()
    replies: list[bytes] = []

    def listen() -> None:
        while data := os.read(source, 65536):
            replies.append(data)
            bell.release()

    threading.Thread(target=listen, daemon=True).start()

    def call() -> bytes:
        os.write(sink, MESSAGE)
        bell.acquire()
        return replies.pop()

    return call


def main() -> None:
    """Print both."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    calls = {"the holder reads": by_holder(), "a thread reads": by_thread()}
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            samples[name].append(p50(call, CALLS))
    for name, figures in samples.items():
        print(f"{name:<18}{statistics.median(figures):6.1f} us")


if __name__ == "__main__":
    main()
