"""bridge_mock beyond the contract: what it serves, what its threads do when they are killed, what it leaves alone."""

from __future__ import annotations

import fcntl
import logging
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bridge
from bridge import BridgeMockAdapter, CallError, CallTimeout, RemoteError, WorkerStartError
from bridge.adapters import bridge_mock
from bridge.runtime.supervisor import SupervisorPolicy
from bridge.testing import Gate, contract_handler
from bridge.testing.possessions import left_behind, possessions
from tests.contract import fakes
from tests.contract.conftest import OpenBridge
from tests.contract.conversation import Conversation

FAKE = "tests.contract.fakes:Fake"


class Interruption(BaseException):
    """As a signal handler raises it."""


class Gated:
    """Holds calls, starts and ends at gates. One object is shared by all workers."""

    def __init__(self, *, start: Gate | None = None, close: Gate | None = None) -> None:
        self.start, self.close, self.go = start, close, Gate()
        self.closed = 0

    def wait(self, letters: int = 1) -> str:
        """Until the gate is open."""
        self.go.wait()
        return "x" * letters

    def echo(self, value: Any) -> Any:
        """Its argument."""
        return value

    def on_start(self) -> None:
        """Until its gate is open."""
        if self.start is not None:
            self.start.wait()

    def on_close(self) -> None:
        """Count, until its gate is open."""
        if self.close is not None:
            self.close.wait()
        self.closed += 1


# -- What it serves ----------------------------------------------------------------------------------------


def test_it_serves_a_class_an_object_a_module_or_a_text(open_bridge: OpenBridge) -> None:
    """Each worker has its own of a class; an object is shared; a stand-in gets the options that it takes."""
    shared = fakes.Fake()
    for handler, seen in ((fakes.Fake, [["a"], ["a"]]), (FAKE, [["a"], ["a"]]), (shared, [["a"], ["a", "a"]])):
        b = open_bridge(BridgeMockAdapter(handler), size=2, options={"model": "big", "unknown": 1})
        with b.lease() as one, b.lease() as two:
            assert [lease.call("predict", ["a"])["seen"] for lease in (one, two)] == seen
    assert open_bridge(BridgeMockAdapter(os.path)).call("basename", ["/a/b"]) == "b"


def test_by_default_it_serves_the_fake_else_the_handler(open_bridge: OpenBridge) -> None:
    """The handler itself gets every option, as in a process."""
    assert open_bridge(BridgeMockAdapter(), fake=FAKE, options={"x": 1}).call("predict", ["a"])["model"] == "none"
    assert open_bridge(BridgeMockAdapter(), FAKE, options={"model": "m"}).call("predict", ["a"])["model"] == "m"
    with pytest.raises(WorkerStartError, match="unexpected keyword argument 'x'") as caught:
        open_bridge(BridgeMockAdapter(), FAKE, options={"x": 1})
    assert caught.value.reason == "handler"


def test_its_workers_are_threads(open_bridge: OpenBridge) -> None:
    """Named after what they are, daemons, in this very process."""
    b = open_bridge(BridgeMockAdapter(Identity), size=2)

    assert b.call("pid") == os.getpid()
    assert b.call("thread")[0].startswith("bridge-mock-test-")
    assert b.call("thread")[1] is True
    (one, _) = b.stats().workers
    assert (one.pid, one.path) == (None, sys.executable)


class Identity:
    """Says where it runs."""

    def pid(self) -> int:
        return os.getpid()

    def thread(self) -> list[Any]:
        thread = threading.current_thread()
        return [thread.name, thread.daemon]


@pytest.mark.thread_unsafe
def test_a_handler_file_finds_its_neighbours_and_leaves_the_path_as_it_was(
    open_bridge: OpenBridge, tmp_path: Path
) -> None:
    """Its folder and the spec's are searched while it is loaded, also when that fails, and not afterwards."""
    (tmp_path / "mock_neighbour.py").write_text("name = 'neighbour'\n")
    (tmp_path / "extra").mkdir()
    (tmp_path / "extra" / "mock_extra.py").write_text("name = 'extra'\n")
    (tmp_path / "served.py").write_text(
        "import mock_neighbour, mock_extra\n"
        "class Handler:\n    def names(self): return [mock_neighbour.name, mock_extra.name, __name__]\n"
    )
    (tmp_path / "broken.py").write_text("import mock_neighbour, no_such_module\n")
    before = list(sys.path)
    path = (str(tmp_path / "extra"), *sys.path)

    b = open_bridge(BridgeMockAdapter(), f"{tmp_path}/served.py:Handler", path=path)
    with pytest.raises(WorkerStartError, match="no_such_module") as caught:
        open_bridge(BridgeMockAdapter(), f"{tmp_path}/broken.py:Handler")

    assert b.call("names") == ["neighbour", "extra", "bridge_handler_served"]
    assert sys.path == before
    assert "inprocess.py" not in caught.value.remote_traceback


