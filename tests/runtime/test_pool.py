"""The pool's shell: waiting, waking, and what an interruption leaves behind."""

from __future__ import annotations

import gc
import logging
import threading
from collections import OrderedDict

import pytest

from bridge.core.recycling import RecyclePolicy
from bridge.core.stats import Histogram
from bridge.errors import PoolClosed, PoolError, PoolTimeout
from bridge.runtime import Runtime, calls
from bridge.runtime.claims import Claim
from bridge.testing import FakeClock, Gate, ScriptedAdapter
from tests.fakes import AnnouncedClaim
from tests.runtime.conftest import MakeRuntime

FOREVER = float("inf")


class Caller(threading.Thread):
    """A caller of its own, already started; `queued` counts those that had to wait."""

    def __init__(self, runtime: Runtime, queued: Gate, results: list[object]) -> None:
        super().__init__()
        self._runtime, self._claim, self._results = runtime, AnnouncedClaim(queued), results
        self.start()

    def run(self) -> None:
        self._results.append(calls.call(self._runtime, "go", None, 30, self._claim))


def test_waiters_are_served_in_the_order_of_their_arrival(make_runtime: MakeRuntime) -> None:
    """Four callers queue up for one worker, and are answered first come, first served."""
    gate, queued = Gate(-1), Gate()
    steps = [("go", gate), *(("go", number) for number in range(4))]
    runtime = make_runtime(ScriptedAdapter(steps))
    runtime.start()
    results: list[list[object]] = [[] for _ in range(5)]

    threads = [Caller(runtime, queued, results[0])]
    gate.await_arrivals()
    for number in range(1, 5):
        threads.append(Caller(runtime, queued, results[number]))
        queued.await_arrivals(number)
    gate.open()
    for thread in threads:
        thread.join(10)

    assert results == [[-1], [0], [1], [2], [3]]


def test_overflow_workers_come_while_callers_wait_and_go_when_idle(make_runtime: MakeRuntime) -> None:
    """With size 1 and max_overflow 2 three calls run at once, and a fourth waits."""
    gate, served, queued = Gate("x"), Gate(), Gate()
    adapter = ScriptedAdapter([("go", gate), ("go", gate)])
    runtime = make_runtime(adapter, size=1, max_overflow=2)
    runtime.start()
    results: list[object] = []

    threads = [Caller(runtime, served, results) for _ in range(3)]
    gate.await_arrivals(3)
    assert adapter.opened == 3
    threads.append(Caller(runtime, queued, results))
    queued.await_arrivals(1)
    assert adapter.opened == 3
    gate.open()
    for thread in threads:
        thread.join(10)

    assert results == ["x"] * 4


def test_callers_who_come_while_one_more_is_started_have_theirs_at_once(make_runtime: MakeRuntime) -> None:
    """They can't ask for one of their own while another one's question isn't answered. Fails when a step of the
    supervisor doesn't look who waits after its last start: then they have theirs when they have slept for 20 ms."""
    adapter = ScriptedAdapter()
    runtime = make_runtime(adapter, size=1, max_overflow=2)
    runtime.start()
    pool, now = runtime.pool, runtime.clock()
    first, late = Claim(), [Claim(), Claim(), Claim()]
    pool.checkout(first, FOREVER)
    for claim in late:
        assert not pool.ask(claim, now)
    runtime.supervisor.notice()

    assert adapter.opened == 3
    assert [claim.worker is not None for claim in late] == [True, True, False]
    for claim in late:
        pool.leave(claim)
    pool.checkin(first)


