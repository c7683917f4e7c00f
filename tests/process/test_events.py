"""Events of real workers: every transition of the table, the end, and a fork."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import bridge
from bridge import Bridge, Event
from bridge.core.lifecycle import TRANSITIONS
from tests.process.conftest import Connect
from tests.process.waiting import wait_until

ROOT = Path(__file__).parents[2]
STUBBORN = f"{Path(__file__).parent / 'stubborn_handlers.py'}:Stubborn"
LENDING = {("ready", "busy"), ("busy", "ready")}
"""What each call does is no event."""
KILLS = {"start_failed", "startup_timeout", "dirty", "cancel_grace", "unhealthy", "shutdown_timeout", "closing"}


class Heard:
    """A callback for several bridges; deaf to none."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def pairs(self) -> set[tuple[str | None, str | None]]:
        """What workers went through; the first state of each isn't a transition."""
        return {
            (event.before, event.after)
            for event in list(self.events)
            if event.name.startswith("worker.") and event.before is not None
        }

    def reasons(self, name: str) -> set[str | None]:
        """Of all events of that name."""
        return {event.reason for event in list(self.events) if event.name == name}

    def await_(self, name: str, count: int = 1) -> Event:
        """The event of that name that came last, once there are so many."""

        def found() -> list[Event]:
            return [event for event in list(self.events) if event.name == name]

        wait_until(lambda: len(found()) >= count, 20, what=f"event {name} number {count}")
        return found()[-1]


def late(b: Bridge, command: str) -> None:
    """A call that isn't answered in time, on a worker that is there."""
    b.call("pid", timeout=20)
    with pytest.raises(bridge.CallTimeout):
        b.call(command, [60], timeout=0.02)


def through_all(connect: Connect, rough: str, tmp_path: Path, heard: Heard) -> None:
    """Drive bridges through everything that a worker can come to."""
    handlers = Path(__file__).parents[1] / "handlers.py"
    worn = f"{Path(__file__).parent / 'worn_handlers.py'}"

    def make(handler: str, **settings: object) -> Bridge:
        return connect(handler, **{"backoff": 30, "on_event": heard, **settings})

    # Starts: refused by the system, failed by the handler, too late, and cut short by the end.
    for handler, more in (
        (f"{handlers}:Echo", {"python": "/no/such/python"}),
        (f"{handlers}:NoSuch", {}),
        (f"{rough}:NeverReady", {"startup_timeout": 0.05}),
    ):
        with pytest.raises(bridge.WorkerStartError):
            make(handler, **more).call("pid", timeout=20)
    b = make(f"{rough}:NeverReady")
    with pytest.raises(bridge.PoolTimeout):
        b.call("pid", timeout=0)
    b.close(0)
    # Calls: killed at once, asked in time and not, dead meanwhile; deaths in a call and without one.
    late(make(STUBBORN, cancel_grace=0), "nap")
    late(make(STUBBORN, cancel_grace=30), "nap")
    late(make(STUBBORN, cancel_grace=0.02), "swallow")
    heard.await_("worker.draining", 2)
    late(make(STUBBORN, cancel_grace=30), "die")  # a child keeps its pipes open: the death itself is what is seen
    heard.await_("worker.draining", 3)
    b = make(worn + ":Worn")
    with pytest.raises(bridge.WorkerCrashed):
        b.call("crash")
    os.kill(b.call("pid"), signal.SIGKILL)
    # Health: well, and silent.
    os.mkfifo(tmp_path / "fifo")
    make(worn + ":Ill", health_interval=0.01, options={"folder": str(tmp_path)}).call("pid")
    heard.await_("worker.draining", 4)
    b = make(worn + ":Silent", health_interval=0.01, options={"folder": str(tmp_path)})
    b.call("pid")
    wait_until(lambda: "unhealthy" in heard.reasons("worker.killed"), 20, what="a kill for its silence")
    b.close(0)
    # Worn out, and busy at the end.
    b = make(worn + ":Worn", max_calls=1, jitter=0)
    b.call("pid")
    heard.await_("worker.recycling")
    b = make(STUBBORN)

    def call() -> None:
        with pytest.raises((bridge.CallCancelled, bridge.PoolClosed)):  # sent, or just about to be
            b.call("nap", [60])

    caller = threading.Thread(target=call)
    caller.start()
    wait_until(lambda: b.stats().busy)
    b.close(0)
    caller.join(20)


