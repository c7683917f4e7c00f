"""A handler with a family: processes that must not outlive whoever called it. Nothing here is imported by a test."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from pathlib import Path
from time import sleep as doze


class Nest:
    """Starts one process in its own group and one in a session of its own, and writes down all pids.

    Args:
        folder: Where the pids go, each to a file of its own.
        blocks: Whether the constructor never returns.
    """

    def __init__(self, folder: str, blocks: bool = False) -> None:
        self._folder = Path(folder)
        self._members = [
            subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL),
            subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL, start_new_session=True),
        ]
        self._note("in_group", self._members[0].pid)
        self._note("own_session", self._members[1].pid)
        self._note("worker", os.getpid())
        if blocks:
            signal.pause()

    def _note(self, name: str, pid: int) -> None:
        (self._folder / name).write_text(f"{pid}\n")

    def idle(self) -> None:
        self._note("state", 0)

    def spin(self) -> None:
        self._note("state", 0)
        while True:
            pass

    def doze(self) -> None:
        self._note("state", 0)
        doze(600)

    def hold_the_gil(self) -> None:
        self._note("state", 0)
        ctypes.PyDLL(None).pause()  # unlike CDLL, it keeps the GIL: no other thread of ours runs

    def nest(self, folder: str) -> None:
        """Call a handler of this kind in a worker of our own."""
        import bridge  # only who nests pays for it

        with bridge.connect(f"{__file__}:Nest", adapter="python_port", size=1, options={"folder": folder}) as b:
            b.call("idle")
            self._note("state", 0)
            signal.pause()
