"""The way of most calls, and where they leave it."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from math import inf
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bridge.channel_submit import SubmitLink
from bridge.client import Bridge
from bridge.contract import ExitStatus, WorkerGone
from bridge.core.recycling import Worn
from bridge.core.stats import AT_ONCE
from bridge.door import Fixed
from bridge.errors import CallTimeout, PoolClosed, PoolError, WorkerCrashed
from bridge.link import DeadlinePassed
from bridge.runtime import async_calls, calls
from bridge.runtime.calls import MAX_RETRIES
from bridge.runtime.claims import Claim
from bridge.runtime.pool import Pool
from bridge.runtime.pool_policy import PoolPolicy
from bridge.testing import CRASH, FakeClock, ScriptedAdapter
from tests.process.waiting import wait_until
from tests.runtime.conftest import MakeRuntime


class Stand(SimpleNamespace):
    """A worker, as far as the pool looks at it."""

    __hash__ = object.__hash__  # type: ignore[assignment]


class Keeper(SimpleNamespace):
    """Notes what it is told."""

    def __init__(self) -> None:
        super().__init__(told=[], interrupted_here=False)

    def notice(self) -> None:
        """Something is to be looked at."""
        self.told.append("notice")

    def wear(self, generation: int, why: Worn) -> None:
        """A worker is to be replaced."""
        self.told.append((generation, why))

    def abandon(self, worker: Any, call_id: int) -> None:
        """A worker came back that can't be lent."""
        self.told.append((worker.generation, call_id))


@pytest.fixture
def pool() -> Pool:
    """One that has a keeper."""
    made = Pool(PoolPolicy(size=1), name="shop", clock=FakeClock())
    made.keeper = cast(Any, Keeper())
    return made


def told(pool: Pool) -> list[Any]:
    """What its keeper was."""
    return cast(Any, pool.keeper).told  # type: ignore[no-any-return]


def answered(pool: Pool, **more: Any) -> tuple[Claim, Any]:
    """A claim and its worker, which has answered."""
    known = {"status": None, "holder": None, "active_at": 0.0, "most_calls": inf, "calls": 1, "departed": False}
    link = SimpleNamespace(clean=True, hands_on=False, call_id=1)
    worker: Any = Stand(**{**known, "link": link, "generation": 3, **more})
    claim = Claim()
    pool.add(worker)
    assert pool.lend(claim) is worker
    return claim, worker


def test_a_worker_that_has_answered_is_idle_again(pool: Pool) -> None:
    """It is nobody's, can be lent, and its answer was counted. Fails when one of them isn't so."""
    claim, worker = answered(pool)
    pool.take_back(claim, worker)

    assert (claim.worker, worker.holder, told(pool)) == (None, None, [])
    assert pool.tally.latencies.count == 1
    assert pool.lend(Claim()) is worker


@pytest.mark.parametrize("name", ["wants", "prefers"])
def test_who_takes_not_any_worker_is_lent_none_at_once(pool: Pool, name: str) -> None:
    """That is for `checkout` to see to. Fails when `lend` doesn't look at either."""
    claim, worker = answered(pool)
    pool.take_back(claim, worker)
    choosy = Claim()
    setattr(choosy, name, worker)

    assert pool.lend(choosy) is None
    assert pool.lend(Claim()) is worker


def test_latencies_are_sorted_in_now_and_then(pool: Pool) -> None:
    """So that no list of them grows for ever. Fails when a return doesn't see to that."""
    claim, worker = answered(pool)
    for _ in range(AT_ONCE):
        pool.take_back(claim, worker)
        assert pool.lend(claim)

    assert (pool.tally.latencies.count, pool.tally.latencies.fresh) == (AT_ONCE, [])


@pytest.mark.parametrize("any_worker", [True, False], ids=["any", "that-one"])
def test_who_waits_for_it_is_woken(pool: Pool, any_worker: bool) -> None:
    """Also who waits for that worker and no other. Fails when either queue isn't looked at: whoever waits there would
    be lent the worker, and not be told; or when the answer is counted by both ways."""
    claim, worker = answered(pool)
    claim.sent_at = 1.0
    waiter = Claim()
    waiter.wants = None if any_worker else worker
    assert not pool.ask(waiter, 0.0)
    pool.take_back(claim, worker)

    assert waiter.worker is worker
    assert waiter.sleep(0)
    assert pool.tally.latencies.count == 1


