"""Tasks that wait behind others: when they look, and how a worker goes from one to the next.

Apart from test_queueing.py: who is let wait at all.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from math import inf
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bridge.core.stats import AT_ONCE
from bridge.errors import CallCancelled
from bridge.link import Left
from bridge.runtime import async_calls
from bridge.runtime.loop_calls import LoopCall
from bridge.runtime.loop_claims import HEAR, LONG, OFFER, Home, claim_here, home_of
from bridge.runtime.pool import LAST_LOOK, Pool
from bridge.runtime.pool_policy import PoolPolicy
from bridge.testing import FakeClock, ScriptedAdapter
from bridge.wire import RESULT
from tests.facade.looping import turns
from tests.runtime.conftest import MakeRuntime


def pool_of(clock: FakeClock, **policy: Any) -> Pool:
    """One without any worker."""
    return Pool(PoolPolicy(size=1, **policy), name="shop", clock=clock)


class Worker(SimpleNamespace):
    """One that takes each call, and answers none until it is told to."""

    __hash__ = object.__hash__  # type: ignore[assignment]

    def __init__(self) -> None:
        link: Any = SimpleNamespace(clean=True, hands_on=False, watched=None, next_look=inf, listener=None)
        link.begin, link.poll, link.interrupt = lambda *_, **__: b"", lambda _command: None, lambda: None
        more = {"calls": 0, "most_calls": inf, "departed": False, "status": None}
        super().__init__(link=link, holder=None, active_at=0.0, lent=False, **more)


@pytest.fixture
def clock() -> FakeClock:
    """Stands still."""
    return FakeClock()


# -- Their times -----------------------------------------------------------------------------------------------------


def in_a_crowd(
    clock: FakeClock,
    act: Callable[[Home, list[LoopCall], Worker], None],
    timeouts: list[float],
    watched: tuple[int, int] | None = None,
) -> None:
    """Have one worker lent to a task's call, and others wait behind it, in a loop."""

    async def main() -> None:
        loop, pool, worker = asyncio.get_running_loop(), pool_of(clock), Worker()
        worker.link.watched = watched
        home = Home(pool, lambda: False, lambda: None, clock)
        calls = [LoopCall(home, loop, "go", b"", clock() + timeout) for timeout in timeouts]
        futures = [call.begin() for call in calls]
        if calls:
            pool.add(cast(Any, worker))  # the first is offered it
            calls[0].step()
        act(home, calls, worker)
        for call, future in zip(calls, futures, strict=True):
            future.cancel()
            worker.link.clean = True
            call.end()

    asyncio.run(main())


def test_who_waits_for_long_is_given_times_to_look_at(clock: FakeClock) -> None:
    """And who was sent meanwhile. Fails when `_look` gives none, when it gives them to the ones or the others alone, at
    each look, or but at the end."""

    def act(home: Home, calls: list[LoopCall], _worker: Worker) -> None:
        loop = asyncio.get_running_loop()
        home._look(loop)
        assert [call.due for call in calls] == [inf, inf, inf]
        clock.advance(LONG)
        home._look(loop)
        began = clock() - LONG
        assert [call.due for call in calls] == [began + LAST_LOOK] * 3
        newcomer = LoopCall(home, loop, "go", b"", clock() + 60)
        newcomer.begin()
        home._look(loop)
        assert newcomer.due == inf  # that is looked for once a second only
        newcomer.end()

    in_a_crowd(clock, act, [2, 2.5, 60])


def test_who_was_served_at_once_has_times_too(clock: FakeClock) -> None:
    """From when it began. Fails when `begin` notes that of those only who wait: this one would look at once."""

    def act(home: Home, _calls: list[LoopCall], worker: Worker) -> None:
        home.pool.add(cast(Any, worker))
        call = LoopCall(home, asyncio.get_running_loop(), "go", b"", clock() + 60)
        future = call.begin()
        assert call.worker is cast(Any, worker)
        call.look_in_time()
        assert call.due == clock() + LAST_LOOK
        future.cancel()
        call.end()

    in_a_crowd(clock, act, [])


def test_the_last_who_is_sent_has_its_deadline(clock: FakeClock) -> None:
    """When nobody waits any more the timer ends, and another begins with the next who waits. Fails when that doesn't
    end, or leaves a call that is out without a time; and when `watch` begins none."""

    def act(home: Home, calls: list[LoopCall], _worker: Worker) -> None:
        loop = asyncio.get_running_loop()
        assert home.watches
        home._look(loop)
        assert not home.watches
        assert calls[0].due == clock() + LAST_LOOK
        late = LoopCall(home, loop, "go", b"", clock() + 60)
        late.begin()
        assert home.watches
        late.end()

    in_a_crowd(clock, act, [60])