def test_a_handler_file_is_never_run_by_two_threads_at_once(open_bridge: OpenBridge, tmp_path: Path) -> None:
    """Each worker has a module of its own, which is the registered one as long as its file runs. Fails without the
    lock."""
    (tmp_path / "slow_to_load.py").write_text(
        "import os, sys\nmine = True\n"
        "for _ in range(300):\n    os.sched_yield()\n    mine = mine and vars(sys.modules[__name__]) is globals()\n"
        "class Handler:\n    def alone(self): return mine\n"
    )

    b = open_bridge(BridgeMockAdapter(), f"{tmp_path}/slow_to_load.py:Handler", size=4)

    assert list(b.map("alone", [None] * 8)) == [True] * 8


def test_the_handlers_traceback_shows_none_of_our_frames(open_bridge: OpenBridge) -> None:
    """As from a process: the handler's own lines."""
    b = open_bridge(BridgeMockAdapter(FAKE))

    with pytest.raises(RemoteError) as caught:
        b.call("broken")
    assert caught.value.remote_traceback.count("  File ") == 1


# -- Starting ----------------------------------------------------------------------------------------------


def in_thread(function: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Run a function in a thread; its outcome is put into the list."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(function())
        except bridge.BridgeError as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, outcome


def test_workers_start_at_the_same_time(open_bridge: OpenBridge) -> None:
    """Four slow starts take as long as one. Fails when a start is awaited where it was asked for."""
    gate = Gate()
    thread, outcome = in_thread(lambda: open_bridge(BridgeMockAdapter(Gated(start=gate)), size=4))
    gate.await_arrivals(4)
    gate.open()
    thread.join()

    assert outcome[0].health().ready == 4


def test_a_start_that_takes_too_long_is_given_up(open_bridge: OpenBridge) -> None:
    """WorkerStartError of reason timeout; the thread ends when its handler lets it, without `on_close`."""
    gate = Gate()
    handler = Gated(start=gate)
    adapter = BridgeMockAdapter(handler)
    before = possessions()

    policy = SupervisorPolicy(startup_timeout=0.05, max_restarts=0)
    thread, outcome = in_thread(lambda: open_bridge(adapter, policy=policy))
    while not any(ends.killed for ends in list(adapter._threads.values())):
        os.sched_yield()
    gate.open()
    thread.join()

    assert outcome[0].reason == "timeout"
    assert left_behind(before) == set()
    assert handler.closed == 0


def test_a_timed_out_caller_does_not_wait_for_the_next_worker(open_bridge: OpenBridge) -> None:
    """Nor does a caller with a deadline of its own wait for longer. Fails when a step waits for a start."""
    handler = Gated()
    b = open_bridge(BridgeMockAdapter(handler))
    handler.start = Gate()

    with pytest.raises(CallTimeout):
        b.call("wait", timeout=0.02)
    with pytest.raises(bridge.PoolTimeout, match="1 starting"):
        b.call("echo", [1], timeout=0.02)
    handler.start.open()
    handler.go.open()

    assert b.call("echo", [1]) == 1


def test_health_hears_of_workers_without_a_call(open_bridge: OpenBridge) -> None:
    """A replacement becomes ready though nobody waits for it."""
    handler = Gated()
    b = open_bridge(BridgeMockAdapter(handler))
    with pytest.raises(CallTimeout):
        b.call("wait", timeout=0.02)
    handler.go.open()

    while not b.health().ok:
        os.sched_yield()
    assert b.health().ready == 1


# -- Killing and closing -----------------------------------------------------------------------------------


def test_a_killed_thread_writes_into_nothing(open_bridge: OpenBridge, tmp_path: Path) -> None:
    """Its caller is free at once; its numbers belong to no other file while it may write. Fails when `kill` closes the
    thread's descriptors: its late answer is then in one of these files."""
    handler = Gated()
    b = open_bridge(BridgeMockAdapter(handler))
    with pytest.raises(CallTimeout):
        b.call("wait", [10], timeout=0.02)
    assert b.call("echo", [1]) == 1  # the next worker is there, and the first one's channel is closed
    files = [open(tmp_path / str(number), "w+") for number in range(40)]  # noqa: SIM115

    handler.go.open()
    b.close()  # which awaits that thread

    assert [file.read() for file in files] == [""] * 40
    for file in files:
        file.close()


def test_a_thread_that_is_killed_while_it_answers_ends() -> None:
    """An answer that nobody reads blocks its thread until the kill, and no longer; `on_close` doesn't run, as it
    doesn't in a process. Fails when a broken pipe counts as the caller's farewell."""
    handler = Gated()
    before = possessions()
    conversation = Conversation(handler)
    reply = conversation.ends.reply
    os.write(reply, bytes(fcntl.fcntl(reply, fcntl.F_GETPIPE_SZ)))  # a pipe that takes no byte more
    handler.go.open()
    conversation.call("wait")
    conversation.await_blocked_answer()

    conversation.end()

    assert left_behind(before) == set()
    assert handler.closed == 0


def test_closing_lets_every_worker_say_goodbye_at_the_same_time(open_bridge: OpenBridge) -> None:
    """Three slow `on_close` take as long as one, and are awaited. Fails when each end is awaited by itself."""
    gate = Gate()
    handler = Gated(close=gate)
    b = open_bridge(BridgeMockAdapter(handler), size=3)
    thread, _ = in_thread(b.close)
    gate.await_arrivals(3)
    gate.open()
    thread.join()

    assert handler.closed == 3


def test_a_goodbye_that_takes_too_long_is_cut_off(open_bridge: OpenBridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """`close(timeout)` is bounded, whatever `on_close` does; its thread ends when that returns."""
    monkeypatch.setattr(bridge_mock, "JOIN_WITHIN", 0.02)
    gate = Gate()
    b = open_bridge(BridgeMockAdapter(Gated(close=gate)))
    thread, _ = in_thread(lambda: b.close(0.05))
    gate.await_arrivals()
    thread.join()

    assert b.health().state == "closed"
    gate.open()


def test_a_goodbye_that_fails_is_logged(open_bridge: OpenBridge, caplog: pytest.LogCaptureFixture) -> None:
    """As what a process writes to its stderr; closing goes on."""

    class Rude:
        def on_close(self) -> None:
            raise LookupError("never")

    with caplog.at_level(logging.INFO, "bridge.worker"):
        open_bridge(BridgeMockAdapter(Rude)).close()

    assert "LookupError: never" in caplog.text


@pytest.mark.thread_unsafe
def test_an_adapter_that_was_handed_in_leaves_nothing_with_its_bridge(open_bridge: OpenBridge) -> None:
    """The channels await their threads: nobody has to close the adapter for that."""
    adapter = BridgeMockAdapter(fakes.Fake)
    before = possessions()
    for _ in range(3):
        with bridge.connect("tests.contract.fakes:Fake", adapter=adapter, size=3) as b:
            assert b.call("predict", ["a"])["top"] == 1

    assert possessions() - before == set()


@pytest.mark.parametrize(
    ("trouble", "told"), [(RuntimeError("can't start new thread"), WorkerStartError), (Interruption(), Interruption)]
)
def test_a_thread_that_did_not_start_leaves_nothing(
    open_bridge: OpenBridge, monkeypatch: pytest.MonkeyPatch, trouble: BaseException, told: type[BaseException]
) -> None:
    """The system refuses one, or a signal comes: no descriptor stays. Fails without the finalisers."""

    def refuse(self: threading.Thread) -> None:
        raise trouble

    before = possessions()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(told):
            open_bridge(BridgeMockAdapter(fakes.Fake), policy=SupervisorPolicy(max_restarts=0))

    trouble.__traceback__ = None
    assert left_behind(before) == set()


def test_a_wrong_call_does_not_end_the_worker(open_bridge: OpenBridge) -> None:
    """The same thread answers afterwards."""
    b = open_bridge(BridgeMockAdapter(Identity))
    thread = b.call("thread")

    with pytest.raises(CallError):
        b.call("thread", [1])
    assert b.call("thread") == thread


def test_an_adapter_that_cannot_ask_has_handlers_told_so() -> None:
    """Though functions are exposed: the handler gets an error for its question, and the worker lives on. Fails when the
    capability isn't looked at."""

    class Silent(BridgeMockAdapter):
        capabilities = BridgeMockAdapter.capabilities - {bridge.Capability.CALLBACKS}

    handler = f"{contract_handler.__file__}:ContractHandler"
    with bridge.connect(handler, adapter=Silent(handler), size=1) as b:
        b.expose("double", lambda value: 2 * value)
        assert b.call("ask", ["double", [4]])["kind"] == "LookupError"
        assert b.call("add", [1, 2]) == 3
