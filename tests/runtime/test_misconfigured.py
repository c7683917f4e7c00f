"""An adapter that finds its own configuration at fault: who is told, in which words, and how often it is tried."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

import bridge
from bridge.contract import WorkerSpec
from bridge.core.policy import MAX_BACKOFF
from bridge.errors import BridgeError, ConfigurationError
from bridge.runtime import Runtime, calls
from bridge.runtime.claims import Claim
from bridge.testing import CRASH, FakeClock, Gate, ScriptedAdapter, ScriptedChannel
from tests.contract.test_recording import opened
from tests.fakes import AnnouncedClaim
from tests.runtime.conftest import MakeRuntime

WRONG = "the folder isn't there; name another one"


class Misconfigured(ScriptedAdapter):
    """Starts that are said to be right are; all others find no folder."""

    def __init__(self, *right: int) -> None:
        super().__init__([("go", 1), ("crash", CRASH)])
        self.right = {*right}
        self.asked = 0

    def open(self, spec: WorkerSpec, *, deadline: float) -> ScriptedChannel:
        """One more worker, or none."""
        self.asked += 1
        if self.asked not in self.right:
            raise ConfigurationError(WRONG)
        return super().open(spec, deadline=deadline)


def outcome(runtime: Runtime, command: str = "go") -> object:
    """What a call is answered, or told."""
    runtime.start()
    try:
        return calls.call(runtime, command, None, 5)
    except BridgeError as error:
        return type(error), str(error)


def test_who_warms_and_who_calls_get_the_error_itself(make_runtime: MakeRuntime) -> None:
    """No worker failed, so nobody is told that one did, nor that starts failed too often: each gets the adapter's
    error, a copy of its own. Fails as a WorkerStartError of reason spawn, or as CircuitOpen."""
    runtime = make_runtime(Misconfigured())
    errors = []
    for ask in (lambda: runtime.warm(1), lambda: calls.call(runtime, "go", None, 5)):
        with pytest.raises(ConfigurationError) as caught:
            ask()
        errors.append(caught.value)

    assert [str(error) for error in errors] == [WRONG, WRONG]
    assert errors[0] is not errors[1]
    assert runtime.health().last_error == f"configuration: {WRONG}"
    failed = runtime.pool.fleet.last_error
    assert failed is not None
    assert failed.final


def test_who_waits_gets_the_error_itself(make_runtime: MakeRuntime) -> None:
    """As those who come later, when there is no worker any more. Fails when the queue is told of a failed start."""
    runtime = make_runtime(Misconfigured(1))
    runtime.start()
    claim, queued, told = Claim(), Gate(), []
    worker = runtime.pool.checkout(claim, float("inf"))

    def caller() -> None:
        with pytest.raises(ConfigurationError) as caught:
            calls.call(runtime, "go", None, 30, AnnouncedClaim(queued))
        told.append(str(caught.value))

    thread = threading.Thread(target=caller)
    thread.start()
    queued.await_arrivals(1)
    worker.calls = 1
    runtime.supervisor.retire(worker)
    thread.join(10)
    runtime.pool.checkin(claim)

    assert told == [WRONG]


def test_it_is_tried_again_late_and_never_in_a_loop(make_runtime: MakeRuntime) -> None:
    """Trying heals nothing, but somebody may: one start in about half a minute. Fails when it is
    tried at once as a crash is, with `backoff` alone, or never again."""
    clock, adapter = FakeClock(), Misconfigured(2)
    runtime = make_runtime(adapter, clock=clock)
    runtime.start()
    for _ in range(9):
        runtime.supervisor.notice()
        clock.advance(MAX_BACKOFF / 20)
    assert adapter.asked == 1

    clock.advance(MAX_BACKOFF * 1.25)
    runtime.supervisor.notice()

    assert outcome(runtime) == 1
    assert runtime.health().breaker == "closed"
    assert runtime.health().last_error is None


def test_workers_that_live_go_on(make_runtime: MakeRuntime) -> None:
    """What is wrong with the next start is nothing to them. Fails when the first such error ends the pool."""
    adapter = Misconfigured(1)
    runtime = make_runtime(adapter, size=2)

    assert outcome(runtime) == 1
    assert adapter.asked == 2
    assert runtime.health().ready == 1


def test_the_death_of_the_last_worker_is_told_as_such(make_runtime: MakeRuntime) -> None:
    """The call that it took with it crashed; those that follow are told why there is no other worker."""
    runtime = make_runtime(Misconfigured(1))

    assert outcome(runtime) == 1
    assert outcome(runtime, "crash") == (bridge.WorkerCrashed, str(_crash(runtime)))
    assert outcome(runtime) == (ConfigurationError, WRONG)


def _crash(runtime: Runtime) -> bridge.WorkerCrashed:
    return bridge.WorkerCrashed(pid=None, exit_code=None, signal=None, command="crash")


def test_a_task_gets_the_error_itself(tmp_path: Path) -> None:
    """Under asyncio as in threads, and of a real adapter: a cassette that is a folder. Fails when a recording that
    can't begin is told as a worker that can't."""

    async def call() -> None:
        ab = opened(tmp_path, "record").aio
        try:
            await ab.call("turn")
        finally:
            await ab.close()

    with pytest.raises(ConfigurationError, match="that is no regular file; name another path"):
        asyncio.run(call())


def test_a_block_does_not_begin(tmp_path: Path) -> None:
    """`with` raises it, on each adapter that may be recorded; so does a scope. Nothing is left behind."""
    for of in (None, "python_port"):
        with pytest.raises(ConfigurationError, match="no regular file"), opened(tmp_path, "record", of=of):
            pytest.fail("it began")
    scope = bridge.with_adapter("recording", cassette=tmp_path, mode="record", of="mock", handler="json")
    with pytest.raises(ConfigurationError, match="no regular file"), scope:
        pytest.fail("it began")
    assert [*tmp_path.iterdir()] == []
