"""`start` and `recover`: what a worker costs before it works, and when it dies.

Rules: a worker is ready when it has answered; of a pool, when all have. Apart from the calls, which need them warm.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from threading import Barrier, BrokenBarrierError
from typing import Any, Final

from bridge import Bridge, BridgeError, WorkerCrashed
from bridge.bench.floors import Answering, bare
from bridge.bench.found import Effort, Found
from bridge.bench.subjects import lacking, opened
from bridge.bench.timing import once

WORKERS: Final = 8
ZYGOTE: Final[tuple[tuple[str, Any], ...]] = (("start_method", "zygote"),)
SPARE: Final[tuple[tuple[str, Any], ...]] = (("spare", 1),)
SETTLE: Final = 10.0
"""Seconds for a pool to be whole again between two accidents."""


def start(effort: Effort, found: Found) -> None:
    """Eight at once, each of which answers; and the import of the package."""
    subjects: dict[str, Callable[[], float]] = {
        "8 bare interpreters": partial(once, partial(bare, WORKERS)),
        "bridge, 8 workers": _from_nothing,
    }
    if reason := lacking("start_method"):
        found.miss("bridge, 8 workers of a zygote", reason)
    else:
        subjects["bridge, 8 workers of a zygote"] = _from_a_zygote
    found.rounds(effort, "ms", subjects)
    imports = {"python -c pass": "pass", "import bridge": "import bridge"}
    found.rounds(effort, "ms", {name: partial(once, partial(bare, 1, code)) for name, code in imports.items()})


def _from_nothing() -> float:
    """Milliseconds until eight have answered, before which there was nothing."""
    began = time.perf_counter()
    with opened(WORKERS) as b:
        answer_all(b, WORKERS)
        took = time.perf_counter() - began
    return took * 1e3


def _from_a_zygote() -> float:
    """Milliseconds until eight more have answered, whom as many callers ask for; these and the zygote run already."""
    together, there = Barrier(WORKERS + 1), Barrier(WORKERS)

    def take(_: int) -> None:
        with b.lease() as lease:
            lease.call("echo", [None])
            together.wait(SETTLE)  # nobody gives a worker back before all have theirs

    with opened(1, max_overflow=WORKERS, **dict(ZYGOTE)) as b, b.lease(), ThreadPoolExecutor(WORKERS) as threads:
        # No thread is started once the clock runs.
        list(threads.map(lambda _: there.wait(SETTLE), range(WORKERS)))
        began = time.perf_counter()
        taken = threads.map(take, range(WORKERS))
        try:
            together.wait(SETTLE)
        except BrokenBarrierError:
            list(taken)  # raises why, if a caller knows
            raise BridgeError(f"{WORKERS} workers of a zygote were not ready within {SETTLE:.0f} s") from None
        took = time.perf_counter() - began
        list(taken)
    return took * 1e3


def recover(effort: Effort, found: Found) -> None:
    """One of two is killed."""
    variants: dict[str, dict[str, Any]] = {
        "bridge recovers": {},
        "bridge recovers by a zygote": dict(ZYGOTE),
        "bridge recovers by a spare": dict(SPARE),
    }
    with ExitStack() as stack:
        floor = stack.enter_context(closing(_Respawned()))
        subjects: dict[str, Callable[[], float]] = {"a bare worker respawned": partial(once, floor.replace)}
        for name, settings in variants.items():
            if reason := lacking(*settings):
                found.miss(name, reason)
            else:
                b = stack.enter_context(opened(2, **settings))
                subjects[name] = partial(_recovery, b, 2 + settings.get("spare", 0))
        found.rounds(effort, "ms", subjects)


class _Respawned:
    """A bare worker that is killed again and again."""

    def __init__(self) -> None:
        self._worker = Answering()

    def replace(self) -> None:
        self._worker.close()
        self._worker = Answering()

    def close(self) -> None:
        self._worker.close()


def _recovery(b: Bridge, whole: int) -> float:
    """Milliseconds from the kill until two that live have answered.

    Args:
        whole: Workers that are ready before that.
    """
    until = time.monotonic() + SETTLE
    while len(warm := [worker for worker in b.stats().workers if worker.state in ("ready", "spare")]) < whole:
        if time.monotonic() > until:
            raise BridgeError(f"{len(warm)} of {whole} workers were ready {SETTLE:.0f} s after one was killed")
        time.sleep(0.001)
    victim = next(worker.pid for worker in warm if worker.state == "ready")
    assert victim is not None
    return once(partial(_kill, b, victim))


def _kill(b: Bridge, victim: int) -> None:
    os.kill(victim, signal.SIGKILL)
    answer_all(b, 2)


def answer_all(b: Bridge, size: int) -> None:
    """Have so many workers answer, each once: all of them are lent at the same time."""
    with ExitStack() as stack:
        answered = 0
        while answered < size:
            lease = stack.enter_context(b.lease())
            try:
                lease.call("echo", [None])
            except WorkerCrashed:  # it was lent before anybody saw that it's dead: the next one
                continue
            answered += 1
