"""`latency`: one call after the other, by one thread, to one worker.

Rules: ranked on one core, where the wake-up of another core, ten times as long as the call, doesn't hide the
difference; shown as the scheduler places it as well. Apart from crowds.py, where many call at once.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from time import process_time
from typing import Final

from bridge import Bridge
from bridge.bench.floors import JsonChild
from bridge.bench.found import Effort, Found
from bridge.bench.subjects import PAYLOAD, echo, executor, lacking, opened, pool
from bridge.bench.timing import one_core, p50
from bridge.children import cpu_used_by

POLLING: Final = "bridge, busy polling"
BUSY_POLL_US: Final = 100


def latency(effort: Effort, found: Found) -> None:
    """On one core, then anywhere."""
    for part in effort.parts():
        with one_core():
            _on_one_core(part, found)
        _anywhere(part, found)


def _on_one_core(effort: Effort, found: Found) -> None:
    calls = effort.of(1000, 20)
    payload = dict(PAYLOAD)
    with executor(1) as futures, pool(1) as processes, closing(JsonChild()) as child, opened(1) as b:
        subjects: dict[str, Callable[[], object]] = {
            "pipe and json, one core": child.call,
            "bridge, one core": partial(b.call, "echo", {"value": payload}),
            "Pool.apply, one core": partial(processes.apply, echo, (payload,)),
            "ProcessPoolExecutor, one core": lambda: futures.submit(echo, payload).result(),
        }
        for call in subjects.values():
            p50(call, calls // 4 + 1)
        found.rounds(effort, "us", {name: partial(p50, call, calls) for name, call in subjects.items()})


def _anywhere(effort: Effort, found: Found) -> None:
    calls = effort.of(1000, 20)
    with ExitStack() as stack:
        child = stack.enter_context(closing(JsonChild()))
        subjects: dict[str, tuple[Callable[[], object], int]] = {"pipe and json": (child.call, child.pid)}
        subjects["bridge"] = _subject(stack.enter_context(opened(1)))
        if reason := lacking("busy_poll_us"):
            found.miss((POLLING, f"CPU of {POLLING}"), reason)
        else:
            subjects[POLLING] = _subject(stack.enter_context(opened(1, busy_poll_us=BUSY_POLL_US)))
        for call, _ in subjects.values():
            p50(call, calls // 4 + 1)

        def sample(name: str) -> float:
            call, pid = subjects[name]
            before = process_time() + (cpu_used_by(pid) or 0.0)
            median = p50(call, calls)
            used = process_time() + (cpu_used_by(pid) or 0.0) - before
            found.add(f"CPU of {name}", "us", used / calls * 1e6)
            return median

        found.rounds(effort, "us", {name: partial(sample, name) for name in subjects})


def _subject(b: Bridge) -> tuple[Callable[[], object], int]:
    """A call, and the pid of who answers it."""
    pid = b.stats().workers[0].pid
    assert pid is not None
    return partial(b.call, "echo", {"value": dict(PAYLOAD)}), pid
