"""Whether the kernel killed a worker for want of memory: its cgroup counts that.

Rules: nothing here fails; what can't be read isn't known, and then nothing is certain. One kill explains one death.
Apart from python_port.py because files made up by a test can stand for the kernel's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path


class OomKills:
    """What the cgroups of an adapter's workers count, and which of these kills have explained a death.

    Args:
        root: Where /proc and /sys are.
    """

    def __init__(self, root: str = "/") -> None:
        self._root = Path(root)
        self._lock = threading.Lock()
        self._told: dict[Path, int] = {}

    def watch(self, pid: int) -> Callable[[], bool]:
        """Look now, at the start of a process. The answer is to be asked once, after it died by a SIGKILL.

        The process is asked where it is while it lives: of a dead one, version 1 of cgroups no longer says it.
        """
        file = self._file_of(pid)
        before = None if file is None else _count(file)
        if file is None or before is None:
            return _unknown
        with self._lock:
            # Counts only rise: less than what was told means that the cgroup was removed and made again.
            self._told[file] = min(before, self._told.get(file, before))
        return partial(self._claim, file, before)

    def _claim(self, file: Path, before: int) -> bool:
        now = _count(file)
        with self._lock:
            told = max(before, self._told[file])
            if now is None or now <= told:
                return False
            self._told[file] = told + 1
            return True

    def _file_of(self, pid: int) -> Path | None:
        """Where the kills in its cgroup are counted; None when it can't be seen from here."""
        try:
            lines = (self._root / f"proc/{pid}/cgroup").read_text().splitlines()
        except (OSError, UnicodeDecodeError):
            return None
        for line in lines:
            controllers, _, path = line.partition(":")[2].partition(":")
            if ".." in path.split("/"):  # outside of our namespace: the path leads to another file, or to none
                continue
            # Version 2, or memory on version 1, which has a mount of its own.
            place = {"": ("", "memory.events"), "memory": ("/memory", "memory.oom_control")}.get(controllers)
            if place is not None:
                file = self._root / f"sys/fs/cgroup{place[0]}" / path.lstrip("/") / place[1]
                if file.exists():
                    return file
        return None


def _count(file: Path) -> int | None:
    try:
        for line in file.read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    except (OSError, ValueError):
        pass  # the cgroup was removed, or this kernel counts otherwise
    return None


def _unknown() -> bool:
    return False
