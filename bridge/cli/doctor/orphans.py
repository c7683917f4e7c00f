"""Workers that outlived their run.

Rules: a process belongs to a run whose mark it carries in its environment (reaper.py), the innermost one if it carries
several. A run lives while its reaper has its parent, or while a process of the run has a pipe in common with the one
that started it: that one is about to start its reaper, or another one. Nothing is killed here: a person decides. Apart
from machine.py because it looks at others' processes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bridge import reaper
from bridge.cli.doctor.findings import Finding, ok, warn
from bridge.cli.doctor.machine import numbered

PROC: Final = Path("/proc")
SETTLE: Final = 2.0
"""Seconds for a reaper to end what a parent left that died just now: it takes milliseconds."""
PAUSE: Final = 0.05
SHOWN: Final = 5


@dataclass(frozen=True)
class Process:
    """One process, as /proc shows it."""

    pid: int
    parent: int
    command: tuple[str, ...]
    tokens: tuple[str, ...] = ()
    """Of the runs that it belongs to, the innermost last."""
    pipes: frozenset[str] = field(default=frozenset(), repr=False)


def look() -> Finding:
    """Look for them; who is being ended just now isn't one."""
    if not numbered(PROC):
        return warn("orphans", "nobody can be looked for", "mount /proc, which shows processes and their environment")
    left = lasting(lambda: orphans_of(list(processes())))
    if not left:
        return ok("orphans", "no worker of an earlier run is alive")
    shown = ", ".join(f"{each.pid} ({' '.join(each.command)[:60] or '?'})" for each in left[:SHOWN])
    more = f", and {len(left) - SHOWN} more" if len(left) > SHOWN else ""
    pids = " ".join(str(each.pid) for each in left)
    return warn(
        "orphans",
        f"{len(left)} process{'es' if len(left) > 1 else ''} of runs whose parents are dead: {shown}{more}",
        f"end them: kill -9 {pids}. Their parent and its reaper were killed together; kill parents alone",
    )


def lasting(find: Callable[[], list[Process]], seconds: float = SETTLE) -> list[Process]:
    """Those that are found again and again for so long."""
    until = time.monotonic() + seconds
    left = find()
    while left and time.monotonic() < until:
        time.sleep(PAUSE)
        seen = {each.pid for each in left}
        left = [each for each in find() if each.pid in seen]
    return left


def orphans_of(processes: Iterable[Process]) -> list[Process]:
    """Those of them whose run is dead."""
    known = {each.pid: each for each in processes}
    alive: set[str] = set()
    for each in known.values():
        owner, token = _guarded(each.command)
        if token and each.parent == owner:
            alive.add(token)
        parent = known.get(each.parent)
        if parent is not None and each.pipes & parent.pipes:
            alive.update(set(each.tokens) - set(parent.tokens))
    return [each for each in known.values() if each.tokens and each.tokens[-1] not in alive]


def _guarded(command: tuple[str, ...]) -> tuple[int, str]:
    """Whom a reaper watches, and for which run; nobody if it is none."""
    if len(command) >= 3 and os.path.basename(command[-3]) == os.path.basename(reaper.__file__):
        with suppress(ValueError):
            return int(command[-2]), command[-1]
    return 0, ""


def processes(proc: Path = PROC) -> Iterator[Process]:
    """Those that may be looked at. (A worker under another user is seen by root.)"""
    for entry in numbered(proc):
        with suppress(OSError):  # it is gone, or somebody else's
            yield _process(entry)


def _process(entry: Path) -> Process:
    state, parent = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
    if state in "ZX":
        return Process(int(entry.name), int(parent), ())
    command = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    return Process(
        int(entry.name),
        int(parent),
        tuple(command),
        tokens_of((entry / "environ").read_bytes()),
        frozenset(_pipes(entry / "fd")),
    )


def tokens_of(environ: bytes) -> tuple[str, ...]:
    """Of the marks in an environment, as the kernel shows it."""
    prefix = reaper.VARIABLE.encode() + b"="
    for variable in environ.split(b"\0"):
        if variable.startswith(prefix):
            marks = variable[len(prefix) :].decode(errors="replace").split()
            return tuple(mark.partition(":")[0] for mark in marks)
    return ()


def _pipes(folder: Path) -> Iterator[str]:
    for fd in folder.iterdir():
        with suppress(OSError):  # closed meanwhile
            target = os.readlink(fd)
            if target.startswith("pipe:"):
                yield target
