"""What forking from a zygote saves: `python -m tests.benchmarks.zygote [MODULE]` (numpy, if nothing else is said).

Eight workers whose handler imports that module, spawned and forked: milliseconds until all are ready, then until two
more are, when callers wait; MB shared with other processes, and MB of each one's own, after a call (`smaps_rollup`).
"""

from __future__ import annotations

import statistics
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import bridge

WORKERS = 8
HANDLER = """\
import {module}

class Handler:
    def answer(self):
        return 1
"""


def megabytes(pid: int) -> tuple[float, float]:
    """Shared and private memory."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    kilobytes = {name: int(size.split()[0]) for name, _, size in (line.partition(":") for line in lines)}
    private = kilobytes["Private_Clean"] + kilobytes["Private_Dirty"]
    return (kilobytes["Shared_Clean"] + kilobytes["Shared_Dirty"]) / 1024, private / 1024


def measure(handler: str, method: str) -> None:
    """Print one row."""
    began = time.perf_counter()
    with (
        bridge.connect(handler, adapter="python_port", size=WORKERS, max_overflow=2, start_method=method) as b,
        ExitStack() as leases,
    ):
        ready = time.perf_counter() - began
        for _ in range(WORKERS):
            leases.enter_context(b.lease()).call("answer")
        began = time.perf_counter()
        for _ in range(2):
            leases.enter_context(b.lease()).call("answer")
        more = (time.perf_counter() - began) / 2
        found = [megabytes(worker.pid) for worker in b.stats().workers if worker.pid]
        shared, private = (statistics.median(each) for each in zip(*found, strict=True))
    print(
        f"{method:<8}{ready * 1e3:8.0f} ms {more * 1e3:8.1f} ms each {shared:8.1f} MB shared {private:8.1f} MB private"
    )


def main() -> None:
    """Print the table."""
    module = sys.argv[1] if len(sys.argv) > 1 else "numpy"
    file = Path(__file__).with_name(f"zygote_{module.replace('.', '_')}.py")
    file.write_text(HANDLER.format(module=module))
    try:
        for method in ("spawn", "zygote"):
            measure(f"{file}:Handler", method)
    finally:
        file.unlink()


if __name__ == "__main__":
    main()
