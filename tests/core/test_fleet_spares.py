"""Spare workers: ready, lent to nobody, and the first to fill a place."""

from __future__ import annotations

from math import inf

from bridge.core.effects import Admit, Effect, Kill, Retire, Spawn, Stop, Why
from bridge.core.fleet import Fleet
from bridge.core.lifecycle import WorkerState
from bridge.core.policy import Breaker, RestartPolicy
from bridge.core.recycling import Worn
from bridge.errors import WorkerStartError

CRASHED = WorkerStartError("crashed", "it died", handler="m:H")


def fleet_of(size: int = 2, spare: int = 1, max_overflow: int = 0) -> Fleet:
    """Open since 0; backoff 1 s without jitter, ten seconds to start, five to stop. Nobody is ready yet."""
    fleet = Fleet(
        size=size,
        max_overflow=max_overflow,
        spare=spare,
        policy=RestartPolicy(max_restarts=3, window=5.0, backoff=1.0),
        startup_timeout=10.0,
        shutdown_timeout=5.0,
        chance=lambda: 0.5,
    )
    assert fleet.open(0) == [Spawn(generation) for generation in range(1, size + spare + 1)]
    return fleet


def ready(fleet: Fleet, *generations: int) -> list[Effect]:
    return [effect for generation in generations for effect in fleet.became_ready(generation)]


def opened(size: int = 2, spare: int = 1, max_overflow: int = 0) -> Fleet:
    """All are ready at 0."""
    fleet = fleet_of(size, spare, max_overflow)
    assert ready(fleet, *range(1, size + spare + 1)) == [Admit(generation) for generation in range(1, size + 1)]
    return fleet


def test_a_spare_worker_is_ready_and_lent_to_nobody() -> None:
    """It isn't counted among those who serve. Fails when `count` counts it, or `became_ready` admits it."""
    fleet = opened(2, 2)

    assert (fleet.view().ready, fleet.view().starting) == (2, 0)
    assert fleet.count(WorkerState.READY, spare=True) == 2
    assert fleet.next_timer() == inf


def test_a_dead_ones_place_is_taken_at_once_and_another_spare_one_is_started() -> None:
    """Full strength in the same step. Fails when `_staff` starts one without a look at who is spare."""
    fleet = opened(2, 1)

    assert fleet.exited(1, None, served=True, now=1) == [Admit(3), Spawn(4)]
    assert ready(fleet, 4) == []
    assert (fleet.view().ready, fleet.restarts) == (2, 1)


def test_whoever_is_ready_first_serves_first() -> None:
    """Which start was meant to be spare doesn't matter. Fails without `_swap`: two are ready, and one is kept back."""
    fleet = fleet_of(2, 1)

    assert ready(fleet, 3) == [Admit(3)]
    assert ready(fleet, 2) == [Admit(2)]
    assert ready(fleet, 1) == []


def test_a_spare_one_that_still_starts_is_a_dead_ones_successor() -> None:
    """It is further than a new one. Fails when `_staff` passes by those that aren't ready: then two are started."""
    fleet = fleet_of(1, 1)
    ready(fleet, 1)

    assert fleet.exited(1, None, served=True, now=1) == [Spawn(3)]
    assert ready(fleet, 2) == [Admit(2)]


def test_a_spare_ones_death_is_answered_with_another_one() -> None:
    """Nobody else is touched. Fails when `_missing_spares` isn't asked."""
    fleet = opened(2, 1)

    assert fleet.exited(3, None, served=False, now=1) == [Spawn(4)]
    assert fleet.restarts == 1


def test_a_burst_is_served_by_spare_ones_first() -> None:
    """Above the size, up to the ceiling, which they don't raise. Fails when `grow` starts one, or goes beyond it."""
    fleet = opened(1, 2, max_overflow=1)

    assert fleet.grow(3, 1) == [Admit(2)]
    assert fleet.grow(3, 1) == []
    assert fleet.tick(1) == [Spawn(4)]


def test_failed_starts_of_spare_ones_count_and_back_off() -> None:
    """What can't start can't start as a spare one either; with workers alive nobody is refused."""
    fleet = opened(1, 1)

    assert fleet.exited(2, CRASHED, served=False, now=1) == []
    assert fleet.next_timer() == 2
    assert fleet.tick(2) == [Spawn(3)]
    assert (fleet.failed_starts, fleet.policy.breaker) == (1, Breaker.CLOSED)


def test_a_spare_one_that_is_worn_goes_before_its_successor_comes() -> None:
    """Nobody needs it meanwhile. Fails when it waits for a successor, as those do that serve; or when it is spared."""
    fleet = opened(1, 1)

    assert fleet.wear(2, Worn.ASKED, 1) == [Stop(2), Spawn(3)]
    assert fleet.wear(2, Worn.ASKED, 1) == []
    assert fleet.wear(3, Worn.ASKED, 1) == []
    assert ready(fleet, 3) == [Stop(3)]
    assert fleet.tick(1) == [Spawn(4)]


def test_a_spare_ones_lifetime_ends_too() -> None:
    """What it has loaded may be old. Fails when `tick` only notes it: the timer would stay due."""
    fleet = fleet_of(1, 1)
    ready(fleet, 1)
    fleet.became_ready(2, 0, lifetime=4)

    assert fleet.next_timer() == 4
    assert fleet.tick(4) == [Stop(2), Spawn(3)]


def test_one_that_is_worn_is_replaced_by_a_new_one() -> None:
    """That has time: the spare one stays for those that die. Fails when the heir is drawn from the spare ones."""
    fleet = opened(1, 1)

    assert fleet.wear(1, Worn.CALLS, 1) == [Spawn(3)]
    assert ready(fleet, 3) == [Admit(3), Retire(1)]
    assert fleet.stop(1, 2) == [Stop(1)]
    assert fleet.exited(3, None, served=True, now=2) == [Admit(2), Spawn(4)]


def test_closing_ends_the_spare_ones_at_once() -> None:
    """They never come back to the pool, which has the others stopped. Fails when `close` passes them by."""
    fleet = opened(1, 2)

    assert fleet.close(7, now=1) == [Stop(2), Stop(3)]
    assert fleet.tick(7) == [Kill(generation, Why.SHUTDOWN_TIMEOUT) for generation in (1, 2, 3)]


def test_a_spare_one_that_closing_stops_has_the_time_that_any_stop_has() -> None:
    """Not all the time that calls have to end. Fails when its deadline is the close's."""
    fleet = opened(1, 1)

    assert fleet.close(60, now=10) == [Stop(2)]
    assert fleet.tick(14.9) == []
    assert fleet.tick(15) == [Kill(2, Why.SHUTDOWN_TIMEOUT)]
