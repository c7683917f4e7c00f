"""How fast buffers go there and back, beside the same bytes over a bare pipe, in one run.

`python -m tests.benchmarks.payload [--rounds N]`: sizes from 128 KiB to 64 MiB, a new object at each end; floor and
bridge take turns, and the median of the rounds' ratios is the result. `python -m bridge bench payload` has the one size
that the budget is about.
"""

from __future__ import annotations

import argparse
import statistics
from contextlib import closing
from functools import partial
from time import perf_counter
from typing import Any, Final

import bridge
from bridge.bench.floors import BytesChild

KIB: Final = 1024
SIZES: Final = (128 * KIB, 1024 * KIB, 16 * 1024 * KIB, 64 * 1024 * KIB)
BYTES: Final = 256 * 1024 * KIB
"""That go each way in a round, at the most."""


def seconds(call: Any, times: int) -> float:
    """Of one call, on average."""
    began = perf_counter()
    for _ in range(times):
        call()
    return (perf_counter() - began) / times


def main() -> None:
    """Print a line for each size."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    print(f"{'bytes':>12} {'pipe GB/s':>10} {'bridge GB/s':>12} {'ratio':>6}  lowest  highest")
    with bridge.connect("bridge.bench.echo:Echo", size=1) as b:
        for size in SIZES:
            data = bytearray(size)
            times = max(1, min(200, BYTES // size // 4))
            with closing(BytesChild(size)) as floor:
                bare, ours = partial(floor.call, memoryview(data)), partial(b.call, "echo", [data])
                bare()
                ours()
                pairs = [(seconds(bare, times), seconds(ours, times)) for _ in range(rounds)]
            ratios = [pipe / mine for pipe, mine in pairs]
            pipe, mine = (2 * size / statistics.median(each) / 1e9 for each in zip(*pairs, strict=True))
            low, high = min(ratios), max(ratios)
            print(f"{size:12,} {pipe:10.2f} {mine:12.2f} {statistics.median(ratios):6.2f}  {low:6.2f}  {high:7.2f}")


if __name__ == "__main__":
    main()
