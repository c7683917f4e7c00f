"""Workers that come back after a cancelled call, and workers that are replaced though they work."""

from __future__ import annotations

import pytest

from bridge.core.effects import Admit, Cancel, Kill, Retire, Spawn, Stop, Why
from bridge.core.fleet import Fleet
from bridge.core.lifecycle import TRANSITIONS, IllegalTransition, WorkerState, diagram, step
from bridge.core.policy import RestartPolicy
from bridge.core.recycling import MIN_CALLS, RecyclePolicy, Thresholds, Worn
from bridge.errors import WorkerStartError

CRASHED = WorkerStartError("crashed", "it died", handler="m:H")


def opened(size: int = 2, max_overflow: int = 0, grace: float = 2.0, lifetime: float = float("inf")) -> Fleet:
    """All of its workers ready at 0; ten seconds to start, five to stop."""
    fleet = Fleet(
        size=size,
        max_overflow=max_overflow,
        policy=RestartPolicy(max_restarts=3, window=5.0, backoff=1.0),
        startup_timeout=10.0,
        shutdown_timeout=5.0,
        cancel_grace=grace,
        chance=lambda: 0.5,
    )
    fleet.open(0)
    for generation in range(1, size + 1):
        fleet.became_ready(generation, 0, lifetime)
    return fleet


# -- Soft cancel -------------------------------------------------------------------------------------------


def test_a_worker_that_ends_a_cancelled_call_in_time_is_lent_again() -> None:
    """Asked once, admitted once, not replaced. Fails when `drained` doesn't look at the state."""
    fleet = opened()

    assert fleet.abandoned(1, softly=True, now=1) == [Cancel(1)]
    assert fleet.abandoned(1, softly=True, now=1) == []
    assert fleet.drained(1) == [Admit(1)]
    assert fleet.drained(1) == []
    assert fleet.tick(100) == []


def test_a_worker_that_goes_on_is_killed_when_its_grace_is_over() -> None:
    """At that moment, and the timer says when. Fails when `abandoned` sets no deadline."""
    fleet = opened()
    fleet.abandoned(1, softly=True, now=1)

    assert fleet.next_timer() == 3
    assert fleet.tick(2.9) == []
    assert fleet.tick(3) == [Kill(1, Why.CANCEL_GRACE)]
    assert fleet.drained(1) == []
    assert fleet.exited(1, None, served=True, now=3) == [Spawn(3)]


@pytest.mark.parametrize(("softly", "grace"), [(False, 2.0), (True, 0.0)])
def test_what_cannot_be_asked_is_killed_at_once(softly: bool, grace: float) -> None:
    """A request that wasn't wholly written, an adapter that can't, no grace at all."""
    fleet = opened(grace=grace)

    assert fleet.abandoned(1, softly=softly, now=1) == [Kill(1, Why.DIRTY)]


def test_a_worker_that_drains_behind_its_successor_is_retired() -> None:
    """When it can be stopped. Seed 26 of the simulation: it was lent again, for good, beside its successor."""
    fleet = opened()
    fleet.wear(1, Worn.CALLS, now=1)
    fleet.abandoned(1, softly=True, now=1)

    assert fleet.became_ready(3, 2) == [Admit(3)]
    assert fleet.drained(1) == [Retire(1)]
    assert fleet.stop(1, 2) == [Stop(1)]
    assert fleet.recycled == 1


@pytest.mark.parametrize("successor", ["is starting", "died"])
def test_a_worker_that_drains_before_its_successor_is_ready_is_lent_on(successor: str) -> None:
    """Nobody has its place yet. Fails when `drained` looks at who was started alone."""
    fleet = opened(1)
    fleet.wear(1, Worn.CALLS, now=1)
    fleet.abandoned(1, softly=True, now=1)
    if successor == "died":
        fleet.exited(2, CRASHED, served=False, now=1)

    assert fleet.drained(1) == [Admit(1)]


def test_a_worker_that_drains_while_the_pool_closes_ends_with_it() -> None:
    """Fails when `drained` forgets the deadline of the close."""
    fleet = opened(1)
    fleet.abandoned(1, softly=True, now=1)
    fleet.close(until=2, now=1)

    assert fleet.drained(1) == [Admit(1)]
    assert fleet.tick(2) == [Kill(1, Why.SHUTDOWN_TIMEOUT)]


def test_a_draining_worker_is_still_one_of_the_fleet() -> None:
    """Nothing is started in its place, and no caller is refused because of it."""
    fleet = opened(1)
    fleet.abandoned(1, softly=True, now=1)

    assert fleet.tick(1.5) == []
    assert not fleet.view().unavailable
    assert fleet.exited(1, None, served=True, now=2) == [Spawn(2)]


# -- Recycling ---------------------------------------------------------------------------------------------


def test_a_worn_worker_is_replaced_before_it_is_retired() -> None:
    """Its successor is ready first; then it is stopped, and that is neither a crash nor a restart."""
    fleet = opened()

    assert fleet.wear(1, Worn.CALLS, now=1) == [Spawn(3)]
    assert fleet.wear(1, Worn.MEMORY, now=1) == []
    assert fleet.became_ready(3, 2) == [Admit(3), Retire(1)]
    assert fleet.stop(1, 2) == [Stop(1)]
    assert fleet.exited(1, None, served=True, now=3) == []
    assert (fleet.recycled, fleet.restarts, fleet.failed_starts) == (1, 0, 0)


