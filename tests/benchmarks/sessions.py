"""What sessions cost their caller: `python -m tests.benchmarks.sessions`. Bytes for each, and us a call by how many.

On a mock, so that the states (and their bytes) are those of its files alone: left out of the count by file.
"""

from __future__ import annotations

import gc
import tracemalloc
from statistics import median
from time import perf_counter
from typing import Any, Final

import bridge
from bridge import Bridge, MockAdapter

WORKERS: Final = 8
COUNTS: Final = (1, 100, 10_000, 100_000)
ROUNDS, CALLS = 9, 1000
STATES: Final = ("states.py", "mock.py", "handler.py")
"""Files whose memory is the workers' where there are any."""


class Handler:
    """Has a state, and leaves it as it is."""

    def touch(self, *, session: dict[str, Any]) -> None:
        """A call of a session."""


def opened() -> Bridge:
    return bridge.connect("any:Handler", adapter=MockAdapter(Handler), size=WORKERS, max_sessions=200_000)


def bytes_each(count: int) -> float:
    """Of the caller's memory."""
    with opened() as b:
        b.call("touch", session="first")
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.take_snapshot()
        for number in range(count):
            b.call("touch", session=f"user-{number:07d}")
        gc.collect()
        found = tracemalloc.take_snapshot().compare_to(before, "filename")
        tracemalloc.stop()
    return sum(each.size_diff for each in found if not each.traceback[0].filename.endswith(STATES)) / count


def main() -> None:
    """Measure, and print. The sizes take turns, so that all of them have the same machine."""
    print(f"{bytes_each(100_000):.0f} bytes for each of 100,000 sessions on {WORKERS} workers")
    bridges = {count: opened() for count in COUNTS}
    times: dict[int, list[float]] = {count: [] for count in COUNTS}
    for count, b in bridges.items():
        for number in range(count):
            b.call("touch", session=f"user-{number:07d}")
    for _ in range(ROUNDS):
        for count, b in bridges.items():
            began = perf_counter()
            for number in range(CALLS):
                b.call("touch", session=f"user-{number * 37 % count:07d}")
            times[count].append((perf_counter() - began) / CALLS * 1e6)
    for count, found in times.items():
        ratio = median(each / one for each, one in zip(found, times[COUNTS[0]], strict=True))
        print(f"{count:7,} sessions: {median(found):5.1f} us a call, {ratio:.2f} x that with {COUNTS[0]}")
    for b in bridges.values():
        b.close()


if __name__ == "__main__":
    main()
