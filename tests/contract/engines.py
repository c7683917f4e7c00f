"""What tests of engines share: a context whose processes are forked from a server, and functions for adapters to name.

Apart from conftest.py, since processes import this by its name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from multiprocessing import get_context
from pathlib import Path
from threading import Event
from typing import Any

import bridge
from bridge.adapters.executor import ExecutorAdapter
from tests.process.waiting import wait_until

HANDLER = "tests.contract.engines:Worker"
CONTEXT = get_context("forkserver")
TENANT = ContextVar("TENANT", default="nobody")


def processes(workers: int = 1) -> ProcessPoolExecutor:
    """What makes one."""
    return ProcessPoolExecutor(workers, mp_context=CONTEXT)


@contextmanager
def inside(diary: str) -> Iterator[Executor]:
    """A context manager of one, which says when it is left."""
    with ThreadPoolExecutor(1) as made:
        yield made
    Path(diary).write_text("left")


@contextmanager
def nothing(diary: str) -> Iterator[int]:
    """A context manager of something else, which says when it is left."""
    yield 7
    Path(diary).write_text("left")


def unmade() -> Executor:
    """It can't be made."""
    raise LookupError("no cluster there")


class Counted(ThreadPoolExecutor):
    """Counts what it is given, and what of that runs."""

    def __init__(self, workers: int = 4) -> None:
        super().__init__(workers)
        self.taken = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """As ever."""
        self.taken += 1
        return super().submit(fn, *args, **kwargs)


def all_at_once(b: bridge.Bridge, folder: Path, calls: int = 2) -> list[list[int]]:
    """So many calls, none of which ends before all have begun: process and handler of each."""
    go = [folder / f"go{number}" for number in range(calls)]
    futures = [b.submit("until", [str(each)]) for each in go]
    wait_until(lambda: all(Path(f"{each}.begun").exists() for each in go))
    for each in go:
        each.touch()
    return [future.result() for future in futures]


def opened(executor: Any, size: int = 1, **settings: Any) -> bridge.Bridge:
    """A bridge over it."""
    return bridge.connect(HANDLER, adapter=ExecutorAdapter(executor), size=size, **settings)


class Worker:
    """A handler that says what it is, keeps what it is told, and can take its process along."""

    def __init__(self, name: str = "", diary: str = "") -> None:
        self._name, self._diary, self._kept = name, diary, 0

    def on_start(self) -> None:
        """Note it."""
        self._note("on_start")

    def on_reset(self) -> None:
        """After a lease."""
        if self._name == "unresettable":
            raise LookupError("can't be reset")
        self._kept = 0

    def on_close(self) -> None:
        """Note it, which may take its time."""
        Event().wait(0.2 if self._name == "slow" else 0)
        self._note("on_close")
        if self._name == "unclosable":
            raise LookupError("can't be closed")

    def _note(self, what: str) -> None:
        if self._diary:
            with Path(self._diary).open("a") as file:
                file.write(f"{what} {os.getpid()}\n")

    def pid(self, seconds: float = 0.0) -> int:
        """Of whoever runs it, after some time."""
        Event().wait(seconds)
        return os.getpid()

    def who(self) -> int:
        """Which handler this is, in its process."""
        return id(self)

    def keep(self) -> int:
        """How often it was asked since its last reset."""
        self._kept += 1
        return self._kept

    def until(self, path: str) -> list[int]:
        """Wait until there is a file, and say where this is, and which handler; that it has begun is another file."""
        Path(f"{path}.begun").touch()
        for _ in range(2000):  # a test that fails must not leave it waiting for ever
            if Path(path).exists():
                break
            Event().wait(0.005)
        return [os.getpid(), id(self)]

    def crash(self) -> None:
        """End the process."""
        os._exit(3)

    def fork(self) -> int:
        """Both come back; the child's number is the parent's answer."""
        return os.fork()

    def interrupt(self) -> None:
        """As a Ctrl-C of whoever runs this."""
        raise KeyboardInterrupt

    def ask(self, *, parent: Any) -> Any:
        """Of its caller, and say what comes of it."""
        try:
            return parent.call("double", [2])
        except parent.Error as error:
            return [error.kind, error.message]

    def told(self, *, context: Any) -> list[Any]:
        """What came with the call: as the handler's `context`, and as the ContextVar."""
        return [dict(context), TENANT.get()]

    async def loop(self) -> int:
        """Which event loop it runs on."""
        import asyncio

        return id(asyncio.get_running_loop())


class Unmakeable:
    """Its `on_start` fails."""

    def on_start(self) -> None:
        """Fail."""
        raise LookupError("no model")

    def echo(self) -> None:
        """Never."""