def test_every_transition_of_the_table_is_told(
    connect: Connect, rough: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever workers come to, the callback hears of it, with the reason of each kill. Lending and giving back alone
    are no events: they are the hot path, and `stats()` counts them. Fails when any change of state is left out, or when
    it isn't told that a worker was busy (`lent`)."""
    monkeypatch.setattr("bridge.runtime.checkups.ANSWER_WITHIN", 0.05)
    heard = Heard()
    through_all(connect, rough, tmp_path, heard)
    expected = {(before.value, after.value) for before, after in TRANSITIONS} - LENDING
    with contextlib.suppress(AssertionError):  # told below, as what is missing
        wait_until(lambda: heard.pairs() >= expected and heard.reasons("worker.killed") >= KILLS, 10)

    assert heard.pairs() == expected
    assert heard.reasons("worker.killed") == KILLS
    assert ("busy", "shutdown_timeout") in {(event.before, event.reason) for event in heard.events}
    assert heard.reasons("worker.recycling") == {"calls"}
    assert heard.reasons("worker.failed") >= {"interpreter", "handler", "timeout"}


def test_a_death_is_told_with_how_it_happened(connect: Connect, handlers: str) -> None:
    """By the callback and in the log: the pid, that it was busy, and its exit code."""
    heard = Heard()
    b = connect(f"{handlers}:Echo", on_event=heard)
    pid = b.call("pid")
    with pytest.raises(bridge.WorkerCrashed):
        b.call("leave", [3])
    event = heard.await_("worker.stopped")

    assert (event.pid, event.generation, event.before, event.after) == (pid, 1, "busy", "stopped")
    assert (event.reason, event.detail) == ("died", "exit code 3")
    assert (event.bridge, event.adapter) == (f"{handlers}:Echo", "python_port")


def test_when_close_returns_all_was_told(connect: Connect, handlers: str, caplog: pytest.LogCaptureFixture) -> None:
    """To the callback and to the log, the end included. Fails when the supervisor is finished, so that `close` may
    return, before it has spoken."""
    heard = Heard()
    finished: list[bool] = []

    class Looks(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            finished.append(b._source.peek().supervisor.finished)

    looks = Looks()
    logging.getLogger("bridge.supervisor").addHandler(looks)
    with caplog.at_level(logging.DEBUG, "bridge.supervisor"):
        b = connect(f"{handlers}:Echo", on_event=heard)
        b.call("echo", [1])
        b.close()
        told = [*heard.events]
        logged = [record.__dict__["bridge_event"] for record in caplog.records]

    logging.getLogger("bridge.supervisor").removeHandler(looks)
    assert told[-1].name == "bridge.closed"
    assert set(finished) == {False}
    assert logged == [event.name for event in told]


def test_a_log_handler_that_exits_does_not_hold_up_the_end(
    connect: Connect, handlers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`close` returns when all are gone, not when its time is up. Fails when a step that raises leaves those who wait
    for it asleep."""
    monkeypatch.setattr("bridge.runtime.supervisor.AFTER_DEFECT", 0.01)
    log = logging.getLogger("bridge.supervisor")

    class Exits(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise SystemExit

    b = connect(f"{handlers}:Echo", shutdown_timeout=60)
    b.call("echo", [1])
    handler, level = Exits(), log.level
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    try:
        began = time.monotonic()
        b.close()
        took = time.monotonic() - began
    finally:
        log.setLevel(level)
        log.removeHandler(handler)

    assert took < 20


FORK = """
import json, os, sys, threading
import bridge

heard = []
arrived, go_on = threading.Event(), threading.Event()

def listen(event):
    heard.append((os.getpid(), event.name))
    if event.name == "worker.ready" and os.getpid() == parent:
        arrived.set()
        go_on.wait(20)

parent = os.getpid()
b = bridge.connect(sys.argv[1], adapter="python_port", size=1, on_event=listen)
b.call("echo", [1])
arrived.wait(20)
b.recycle()  # more events, which wait for the callback
before = len(heard)
pid = os.fork()
if pid == 0:
    b.call("echo", [2])
    b.close()
    print(json.dumps([name for who, name in heard[before:]]), flush=True)
    os._exit(len({who for who, _ in heard[before:]} - {os.getpid()}))
status = os.waitpid(pid, 0)[1]
go_on.set()
b.close()
print(json.dumps([name for _, name in heard]), flush=True)
sys.exit(status)
"""

FORK_IN_THE_CALLBACK = """
import json, os, sys, threading
import bridge

told = []

def listen(event):
    told.append(event.name)
    if event.name == "worker.ready" and len(told) == 3:
        b_is_there.wait(20)
        pid = os.fork()
        if pid == 0:
            forked.append(len(told))
            return
        os.waitpid(pid, 0)

forked, b_is_there = [], threading.Event()
b = bridge.connect(sys.argv[1], adapter="python_port", size=1, on_event=listen)
b.call("echo", [1])
b.recycle()
b_is_there.set()
b.close()
print(json.dumps(told), flush=True)
"""


def run(program: str, handlers: str) -> list[list[str]]:
    """What a program prints; it must end well, and say nothing else."""
    argv = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program, f"{handlers}:Echo"]
    environment = {"PYTHONPATH": str(ROOT), "PATH": os.defpath}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


LIFE = [
    *("bridge.open", "worker.starting", "worker.ready"),
    *("bridge.closing", "worker.retiring", "worker.stopped", "bridge.closed"),
]


def test_a_forked_child_tells_its_own_events_and_none_of_its_parents(handlers: str) -> None:
    """It has a queue and a thread of its own; what waited in the parent's queue is told there, and once. Fails when the
    fork hook keeps the announcer."""
    child, parent = run(FORK, handlers)

    assert child == LIFE
    assert parent[:3] == LIFE[:3]
    assert parent.count("worker.ready") == 2
    assert parent[-1] == "bridge.closed"


def test_a_callback_that_forks_leaves_the_rest_to_the_parent(handlers: str) -> None:
    """The child's copy of the thread ends with the callback. Fails when `_run` doesn't look whether it is still in its
    own process: the child tells what waits here as well, and never ends."""
    (told,) = run(FORK_IN_THE_CALLBACK, handlers)

    assert told.count("worker.ready") == 2
    assert told[-1] == "bridge.closed"


def test_a_signal_handler_may_close_the_bridge_whose_step_it_interrupts(connect: Connect) -> None:
    """Where there is no supervisor thread the step is the caller's own, and so is whatever posts the events."""
    heard = Heard()
    b = connect("math", adapter="mock", on_event=heard)
    runtime = b._source.runtime()
    runtime.start()
    before = signal.signal(signal.SIGUSR1, lambda *_: b.close(0))
    try:
        runtime.supervisor._post(lambda: os.kill(os.getpid(), signal.SIGUSR1))
    finally:
        signal.signal(signal.SIGUSR1, before)

    heard.await_("bridge.closed")
