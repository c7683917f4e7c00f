"""What the tests with real worker processes share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import bridge
from bridge import Bridge
from tests.process.rogue import Rogue

Connect = Callable[..., Bridge]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """`bridge.connect`, of one real worker if nothing else is said; all are closed, at once, after the test."""
    opened: list[Bridge] = []

    def connect(handler: str, **settings: Any) -> Bridge:
        opened.append(bridge.connect(handler, **{"adapter": "python_port", "size": 1, **settings}))
        return opened[-1]

    yield connect
    for each in opened:
        each.close(0)
    for thread in threading.enumerate():
        if thread.name.startswith("bridge-supervisor"):
            thread.join(20)  # `close` is bounded; on a busy machine the end of a killed worker may take longer


@pytest.fixture
def echo(connect: Connect, handlers: str) -> Bridge:
    """A bridge to the handler Echo, with one worker."""
    return connect(f"{handlers}:Echo")


@pytest.fixture
def rough() -> str:
    """Path of the handlers that misbehave; `f"{rough}:Rough"` names one."""
    return str(Path(__file__).parent / "rough_handlers.py")


@pytest.fixture
def rogue(tmp_path: Path) -> Rogue:
    """Makes interpreters whose first worker speaks the protocol wrongly."""
    return Rogue(tmp_path)
