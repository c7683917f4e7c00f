"""The supervisor's decisions: events in, effects out."""

from __future__ import annotations

from math import inf

import pytest

from bridge.core.effects import Admit, Effect, Kill, Refuse, Spawn, Stop, Why
from bridge.core.fleet import Fleet
from bridge.core.lifecycle import WorkerState
from bridge.core.policy import Breaker, RestartPolicy
from bridge.errors import WorkerStartError

CRASHED = WorkerStartError("crashed", "it died", handler="m:H")
FINAL = WorkerStartError("handler", "no such module", handler="m:H")


def fleet_of(size: int = 2, max_overflow: int = 0, max_restarts: int = 3) -> Fleet:
    """Backoff 1 s without jitter, ten seconds to start, five to stop."""
    return Fleet(
        size=size,
        max_overflow=max_overflow,
        policy=RestartPolicy(max_restarts=max_restarts, window=5.0, backoff=1.0),
        startup_timeout=10.0,
        shutdown_timeout=5.0,
        chance=lambda: 0.5,
    )


def ready(fleet: Fleet, *generations: int) -> list[Effect]:
    return [effect for generation in generations for effect in fleet.became_ready(generation)]


def opened(size: int = 2, max_overflow: int = 0, max_restarts: int = 3) -> Fleet:
    """All of its workers ready at 0."""
    fleet = fleet_of(size, max_overflow, max_restarts)
    fleet.open(0)
    ready(fleet, *range(1, size + 1))
    return fleet


# -- Keeping the size --------------------------------------------------------------------------------------


def test_nothing_starts_before_it_is_opened() -> None:
    """Neither time nor demand. Fails when `_fill` or `can_grow` doesn't ask whether it is open."""
    fleet = fleet_of(max_overflow=3)

    assert fleet.tick(1) == []
    assert fleet.grow(5, 1) == []
    assert fleet.next_timer() == inf


def test_opening_starts_all_workers_and_each_is_admitted_once() -> None:
    """A start, then a lendable worker; the second word of it is nothing. Fails when the phase isn't looked at."""
    fleet = fleet_of(3)

    assert fleet.open(0) == [Spawn(1), Spawn(2), Spawn(3)]
    assert ready(fleet, 2) == [Admit(2)]
    assert ready(fleet, 2) == []
    assert (fleet.view().ready, fleet.view().starting) == (1, 2)


def test_an_unknown_generation_has_no_effect() -> None:
    """What is reported late, or twice, changes nothing."""
    fleet = opened()

    assert fleet.became_ready(99) == []
    assert fleet.exited(99, CRASHED, served=False, now=1) == []
    assert fleet.retire(99, Why.DIRTY) == []
    assert fleet.stop(99, 1) == []
    assert fleet.failed_starts == fleet.restarts == 0


def test_what_died_under_a_call_is_replaced_at_once_for_ever() -> None:
    """Crashing native code is the purpose. Fails when a served worker's death counts as a failed start."""
    fleet = opened(2)
    for crash in range(500):
        assert fleet.exited(1 + crash, None, served=True, now=1.0) == [Spawn(3 + crash)]
        assert ready(fleet, 3 + crash) == [Admit(3 + crash)]

    assert fleet.policy.breaker is Breaker.CLOSED
    assert (fleet.restarts, fleet.failed_starts) == (500, 0)
    assert fleet.next_timer() == inf


def test_what_died_under_a_call_does_not_wait_for_another_ones_backoff() -> None:
    """One start failed and is being backed off; a crash under a call is answered now, with both."""
    fleet = opened(2)
    assert fleet.exited(1, CRASHED, served=False, now=1) == []
    assert fleet.next_timer() == pytest.approx(2)

    assert fleet.exited(2, None, served=True, now=1.5) == [Spawn(3), Spawn(4)]


def test_a_death_without_a_reason_is_no_failed_start() -> None:
    """Nobody blames a start that nobody can blame. Fails when `error` isn't looked at."""
    fleet = opened(1)

    assert fleet.exited(1, None, served=False, now=1) == [Spawn(2)]
    assert fleet.failed_starts == 0


# -- Growing -----------------------------------------------------------------------------------------------


def test_it_grows_on_demand_up_to_the_ceiling_and_no_further() -> None:
    """Starts under way are counted as help to come. Fails when the ceiling or they aren't looked at."""
    fleet = opened(2, max_overflow=3)
    assert fleet.view().can_grow

    assert fleet.grow(1, 1) == [Spawn(3)]
    assert fleet.grow(1, 1) == []
    assert fleet.grow(9, 1) == [Spawn(4), Spawn(5)]
    assert fleet.grow(9, 1) == []
    assert not fleet.view().can_grow