def test_an_idle_overflow_worker_whose_lifetime_is_over_has_no_successor(
    make_runtime: MakeRuntime, caplog: pytest.LogCaptureFixture
) -> None:
    """Else it would be replaced for ever where `max_lifetime` is shorter than `max_idle`. Fails without
    `_let_old_overflow_go`."""
    clock, adapter = FakeClock(), ScriptedAdapter([])
    runtime = make_runtime(adapter, size=1, max_overflow=1, clock=clock, recycle_policy=RecyclePolicy(max_lifetime=10))
    runtime.start()
    claims = [Claim(), Claim()]
    for claim in claims:
        runtime.pool.checkout(claim, FOREVER)
    for claim in claims:
        runtime.pool.checkin(claim)
    assert adapter.opened == 2

    clock.advance(11)
    with caplog.at_level(logging.DEBUG, "bridge.supervisor"):
        runtime.supervisor.notice()

    told = [vars(record) for record in caplog.records if vars(record)["bridge_event"] == "worker.retiring"]
    assert [(event["bridge_generation"], event["bridge_reason"]) for event in told] == [
        (1, "lifetime"),
        (2, "lifetime"),
    ]
    assert [worker.state for worker in runtime.stats().workers] == ["ready"]
    assert (adapter.opened, runtime.stats().recycled) == (3, 1)  # the one that is always kept was replaced


def test_a_claim_that_was_dropped_gives_its_worker_up(make_runtime: MakeRuntime) -> None:
    """A holder that vanished without a word costs its worker, never its place. Fails when the audit is gone."""
    adapter = ScriptedAdapter([("go", 1)])
    runtime = make_runtime(adapter)
    runtime.start()
    claim: Claim | None = Claim()
    assert claim is not None
    runtime.pool.checkout(claim, FOREVER)

    del claim
    gc.collect()

    assert calls.call(runtime, "go", None, 10) == 1
    assert adapter.opened == 2


def test_a_call_from_within_the_pool_is_refused_and_not_deadlocked(make_runtime: MakeRuntime) -> None:
    """A signal handler or finaliser that interrupts the pool gets an error. Fails (hangs) when it isn't noticed."""
    runtime = make_runtime(ScriptedAdapter([("go", 1)]))
    runtime.start()

    with runtime.pool.lock, pytest.raises(PoolError, match="signal handler or a finaliser"):
        calls.call(runtime, "go", None, 5)
    assert calls.call(runtime, "go", None, 5) == 1


def test_checkin_is_idempotent(make_runtime: MakeRuntime) -> None:
    """A claim that is given back twice doesn't put its worker into the pool twice."""
    runtime = make_runtime(ScriptedAdapter([]))
    runtime.start()
    claim = Claim()
    runtime.pool.checkout(claim, FOREVER)

    runtime.pool.checkin(claim)
    runtime.pool.checkin(claim)
    other = Claim()
    runtime.pool.checkout(other, FOREVER)

    with pytest.raises(PoolTimeout):
        runtime.pool.checkout(Claim(), 0)
    runtime.pool.checkin(other)


def test_who_waits_behind_somebody_that_was_forgotten_is_timed_out(make_runtime: MakeRuntime) -> None:
    """An interruption has left a worker idle that somebody wants who wants no other: it is his, by the next audit.
    Fails (with an AttributeError) when whoever comes then isn't ready to be woken."""
    runtime = make_runtime(ScriptedAdapter([]))
    runtime.start()
    state = runtime.pool._state
    (worker,) = state.idle
    forgotten = Claim()
    forgotten.wants = worker
    state.own[worker] = OrderedDict({forgotten: None})

    with pytest.raises(PoolTimeout):
        runtime.pool.checkout(Claim(), runtime.clock() + 0.01)
    state.own.clear()


def test_a_closed_pool_lends_nothing_at_once(make_runtime: MakeRuntime) -> None:
    """Though a worker is idle: its end is near. Fails when `lend` doesn't ask."""
    runtime = make_runtime(ScriptedAdapter([("go", 1)]))
    runtime.start()
    runtime.pool.close()

    with pytest.raises(PoolClosed):
        calls.call(runtime, "go", None, 5)


def test_whose_turn_comes_too_late_is_timed_out(make_runtime: MakeRuntime) -> None:
    """Nobody waits for the answer any more, and the worker goes to the next one. Fails when `look` takes whatever it
    was lent."""
    clock = FakeClock()
    runtime = make_runtime(ScriptedAdapter([]), clock=clock)
    runtime.start()
    holder = Claim()
    runtime.pool.checkout(holder, FOREVER)

    class Slow(Claim):
        def sleep(self, seconds: float) -> bool:
            runtime.pool.checkin(holder)
            clock.advance(11)
            return super().sleep(seconds)

    with pytest.raises(PoolTimeout):
        runtime.pool.checkout(Slow(), clock() + 10)
    runtime.pool.checkout(holder, clock() + 1)
    runtime.pool.checkin(holder)


