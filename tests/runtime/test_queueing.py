"""Who is queued without being asked anything, as most of a crowd are, and where that would be wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bridge.core.members import View
from bridge.errors import PoolError, WorkerStartError
from bridge.runtime.claims import Claim
from bridge.runtime.pool import LAST_LOOK, Pool
from bridge.testing import FakeClock
from tests.runtime.test_crowds import pool_of


@pytest.fixture
def clock() -> FakeClock:
    """Stands still."""
    return FakeClock()


def until(deadline: float) -> Claim:
    """A claim that has time until then."""
    claim = Claim()
    claim.deadline = deadline
    return claim


def interrupt(*_: object) -> None:
    """By Ctrl-C."""
    raise KeyboardInterrupt


def closed(pool: Pool) -> None:
    pool.close()


def growing(pool: Pool) -> None:
    pool.publish(View(can_grow=True))


def well(pool: Pool) -> None:
    pool.publish(View())


def failing(pool: Pool) -> None:
    pool.publish(View(last_error=WorkerStartError("spawn", "no such file", handler="x"), unavailable=True))


def test_who_has_time_waits_without_being_asked_anything(clock: FakeClock) -> None:
    """Fails when nobody is queued at once: then the rest here says nothing."""
    pool = pool_of(clock)

    assert [pool.queue(until(clock() + LAST_LOOK), clock()) for _ in range(3)] == [True] * 3
    assert pool.waiting == 3


def test_who_comes_once_all_is_well_again_waits_without_being_asked(clock: FakeClock) -> None:
    """When workers can be started again, and no more of them. Fails when what was said of the fleet is kept."""
    pool = pool_of(clock)
    for change in (growing, failing):
        change(pool)
        pool.publish(View())
        assert pool.queue(until(clock() + 60), clock())


def test_a_pool_that_is_closed_stays_so(clock: FakeClock) -> None:
    """Whatever the supervisor says then. Fails when who comes is queued again: nobody would ever serve it."""
    pool = pool_of(clock)
    pool.close()
    pool.publish(View())

    assert not pool.queue(until(clock() + 60), clock())


def test_what_is_cut_short_while_the_fleet_is_told_lets_nobody_wait(clock: FakeClock) -> None:
    """By Ctrl-C: who comes next asks, and is told. Fails when it is decided at the end alone."""
    pool = pool_of(clock)
    pool.publish(View())
    pool._state = type("Cut", (), {"avoided": property(None, interrupt)})()
    with pytest.raises(KeyboardInterrupt):
        failing(pool)

    assert not pool.queue(until(clock() + 60), clock())


@pytest.mark.parametrize(
    ("policy", "change"),
    [
        ({"max_waiting": 5}, None),
        ({"max_waiting": 5}, well),
        ({"queue_target": 60.0}, None),
        ({"checkout_timeout": LAST_LOOK / 2}, None),
        ({}, closed),
        ({}, growing),
        ({}, failing),
    ],
)
def test_where_there_is_more_to_be_said_a_task_asks(
    clock: FakeClock, policy: dict[str, Any], change: Callable[[Pool], None] | None
) -> None:
    """Whether it is refused, asks for a worker, or is shed. Fails, each, when `queue` doesn't look at that."""
    pool = pool_of(clock, **policy)
    if change is not None:
        change(pool)

    assert not pool.queue(until(clock() + 60), clock())
    assert pool.waiting == 0


def test_who_has_little_time_asks(clock: FakeClock) -> None:
    """Nobody looks after it before its deadline else. Fails when `queue` doesn't look at that."""
    pool = pool_of(clock)

    assert not pool.queue(until(clock() + LAST_LOOK - 0.01), clock())
    assert pool.waiting == 0


def test_who_interrupted_the_pool_is_told_so(clock: FakeClock) -> None:
    """A signal handler's loop, whose call would wait for itself. Fails when `queue` doesn't ask who has the lock, or
    when `ask` doesn't."""
    pool = pool_of(clock)
    with pool.lock:
        assert not pool.queue(until(clock() + 60), clock())
        with pytest.raises(PoolError, match="interrupted"):
            pool.ask(Claim(), clock())
    assert pool.waiting == 0