def test_a_worker_above_the_size_is_not_replaced() -> None:
    """Its end is no restart. Fails when `exited` fills up to the ceiling."""
    fleet = opened(1, max_overflow=1)
    fleet.grow(1, 1)
    ready(fleet, 2)

    assert fleet.stop(2, 50) == [Stop(2)]
    assert fleet.exited(2, CRASHED, served=False, now=51) == []
    assert (fleet.restarts, fleet.failed_starts) == (0, 0)


def test_one_that_takes_its_time_to_end_keeps_nobody_from_being_replaced() -> None:
    """It may last for shutdown_timeout, and the pool has less than its size meanwhile. Never above the ceiling."""
    fleet = opened(2, max_overflow=1)
    fleet.grow(1, 1)
    ready(fleet, 3)
    fleet.stop(3, 50)

    assert fleet.exited(1, None, served=True, now=51) == [Spawn(4)]
    assert fleet.restarts == 1
    fleet.stop(2, 52)
    assert fleet.tick(52) == []
    assert fleet.next_timer() == 55
    assert fleet.exited(3, None, served=False, now=53) == [Spawn(5)]


# -- Starts that fail --------------------------------------------------------------------------------------


def test_a_failed_start_is_tried_again_after_the_backoff() -> None:
    """The timer says when, and then there is something to do. Fails when `next_timer` forgets the policy."""
    fleet = opened(1)
    fleet.exited(1, CRASHED, served=False, now=1)

    assert fleet.next_timer() == pytest.approx(2)
    assert fleet.tick(1.9) == []
    assert fleet.tick(2.0) == [Spawn(2)]
    assert (fleet.restarts, fleet.failed_starts) == (1, 1)
    assert fleet.last_error is CRASHED

    ready(fleet, 2)
    assert fleet.last_error is None


def test_while_one_is_being_tried_the_others_wait_for_its_outcome() -> None:
    """One start at a time, no timer that spins meanwhile, and all of them once it succeeded."""
    fleet = fleet_of(3)
    fleet.open(0)
    for generation in (1, 2, 3):
        fleet.exited(generation, CRASHED, served=False, now=1)
    assert fleet.tick(2) == [Spawn(4)]
    assert fleet.next_timer() == 12  # its own startup timeout

    ready(fleet, 4)
    assert fleet.next_timer() == -inf
    assert fleet.tick(3) == [Spawn(5), Spawn(6)]


def test_who_waits_is_refused_when_a_final_error_arrives_and_nobody_is_ready() -> None:
    """A handler that can't be imported is reported at once, others under way or not. Fails when `final` isn't asked."""
    fleet = fleet_of(3)
    fleet.open(0)

    assert fleet.exited(1, FINAL, served=False, now=1) == [Refuse(FINAL)]
    assert fleet.exited(2, CRASHED, served=False, now=1) == []
    assert fleet.exited(3, CRASHED, served=False, now=1) == [Refuse(CRASHED)]


def test_nobody_is_refused_while_a_worker_is_ready() -> None:
    """Calls go on. Fails when the ready ones aren't counted."""
    fleet = opened(2)

    assert fleet.exited(1, FINAL, served=False, now=1) == []


def test_the_breaker_refuses_callers_only_while_nobody_is_ready() -> None:
    """It guards starts, never calls. Fails when `unavailable` looks at the breaker alone."""
    fleet = opened(2, max_restarts=0)
    fleet.exited(1, CRASHED, served=False, now=1)
    assert fleet.view().breaker is Breaker.OPEN
    assert not fleet.view().unavailable

    fleet.exited(2, CRASHED, served=False, now=1.5)
    assert fleet.view().unavailable
    assert fleet.view().probe_at == pytest.approx(2)
    assert fleet.view().last_error is CRASHED


def test_a_start_that_takes_too_long_is_killed_and_counts_as_failed() -> None:
    """Once, and its place stays taken until its death is known. Fails when the deadline isn't looked at."""
    fleet = fleet_of(1)
    fleet.open(0)
    assert fleet.next_timer() == 10
    assert fleet.tick(9.9) == []

    assert fleet.tick(10) == [Kill(1, Why.STARTUP_TIMEOUT)]
    assert fleet.tick(11) == []
    assert fleet.next_timer() == inf
    assert fleet.exited(1, CRASHED, served=False, now=11) == [Refuse(CRASHED)]
    assert fleet.failed_starts == 1