def test_who_is_woken_has_no_audit_made(make_runtime: MakeRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only who has slept in vain: else each call that waits costs a step of the supervisor. Fails when `_wait` doesn't
    ask whether it was woken."""
    runtime = make_runtime(ScriptedAdapter([]))
    runtime.start()
    holder, asked = Claim(), list[None]()
    runtime.pool.checkout(holder, FOREVER)
    monkeypatch.setattr(runtime.pool, "notice", lambda: asked.append(None))

    class Waiting(Claim):
        def sleep(self, seconds: float) -> bool:
            runtime.pool.checkin(holder)
            return super().sleep(seconds)

    waiting = Waiting()
    runtime.pool.checkout(waiting, FOREVER)
    assert asked == []
    with pytest.raises(PoolTimeout):
        runtime.pool.checkout(Claim(), runtime.clock() + 0.05)
    assert len(asked) >= 1
    runtime.pool.checkin(waiting)


def test_many_threads_on_few_workers_lose_nothing(make_runtime: MakeRuntime) -> None:
    """16 threads make 100 calls each on 3 workers: each gets its own answer, and all workers are idle at the end."""
    steps = [("double", lambda args: args[0] * 2) for _ in range(1600)]
    adapter = ScriptedAdapter(steps, steps, steps)
    runtime = make_runtime(adapter, size=3)
    runtime.start()
    start = threading.Barrier(16)
    wrong: list[int] = []

    def caller(seed: int) -> None:
        start.wait(10)
        for number in range(seed * 100, seed * 100 + 100):
            answer = calls.call(runtime, "double", [number], 30)
            wrong.extend([number] if answer != number * 2 else [])

    threads = [threading.Thread(target=caller, args=(seed,)) for seed in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert wrong == []
    assert runtime.stats().calls == 1600
    assert runtime.stats().idle == 3


def test_a_return_by_somebody_who_holds_nothing_kills_nobody(make_runtime: MakeRuntime) -> None:
    """A check-out that was cut short may know the name of a worker that another holds by now, in the middle of a
    call. Fails when `_give_up` doesn't look at the holder."""
    gate = Gate("answer")
    adapter = ScriptedAdapter([("go", gate)])
    runtime = make_runtime(adapter)
    runtime.start()
    results: list[object] = []
    caller = Caller(runtime, Gate(), results)
    gate.await_arrivals()
    (worker,) = runtime.pool.states()
    stale = Claim()
    stale.worker = worker

    runtime.pool.checkin(stale)
    gate.open()
    caller.join(10)

    assert results == ["answer"]
    assert stale.worker is None
    assert not adapter.channels[0].killed


def test_spare_workers_are_kept_by_adapters_without_processes_too(make_runtime: MakeRuntime) -> None:
    """Ready, lent to nobody, and left alone by whatever looks for lost workers. Fails when `mend` takes it for one."""
    adapter = ScriptedAdapter([], [("go", 1)])
    runtime = make_runtime(adapter, size=1, spare=1)
    runtime.warm(1)
    runtime.supervisor.notice()

    assert [worker.state for worker in runtime.stats().workers] == ["ready", "spare"]
    (first, _) = runtime.supervisor.workers.values()
    runtime.supervisor.retire(first)
    assert calls.call(runtime, "go", None, 5) == 1
    assert [worker.state for worker in runtime.stats().workers] == ["ready", "spare"]
    assert adapter.opened == 3


def test_what_is_counted_is_read_at_one_moment(make_runtime: MakeRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under the pool's lock: who looks while latencies are sorted in would see fewer calls than there had been, which a
    scraper takes for a new beginning. Fails when `stats()` reads them without it."""
    runtime = make_runtime(ScriptedAdapter([]))
    owned: list[bool] = []
    copy = Histogram.copy

    def watched(histogram: Histogram) -> Histogram:
        owned.append(runtime.pool.interrupted_here)
        return copy(histogram)

    monkeypatch.setattr(Histogram, "copy", watched)
    runtime.stats()

    assert owned == [True]
