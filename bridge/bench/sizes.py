"""`memory` and `payload`: what an idle worker holds, and how fast many bytes go there and back.

Rules: private memory is what the kernel counts as this process's alone, after one answer; bytes go from an object to a
new object at each end. Apart from lives.py, which looks at the clock.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from time import perf_counter
from typing import Any, Final

from bridge import Bridge, BridgeError
from bridge.bench.floors import Answering, BytesChild
from bridge.bench.found import Effort, Found
from bridge.bench.lives import ZYGOTE
from bridge.bench.subjects import lacking, opened

MIB: Final = 1024 * 1024


def memory(effort: Effort, found: Found) -> None:
    """Of one worker whose handler imports nothing."""
    subjects: dict[str, Callable[[], float]] = {
        "bare interpreter": _of_a_bare_one,
        "bridge's worker": partial(_of_a_worker, {}),
    }
    if reason := lacking("start_method"):
        found.miss("bridge's worker of a zygote", reason)
    else:
        subjects["bridge's worker of a zygote"] = partial(_of_a_worker, dict(ZYGOTE))
    found.rounds(effort, "MB", subjects)


def _of_a_bare_one() -> float:
    with closing(Answering()) as worker:
        return private_mb(worker.pid)


def _of_a_worker(settings: dict[str, Any]) -> float:
    with opened(1, **settings) as b:
        b.call("echo", [None])
        pid = b.stats().workers[0].pid
        assert pid is not None
        return private_mb(pid)


def private_mb(pid: int) -> float:
    """Megabytes that would be free if this process ended."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        fields = dict(line.split(":", 1) for line in file if ":" in line and not line[0].isdigit())
    kib = sum(int(fields[name].split()[0]) for name in ("Private_Clean", "Private_Dirty"))
    return kib * 1024 / 1e6


def payload(effort: Effort, found: Found) -> None:
    """64 MiB there and back."""
    size = effort.of(64 * MIB, MIB)
    data = bytearray(size)  # bytes would be copied once more where they arrive
    subjects: dict[str, Callable[[], float]] = {}
    with ExitStack() as stack:
        floor = stack.enter_context(closing(BytesChild(size)))
        subjects["bare pipe, 64 MiB"] = partial(_speed, partial(floor.call, memoryview(data)), size)
        variants: dict[str, dict[str, Any]] = {"bridge, 64 MiB": {}}
        found.miss("bridge, 64 MiB shared", "there is no shared memory yet")
        for name, settings in variants.items():
            b = stack.enter_context(opened(1, **settings))
            if reason := _refusal(b, data):
                found.miss(name, reason)
            else:
                subjects[name] = partial(_speed, partial(b.call, "echo", {"value": data}), size)
        found.rounds(effort, "GB/s", subjects)


def _refusal(b: Bridge, data: bytearray) -> str | None:
    """Why such a value can't travel; None when it came back whole."""
    try:
        back = b.call("echo", {"value": data})
    except BridgeError as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0]:.100}"
    return None if memoryview(back).cast("B") == data else "the bytes that came back are others"


def _speed(call: Callable[[], object], size: int) -> float:
    """Gigabytes in a second, both ways counted."""
    began = perf_counter()
    call()
    return 2 * size / (perf_counter() - began) / 1e9
