"""What an import costs a starting worker: `python tests/benchmarks/imports.py [MODULE ...]`.

Each module is imported by a bare interpreter of its own (`-I -S`: no site), in rounds; the median of each, less that of
`pass` in the same rounds. An import pulls in others, so the figures don't add up.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

MODULES = ("struct", "fcntl", "_json", "json", "select", "signal", "threading", "traceback", "inspect", "asyncio")
ROUNDS = 15


def milliseconds(statement: str) -> float:
    """One interpreter, from its start to its end."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-I", "-S", "-c", statement], check=True)
    return (time.perf_counter() - began) * 1e3


def main() -> None:
    """Print the table."""
    modules = sys.argv[1:] or MODULES
    statements = ["pass", *(f"import {module}" for module in modules)]
    samples: dict[str, list[float]] = {statement: [] for statement in statements}
    for _ in range(ROUNDS):
        for statement in statements:
            samples[statement].append(milliseconds(statement))
    floor = statistics.median(samples["pass"])
    print(f"{'pass':<12}{floor:8.1f} ms")
    for module in modules:
        print(f"{module:<12}{statistics.median(samples[f'import {module}']) - floor:+8.1f} ms")


if __name__ == "__main__":
    main()
