"""The other CPythons of this machine: `python -m tests.house.interpreters` prints their paths, one a line.

Rules: a name that is found but can't be run isn't an interpreter. A version manager's shim is one such when its
version isn't selected, so the real programs, in the folder `versions` beside the shims, are tried as well.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Final

import pytest

MINORS: Final = (8, 9, 10, 11, 12, 13)
EACH: Final = tuple(
    minor if minor in (MINORS[0], MINORS[-1]) else pytest.param(minor, marks=pytest.mark.deep) for minor in MINORS
)
"""For tests: the oldest and the newest always, those between in the deep run."""

PROBE: Final = (
    "import sys; right = sys.implementation.name == 'cpython' and sys.version_info[:2] == (3, {}); "
    "print(sys.executable if right else '')"
)


@cache
def find(minor: int) -> str | None:
    """Path of a CPython 3.`minor` that runs; None when there is none."""
    command = f"python3.{minor}"
    named = shutil.which(command)
    if named is None:
        return None
    beside = Path(named).parent.parent / "versions"
    for candidate in (named, *sorted(map(str, beside.glob(f"3.{minor}*/bin/{command}")))):
        probe = subprocess.run(
            [candidate, "-c", PROBE.format(minor)], capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        if probe.returncode == 0 and probe.stdout.strip():
            return probe.stdout.strip()
    return None


def need(minor: int) -> str:
    """Path of a CPython 3.`minor`; the test is skipped when there is none."""
    python = find(minor)
    if python is None:
        pytest.skip(f"no python3.{minor} is installed")
    return python


def others() -> list[str]:
    """All of them but the version that runs this."""
    found = (find(minor) for minor in MINORS if minor != sys.version_info[1])
    return [path for path in found if path is not None]


if __name__ == "__main__":
    print("\n".join(others()))
