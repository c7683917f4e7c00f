"""Handlers that do what handlers shouldn't. They run in a worker: nothing here is imported by a test."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any


class MuteError(Exception):
    """Can't even say what is wrong."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


class Rough:
    """Answers, after having done something that a careless protocol wouldn't survive."""

    def __init__(self, note: str = "none") -> None:
        self._note = note
        self.data = "an attribute, not a command"

    # -- Errors ------------------------------------------------------------------------------------------

    def note(self) -> str:
        return self._note

    def type_error(self, value: Any) -> Any:
        return value + 1

    def type_error_below(self) -> Any:
        return self.type_error()  # type: ignore[call-arg]

    def leave(self, code: int) -> None:
        sys.exit(code)

    def interrupt(self) -> None:
        raise KeyboardInterrupt

    def mute(self) -> None:
        raise MuteError

    def large(self, size: int) -> str:
        return "x" * size

    def deep(self, levels: int) -> list[Any]:
        sys.setrecursionlimit(levels * 10)
        value: list[Any] = []
        for _ in range(levels):
            value = [value]
        return value

    def exec_a_program(self) -> None:
        os.execv("/bin/sleep", ["sleep", "600"])

    def fork(self) -> int:
        """Return from the call in both processes; only the parent's answer is one."""
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
        return pid

    def close(self) -> str:
        return "closed by name"

    def on_start(self) -> None:
        self._note += ", started"

    def _private(self) -> str:
        return "private"

    def close_descriptors(self) -> None:
        os.closerange(3, 256)

    # -- Waiting and dying -------------------------------------------------------------------------------

    def pid(self) -> int:
        return os.getpid()

    def echo(self, value: Any) -> Any:
        return value

    def read_fifo(self, path: str) -> str:
        """Block until somebody has written to the fifo, and closed it."""
        return Path(path).read_text()

    def slow_echo(self, value: Any, seconds: float) -> Any:
        select.select([], [], [], seconds)
        return value

    def say_and_leave(self, text: str, code: int) -> None:
        os.write(2, text.encode())
        os._exit(code)

    def close_all(self) -> None:
        os.closerange(3, 99)  # as what makes a daemon does

    def print_and_die(self, text: str) -> None:
        print(text)
        os.kill(os.getpid(), signal.SIGKILL)

    def say_and_crash(self, text: str, number: int) -> None:
        os.write(2, text.encode())
        os.kill(os.getpid(), number)

    def use_up_descriptors(self) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        while True:
            os.dup(2)

    def run_out_of_memory(self) -> None:
        """As native code does that can't go on without: the system refuses a block, and the process aborts."""
        resource.setrlimit(resource.RLIMIT_AS, (2**28, 2**28))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with contextlib.suppress(MemoryError):
            bytearray(2**29)
            os._exit(0)
        os.abort()

    def abandon_a_child(self, pid_file: str, anonymous: bool) -> None:
        """Die, and leave a process of another session that holds all that we hold, the reply pipe included.

        An anonymous one has no environment by which it could be found.
        """
        libc = ctypes.CDLL(None)
        pid = libc.fork()  # not os.fork: no hook of the worker's runs
        if pid == 0:
            os.setsid()
            if anonymous:
                for name in os.listdir("/proc/self/fd"):
                    with contextlib.suppress(OSError):  # the listing's own
                        os.set_inheritable(int(name), True)
                os.execve("/bin/sleep", ["sleep", "600"], {})
            libc.pause()
        Path(pid_file).write_text(f"{pid}\n")
        while os.getsid(pid) != pid or (anonymous and Path(f"/proc/{pid}/environ").read_bytes()):
            os.sched_yield()
        os._exit(3)

    # -- Descriptors 0, 1 and 2 --------------------------------------------------------------------------

    def print(self, text: str) -> str:
        print(text)
        return "printed"

    def write_to_1(self, text: str) -> str:
        os.write(1, text.encode())
        return "written"

    def printf(self, text: str) -> str:
        libc = ctypes.CDLL(None)
        libc.printf(b"%s\n", text.encode())
        libc.fflush(None)
        return "printed by C"

    def child_echo(self, text: str) -> str:
        subprocess.run(["/bin/sh", "-c", 'echo "$0"; echo "$0" >&2', text], check=True)
        return "echoed"

    def read_stdin(self) -> list[Any]:
        return [sys.stdin.read(), len(os.read(0, 10)), subprocess.run(["cat"], stdout=-1, check=True).stdout.decode()]

    def complain(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def write_bytes_to_2(self, text: str) -> None:
        os.write(2, bytes.fromhex(text))

    def flood_stderr(self, megabytes: int) -> str:
        line = b"x" * 99 + b"\n"
        for _ in range(megabytes * 10):
            os.write(2, line * 1000)
        return "still here"


class Refuses:
    """Can't be made."""

    def __init__(self) -> None:
        raise LookupError("no model at this address")


class Exits:
    """Leaves while being made."""

    def __init__(self) -> None:
        sys.exit("not today")


class StartHookFails:
    """Is made, and then fails to start."""

    def on_start(self) -> None:
        raise LookupError("no warm-up data")


class NeverReady:
    """Its constructor never returns."""

    def __init__(self) -> None:
        signal.pause()
