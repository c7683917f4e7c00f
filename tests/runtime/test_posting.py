"""Where there is no supervisor thread, callers make its steps; none of them waits for another's."""

from __future__ import annotations

import threading

import pytest

from bridge.contract import WorkerSpec
from bridge.errors import PoolTimeout
from bridge.runtime import calls
from bridge.testing import Gate, ScriptedAdapter, ScriptedChannel
from tests.runtime.conftest import MakeRuntime


class SlowAdapter(ScriptedAdapter):
    """Its `open` blocks until the gate is open: a model that loads."""

    def __init__(self, gate: Gate) -> None:
        super().__init__([("a", 1)])
        self._gate = gate

    def open(self, spec: WorkerSpec, *, deadline: float) -> ScriptedChannel:
        """Wait, then open."""
        self._gate.wait()
        return super().open(spec, deadline=deadline)


def test_a_caller_keeps_its_deadline_while_another_thread_opens_a_worker(make_runtime: MakeRuntime) -> None:
    """A step of another thread, in an adapter that blocks, isn't waited for. Fails when `_post` waits for a lock that
    is held during a step: the call then returns only after the gate's time-out."""
    gate = Gate(timeout=20)
    runtime = make_runtime(SlowAdapter(gate))
    first = threading.Thread(target=runtime.start, daemon=True)
    first.start()
    gate.await_arrivals()
    with pytest.raises(PoolTimeout):
        calls.call(runtime, "a", None, 0.2)
    assert first.is_alive()
    gate.open()
    first.join(10)

    assert calls.call(runtime, "a", None, 10) == 1


def test_an_end_that_a_finaliser_asks_for_inside_the_pools_lock_waits_for_nothing(make_runtime: MakeRuntime) -> None:
    """A bridge that is collected while its own pool is locked, and another thread is in a step, can't hang both.
    Fails when `_post` waits for that step, which waits for the pool."""
    gate = Gate(timeout=20)
    runtime = make_runtime(SlowAdapter(gate))
    first = threading.Thread(target=runtime.start, daemon=True)
    first.start()
    gate.await_arrivals()
    ended = threading.Event()

    def finalise() -> None:
        with runtime.pool.lock:
            runtime.request_close(0)
            ended.set()

    second = threading.Thread(target=finalise, daemon=True)
    second.start()
    asked = ended.wait(10)
    gate.open()
    for thread in (first, second):
        thread.join(25)

    assert asked
    assert not first.is_alive()
    runtime.close(0)
    assert runtime.supervisor.finished


def test_a_start_that_interrupts_a_start_waits_for_nothing(make_runtime: MakeRuntime) -> None:
    """A signal handler may use the bridge whose lock its own thread holds. Fails when that is a plain lock."""
    runtime = make_runtime(ScriptedAdapter([("a", 1)]))

    def interrupted() -> None:
        with runtime._lock:
            runtime.start()

    thread = threading.Thread(target=interrupted, daemon=True)
    thread.start()
    thread.join(10)

    assert not thread.is_alive()
    assert calls.call(runtime, "a", None, 10) == 1