def test_a_loop_looks_after_its_own_tasks_only(clock: FakeClock) -> None:
    """Those of another loop, and threads, have their own. Fails when `_look` doesn't ask whose they are."""

    def act(home: Home, calls: list[LoopCall], _worker: Worker) -> None:
        other = Home(home.pool, lambda: False, lambda: None, clock)
        other.watch(asyncio.get_running_loop())
        clock.advance(LONG)
        other._look(asyncio.get_running_loop())
        assert not other.watches
        assert [call.due for call in calls] == [inf, inf]

    in_a_crowd(clock, act, [60, 60])


def test_who_has_little_time_is_looked_after_as_well(clock: FakeClock) -> None:
    """It has its time at once; audits are made for it, too. Fails when `_goes_on` doesn't see to either."""

    def act(home: Home, calls: list[LoopCall], _worker: Worker) -> None:
        assert calls[0].due == clock() + 1
        assert home.watches

    in_a_crowd(clock, act, [1])


@pytest.mark.parametrize(("starting", "after"), [(False, OFFER), (True, HEAR)])
def test_while_tasks_wait_audits_are_made_or_starts_are_heard(clock: FakeClock, starting: bool, after: float) -> None:
    """The latter where there is no supervisor's thread, and more often. Fails when `_look` does neither, or once."""

    def act(home: Home, _calls: list[LoopCall], _worker: Worker) -> None:
        done: list[str] = []
        later: list[float] = []
        timer = SimpleNamespace(cancel=later.clear)

        def attend() -> bool:
            done.append("attended")
            return starting

        def call_later(seconds: float, *_: object) -> object:
            later.append(seconds)
            return timer

        home._attend, home._notice = attend, lambda: done.append("noticed")
        loop: Any = SimpleNamespace(call_later=call_later)
        home._look(loop)
        assert done == (["attended"] if starting else ["attended", "noticed"])
        assert later == [after]

    in_a_crowd(clock, act, [60, 60])


def test_what_goes_wrong_at_a_look_does_not_end_it(clock: FakeClock) -> None:
    """Those who wait would never look. Fails when the next look is set after what may raise."""

    def interrupt() -> bool:
        raise KeyboardInterrupt

    def act(home: Home, _calls: list[LoopCall], _worker: Worker) -> None:
        home._attend = interrupt
        later: list[Any] = []
        loop: Any = SimpleNamespace(call_later=lambda *timer: later.append(timer))
        with pytest.raises(KeyboardInterrupt):
            home._look(loop)
        assert later == [(OFFER, home._look, loop)]

    in_a_crowd(clock, act, [60, 60])


def test_a_loop_that_is_gone_is_forgotten(make_runtime: MakeRuntime) -> None:
    """Closed, or dropped unclosed. Fails when a home is kept for each loop that ever was, or keeps its loop."""
    runtime = make_runtime(ScriptedAdapter([("go", 1), ("go", 2)]))
    runtime.start()
    loops = [asyncio.new_event_loop(), asyncio.new_event_loop()]
    for n, loop in enumerate(loops, 1):
        assert loop.run_until_complete(async_calls.call(runtime, "go", None, 30)) == n
        assert len(runtime.homes) == n
    loops.pop().close()
    del loop
    gc.collect()
    assert sum(each() is None for each in runtime.homes) == 1
    loops[0].close()
    kept, loop = loops[0], asyncio.new_event_loop()
    home_of(runtime, loop)
    loop.close()

    assert [each() for each in runtime.homes] == [loop]
    assert kept.is_closed()


# -- Cancelled by another thread ---------------------------------------------------------------------------------------


def test_a_call_of_a_task_can_be_cancelled_wherever_it_is(clock: FakeClock) -> None:
    """By whoever has its claim: it isn't sent, or its reply isn't waited for. Fails when `_send`, or `linger`,
    doesn't look."""

    def act(home: Home, calls: list[LoopCall], worker: Worker) -> None:
        for call in calls[:2]:
            home.pool.cancel(call)
        calls[0].step()
        with pytest.raises(Left):
            cast(Any, calls[0].future).result()
        worker.holder = None
        worker.link.clean = True
        calls[0].end()
        home.pool.add(cast(Any, worker))
        calls[1].step()
        with pytest.raises(CallCancelled):
            cast(Any, calls[1].future).result()

    in_a_crowd(clock, act, [60, 60, 60])


