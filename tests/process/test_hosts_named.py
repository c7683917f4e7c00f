"""Errors of a call on one of several hosts: they say on which, as text and as a field."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bridge
from tests.conftest import HANDLERS
from tests.process.conftest import Connect
from tests.process.rogue import Rogue
from tests.process.waiting import wait_until

HANDLER = f"{HANDLERS}:Echo"
ASKED = "get_ready(); id = read(); "
GARBAGE = ASKED + "os.write(reply, b'Hello, is this the prediction you wanted?'); signal.pause()"
CANCELLED = ASKED + "send(wire.ERROR, id, kind='cancelled'); signal.pause()"


def call(b: bridge.Bridge) -> object:
    """From a thread."""
    return b.call("echo", [1])


def stream(b: bridge.Bridge) -> object:
    """Item by item."""
    return list(b.stream("echo", [1]))


def await_call(b: bridge.Bridge) -> object:
    """From a task."""

    async def run() -> Any:
        return await b.aio.call("echo", [1])

    return asyncio.run(run())


def on_b(connect: Connect, **settings: Any) -> bridge.Bridge:
    """A bridge whose worker is on host b."""
    return connect(HANDLER, hosts=[{"name": "b", "size": 1}], **settings)


@pytest.mark.parametrize("ask", [call, stream, await_call])
@pytest.mark.parametrize(
    ("program", "kind", "who"),
    [
        (GARBAGE, bridge.ProtocolError, r"the worker \(pid \d+ on host 'b'\) broke the protocol"),
        (CANCELLED, bridge.CallCancelled, r"while its worker \(pid \d+ on host 'b'\) ran it"),
    ],
)
def test_what_a_worker_says_wrongly_is_told_with_its_host(
    connect: Connect, rogue: Rogue, program: str, kind: type[Any], who: str, ask: Callable[[bridge.Bridge], object]
) -> None:
    """Each driver hears it. Fails when one tells a number of a process that may be anywhere."""
    b = on_b(connect, python=rogue.once(program))
    with pytest.raises(kind, match=who) as caught:
        ask(b)

    assert caught.value.host == "b"


def test_the_state_of_a_session_was_lost_on_a_host(connect: Connect) -> None:
    """Whose workers may all be gone. Fails when the next call is told of a pid alone."""
    b = on_b(connect, python=sys.executable)
    session = b.session("user-42", affinity="strict_queue")
    pid = session.call("pid")
    with pytest.raises(bridge.WorkerCrashed):
        session.call("crash")
    with pytest.raises(bridge.SessionLost, match=rf"with pid {pid} on host 'b'\)") as caught:
        session.call("pid")

    assert (caught.value.host, caught.value.pid) == ("b", pid)


def test_who_waits_for_a_sessions_worker_is_told_its_host(connect: Connect, tmp_path: Path) -> None:
    """Of strict_queue, when it dies under another call. Fails when those who wait are told otherwise than those who
    come later."""
    b, begun = connect(holding(tmp_path), hosts=[{"name": "b", "size": 1}]), threading.Event()
    session = b.session("user-42", affinity="strict_queue")
    told: list[Any] = []

    def caller(on_progress: Callable[[Any], object] | None) -> None:
        with pytest.raises(bridge.WorkerError) as caught:
            session.call("hold", on_progress=on_progress)
        told.append(caught.value)

    threads = [threading.Thread(target=caller, args=(each,)) for each in (lambda _: begun.set(), None)]
    threads[0].start()
    assert begun.wait(20)
    threads[1].start()
    wait_until(lambda: b.stats().waiting == 1)
    pid = b.stats().workers[0].pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    for thread in threads:
        thread.join(20)

    assert {type(error): error.host for error in told} == {bridge.WorkerCrashed: "b", bridge.SessionLost: "b"}


def holding(folder: Path) -> str:
    """A handler that says that it has begun, and never ends."""
    module = folder / "holds.py"
    module.write_text("import threading\ndef hold(*, progress):\n    progress(1)\n    threading.Event().wait()\n")
    return str(module)


def test_a_call_that_a_close_cut_off_ran_on_a_host(connect: Connect, tmp_path: Path) -> None:
    """It may have run in part, there. Fails when nobody knows where to look."""
    b = connect(holding(tmp_path), hosts=[{"name": "b", "size": 1}])
    told: list[bridge.CallCancelled] = []
    begun = threading.Event()

    def caller() -> None:
        with pytest.raises(bridge.CallCancelled) as caught:
            b.call("hold", on_progress=lambda _: begun.set())
        told.append(caught.value)

    thread = threading.Thread(target=caller)
    thread.start()
    assert begun.wait(20)
    b.close(0)
    thread.join(20)

    assert [error.host for error in told] == ["b"]
    assert "on host 'b') ran it: the bridge was closed" in str(told[0])


def test_without_hosts_nothing_is_said_of_one() -> None:
    """There is no choice then."""
    for error in (
        bridge.ProtocolError("b'x' is no frame", pid=1),
        bridge.CallCancelled("price", pid=1),
        bridge.SessionLost("user-42", pid=1, why="its worker is gone"),
    ):
        assert error.host is None
        assert "host" not in str(error)
