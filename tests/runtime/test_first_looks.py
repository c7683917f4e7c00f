"""Where a call that has to wait is spared a look, and where another call's callback looks for it."""

from __future__ import annotations

import asyncio
from math import inf
from types import SimpleNamespace
from typing import Any, cast
from weakref import ref

import pytest

from bridge.core.members import View
from bridge.errors import CallCancelled, PoolOverloaded
from bridge.runtime.claims import Claim
from bridge.runtime.loop_calls import LoopCall
from bridge.runtime.loop_claims import Home
from bridge.runtime.pool import LAST_LOOK, Pool
from bridge.runtime.pool_policy import PoolPolicy
from bridge.testing import FakeClock


def pool_of(clock: FakeClock, **policy: Any) -> Pool:
    """One without any worker."""
    return Pool(PoolPolicy(size=1, **policy), name="shop", clock=clock)


@pytest.fixture
def clock() -> FakeClock:
    """Stands still."""
    return FakeClock()


class Stand(SimpleNamespace):
    """A worker, as far as the pool looks at it."""

    __hash__ = object.__hash__  # type: ignore[assignment]


def queued(pool: Pool, clock: FakeClock) -> Claim:
    """Whoever waits there."""
    claim = Claim()
    assert not pool.ask(claim, clock())
    return claim


def test_who_was_just_queued_is_told_when_to_look(clock: FakeClock) -> None:
    """The earliest of its deadline, the checkout timeout and LAST_LOOK. Fails when one of them is left out."""
    now = clock()

    def waits(seconds: float, **policy: Any) -> float | None:
        pool = pool_of(clock, **policy)
        return pool.first_look(queued(pool, clock), now + seconds, now)

    assert waits(0.5) == pytest.approx(0.5)
    assert waits(60, checkout_timeout=0.7) == pytest.approx(0.7)
    assert waits(60) == LAST_LOOK


def test_the_first_who_waits_asks_for_a_worker(clock: FakeClock) -> None:
    """At once, where the supervisor has said that one more can be had. Fails when the look is spared there."""
    asked: list[str] = []
    pool = pool_of(clock)
    keeper: Any = SimpleNamespace(interrupted_here=False, grow=lambda: asked.append("one more"))
    pool.keeper = keeper
    pool.publish(View(can_grow=True))
    for _ in range(3):
        pool.first_look(queued(pool, clock), clock() + 60, clock())

    assert asked == ["one more"]


def test_who_was_cancelled_before_it_was_queued_does_not_wait(clock: FakeClock) -> None:
    """Nobody rings again for it. Fails when the look is spared there."""
    pool = pool_of(clock)
    claim = Claim()
    claim.cancelled = True
    assert not pool.ask(claim, clock())

    with pytest.raises(CallCancelled):
        pool.first_look(claim, clock() + 60, clock())


def test_who_comes_to_a_queue_that_stands_is_told_by_when_it_is_shed(clock: FakeClock) -> None:
    """Which may be at once. Fails when the look is spared where the queue has a target."""
    pool = pool_of(clock, queue_target=0.0, queue_interval=0.0)
    pool._state.workers[object()] = None  # type: ignore[index]

    with pytest.raises(PoolOverloaded):
        pool.first_look(queued(pool, clock), clock() + 60, clock())


class Follower(Claim):
    """It would go on in any loop."""

    def follows(self, loop: object, now: float) -> bool:
        """Always."""
        return True


def test_the_turn_of_another_worker_is_not_taken(clock: FakeClock) -> None:
    """Who was half given one before goes on with that: what is registered is of the one that came back. Fails when the
    two aren't compared, or when the turn is never taken."""
    for half_given in (False, True):
        pool = pool_of(clock)
        link = SimpleNamespace(clean=True, hands_on=False)
        more = {"calls": 0, "most_calls": inf, "departed": False}
        first, second = [cast(Any, Stand(link=link, status=None, holder=None, active_at=0.0, **more)) for _ in range(2)]
        before, behind = Claim(), Follower()
        pool.add(first)
        assert pool.lend(before) is first
        assert not pool.ask(behind, clock())
        if half_given:
            pool._state.workers[second] = None
            pool._state.idle[second] = clock()
            second.holder, behind.worker = ref(behind), second

        assert pool.give_back(before, loop=object()) is behind
        assert behind.taken == (not half_given)


def test_a_call_is_begun_by_another_ones_callback_only_while_its_task_waits_in_time(clock: FakeClock) -> None:
    """In the same loop. Fails when a call that is late, or whose task is gone, is sent all the same."""
    pool = pool_of(clock)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        home = Home(pool, lambda: False, lambda: None, clock)

        def waiting() -> LoopCall:
            call = LoopCall(home, loop, "go", b"", clock() + 5)
            call.future = loop.create_future()
            return call

        assert waiting().follows(loop, clock())
        assert not waiting().follows(object(), clock())
        assert not waiting().follows(loop, clock() + 5)
        call = waiting()
        cast(Any, call.future).cancel()
        assert not call.follows(loop, clock())
        call.future = None
        assert not call.follows(loop, clock())

    asyncio.run(main())
