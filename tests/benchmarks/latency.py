"""A first look at speed: one synchronous call against the bare pipe + json ping-pong, in one run.

`python tests/benchmarks/latency.py [--rounds N] [--calls N] [--json]`: rounds of floor and bridge are interleaved, so
that both see the same machine; each round gives a p50, and the median of the rounds' ratios is the result. Pinned to
one core, where the wake-up of another core (ten times the call) doesn't hide the difference; unpinned as well, for
information. A part of its own later: `python -m bridge bench`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import bridge

PAYLOAD = {"text": "hi, this is a small request", "n": 17, "flag": True}
"""64 bytes of JSON with the command."""

FLOOR = """
import json, os, sys
encode, decode = json.JSONEncoder(separators=(",", ":")).encode, json.JSONDecoder().decode
r, w = map(int, sys.argv[1:])
while data := os.read(r, 65536):
    os.write(w, encode(decode(str(data, "utf-8"))).encode())
"""


class Floor:
    """A child that echoes JSON over two bare pipes, with pre-built encoder and decoder at both ends."""

    def __init__(self) -> None:
        theirs_in, self._write = os.pipe()
        self._read, theirs_out = os.pipe()
        self._child = subprocess.Popen(
            [sys.executable, "-c", FLOOR, str(theirs_in), str(theirs_out)], pass_fds=(theirs_in, theirs_out)
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._encode = json.JSONEncoder(separators=(",", ":")).encode
        self._decode = json.JSONDecoder().decode

    def call(self) -> object:
        """One round trip."""
        os.write(self._write, self._encode(PAYLOAD).encode())
        return self._decode(str(os.read(self._read, 65536), "utf-8"))

    def close(self) -> None:
        """End the child."""
        os.close(self._write)
        self._child.wait()
        os.close(self._read)


def p50(call: Callable[[], object], calls: int) -> float:
    """The median of many calls, in microseconds."""
    clock = time.perf_counter
    times = []
    for _ in range(calls):
        began = clock()
        call()
        times.append(clock() - began)
    return statistics.median(times) * 1e6


def measure(rounds: int, calls: int) -> dict[str, float]:
    """Floor and bridge, round by round."""
    floor = Floor()
    handler = f"{Path(__file__).with_name('echo.py')}:Echo"
    ratios, floors, ours = [], [], []
    with bridge.connect(handler, size=1) as b:
        arguments = {"value": PAYLOAD}
        for call in (floor.call, lambda: b.call("echo", arguments)):
            p50(call, 300)  # warm up
        for _ in range(rounds):
            floors.append(p50(floor.call, calls))
            ours.append(p50(lambda: b.call("echo", arguments), calls))
            ratios.append(ours[-1] / floors[-1])
    floor.close()
    return {
        "floor_us": round(statistics.median(floors), 2),
        "bridge_us": round(statistics.median(ours), 2),
        "ratio": round(statistics.median(ratios), 2),
        "ratio_min": round(min(ratios), 2),
        "ratio_max": round(max(ratios), 2),
    }


def main() -> None:
    """Print both placements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    results = {"one core": measure(options.rounds, options.calls)}
    os.sched_setaffinity(0, allowed)
    results["unpinned"] = measure(options.rounds, options.calls)
    if options.json:
        print(json.dumps(results))
        return
    for placement, figures in results.items():
        print(f"{placement:>9}: {figures['bridge_us']} us against a floor of {figures['floor_us']} us: ", end="")
        print(f"{figures['ratio']} x (rounds from {figures['ratio_min']} to {figures['ratio_max']})")


if __name__ == "__main__":
    main()
