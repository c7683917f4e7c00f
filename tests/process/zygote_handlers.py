"""A handler whose module tells where it was imported, and imports that go wrong. Nothing here is imported by a test.

What an import is to do stands in the variable ZYGOTE_IMPORT.
"""

from __future__ import annotations

import ctypes
import os
import random
import signal
import sys
import threading
from pathlib import Path

IMPORTED_BY = os.getpid()
MADE: list[int] = []


def _start_a_native_thread() -> None:
    libc = ctypes.CDLL(None)
    libc.pthread_create(ctypes.byref(ctypes.c_ulong()), None, ctypes.cast(libc.pause, ctypes.c_void_p), None)


what, _, argument = os.environ.get("ZYGOTE_IMPORT", "").partition(" ")
if what == "say":
    print("imported, and said so")
elif what == "fail":
    raise LookupError("no model")
elif what == "need" and not Path(argument).exists():
    raise LookupError("no file yet")
elif what == "exit":
    sys.stderr.write("last words of an import\n")
    sys.stderr.flush()
    os._exit(3)
elif what == "hang":
    signal.pause()
elif what == "thread":
    threading.Thread(target=threading.Event().wait, name="ticker", daemon=True).start()
elif what == "native":
    _start_a_native_thread()
elif what == "mask":
    Path(argument).touch()


class Imported:
    """Says by whom it was imported, made and started."""

    def __init__(self) -> None:
        MADE.append(os.getpid())
        self._started = 0

    def on_start(self) -> None:
        """In the worker."""
        self._started = os.getpid()

    def pids(self) -> list[int]:
        """Of the import, the constructor, `on_start` and this call."""
        return [IMPORTED_BY, *MADE, self._started, os.getpid()]

    def draw(self) -> float:
        """A random number."""
        return random.random()

    def environ(self, name: str) -> str | None:
        """A variable."""
        return os.environ.get(name)

    def open_files(self) -> list[str]:
        """What its descriptors are."""
        found = []
        for entry in os.listdir("/proc/self/fd"):
            try:
                found.append(os.readlink(f"/proc/self/fd/{entry}").partition(":")[0])
            except FileNotFoundError:
                continue
        return sorted(found)

    def same(self, value: bytes) -> bytes:
        """What it was given."""
        return value

    def leave_a_fork(self, pid_file: str, apart: bool = True) -> None:
        """Leave a process, of another session or not, that never ran a program of its own."""
        libc = ctypes.CDLL(None)
        pid = libc.fork()
        if pid == 0:
            if apart:
                os.setsid()
            libc.pause()
        while apart and os.getsid(pid) != pid:
            os.sched_yield()
        Path(pid_file).write_text(f"{pid}\n")

    def die(self, number: int) -> None:
        """By a signal."""
        os.kill(os.getpid(), number)