def test_a_worker_that_died_after_its_answer_is_not_lent_again(pool: Pool) -> None:
    """Fails when a return doesn't look whether it still lives."""
    claim, worker = answered(pool)
    worker.status = ExitStatus(code=1)
    pool.take_back(claim, worker)

    assert told(pool) == [(3, 1), "notice"]
    assert pool.lend(Claim()) is None


def test_a_worker_that_has_served_its_calls_is_replaced(pool: Pool) -> None:
    """Fails when a return doesn't compare."""
    claim, worker = answered(pool, calls=7, most_calls=7)
    pool.take_back(claim, worker)

    assert told(pool) == [(3, Worn.CALLS)]
    assert worker.most_calls == 0, "it was said"


def test_whoever_waits_for_the_return_hears_of_it(pool: Pool) -> None:
    """A worker that is to be replaced, and a pool that is being closed. Fails without a look at either."""
    claim, worker = answered(pool, most_calls=0)
    pool.take_back(claim, worker)
    assert told(pool) == ["notice"]

    worker.most_calls = inf
    assert pool.lend(claim)
    pool.close()
    told(pool).clear()
    pool.take_back(claim, worker)
    assert told(pool) == ["notice"]


def watched(call: Any) -> None:
    """An `on_call`."""
    del call


@pytest.mark.parametrize("options", [{"poison_threshold": 2}, {"on_call": watched}], ids=["poison", "on-call"])
def test_a_runtime_that_looks_at_calls_is_not_plain(
    make_runtime: MakeRuntime, monkeypatch: pytest.MonkeyPatch, options: Any
) -> None:
    """Its calls go the way on which they are looked at. Fails when one of these is left out of `Runtime.plain`."""
    runtime = make_runtime(ScriptedAdapter([("go", 1)]), **options)
    runtime.start()
    monkeypatch.setattr(calls, "plain", None)

    assert not runtime.plain
    assert Bridge(Fixed(runtime)).call("go") == 1