def test_a_worker_goes_from_one_task_to_the_next_in_the_same_breath(clock: FakeClock) -> None:
    """Counted as given back. Fails when `pass_on` finds nobody, or leaves the call uncounted, or unsorted for ever."""

    def act(home: Home, calls: list[LoopCall], worker: Worker) -> None:
        home.pool.tally.latencies.fresh += [0.1] * (AT_ONCE - 1)
        began = clock()
        clock.advance(3)
        assert home.pool.pass_on(calls[0], cast(Any, worker), calls[0].loop) is calls[1]
        assert (worker.active_at, calls[0].sent_at, calls[0].worker) == (began + 3, 0.0, None)
        latencies = home.pool.tally.latencies
        assert (latencies.count, latencies.fresh, calls[1].taken, calls[2].taken) == (AT_ONCE, [], True, False)

    in_a_crowd(clock, act, [60, 60, 60])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("most_calls", 0),
        ("status", "dead"),
        ("most_calls", 1),
        ("loop", None),
        ("nobody", None),
        ("late", None),
        ("cancelled", None),
        ("over", None),
    ],
)
def test_a_worker_that_has_more_to_be_seen_to_is_given_back(clock: FakeClock, name: str, value: Any) -> None:
    """It wears out, or is dead; who is next is in another loop, late, cancelled or over, or there is none. Fails, each,
    when `pass_on` doesn't look at that."""

    def act(home: Home, calls: list[LoopCall], worker: Worker) -> None:
        loop: Any = calls[0].loop
        if name == "loop":
            loop = object()
        elif name == "nobody":
            home.pool.leave(calls[1])
        elif name == "late":
            clock.advance(60)
        elif name == "cancelled":
            cast(Any, calls[1].future).cancel()
        elif name == "over":
            calls[1].future = None
        else:
            setattr(worker, name, value)
        assert home.pool.pass_on(calls[0], cast(Any, worker), loop) is None
        assert calls[0].worker is cast(Any, worker)
        assert not calls[1].taken
        home.pool.leave(calls[1])

    in_a_crowd(clock, act, [60, 60])


def test_who_gives_a_worker_back_no_longer_listens_to_it(clock: FakeClock) -> None:
    """Whoever is lent it next may listen at once, in another thread. Fails when that isn't ended before."""

    def act(home: Home, calls: list[LoopCall], worker: Worker) -> None:
        seen: list[Any] = []
        pool: Any = home.pool
        give_back = pool.give_back

        def watched(*given: Any) -> Any:
            seen.append(worker.link.listener)
            return give_back(*given)

        pool.give_back = watched
        assert worker.link.listener() is calls[0]
        worker.link.poll = lambda _command: (RESULT, 7)
        calls[0].step()
        assert cast(Any, calls[0].future) is None
        assert seen == [None]

    in_a_crowd(clock, act, [60])


def test_a_call_that_begins_again_is_as_new(clock: FakeClock) -> None:
    """Its worker had died. Fails when `end` leaves that it was sent, what was to be written, when it was to look, or
    since when it is told that it has a worker: its next offer would be taken back at once."""

    def act(_home: Home, calls: list[LoopCall], worker: Worker) -> None:
        call = calls[0]
        before = LoopCall(call.home, call.loop, "go", b"", call.deadline)
        call.rest, call._offered_at, call.due = b"rest", clock() - 60, clock() + 1
        worker.link.clean = False
        call.end()
        for name in ("sent_at", "rest", "_offered_at", "due", "future", "registration", "worker"):
            assert getattr(call, name) == getattr(before, name), name

    in_a_crowd(clock, act, [60])


def test_a_task_that_rests_needs_no_times(make_runtime: MakeRuntime) -> None:
    """It has a timer of its own. Fails when a look at those who wait stumbles over it."""
    runtime = make_runtime(ScriptedAdapter([]))

    async def main() -> None:
        claim = claim_here(runtime)
        waiting = asyncio.ensure_future(async_calls.checkout(runtime, claim, runtime.clock() + 60))
        await turns(1)
        claim.home._times_at = 0.0
        claim.home._look(asyncio.get_running_loop())
        assert not waiting.done()
        waiting.cancel()
        await asyncio.wait([waiting])

    asyncio.run(main())
