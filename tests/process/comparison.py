"""docs/design/comparison.md and the table in README.md, read; and a check behind their cells, run.

`python -m tests.process.comparison` prints the lines of the links that both end with, for whoever has moved a check.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from inspect import getsourcefile, getsourcelines
from os.path import relpath
from pathlib import Path
from typing import Final

from tests.interop import peers as installed
from tests.process import peers
from tests.process.situations import CHECKS, FOUND
from tests.process.waiting import wait_until_gone

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "design" / "comparison.md"
README: Final = ROOT / "README.md"
PEERS: Final = {**peers.PEERS, **installed.PEERS}
LINK: Final = re.compile(r"\[(.+?)\]\[(\w+)\]$")
MARK: Final = "COMPARED_IN"
"""A variable by which whatever a check leaves behind is found."""


def table(page: Path) -> list[list[str]]:
    """The rows of the first table whose head names a pool, the head first."""
    lines = page.read_text().partition("| [scoped-bridge]")[2].partition("\n\n")[0].splitlines()
    head, _, *rows = ["| | [scoped-bridge]" + lines[0], *lines[1:]]
    return [[cell.strip() for cell in line.strip().strip("|").split(" |")] for line in (head, *rows)]


def linked(cell: str) -> tuple[str, str]:
    """The words of a cell, and what it is linked to."""
    found = LINK.match(cell)
    assert found, f"{cell!r} has no link to what is behind it"
    return found[1], found[2]


def cells(page: Path) -> dict[tuple[str, str], str]:
    """The words of each cell, by its pool and its check."""
    head, *rows = table(page)
    names = [linked(cell)[0] for cell in head[1:]]
    found = {}
    for _, *row in rows:
        for name, cell in zip(names, row, strict=True):
            words, check = linked(cell)
            found[name, check] = words
    return found


def links(page: Path) -> list[str]:
    """Where each name that the page links to is: the line of a check, or of what asks a pool."""
    used = {linked(cell)[1] for row in table(page) for cell in row[1:]}
    places: dict[str, Callable[..., object]] = {**CHECKS, **{kind.__name__: kind for kind in PEERS.values()}}
    lines = []
    for name, place in places.items():
        if name in used:
            file = relpath(getsourcefile(place) or "", page.parent)
            lines.append(f"[{name}]: {file}#L{getsourcelines(place)[1]}")
    return lines


def answer(name: str, check: str, python: str = sys.executable, **variables: str) -> str:
    """What a check says of a pool, in an interpreter of its own. Whatever it leaves behind is ended."""
    module = "tests.process.peers" if name in peers.PEERS else "tests.interop.peers"
    with place(**variables) as (folder, environment):
        command = [python, "-m", module, name, check, f"{folder}/gate"]
        with (
            open(f"{folder}/errors", "w+") as errors,
            subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
            ) as program,
        ):
            assert program.stdout is not None
            for line in program.stdout:
                if line.startswith(FOUND):
                    return line.removeprefix(FOUND).strip()
            errors.seek(0)
            return errors.read()


@contextmanager
def place(**variables: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    """A folder, and an environment by which everything that is started there is found and ended."""
    with tempfile.TemporaryDirectory(prefix="compared", ignore_cleanup_errors=True) as folder:
        inherited = {name: value for name, value in os.environ.items() if name != "TEST_MODE"}
        try:
            yield folder, {**inherited, MARK: folder, **variables}
        finally:
            left = marked(f"{MARK}={folder}".encode())
            for process in left:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            wait_until_gone(left)


def marked(mark: bytes) -> list[int]:
    """The processes that have this in their environment, and their descendants, which may have lost it."""
    parents, found = {}, set()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is somebody else's
            process = int(entry.name)
            parents[process] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                found.add(process)
    size = -1
    while size != len(found):
        size = len(found)
        found |= {process for process, parent in parents.items() if parent in found}
    return sorted(found)


if __name__ == "__main__":
    for document in (PAGE, README):
        print(document.relative_to(ROOT), *links(document), sep="\n")
