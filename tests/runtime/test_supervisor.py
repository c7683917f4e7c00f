"""The supervisor's shell without processes: failed starts, the breaker, warming, closing."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

import pytest

from bridge.adapters.bridge_mock import BridgeMockAdapter
from bridge.contract import WorkerSpec
from bridge.core.effects import Admit, Refuse
from bridge.core.members import Member
from bridge.errors import CallCancelled, CircuitOpen, PoolClosed, WorkerStartError
from bridge.runtime import Runtime, RuntimeState, calls
from bridge.runtime.claims import Claim
from bridge.runtime.poller import Poller
from bridge.runtime.supervisor import SupervisorPolicy
from bridge.testing import FakeClock, Gate, ScriptedAdapter, ScriptedChannel
from tests.fakes import AnnouncedClaim
from tests.runtime.conftest import MakeRuntime

BROKEN = WorkerStartError("handler", "ImportError: no", handler="scripted:Handler")


def test_warming_waits_for_all_workers(make_runtime: MakeRuntime) -> None:
    """After `warm` every worker is ready."""
    runtime = make_runtime(ScriptedAdapter([]), size=3)

    runtime.warm(3)

    assert runtime.health().ready == 3
    assert runtime.stats().idle == 3


def test_a_start_that_fails_for_good_is_raised_by_warm(make_runtime: MakeRuntime) -> None:
    """A handler that can't be made is reported at once, not after the start-up timeout."""
    runtime = make_runtime(ScriptedAdapter(BROKEN))

    with pytest.raises(WorkerStartError, match="ImportError: no"):
        runtime.warm(1)
    assert runtime.health().last_error == "handler: ImportError: no"
    assert not runtime.health().ok


def test_starts_that_fail_too_often_open_the_breaker(make_runtime: MakeRuntime) -> None:
    """Callers are refused at once with the last start's error; after a pause one probe closes it again."""
    clock = FakeClock()
    adapter = ScriptedAdapter(BROKEN, BROKEN, [("go", 1)])
    policy = SupervisorPolicy(max_restarts=1, backoff=0.1)
    runtime = make_runtime(adapter, supervisor=policy, clock=clock)
    runtime.start()

    clock.advance(0.5)
    runtime.supervisor.notice()
    with pytest.raises(CircuitOpen, match="ImportError: no") as caught:
        calls.call(runtime, "go", None, 5)
    assert caught.value.retry_in > 0
    assert runtime.health().breaker == "open"
    assert adapter.opened == 2

    clock.advance(caught.value.retry_in + 0.01)
    runtime.supervisor.notice()

    assert calls.call(runtime, "go", None, 5) == 1
    assert runtime.health().breaker == "closed"
    assert runtime.health().last_error is None


def test_a_failed_start_is_told_to_those_who_wait(make_runtime: MakeRuntime) -> None:
    """With nobody alive and nobody starting, each waiter gets an error of its own, with the reason."""
    clock = FakeClock()
    adapter = ScriptedAdapter([], BROKEN)
    runtime = make_runtime(adapter, clock=clock)
    runtime.start()
    claim = Claim()
    worker = runtime.pool.checkout(claim, float("inf"))
    errors: list[WorkerStartError] = []

    queued = Gate()

    def caller() -> None:
        try:
            calls.call(runtime, "go", None, 30, AnnouncedClaim(queued))
        except WorkerStartError as error:
            errors.append(error)

    threads = [threading.Thread(target=caller) for _ in range(2)]
    for thread in threads:
        thread.start()
    queued.await_arrivals(2)
    worker.calls = 1
    runtime.supervisor.retire(worker)
    for thread in threads:
        thread.join(10)
    runtime.pool.checkin(claim)

    assert [error.reason for error in errors] == ["handler", "handler"]
    assert errors[0] is not errors[1]


