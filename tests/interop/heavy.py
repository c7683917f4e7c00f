"""A handler whose module imports much. It runs in a worker: nothing here is imported by a test."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

IMPORTED_BY = os.getpid()
TABLE = np.ones(4_000_000)
"""32 MB that no worker changes."""


class Heavy:
    """Computes with what the module has loaded."""

    def total(self) -> float:
        """Of the table."""
        return float(TABLE.sum())

    def draw(self) -> float:
        """A number of the old global generator's."""
        return float(np.random.random())

    def who(self) -> list[int]:
        """Who imported the module, and who serves."""
        return [IMPORTED_BY, os.getpid()]

    def private(self) -> int:
        """Bytes of memory that no other process has."""
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
        return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Private"))

    def solve(self) -> float:
        """What libraries for numbers would use threads for."""
        matrix = np.eye(300) * 2.0
        return float(np.linalg.solve(matrix @ matrix, np.ones(300)).sum())
