"""An adapter that says whose it is, and what else the tests of scopes share.

Rules: no thread, no process, no sleep; what a test waits for is bounded. Apart from bridge.testing because nobody else
needs it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from bridge.contract import Capability, Reply, Request, WorkerInfo, WorkerSpec
from bridge.errors import CapabilityError

T = TypeVar("T")
PATIENCE = 10.0
"""Seconds after which a test that hangs fails."""


class Named:
    """Answers `who` with its name and `serves` with the handler that it was opened for; else with the arguments."""

    capabilities = frozenset({Capability.KILL})

    def __init__(self, says: str = "named") -> None:
        self.name = says
        self.opened = 0
        self.closed = False

    def open(self, spec: WorkerSpec, *, deadline: float) -> NamedChannel:
        """One more worker."""
        self.opened += 1
        return NamedChannel({"who": self.name, "serves": spec.handler}, spec.generation)

    def close(self) -> None:
        """Only of one that a scope or a container has made."""
        self.closed = True


class NamedChannel:
    """One worker of it."""

    def __init__(self, answers: dict[str, str], generation: int) -> None:
        self.info = WorkerInfo(generation)
        self._answers = answers

    def fileno(self) -> None:
        """None: calls go through `submit`."""

    def submit(self, request: Request, done: Callable[[Reply], None]) -> None:
        """Answer at once."""
        done(Reply(request.call_id, self._answers.get(request.command, request.args)))

    def cancel(self, call_id: int) -> None:
        """Never."""
        raise CapabilityError(f"call {call_id} was answered before")

    def kill(self) -> None:
        """Nothing holds it."""

    def sentinel(self) -> None:
        """None: there is no process."""

    def stderr_tail(self) -> str:
        """Nothing."""
        return ""


class Maker:
    """A factory of such adapters, which keeps what it made.

    Args:
        dawdle: Seconds that it waits for a second caller, who mustn't come.
    """

    def __init__(self, name: str = "made", *, dawdle: float = 0.0) -> None:
        self.name = name
        self.made: list[Named] = []
        self._dawdle, self._second = dawdle, threading.Event()

    def __call__(self) -> Named:
        made = Named(self.name)
        self.made.append(made)
        if len(self.made) > 1:
            self._second.set()
        elif self._dawdle:
            self._second.wait(self._dawdle)
        return made


def in_plain_thread(function: Callable[[], T]) -> T:
    """What a function answers, or raises, in a thread that was started without any care for scopes."""
    found: list[T] = []
    faults: list[BaseException] = []

    def work() -> None:
        try:
            found.append(function())
        except BaseException as fault:
            faults.append(fault)

    thread = threading.Thread(target=work, name="plain")
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive(), "the thread hangs"
    if faults:
        raise faults[0]
    return found[0]


def all_at_once(count: int, work: Callable[[int], T]) -> list[T]:
    """What a function answers for each number, in as many threads, begun at one moment."""
    start = threading.Barrier(count)
    found: dict[int, T] = {}
    faults: list[BaseException] = []

    def run(number: int) -> None:
        try:
            start.wait(PATIENCE)
            found[number] = work(number)
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * PATIENCE)
    if faults:
        raise faults[0]
    return [found[number] for number in range(count)]


async def a_turn() -> None:
    """Let every other task of the loop go first."""
    loop = asyncio.get_running_loop()
    passed: asyncio.Future[Any] = loop.create_future()
    loop.call_soon(passed.set_result, None)
    await passed