def test_most_calls_take_the_short_way(make_runtime: MakeRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails when a plain runtime doesn't know that it is one: then each call costs some hundred steps more."""
    runtime = make_runtime(ScriptedAdapter([("go", 1)]))
    runtime.start()
    monkeypatch.setattr(calls, "call", None)

    assert Bridge(Fixed(runtime)).call("go") == 1


def test_a_runtime_that_isn_t_open_is_not_plain(make_runtime: MakeRuntime) -> None:
    """Its first call starts it, and none gets through once its end has begun. Fails when it is plain at either time."""
    runtime = make_runtime(ScriptedAdapter([("go", 1)]))
    before = runtime.plain
    runtime.start()
    between = runtime.plain
    until = runtime.request_close()

    assert (before, between, runtime.plain) == (False, True, False)
    with pytest.raises(PoolClosed):
        Bridge(Fixed(runtime)).call("go")
    runtime.await_closed(until)


def test_a_runtime_that_is_closed_while_it_starts_is_not_plain(make_runtime: MakeRuntime) -> None:
    """By somebody who takes no lock. Fails when its start says so last."""
    runtime = make_runtime(ScriptedAdapter([("go", 1)]))
    start = runtime.supervisor.start

    def close_too() -> None:
        start()
        runtime._over = True

    runtime.supervisor.start = close_too  # type: ignore[method-assign]
    runtime.start()
    assert not runtime.plain


def test_who_interrupted_the_pool_is_not_lent_a_worker(make_runtime: MakeRuntime) -> None:
    """A finaliser or a signal handler that calls in the midst of a decision. Fails when `plain` doesn't ask for that:
    the lock is re-entrant."""
    runtime = make_runtime(ScriptedAdapter([("go", 1)]))
    runtime.start()

    with runtime.pool.lock, pytest.raises(PoolError, match="interrupted"):
        calls.plain(runtime, "go", None, 5)


@pytest.mark.parametrize("options", [{"poison_threshold": 2}, {"on_call": watched}], ids=["poison", "on-call"])
def test_nor_are_its_calls_of_tasks(make_runtime: MakeRuntime, monkeypatch: pytest.MonkeyPatch, options: Any) -> None:
    """Fails when a task's call doesn't ask whether its runtime is plain."""
    runtime = make_runtime(ScriptedAdapter([("go", 1)]), **options)
    monkeypatch.setattr(async_calls, "plain", None)

    assert asyncio.run(Bridge(Fixed(runtime)).aio.call("go")) == 1


def test_most_calls_of_tasks_take_it_too(make_runtime: MakeRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails when they don't: each would cost some thirty steps more."""
    runtime = make_runtime(ScriptedAdapter([("go", 1)]))
    runtime.start()
    monkeypatch.setattr(async_calls, "call", None)

    assert asyncio.run(Bridge(Fixed(runtime)).aio.call("go")) == 1


def test_a_plain_call_of_a_task_whose_time_is_over_is_not_repeated(
    make_runtime: MakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though nobody has seen it. Fails when it is taken for one whose worker died."""
    runtime = make_runtime(ScriptedAdapter([]))
    runtime.start()
    tries: list[float] = []

    def begin(_link: SubmitLink, _command: str, _body: bytes, seconds: float) -> bytes:
        tries.append(seconds)
        raise DeadlinePassed(started=False)

    monkeypatch.setattr(SubmitLink, "begin", begin)
    with pytest.raises(CallTimeout):
        asyncio.run(async_calls.plain(runtime, "go", None, 5, idempotent=True))
    assert len(tries) == 1


@pytest.mark.parametrize(("idempotent", "repeats"), [(True, MAX_RETRIES), (False, 0)])
def test_a_plain_call_of_a_task_is_repeated_if_it_may_be(
    make_runtime: MakeRuntime, idempotent: bool, repeats: int
) -> None:
    """But not for ever. Fails when `plain` doesn't say on that it is idempotent, or doesn't count."""
    runtime = make_runtime(ScriptedAdapter(*[[("go", CRASH)]] * 9))
    runtime.start()

    with pytest.raises(WorkerCrashed):
        asyncio.run(async_calls.plain(runtime, "go", None, 30, idempotent))
    assert runtime.stats().repeats == repeats


def test_what_a_call_has_waited_for_a_worker_is_not_what_it_took(make_runtime: MakeRuntime) -> None:
    """Latencies say how long workers take. Fails when a call that is begun after a wait counts from the door."""
    clock = FakeClock()
    runtime = make_runtime(ScriptedAdapter([("go", 1)]), clock=clock)
    runtime.start()
    pool, first = runtime.pool, Claim()
    pool.checkout(first, inf)
    with ThreadPoolExecutor(1) as threads:
        result = threads.submit(calls.plain, runtime, "go", None, 60)
        wait_until(lambda: pool.waiting_for_any == 1, 20, what="the call to wait")
        clock.advance(5)
        pool.checkin(first)
        assert result.result(20) == 1

    assert runtime.stats().latencies.sum < 1


def test_a_plain_call_that_may_be_repeated_is(make_runtime: MakeRuntime) -> None:
    """After a crash, on another worker. Fails when `plain` doesn't say on that it is idempotent."""
    runtime = make_runtime(ScriptedAdapter([("go", CRASH)], [("go", 2)]))
    runtime.start()

    assert calls.plain(runtime, "go", None, 5, idempotent=True) == 2


def test_a_plain_call_that_goes_on_has_begun_already(
    make_runtime: MakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time is that from its beginning, and what came of it so far isn't lost. Fails when `plain` doesn't say when
    it began, or how it ended."""
    clock, seen = FakeClock(), []
    runtime = make_runtime(ScriptedAdapter([("go", CRASH)]), clock=clock)
    runtime.start()

    def go_on(*given: Any, body: bytes, began_at: float, ended: Exception) -> str:
        seen.append((body, began_at, type(ended)))
        runtime.pool.checkin(given[4])
        return "went on"

    monkeypatch.setattr(calls, "call", go_on)
    began = clock()
    assert calls.plain(runtime, "go", {"n": 1}, 5) == "went on"
    assert seen == [(b'["go",{"n":1}]', began, WorkerGone)]