def test_one_worker_is_replaced_at_a_time() -> None:
    """A fleet that is worn as a whole keeps its strength. Fails when `_heirless` doesn't look for one under way."""
    fleet = opened(3)

    assert [fleet.wear(generation, Worn.ASKED, now=1) for generation in (1, 2, 3)] == [[Spawn(4)], [], []]
    assert fleet.became_ready(4, 2) == [Admit(4), Retire(1)]
    assert fleet.tick(2) == []
    fleet.stop(1, 2)
    assert fleet.exited(1, None, served=True, now=2) == [Spawn(5)]


def test_one_is_replaced_at_a_time_whichever_was_worn_first() -> None:
    """Seed 10 of the simulation: the younger one had its successor under way, and the older one got one as well."""
    fleet = opened(2)

    assert fleet.wear(2, Worn.CALLS, now=1) == [Spawn(3)]
    assert fleet.wear(1, Worn.CALLS, now=1) == []
    assert fleet.tick(1) == []
    assert fleet.next_timer() == 11  # of the start


def test_the_next_one_is_replaced_when_the_last_one_is_gone() -> None:
    """Seed 8 of the simulation: each one that took its time to end was one more above the ceiling."""
    fleet = opened(2)
    fleet.wear(1, Worn.ASKED, now=1)
    fleet.wear(2, Worn.ASKED, now=1)
    fleet.became_ready(3, 2)
    fleet.stop(1, 2)

    assert fleet.tick(3) == []
    assert fleet.next_timer() == 7  # then it is killed
    assert fleet.exited(1, None, served=True, now=7) == [Spawn(4)]


def test_never_more_than_one_above_the_ceiling() -> None:
    """One still takes its time, its successor has died and been replaced: the next worn one waits all the same."""
    fleet = opened(1)
    fleet.wear(1, Worn.ASKED, now=1)
    fleet.became_ready(2, 2)
    fleet.stop(1, 2)
    fleet.exited(2, None, served=True, now=3)
    fleet.became_ready(3, 3)

    assert fleet.wear(3, Worn.ASKED, now=4) == []
    assert fleet.next_timer() == 7
    assert fleet.exited(1, None, served=True, now=5) == [Spawn(4)]


def test_a_successor_that_dies_is_replaced_though_the_old_one_still_ends() -> None:
    """Seed 10 of the simulation: a pool of one had nobody, and started nobody, for all of shutdown_timeout."""
    fleet = opened(1)
    fleet.wear(1, Worn.CALLS, now=1)
    fleet.became_ready(2, 2)
    fleet.stop(1, 2)

    assert fleet.exited(2, None, served=True, now=3) == [Spawn(3)]
    assert fleet.restarts == 1
    assert fleet.exited(1, None, served=True, now=4) == []


def test_a_lifetime_ends_by_the_clock() -> None:
    """From readiness; the timer says when. Fails when `tick` doesn't look at it."""
    fleet = opened(1, lifetime=30)

    assert fleet.next_timer() == 30
    assert fleet.tick(29) == []
    assert fleet.tick(30) == [Spawn(2)]
    assert fleet.tick(31) == []


def test_a_successor_that_fails_leaves_the_old_one_at_work() -> None:
    """It serves on, and the next attempt waits for the backoff."""
    fleet = opened(1)
    fleet.wear(1, Worn.CALLS, now=1)

    assert fleet.exited(2, CRASHED, served=False, now=2) == []
    assert fleet.view().ready == 1
    assert fleet.next_timer() == 3
    assert fleet.tick(3) == [Spawn(3)]
    assert fleet.became_ready(3, 4) == [Admit(3), Retire(1)]


def test_an_old_one_that_dies_early_has_its_successor_already() -> None:
    """No third one is started, and the successor retires nobody."""
    fleet = opened(1)
    fleet.wear(1, Worn.CALLS, now=1)

    assert fleet.exited(1, None, served=True, now=2) == []
    assert fleet.became_ready(2, 3) == [Admit(2)]
    assert fleet.recycled == 0


def test_thresholds_are_drawn_apart_and_memory_waits_for_some_calls() -> None:
    """Each worker has its own, lower by up to the jitter; one that is born too large doesn't loop."""
    policy = RecyclePolicy(max_calls=100, max_lifetime=60, max_rss=1000, jitter=0.5)

    assert policy.draw(lambda: 0.0) == Thresholds(100, 60, 1000)
    assert policy.draw(lambda: 1.0) == Thresholds(50, 30, 1000)
    assert RecyclePolicy().draw(lambda: 1.0).worn_by(10**9, 10**12) is None
    assert policy.draw(lambda: 0.0).worn_by(MIN_CALLS - 1, 2000) is None
    assert policy.draw(lambda: 0.0).worn_by(MIN_CALLS, 2000) is Worn.MEMORY
    assert policy.draw(lambda: 0.0).worn_by(100, 0) is Worn.CALLS


# -- The table ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", WorkerState)
@pytest.mark.parametrize("after", WorkerState)
def test_a_step_that_the_table_does_not_have_raises(before: WorkerState, after: WorkerState) -> None:
    """Every pair is either in it or refused; a ready one may be busy to the pool."""
    legal = (before, after) in TRANSITIONS or (before is WorkerState.READY and (WorkerState.BUSY, after) in TRANSITIONS)

    if legal:
        assert step(before, after) is after
    else:
        with pytest.raises(IllegalTransition, match=f"from {before.value} to {after.value}"):
            step(before, after)


def test_the_diagram_has_every_step() -> None:
    """It is drawn from the table."""
    assert all(f"{before.value} --> {after.value}: {why}" in diagram() for (before, after), why in TRANSITIONS.items())
