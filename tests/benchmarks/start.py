"""What a worker costs until its first word: `python -m tests.benchmarks.start [ROUNDS]`.

In rounds: a bare interpreter from its start to its end; a worker from `open` to HELLO, and to READY of a handler that
imports nothing; a worker of a zygote that is there. The medians, and the difference to the bare interpreter.
"""

from __future__ import annotations

import contextlib
import os
import select
import statistics
import subprocess
import sys
import time
from dataclasses import replace

from bridge.adapters.port import Port
from bridge.adapters.python_port import PythonPortAdapter
from bridge.contract import WorkerSpec
from bridge.core.messages import encode_start
from bridge.wire import CODEC_JSON, START, pack

ROUNDS = 40
SPEC = WorkerSpec("colorsys", path=tuple(sys.path), replace_path=True)


def bare() -> float:
    """Seconds of an interpreter that does nothing."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.perf_counter() - began


def worker(adapter: PythonPortAdapter, spec: WorkerSpec) -> tuple[float, float]:
    """Seconds until HELLO, and until READY."""
    body = encode_start(
        handler=spec.handler, options={}, path=spec.path, replace_path=spec.replace_path, max_frame_bytes=2**20
    )
    began = time.perf_counter()
    port = adapter.open(spec, deadline=time.monotonic() + 10)
    reply, request = port.fileno()
    os.write(request, pack(START, 0, body, CODEC_JSON))
    heard = select.poll()
    heard.register(reply, select.POLLIN)
    times, said = [], b""
    while b'"hooks"' not in said:  # of READY; HELLO may come with it
        heard.poll(10_000)
        times.append(time.perf_counter() - began)
        said += os.read(reply, 65536)
    end(port)
    return times[0], times[-1]


def end(port: Port) -> None:
    """Kill it, and wait for that."""
    port.kill()  # type: ignore[attr-defined]
    death = select.poll()
    death.register(port.sentinel(), select.POLLIN)
    death.poll(10_000)
    port.reap()  # type: ignore[attr-defined]
    port.close()


def main() -> None:
    """Print the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    names = ("bare interpreter", "spawned: HELLO", "spawned: READY", "of a zygote: HELLO", "of a zygote: READY")
    samples: dict[str, list[float]] = {name: [] for name in names}
    with contextlib.closing(PythonPortAdapter()) as adapter:
        forked = replace(SPEC, start_method="zygote")
        first = adapter.open(forked, deadline=time.monotonic() + 10)
        while first.info.pid is None:
            first.is_over()  # type: ignore[union-attr]
        for _ in range(rounds):
            for name, seconds in zip(names, (bare(), *worker(adapter, SPEC), *worker(adapter, forked)), strict=True):
                samples[name].append(seconds * 1e3)
        end(first)
    floor = statistics.median(samples[names[0]])
    for name in names:
        middle = statistics.median(samples[name])
        print(f"{name:<20}{middle:8.2f} ms, least {min(samples[name]):6.2f} ms {middle - floor:+8.2f} ms")


if __name__ == "__main__":
    main()
