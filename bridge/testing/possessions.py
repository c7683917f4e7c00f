"""What this process has: threads, descriptors, children. For tests of lifetimes.

Rules: Linux's /proc is read, nothing is changed. Apart from the suite that asks for it because it knows no adapter.
"""

from __future__ import annotations

import gc
import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

MOMENT: Final = 2.0
"""Seconds in which a thread that was told to end is gone."""


def possessions() -> set[str]:
    """One text for each thread, descriptor and child of this process."""
    found = {f"thread {thread.name}" for thread in threading.enumerate()}
    for task in os.listdir("/proc/self/task"):
        with suppress(FileNotFoundError):  # a thread that ended meanwhile
            found.update(f"child {pid}" for pid in Path(f"/proc/self/task/{task}/children").read_text().split())
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the descriptor of the listing itself
            found.add(f"descriptor {number}: {os.readlink(f'/proc/self/fd/{number}')}")
    return found


def left_behind(before: set[str]) -> set[str]:
    """What is there now and wasn't before; what is about to go has a moment for that."""
    until = time.monotonic() + MOMENT
    while (new := possessions() - before) and time.monotonic() < until:
        os.sched_yield()
        gc.collect()
    return new
