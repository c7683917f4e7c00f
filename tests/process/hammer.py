"""Interrupt calls at random moments, by a real timer signal, and print what became of the pool.

    python -m tests.process.hammer MODE SIGNALS SEED LIMIT

Rules: a program of its own, so that a deadlock ends it (after LIMIT seconds, with all stacks) and not the test run.
The modes are: `inline` (an adapter that answers at once, so that nearly all time is spent in check-out and check-in),
`contended` (the same, while two threads call too), `lease` (the same, on leases), `opening` (each signal comes while a
new bridge makes its first calls), `mock` and `threads` (our own adapters without processes) and `process` (real
workers); `calling` is `opening` with a handler that uses the bridge, instead of raising, as is `calling-` with the name
of an adapter. Apart from test_interrupts.py, which says what is to come out.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import json
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bridge
from bridge import Bridge, BridgeError, Capability, PoolError, Reply, Request, WorkerInfo, WorkerSpec
from tests.process.waiting import wait_until

SHORTEST, LONGEST = 20e-6, 500e-6
SIZE = 3  # for a call, and for a handler that interrupts it and itself needs two workers at once
ADAPTERS: dict[str, Callable[[], Any]] = {
    "mock": lambda: bridge.MockAdapter({"echo": lambda value: value}),
    "threads": lambda: "bridge_mock",
    "process": lambda: "python_port",
}
ROUGH = str(Path(__file__).parent / "rough_handlers.py")


class Interrupted(BaseException):
    """What the signal raises: between any two bytecodes, as a KeyboardInterrupt is."""


class InlineAdapter:
    """Its workers are objects that answer with their arguments, at once."""

    name = "inline"
    capabilities: frozenset[Capability] = frozenset()

    def open(self, spec: WorkerSpec, *, deadline: float) -> InlineChannel:
        """One more."""
        return InlineChannel(spec.generation)

    def close(self) -> None:
        """Nothing to release."""


class InlineChannel:
    """Answers within `submit`."""

    def __init__(self, generation: int) -> None:
        self.info = WorkerInfo(generation)

    def fileno(self) -> None:
        """None: calls go through `submit`."""

    def submit(self, request: Request, done: Callable[[Reply], None]) -> None:
        """The one argument is the answer."""
        done(Reply(request.call_id, request.args[0]))

    def cancel(self, call_id: int) -> None:
        """Nothing ever runs."""

    def kill(self) -> None:
        """Nothing to end."""

    def sentinel(self) -> None:
        """None: there is no process."""

    def stderr_tail(self) -> str:
        """Nothing."""
        return ""


def hammer(
    call: Callable[[int], Any],
    mend: Callable[[], None],
    signals: int,
    rng: random.Random,
    visit: Callable[[], str | None] | None = None,
) -> dict[str, Any]:
    """So many signals, one after the other, each somewhere in a call; `mend` between them.

    Args:
        visit: What the signal's handler does, in place of raising; what is wrong with what it got.
    """
    fired = caught = calls = 0
    wrong: list[str] = []

    def on_alarm(*_: object) -> None:
        nonlocal fired
        fired += 1
        if visit is None:
            raise Interrupted
        if problem := visit():
            wrong.append(problem[:500])

    def until_the_alarm(round_: int) -> None:
        # A function: from Python 3.12 on no handler of a `try` around a bare `while` covers its jump back.
        nonlocal calls
        signal.setitimer(signal.ITIMER_REAL, rng.uniform(SHORTEST, LONGEST))
        while fired == round_:
            calls += 1
            try:
                answer = call(calls)
            except BridgeError as error:
                answer = f"{type(error).__name__}: {error}"
            if answer != calls:
                wrong.append(f"call {calls} got {answer}"[:500])

    signal.signal(signal.SIGALRM, on_alarm)
    for round_ in range(signals):
        try:
            until_the_alarm(round_)
        except Interrupted:
            caught += 1
        mend()
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    return {"fired": fired, "caught": caught, "calls": calls, "wrong": wrong[:5]}


@contextlib.contextmanager
def rivals(b: Bridge, count: int) -> Iterator[list[str]]:
    """Threads that call all the while; what they got that wasn't theirs."""
    over = threading.Event()
    wrong: list[str] = []

    def work(number: int) -> None:
        while not over.is_set():
            try:
                if b.call("echo", [number], timeout=20) != number:
                    wrong.append("somebody else's answer")
            except BridgeError as error:
                wrong.append(f"{type(error).__name__}: {error}"[:500])

    threads = [threading.Thread(target=work, args=(-number,), daemon=True) for number in range(1, count + 1)]
    for thread in threads:
        thread.start()
    yield wrong
    over.set()
    for thread in threads:
        thread.join(30)
    wrong.extend("a rival hangs" for thread in threads if thread.is_alive())


def main(mode: str, signals: int, seed: int, limit: float) -> None:
    """Entry: prints one JSON object."""
    faulthandler.dump_traceback_later(limit, exit=True)
    calling, kind = mode.startswith("calling"), mode.removeprefix("calling").removeprefix("-")

    def connect() -> Bridge:
        adapter = ADAPTERS.get(kind, InlineAdapter)()
        return bridge.connect(f"{ROUGH}:Rough", adapter=adapter, size=SIZE, timeout=20, cancel_grace=0.2)

    b = connect()

    def visit() -> str | None:
        try:
            with b.lease(timeout=20) as lease:
                answers = [b.call("echo", [-1]), lease.call("echo", [-2])]
        except BridgeError as error:  # the plain one says that the pool itself was interrupted
            return None if type(error) is PoolError else f"the handler got {type(error).__name__}: {error}"
        return None if answers == [-1, -2] else f"the handler got {answers}"

    def on_a_lease(number: int) -> Any:
        with b.lease() as lease:
            return lease.call("echo", [number])

    call = on_a_lease if mode == "lease" else lambda number: b.call("echo", [number])
    for number in range(10):
        assert call(number) == number

    def mend() -> None:
        nonlocal b
        if mode == "opening" or calling:
            assert call(0) == 0  # whatever was cut short, it opens now
            b.close(0)
            b = connect()
            return
        # Else nearly all signals would meet a caller that waits for the audit of what the signal before it stranded.
        b._source.peek().supervisor.notice()
        wait_until(lambda: b.stats().idle or mode == "contended", 20, what=f"an idle worker of {b}")

    with rivals(b, 2 if mode == "contended" else 0) as wrong:
        found = hammer(call, mend, signals, random.Random(seed), visit if calling else None)
    found["rivals"] = wrong[:5]

    def full() -> bool:
        gc.collect()
        b._source.peek().supervisor.notice()  # without processes nobody else would make an audit now
        return b.stats().idle == SIZE

    assert call(0) == 0
    wait_until(full, 20, what=f"full size of {b}")
    found["after"] = [call(number) for number in range(50)] == list(range(50))
    b.close()
    found["state"] = b.stats().state
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
