"""The application whose tests failed: one container, built at import, and one bridge that everybody shares.

Rules: each failure is a function without arguments, named after it, sync or async, that enters a scope of its own; it
may run beside all others, so it touches nothing global but what it is about. Apart from the five files so that
test_all_at_once.py can run them together.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any, Final

from bridge import BridgeContainer, Scope, with_adapter
from bridge.runtime.claims import Claim
from bridge.testing import Gate

PATIENCE: Final = 20.0
"""Seconds after which a call that should end counts as hanging. Nothing here waits for so long."""
BRIEFLY: Final = 0.05
"""Seconds for what is meant to run out."""
PORT: Final = f"{Path(__file__).with_name('workers.py')}:Port"

APP: Final = BridgeContainer(settings={"name": "the application"})
BRIDGE: Final = APP.bridge()

Failure = Callable[[], None] | Callable[[], Awaitable[None]]


class Death(BaseException):
    """What ends a client at once; nobody catches it by accident."""


def real(*, size: int = 1, **options: Any) -> Scope:
    """A scope with a supervision tree of its own: processes, warm before the body runs."""
    return with_adapter("python_port", handler=PORT, size=size, **{"timeout": PATIENCE, **options})


def pids() -> set[int]:
    """The worker processes of the caller's scope."""
    return {worker.pid for worker in BRIDGE.stats().workers if worker.pid is not None}


@contextmanager
def fifo() -> Iterator[Path]:
    """A place where a worker waits until the test lets it go on."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "fifo")
        os.mkfifo(path)
        yield path


@contextmanager
def variables(**values: str) -> Iterator[None]:
    """Environment variables that nobody else has, for a while."""
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            del os.environ[name]


class WatchedClaim(Claim):
    """A client that counts how often it looked for a worker, and looks often."""

    def __init__(self, looked: Gate) -> None:
        super().__init__()
        self._looked = looked

    def sleep(self, seconds: float) -> bool:
        """The client is in the queue, and about to sleep."""
        self._looked.then(lambda: None)
        return super().sleep(min(seconds, 0.005))


def run(failure: Failure) -> None:
    """Try to bring a failure about."""
    if iscoroutinefunction(failure):
        asyncio.run(failure())
    else:
        failure()


def named(failure: Failure) -> str:
    """The failure, as its test is called."""
    return failure.__name__