def test_a_killed_start_that_becomes_ready_after_all_is_not_admitted() -> None:
    """READY may lie in the pipe of a worker that is dead. Fails when `killed` isn't looked at."""
    fleet = fleet_of(1)
    fleet.open(0)
    fleet.tick(10)

    assert ready(fleet, 1) == []


# -- Ending ------------------------------------------------------------------------------------------------


def test_a_dirty_worker_is_killed_once_and_replaced_when_dead() -> None:
    """Its end is no failed start. Fails when `killed` isn't looked at, or STOPPING counts as a failure."""
    fleet = opened(1)

    assert fleet.retire(1, Why.DIRTY) == [Kill(1, Why.DIRTY)]
    assert fleet.retire(1, Why.DIRTY) == []
    assert fleet.view().ready == 0
    assert fleet.exited(1, CRASHED, served=False, now=1) == [Spawn(2)]
    assert fleet.failed_starts == 0


def test_a_worker_that_does_not_stop_is_killed() -> None:
    """Asked once, given its time. Fails when `stop` sets no deadline or asks twice."""
    fleet = opened(1, max_overflow=1)
    fleet.grow(1, 1)
    ready(fleet, 2)

    assert fleet.stop(1, 20) == [Stop(1)]
    assert fleet.stop(1, 21) == []
    assert fleet.next_timer() == 25
    assert fleet.tick(25) == [Kill(1, Why.SHUTDOWN_TIMEOUT)]
    assert fleet.next_timer() == inf


def test_closing_kills_starts_at_once_and_the_rest_in_time() -> None:
    """Nothing starts any more. Fails when `closing` isn't looked at, in any of five places."""
    fleet = opened(2, max_overflow=3)
    fleet.grow(2, 1)
    ready(fleet, 3)

    assert fleet.close(until=8, now=0) == [Kill(4, Why.CLOSING)]
    assert fleet.exited(4, CRASHED, served=False, now=2) == []
    assert fleet.grow(5, 2) == []
    assert not fleet.view().can_grow
    assert fleet.stop(1, 7) == [Stop(1)]
    assert fleet.exited(1, None, served=True, now=7.5) == []
    assert fleet.next_timer() == 8
    assert fleet.tick(8) == [Kill(2, Why.SHUTDOWN_TIMEOUT), Kill(3, Why.SHUTDOWN_TIMEOUT)]
    assert fleet.exited(2, CRASHED, served=False, now=9) == []
    assert fleet.exited(3, CRASHED, served=False, now=9) == []
    assert (fleet.members, fleet.next_timer()) == ({}, inf)
    assert (fleet.failed_starts, fleet.restarts) == (0, 0)


def test_a_stop_while_closing_ends_with_the_close() -> None:
    """`shutdown_timeout` doesn't prolong it. Fails when `stop` forgets `_close_at`."""
    fleet = opened(1)
    fleet.close(until=8, now=0)
    fleet.stop(1, 6)

    assert fleet.next_timer() == 8


def test_a_second_close_may_only_shorten_the_first() -> None:
    """The earlier bound holds. Fails when `until` replaces it."""
    fleet = opened(1)
    fleet.close(until=8, now=0)
    fleet.close(until=20, now=0)
    assert fleet.next_timer() == 8
    fleet.stop(1, 6)
    assert fleet.next_timer() == 8
    fleet.close(until=4, now=0)
    assert fleet.next_timer() == 4


def test_a_killed_member_has_no_deadline_left() -> None:
    """Nothing is left to do for it but to wait. Fails when `close` gives it one: the timer would spin until it dies."""
    fleet = opened(2)
    fleet.grow(3, 1)
    fleet.retire(1, Why.DIRTY)
    fleet.close(until=8, now=0)
    fleet.close(until=7, now=0)

    assert fleet.tick(7) == [Kill(2, Why.SHUTDOWN_TIMEOUT)]
    assert fleet.next_timer() == inf


def test_the_view_is_of_one_moment() -> None:
    """Other threads read it while the fleet goes on."""
    fleet = fleet_of(2, max_overflow=1)
    fleet.open(0)
    before = fleet.view()
    ready(fleet, 1, 2)

    assert (before.ready, before.starting, before.can_grow) == (0, 2, True)
    assert (fleet.view().ready, fleet.view().starting) == (2, 0)
    assert [fleet.count(state) for state in (WorkerState.STARTING, WorkerState.READY)] == [0, 2]
