"""Whether the supervisor is well, as `health()` says it."""

from __future__ import annotations

import threading
from dataclasses import replace
from math import inf

import pytest

from bridge.contract import WorkerSpec
from bridge.runtime import Runtime
from bridge.runtime.calls import call
from bridge.testing import FakeClock, ScriptedAdapter, ScriptedChannel
from tests.runtime.conftest import MakeRuntime


class Slow(ScriptedAdapter):
    """Each start takes 40 s, and looks at its own supervisor then."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__([])
        self.clock, self.seen = clock, list[float]()
        self.runtime: Runtime

    def open(self, spec: WorkerSpec, *, deadline: float) -> ScriptedChannel:
        """In the middle of a step."""
        self.clock.advance(40)
        self.seen.append(self.runtime.health().stuck_for)
        return super().open(spec, deadline=deadline)


def test_a_step_that_lasts_is_seen_while_it_does(make_runtime: MakeRuntime) -> None:
    """For how long, and nothing any more once it is over. Fails when either end of a step isn't noted."""
    clock = FakeClock()
    adapter = Slow(clock)
    adapter.runtime = runtime = make_runtime(adapter, clock=clock)
    assert runtime.health().stuck_for == 0.0

    runtime.start()
    clock.advance(40)

    assert adapter.seen == [40.0]
    assert runtime.health().stuck_for == 0.0


def test_a_thread_that_died_is_seen(make_runtime: MakeRuntime) -> None:
    """Nothing would ever be started again. Fails when only steps are looked at; one that has closed is well."""
    runtime = make_runtime(ScriptedAdapter([]))
    runtime.start()
    dead = threading.Thread(target=bool)
    dead.start()
    dead.join()
    runtime.supervisor._thread = dead

    assert runtime.health().stuck_for == inf
    runtime.close()
    assert runtime.health().stuck_for == 0.0


def test_a_worker_that_has_answered_is_ready(make_runtime: MakeRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the step that lent it isn't over. Fails when only what the supervisor last said of its fleet counts."""
    runtime = make_runtime(ScriptedAdapter([("a", 1)]))
    publish = runtime.pool.publish
    monkeypatch.setattr(runtime.pool, "publish", lambda view: publish(replace(view, ready=0)))
    runtime.start()

    assert call(runtime, "a", None, 10) == 1
    assert (runtime.health().ok, runtime.health().ready) == (True, 1)
