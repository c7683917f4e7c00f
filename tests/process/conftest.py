"""What the tests with real worker processes share."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import bridge
from bridge import Bridge
from tests.conftest import HANDLERS
from tests.facade.looping import LoopThread
from tests.process.endings import offspring
from tests.process.rogue import Rogue
from tests.process.waiting import children_of, wait_until

ROUGH = Path(__file__).parent / "rough_handlers.py"
Connect = Callable[..., Bridge]


@pytest.fixture(autouse=True, scope="session")
def _ctrl_c_is_heard() -> Iterator[None]:
    """What a shell runs in the background has SIGINT ignored, and hands that on to what it starts."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(params=["spawn", "zygote"])
def each_start_method(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers come to be in every way that there is, one after the other."""
    monkeypatch.setenv("BRIDGE_WORKER__START_METHOD", request.param)


@pytest.fixture
def note_children() -> None:
    """What was there before the test isn't the test's (endings.py)."""
    offspring.before = children_of(os.getpid())  # type: ignore[attr-defined]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """`bridge.connect`, of one real worker if nothing else is said; all are closed, at once, after the test."""
    opened: list[Bridge] = []
    before = set(threading.enumerate())

    def connect(handler: str, **settings: Any) -> Bridge:
        size = {} if "hosts" in settings else {"size": 1}
        opened.append(bridge.connect(handler, **{"adapter": "python_port", **size, **settings}))
        return opened[-1]

    yield connect
    for each in opened:
        each.close(0)
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("bridge-supervisor"):
            thread.join(20)  # `close` is bounded; on a busy machine the end of a killed worker may take longer


@pytest.fixture
def echo(connect: Connect, handlers: str) -> Bridge:
    """A bridge to the handler Echo, with one worker."""
    return connect(f"{handlers}:Echo")


@contextlib.contextmanager
def at_rest(handler: str) -> Iterator[Bridge]:
    """A bridge of one worker that is open and has its reaper, for the tests of a module that leave it as it was.

    What it consists of is there before the first of them begins: the leak guard still sees what a test leaves.
    """
    before = children_of(os.getpid())
    with bridge.connect(handler, adapter="python_port", size=1) as b:
        wait_until(lambda: len(children_of(os.getpid()) - before) == 2, 20, what="a worker and its reaper")
        yield b


@contextlib.contextmanager
def undamaged(b: Bridge) -> Iterator[Bridge]:
    """Lend a shared bridge to one test, which leaves its worker as it was."""
    (before,) = (worker.pid for worker in b.stats().workers)
    yield b
    (after,) = b.stats().workers
    assert (after.pid, after.state) == (before, "ready"), "a test that harms its worker needs one of its own: `connect`"


@pytest.fixture(scope="module")
def _echo_at_rest() -> Iterator[Bridge]:
    with at_rest(f"{HANDLERS}:Echo") as b:
        yield b


@pytest.fixture(scope="module")
def _rough_at_rest() -> Iterator[Bridge]:
    with at_rest(f"{ROUGH}:Rough") as b:
        yield b


@pytest.fixture
def shared_echo(_echo_at_rest: Bridge) -> Iterator[Bridge]:
    """The module's bridge to the handler Echo."""
    with undamaged(_echo_at_rest) as b:
        yield b


@pytest.fixture
def shared_rough(_rough_at_rest: Bridge) -> Iterator[Bridge]:
    """The module's bridge to the handler Rough."""
    with undamaged(_rough_at_rest) as b:
        yield b


@pytest.fixture
def rough() -> str:
    """Path of the handlers that misbehave; `f"{rough}:Rough"` names one."""
    return str(ROUGH)


@pytest.fixture
def rogue(tmp_path: Path) -> Rogue:
    """Makes interpreters whose first worker speaks the protocol wrongly."""
    return Rogue(tmp_path)


@pytest.fixture
def loops() -> Iterator[list[LoopThread]]:
    """Three loops in threads of their own."""
    made = [LoopThread() for _ in range(3)]
    yield made
    for each in made:
        each.close()
