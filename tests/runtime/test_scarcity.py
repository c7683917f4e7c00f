"""The system refuses something at one exact point of a start: what is told, what is kept, and who tries again."""

from __future__ import annotations

import errno
import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from bridge.adapters.python_port import PythonPortAdapter
from bridge.contract import WorkerSpec
from bridge.errors import CircuitOpen, WorkerStartError
from bridge.runtime import Runtime, RuntimeState, calls
from bridge.runtime.poller import Poller
from bridge.runtime.supervisor import Supervisor, SupervisorPolicy
from bridge.testing import FakeClock, ScriptedAdapter
from bridge.testing.fakes import ScriptedChannel
from tests.runtime.conftest import MakeRuntime


class Refused(ScriptedAdapter):
    """The system refuses its first starts."""

    def __init__(self, times: int) -> None:
        super().__init__([("go", 1)])
        self.times = times

    def open(self, spec: WorkerSpec, *, deadline: float) -> ScriptedChannel:
        """As an adapter does that says nothing of it."""
        self.times -= 1
        if self.times >= 0:
            raise OSError(errno.EMFILE, "Too many open files")
        return super().open(spec, deadline=deadline)


def test_what_the_system_refused_is_told_with_what_to_do(make_runtime: MakeRuntime) -> None:
    """Whichever step it was, and whoever's adapter. Fails when `fault_of` tells it as a defect of the adapter."""
    runtime = make_runtime(Refused(9), supervisor=SupervisorPolicy(max_restarts=0))

    with pytest.raises(WorkerStartError, match=r"Too many open files\. .* lower `size`, or raise its limits"):
        runtime.warm(1)


def test_without_a_thread_callers_make_the_start_whose_time_has_come(make_runtime: MakeRuntime) -> None:
    """Whoever comes when it is due is refused a last time, and brings the worker. Fails when `checkout` doesn't attend:
    such a bridge, once its starts had failed too often, was refused for ever."""
    clock = FakeClock()
    runtime = make_runtime(Refused(2), supervisor=SupervisorPolicy(max_restarts=0, backoff=0.1), clock=clock)
    runtime.start()
    for _ in range(2):
        with pytest.raises(CircuitOpen) as caught:
            calls.call(runtime, "go", None, 5)
        clock.advance(caught.value.retry_in + 0.01)
        with pytest.raises(CircuitOpen):
            calls.call(runtime, "go", None, 5)

    assert calls.call(runtime, "go", None, 5) == 1
    assert runtime.health().ok


def test_without_a_thread_who_looks_makes_the_start_whose_time_has_come(make_runtime: MakeRuntime) -> None:
    """A service that is asked for its health before it is sent calls gets well. Fails when `attend` looks at what is
    starting alone."""
    clock = FakeClock()
    runtime = make_runtime(Refused(1), supervisor=SupervisorPolicy(max_restarts=0, backoff=0.1), clock=clock)
    runtime.start()

    assert not runtime.health().ok
    clock.advance(1)
    assert runtime.health().ok


def test_without_a_thread_warming_makes_the_next_attempt(make_runtime: MakeRuntime) -> None:
    """One refusal costs one pause. Fails (after 30 s) when `warm` waits for a step that nobody makes."""
    runtime = make_runtime(Refused(1), supervisor=SupervisorPolicy(backoff=0.01))
    began = runtime.clock()
    runtime.warm(1)

    assert runtime.clock() - began < 10
    assert calls.call(runtime, "go", None, 5) == 1


def test_a_bridge_whose_thread_was_refused_keeps_no_descriptor_when_it_is_closed(
    make_runtime: MakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then it does, for its next attempt. Fails when closing what never started leaves the poller open."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    before = sorted(os.listdir("/proc/self/fd"))
    runtime = make_runtime(PythonPortAdapter())
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(WorkerStartError, match=r"can't start new thread\. .* raise its limits"):
            runtime.start()
    runtime.close()

    assert sorted(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("first", ["fails", "comes through"])
def test_of_two_starts_at_once_the_one_that_came_through_counts(
    make_runtime: MakeRuntime, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """Two callers come first, and the system has one thread left. Fails when the one that fails resets what the other
    has reached: closing would take it for never started, and leave its workers."""
    runtime = make_runtime(ScriptedAdapter([("go", 1)]))
    begin, inner = Supervisor.start, [True]

    def refuse(supervisor: Supervisor) -> None:
        raise RuntimeError("can't start new thread")

    def start(supervisor: Supervisor) -> None:
        """The second caller comes, and is through, in the middle of the first one's start."""
        if inner:
            inner.clear()
            with suppress(WorkerStartError):
                runtime.start()
            return (refuse if first == "fails" else begin)(supervisor)
        return (begin if first == "fails" else refuse)(supervisor)

    monkeypatch.setattr(Supervisor, "start", start)
    with suppress(WorkerStartError):
        runtime.start()

    assert state_of(runtime) is RuntimeState.OPEN


def state_of(runtime: Runtime) -> RuntimeState:
    return runtime.state


def test_a_descriptor_that_the_kernel_refuses_to_watch_is_not_watched(tmp_path: Path) -> None:
    """It may be out of watches, or of memory. Fails when `watch` notes what it could not register: tidying up would
    meet that in turn, and leave the worker whose descriptor it was."""
    poller = Poller()
    with open(tmp_path / "file", "wb") as file:
        with pytest.raises(PermissionError):
            poller.watch(file.fileno(), lambda: None)  # as any other refusal: files can't be watched
        poller.unwatch(file.fileno())
        assert file.fileno() not in poller
    poller.close()
