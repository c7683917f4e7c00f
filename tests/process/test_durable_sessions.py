"""What a durable session counted, however its workers die: what was returned, and nothing else."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from random import Random
from typing import Any, Final

import pytest

from bridge import Bridge, CallTimeout, CircuitOpen, PoolTimeout, WorkerCrashed, WorkerStartError
from bridge.runtime.session import Visit
from bridge.sessions import Session
from tests.process.busy import HANDLER
from tests.process.conftest import Connect
from tests.process.waiting import wait_until


def storm(b: Bridge, seconds: float, *, threads: int, sessions: int) -> tuple[Counter[str], dict[str, list[int]]]:
    """Many callers of few durable sessions while workers are killed and calls time out: outcomes, and the numbers
    that each session returned."""
    over = threading.Event()
    outcomes: Counter[str] = Counter()
    returned: dict[str, list[int]] = {f"s{number}": [] for number in range(sessions)}

    def call(number: int) -> None:
        random, key = Random(number), f"s{number % sessions}"
        affinity = ("hint", "strict_queue")[number // sessions % 2]
        session = b.session(key, affinity=affinity, durable=True)
        while not over.is_set():
            try:
                if random.random() < 0.1:
                    session.call("stuck", timeout=random.choice((0.01, 0.05)))
                n = session.call("bump", timeout=20)[0]
            except (WorkerCrashed, WorkerStartError, CircuitOpen, CallTimeout, PoolTimeout) as error:
                outcomes[type(error).__name__] += 1
                continue
            returned[key].append(n)

    def kill() -> None:
        random = Random(0)
        while not over.wait(0.05):
            pids = [worker.pid for worker in b.stats().workers if worker.pid is not None]
            with suppress(ProcessLookupError, IndexError):
                os.kill(random.choice(pids), signal.SIGKILL)

    with ThreadPoolExecutor(threads + 1) as pool:
        running = [*(pool.submit(call, number) for number in range(threads)), pool.submit(kill)]
        over.wait(seconds)
        over.set()
        for each in running:
            each.result(60)
    return outcomes, returned


@pytest.mark.parametrize("seconds", [1.0, pytest.param(20.0, marks=pytest.mark.deep)])
def test_no_returned_call_of_a_durable_session_is_lost(connect: Connect, seconds: float) -> None:
    """Whatever dies or is left: each call that returned counted one, and each that didn't none. Fails when a snapshot
    is stored late, when a copy that may be half changed is used again, or when two calls of a session run at once."""
    with connect(HANDLER, size=3, cancel_grace=1, max_restarts=10_000) as b:
        outcomes, returned = storm(b, seconds, threads=8, sessions=3)
        print(dict(outcomes), {key: len(each) for key, each in returned.items()}, b.stats().restarts)

        assert all(len(each) > 3 for each in returned.values())
        for key, each in returned.items():
            assert sorted(each) == list(range(1, len(each) + 1))
            assert b.session(key, durable=True).call("look") == {"n": len(each)}
        wait_until(lambda: b.stats().idle == 3, 10, "three idle workers")
        assert b.stats().waiting == 0


LATE_CALLS: Final[Mapping[str, Callable[[Bridge, Session], object]]] = {
    "call": lambda _, session: session.call("bump"),
    "task": lambda b, _: asyncio.run(b.aio.session("a", durable=True).call("bump")),
    "stream": lambda _, session: list(session.stream("numbers", [3])),
}


@pytest.mark.parametrize("late_call", LATE_CALLS.values(), ids=LATE_CALLS)
def test_a_result_that_the_session_went_on_without_is_not_returned(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, late_call: Callable[[Bridge, Session], object]
) -> None:
    """Between the reply and its caller the worker dies, and another call goes on from the snapshot before: a count that
    two callers were told would have lost one of them. Fails when `heard` stores whatever comes, or doesn't say that it
    didn't."""
    heard, late = Visit.heard, list[int]()

    def after_another(visit: Visit, link: Any) -> None:
        if not late:
            late.append(link.pid)
            os.kill(link.pid, signal.SIGKILL)
            wait_until(lambda: link.pid not in [each.pid for each in b.stats().workers])
            with ThreadPoolExecutor(1) as pool:
                assert pool.submit(session.call, "bump").result(10)[0] == 2
        heard(visit, link)

    with connect(HANDLER, size=2) as b:
        session = b.session("a", durable=True)
        session.call("bump")
        monkeypatch.setattr(Visit, "heard", after_another)
        with pytest.raises(WorkerCrashed) as died:
            late_call(b, session)
        assert (died.value.pid, died.value.started) == (late[0], True)
        assert session.call("bump")[0] == 3
