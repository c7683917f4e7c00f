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

from bridge import BridgeError
from bridge.bench.floors import Answering, BytesChild
from bridge.bench.found import Effort, Found
from bridge.bench.lives import ZYGOTE
from bridge.bench.subjects import lacking, opened

MIB: Final = 1024 * 1024
NEW: Final = "bridge, 64 MiB"
VIEW: Final = "bridge, 64 MiB shared"


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
    """64 MiB there and back, to new objects; where memory is shared, with the result as a view of it as well."""
    size = effort.of(64 * MIB, MIB)
    data = bytearray(size)  # bytes would be copied once more where they arrive
    variants = [{}] if lacking("start_method") else [{}, dict(ZYGOTE)]
    with ExitStack() as stack:
        floor = stack.enter_context(closing(BytesChild(size)))
        calls: dict[str, Callable[[], object]] = {"bare pipe, 64 MiB": partial(floor.call, memoryview(data))}
        for settings in variants:  # not every kind of worker shares memory
            b = stack.enter_context(opened(1, **settings))
            call = partial(b.call, "echo", {"value": data})
            if reason := _refusal(call, data):
                found.miss((NEW, VIEW), reason)
                break
            calls.setdefault(VIEW if _is_shared(call) else NEW, call)
        if VIEW in calls:
            calls.setdefault(NEW, partial(_copied, calls[VIEW]))
        elif NEW in calls:
            found.miss(VIEW, "no result is a view of shared memory")
        found.rounds(effort, "GB/s", {name: partial(_speed, call, size) for name, call in calls.items()})


def _refusal(call: Callable[[], Any], data: bytearray) -> str | None:
    """Why such a value can't travel; None when it came back whole."""
    try:
        back = call()
    except BridgeError as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0]:.100}"
    return None if memoryview(back).cast("B") == data else "the bytes that came back are others"


def _is_shared(call: Callable[[], Any]) -> bool:
    """Whether its result is memory that another process has too: the kernel says what is mapped while it lives."""
    with open("/proc/self/maps") as before:
        mapped = before.read().count("/memfd:")
    result = call()
    with open("/proc/self/maps") as after:
        return after.read().count("/memfd:") > mapped and isinstance(result, memoryview)


def _copied(call: Callable[[], Any]) -> bytearray:
    """A new object of what is a view."""
    return bytearray(call())


def _speed(call: Callable[[], object], size: int) -> float:
    """Gigabytes in a second, both ways counted."""
    began = perf_counter()
    call()
    return 2 * size / (perf_counter() - began) / 1e9