def test_a_caller_who_comes_just_after_the_refused_ones_is_refused_too(
    make_runtime: MakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is left to wait until the next attempt. Fails when `_do` refuses before it publishes that the breaker is
    open: whoever calls between the two waits in vain."""
    runtime = make_runtime(ScriptedAdapter(BROKEN), supervisor=SupervisorPolicy(max_restarts=0, backoff=30))
    refuse_all, seen = runtime.pool.refuse_all, []

    def and_then_look(error: Exception) -> None:
        refuse_all(error)
        seen.append(runtime.pool.fleet.unavailable)

    monkeypatch.setattr(runtime.pool, "refuse_all", and_then_look)
    runtime.start()

    assert seen == [True]


def test_an_adapter_that_raises_anything_is_a_failed_start(make_runtime: MakeRuntime) -> None:
    """A defect of somebody's adapter is a typed error, and no crash loop."""

    class Broken(ScriptedAdapter):
        def open(self, spec: WorkerSpec, *, deadline: float) -> ScriptedChannel:
            raise KeyError("oops")

    runtime = make_runtime(Broken(), supervisor=SupervisorPolicy(max_restarts=0))

    with pytest.raises(WorkerStartError, match="raised KeyError: 'oops'"):
        runtime.warm(1)


def test_closing_refuses_waiters_and_lets_running_calls_end(make_runtime: MakeRuntime) -> None:
    """Who waits gets PoolClosed at once; who runs gets its answer; then the worker goes."""
    gate, queued = Gate("done"), Gate()
    adapter = ScriptedAdapter([("go", gate)])
    runtime = make_runtime(adapter)
    runtime.start()
    results: list[object] = []

    def caller() -> None:
        try:
            results.append(calls.call(runtime, "go", None, 30, AnnouncedClaim(queued)))
        except PoolClosed:
            results.append("closed")

    first, second = threading.Thread(target=caller), threading.Thread(target=caller)
    first.start()
    gate.await_arrivals()
    second.start()
    queued.await_arrivals()
    closer = threading.Thread(target=runtime.close)
    closer.start()
    second.join(10)
    assert results == ["closed"]
    gate.open()
    first.join(10)
    closer.join(10)

    assert results == ["closed", "done"]
    assert adapter.channels[0].killed
    assert adapter.closed


@pytest.mark.parametrize("timeout", [0, 0.05])
def test_a_call_that_outlasts_the_closing_is_cancelled_and_told_why(make_runtime: MakeRuntime, timeout: float) -> None:
    """Not a crash: nobody's native code is to blame. Fails when `_lost` doesn't ask why the worker was killed, and
    (with time to spare) when `await_closed` leaves it to a thread that isn't there to notice the end of the time.
    """
    gate = Gate()
    runtime = make_runtime(ScriptedAdapter([("go", gate)]))
    runtime.start()
    errors: list[CallCancelled] = []

    def caller() -> None:
        try:
            calls.call(runtime, "go", None, 30)
        except CallCancelled as error:
            errors.append(error)

    thread = threading.Thread(target=caller)
    thread.start()
    gate.await_arrivals()
    runtime.close(timeout)
    thread.join(10)

    assert ["ran it: the bridge was closed." in str(error) for error in errors] == [True]
    assert runtime.stats().crashes == 0


def test_an_adapter_that_was_handed_in_is_not_closed(make_runtime: MakeRuntime) -> None:
    """Who made it closes it: others may share it."""
    adapter = ScriptedAdapter([])
    runtime = make_runtime(adapter, owns_adapter=False)
    runtime.start()

    runtime.close()

    assert not adapter.closed
    assert adapter.channels[0].killed


def test_closing_is_idempotent_in_every_state(make_runtime: MakeRuntime) -> None:
    """Never started, open, closed: close returns, and the state is closed."""
    never, started = make_runtime(ScriptedAdapter([])), make_runtime(ScriptedAdapter([]))
    started.start()

    for runtime in (never, started):
        runtime.close()
        runtime.close()
        assert runtime.health().state == "closed"


# -- What fails in the middle ------------------------------------------------------------------------------


class OddChannel(ScriptedChannel):
    """Can be opened, but not be looked at."""

    def fileno(self) -> None:
        """Its author has made a mistake."""
        raise LookupError("no descriptors here")


class OddAdapter(ScriptedAdapter):
    """Its first channel is odd."""

    def open(self, spec: WorkerSpec, *, deadline: float) -> ScriptedChannel:
        """The next one."""
        channel = super().open(spec, deadline=deadline)
        if self.opened == 1:
            self.channels[0] = channel = OddChannel((), spec.generation)
        return channel


def test_a_worker_that_was_opened_and_cannot_be_used_is_a_failed_start(make_runtime: MakeRuntime) -> None:
    """It is killed, its place is filled. Fails when `_spawn` guards the adapter's `open` alone: the place is lost."""
    clock = FakeClock()
    adapter = OddAdapter([("go", 1)])
    runtime = make_runtime(adapter, clock=clock)
    runtime.start()

    assert adapter.channels[0].killed
    assert runtime.health().last_error == "spawn: the adapter scripted raised LookupError: no descriptors here"
    clock.advance(1)
    runtime.supervisor.notice()
    assert calls.call(runtime, "go", None, 5) == 1


def test_an_effect_that_fails_takes_no_other_with_it(
    make_runtime: MakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes behind it is performed, and a member that has no worker gives its place back. Fails when `perform`
    stops at the first exception, or looks workers up by a bare index."""
    runtime = make_runtime(ScriptedAdapter([]))
    runtime.start()
    fleet = runtime.supervisor.fleet
    fleet.members[77] = Member(0.0, float("inf"))

    def refuse_all(error: Exception) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(runtime.pool, "refuse_all", refuse_all)
    with pytest.raises(ZeroDivisionError):
        runtime.supervisor.roster.perform([Refuse(BROKEN), Admit(77)])

    assert 77 not in fleet.members


class ClosingAdapter(ScriptedAdapter):
    """A signal handler or a finaliser runs in its `open`, and closes the bridge."""

    runtime: Runtime

    def open(self, spec: WorkerSpec, *, deadline: float) -> ScriptedChannel:
        """Interrupted."""
        self.runtime.close(60)
        return super().open(spec, deadline=deadline)


def test_a_close_from_inside_a_step_asks_for_the_end_and_returns(make_runtime: MakeRuntime) -> None:
    """The step can't go on before it returns. Fails (after a minute) when `await_closed` doesn't ask
    `interrupted_here`."""
    adapter = ClosingAdapter([])
    adapter.runtime = runtime = make_runtime(adapter)
    began = time.monotonic()
    runtime.start()
    runtime.close()

    assert time.monotonic() - began < 20
    assert runtime.health().state == "closed"
    assert all(channel.killed for channel in adapter.channels)


def test_a_close_from_inside_the_pools_lock_asks_for_the_end_and_returns(make_runtime: MakeRuntime) -> None:
    """A signal handler that interrupted a check-out may close the bridge; the worker that is lent comes back later.
    Fails (after a minute) when `await_closed` waits there."""
    runtime = make_runtime(ScriptedAdapter([]))
    runtime.start()
    claim = Claim()
    runtime.pool.checkout(claim, float("inf"))
    began = time.monotonic()
    with runtime.pool.lock:
        runtime.close(60)

    assert time.monotonic() - began < 20
    assert runtime.health().state == "closing"
    with pytest.raises(PoolClosed):
        runtime.pool.checkout(Claim(), float("inf"))
    runtime.pool.checkin(claim)
    runtime.close()
    assert runtime.health().state == "closed"


def test_a_start_that_a_close_overtook_is_refused(make_runtime: MakeRuntime) -> None:
    """`request_close` takes no lock; a start that has just looked doesn't undo it. Fails when `start` doesn't look
    again: the runtime would run, with a closed pool, for ever."""

    class Overtaken(Runtime):
        """Closed between the look and the note."""

        def __setattr__(self, name: str, value: object) -> None:
            if value is RuntimeState.STARTING:
                self.request_close()
            super().__setattr__(name, value)

    adapter = ScriptedAdapter([])
    runtime = make_runtime(adapter)
    runtime.__class__ = Overtaken
    with pytest.raises(PoolClosed):
        runtime.start()

    assert adapter.opened == 0
    assert runtime.state is RuntimeState.CLOSED


def test_a_forked_child_drops_what_it_can_and_starts_anew(make_runtime: MakeRuntime) -> None:
    """One thing that can't be dropped keeps neither the others nor the new beginning. Fails when `forget` lets an
    exception pass before it builds anew."""

    class Clinging(ScriptedAdapter):
        """Can't be forgotten."""

        def forget(self) -> None:
            """Somebody closed its descriptors already."""
            raise OSError(9, "Bad file descriptor")

    runtime = make_runtime(Clinging([("go", 1)], [("go", 2)]))
    runtime.start()
    assert calls.call(runtime, "go", None, 5) == 1
    inherited = runtime.supervisor
    runtime.forget()

    assert runtime.state is RuntimeState.NEW
    assert runtime.supervisor is not inherited
    runtime.start()
    assert calls.call(runtime, "go", None, 5) == 2


def test_callers_who_start_at_once_share_one_poller(make_runtime: MakeRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a thread of its own the supervisor is started by whoever comes first, perhaps by two. Fails when the
    poller that was made last counts: workers that the replaced one watches are never heard."""
    made: list[Poller] = []
    both = threading.Barrier(2)

    class Slow(Poller):
        def __init__(self) -> None:
            with suppress(threading.BrokenBarrierError):
                both.wait(0.1)  # for a second one that is being made at the same time
            super().__init__()
            made.append(self)

    monkeypatch.setattr("bridge.runtime.poller.Poller", Slow)
    runtime = make_runtime(BridgeMockAdapter(lambda: None))
    threads = [threading.Thread(target=runtime.start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert runtime.supervisor.poller in made
    runtime.warm()
    made.clear()
