"""`demo`: the pool at real work, with an accident halfway.

Rules: everything that is reported was seen from outside, through public names; a fault is told, never smoothed over.
Apart from accident.py and report.py, so that what it does reads in one page.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import time
from collections import Counter
from typing import Any, Final

from bridge.cli import census, exits, report
from bridge.cli.accident import Accident
from bridge.cli.progress import Progress
from bridge.client import Bridge
from bridge.errors import ConfigurationError, WorkerCrashed
from bridge.opening import connect

MAX_TRIES: Final = 3
"""Times that one file is sent, before it is given up as lost."""
SAMPLE: Final = 40
"""Files that are measured again in this process, to compare."""
INSTALLED: Final = frozenset(("site-packages", "dist-packages"))
"""Folders inside the standard library's that are not part of it."""


def run(directory: str | None, *, size: int | None, as_json: bool, launcher: str | None = None) -> int:
    """Measure every file, print the report, and answer the exit code.

    Args:
        directory: Where the files are; None is the standard library.
        size: Workers; None is one per CPU, from 2 to 4.
        launcher: What starts the workers somewhere else, where the same interpreter and the same files are.

    Raises:
        ConfigurationError: There is nothing to parse.
    """
    root = os.path.abspath(directory or sysconfig.get_path("stdlib"))
    paths = find(root)
    if not paths:
        raise ConfigurationError(f"there is no .py file below {root}; name a directory that has some: --path DIR")
    size = max(2, min(4, os.cpu_count() or 2)) if size is None else size
    # Said here, not by BRIDGE_*: each version has a grammar of its own, and the sample is parsed by this interpreter.
    fixed: dict[str, Any] = {"adapter": "python_port", "adapter_options": {}, "options": {}, "python": sys.executable}
    fixed |= {"launcher": launcher or [], "hosts": [], "ship": [census.__file__], "status_socket": None}
    handler = census.__file__ if launcher else census.__name__  # where there is no package of ours, it is sent
    bridge = connect(handler, size=size, **fixed)
    with Progress(len(paths), "files", sys.stderr) as progress:
        behind = f" behind `{launcher}`" if launcher else ""
        progress.say(f"Parsing {len(paths):,} files below {root} in {size} worker processes{behind}.")
        with bridge as b:
            job = Job(b, Accident(b, at=len(paths) // 2, window=2 * size), progress)
            job.run(paths)
            job.accident.await_replacement()
            stats = b.stats()
    found = report.of(
        root, paths, job, stats, sample_agrees=agrees(paths[:: max(1, len(paths) // SAMPLE)], job.records)
    )
    report.show(found, as_json=as_json)
    return exits.OK if found.ok else exits.FAULT


def find(root: str) -> list[str]:
    """Every .py file below a directory, sorted by folder."""
    found = []
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = sorted(set(subfolders) - INSTALLED)
        found += [os.path.join(folder, name) for name in sorted(files) if name.endswith(".py")]
    return found


def agrees(sample: list[str], records: dict[str, dict[str, Any]]) -> bool:
    """Whether this process, without a pool, finds the same in these files."""
    return all(records.get(path) == census.measure(path) for path in sample)


class Job:
    """One census of many files, and what became of each."""

    def __init__(self, bridge: Bridge, accident: Accident, progress: Progress) -> None:
        self.accident = accident
        self.records: dict[str, dict[str, Any]] = {}
        self.outcomes: Counter[str] = Counter()  # by the path that the answer names, not by whom it was asked
        self.errors: list[str] = []
        self.repeated = 0
        self.seconds = 0.0
        self._bridge, self._progress = bridge, progress

    def run(self, paths: list[str]) -> None:
        """Have every file measured; again, if the worker died over it."""
        started = time.monotonic()
        crashed = self._pass(paths)
        for _ in range(MAX_TRIES - 1):
            self.repeated += len(crashed)
            crashed = self._pass(crashed)
        self.seconds = time.monotonic() - started

    def _pass(self, paths: list[str]) -> list[str]:
        """Send each file once; answers those whose worker died. To read a file twice does no harm."""
        crashed = []
        results = self._bridge.map("measure", paths, arg="path", return_exceptions=True)
        for path, result in zip(paths, results, strict=False):
            if isinstance(result, WorkerCrashed):
                crashed.append(path)
                self.accident.saw(result)
                self._progress.say(f"Worker {result.pid} was lost over {os.path.basename(path)}, which is sent again.")
            elif isinstance(result, Exception):
                self.errors.append(f"{path}: {result}")
            else:
                self.records[path] = result
                self.outcomes[result["path"]] += 1
                self._progress.step()
            self.accident.look()
        return crashed
