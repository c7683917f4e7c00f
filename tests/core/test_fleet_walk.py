"""Long random walks over the fleet, from fixed seeds and with a clock that is a number."""

from __future__ import annotations

from math import inf
from random import Random

import pytest

from bridge.core.effects import Admit, Effect, Kill, Refuse, Spawn, Stop, Why
from bridge.core.fleet import Fleet
from bridge.core.lifecycle import WorkerState
from bridge.core.policy import Breaker, RestartPolicy
from bridge.errors import WorkerStartError

ERRORS = [WorkerStartError(reason, "so", handler="m:H") for reason in ("crashed", "timeout", "handler")]


class Walk:
    """A fleet, and the world as its effects make it."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.now = 0.0
        self.fleet = Fleet(
            size=self.random.randint(1, 5),
            max_overflow=self.random.randint(0, 4),
            spare=self.random.choice((0, 0, 1, 2)),
            policy=RestartPolicy(
                max_restarts=self.random.randint(0, 3), window=self.random.choice((0.5, 5.0)), backoff=0.1
            ),
            startup_timeout=self.random.choice((0.5, 10.0)),
            shutdown_timeout=self.random.choice((0.0, 2.0)),
            chance=self.random.random,
        )
        self.spawned = 0
        self.alive: set[int] = set()
        self.admitted: set[int] = set()
        self.asked: set[int] = set()
        self.killed: set[int] = set()
        self.opened = self.closed = False

    def perform(self, effects: list[Effect]) -> None:
        """Believe the effects, and check each against what is known."""
        for effect in effects:
            match effect:
                case Spawn(generation):
                    assert self.opened
                    assert not self.closed
                    assert generation == self.spawned + 1  # never used before
                    self.spawned = generation
                    self.alive.add(generation)
                case Admit(generation):
                    assert generation in self.alive - self.admitted - self.killed
                    self.admitted.add(generation)
                case Stop(generation):
                    assert generation in self.alive - self.killed - self.asked
                    assert generation in self.admitted or self.fleet.members[generation].spare
                    self.asked.add(generation)
                case Kill(generation):
                    assert generation in self.alive - self.killed
                    self.killed.add(generation)
                case Refuse(error):
                    assert error in ERRORS
                    assert not self.fleet.count(WorkerState.READY)

    def some(self) -> int:
        """Mostly a living generation, now and then a stranger."""
        if not self.alive or self.random.random() < 0.1:
            return self.random.randint(0, self.spawned + 3)
        return self.random.choice(sorted(self.alive))

    def step(self) -> None:
        """One event, then what must always hold."""
        fleet, random = self.fleet, self.random
        generation = self.some()
        match random.randrange(11):
            case 0 | 1 | 2:
                self.perform(fleet.became_ready(generation))
            case 3 | 4:
                served = generation in self.admitted and random.random() < 0.5
                error = None if served or random.random() < 0.1 else random.choice(ERRORS)
                known = generation in self.alive
                self.alive.discard(generation)
                effects = fleet.exited(generation, error, served=served, now=self.now)
                assert known or not effects
                self.perform(effects)
                if known and served and self.opened and not self.closed:
                    assert len(self.placed()) >= fleet.size, "what died under a call is replaced at once"
            case 5:
                self.perform(fleet.grow(random.randint(0, 9), self.now))
            case 6:
                self.perform(fleet.retire(generation, Why.DIRTY))
            case 7:
                if generation in self.admitted:  # only the pool says so
                    self.perform(fleet.stop(generation, self.now))
            case 8:
                self.now += random.choice((0.0, 0.01, 0.3, 3.0))
            case 9 | 10:
                self.now = max(self.now, min(fleet.next_timer(), self.now + 40))
        self.tick()
        self.check()

    def tick(self) -> None:
        """What the supervisor's loop does after each event."""
        due = self.fleet.next_timer() <= self.now
        before = self.fleet.view()
        effects = self.fleet.tick(self.now)
        assert effects or not due or self.fleet.view() != before, "the timer was due, and there was nothing to do"
        self.perform(effects)
        assert self.fleet.next_timer() > self.now, "the loop would spin"

    def placed(self) -> set[int]:
        """Those that aren't spare."""
        return {generation for generation, member in self.fleet.members.items() if not member.spare}

    def check(self) -> None:
        fleet, view = self.fleet, self.fleet.view()
        assert set(fleet.members) == self.alive
        placed = self.placed()
        assert len(placed) <= fleet.ceiling
        assert self.admitted & self.alive <= placed
        kept = self.alive - placed - self.killed - self.asked
        assert len(kept) <= fleet.spare
        if len(placed) < fleet.size:
            assert not any(fleet.members[each].state is WorkerState.READY for each in kept), "a spare one is passed by"
        assert view.ready == len((self.alive & self.admitted) - self.asked - self.killed)
        assert view.unavailable is (view.breaker is not Breaker.CLOSED and not view.ready)
        if self.opened and not self.closed and (len(placed) < fleet.size or len(kept) < fleet.spare):
            # Somebody is missing: there is a start whose outcome is awaited, or a time at which one begins.
            assert view.starting or fleet.next_timer() < inf


@pytest.mark.parametrize("block", range(3))
def test_a_fleet_keeps_its_word_whatever_happens(block: int) -> None:
    """Never above the ceiling, no stranger touched, each effect once, no busy loop, nothing started after the end.

    Fails when `close` gives a killed member a deadline, `became_ready` admits a killed one, `next_timer` forgets
    that a start is under way, `grow` forgets the ceiling, `served` leaves the pause, `_fill` goes on while closing.
    """
    for seed in range(block * 40, block * 40 + 40):
        walk = Walk(seed)
        walk.tick()
        walk.opened = True
        walk.perform(walk.fleet.open(walk.now))
        for _ in range(60):
            walk.step()
        for _ in range(walk.random.randint(1, 2)):
            walk.perform(walk.fleet.close(walk.now + walk.random.choice((0.0, 5.0)), walk.now))
            walk.closed = True
            for _ in range(10):
                walk.step()
        walk.now += 100
        walk.tick()
        assert walk.killed >= walk.alive  # whoever is left has been killed
        for generation in sorted(walk.alive):
            walk.alive.discard(generation)
            walk.perform(walk.fleet.exited(generation, None, served=False, now=walk.now))
        assert not walk.fleet.members
        assert walk.fleet.next_timer() == inf


@pytest.mark.parametrize("seed", range(5))
def test_a_fleet_recovers_once_starts_succeed_again(seed: int) -> None:
    """Whatever was before: when the timer is obeyed and starts succeed, it comes back to its size.

    Fails when an open breaker has no timer, or a probe's success doesn't bring the others.
    """
    walk = Walk(seed)
    walk.opened = True
    walk.perform(walk.fleet.open(walk.now))
    for _ in range(200):
        walk.step()

    for _ in range(50):
        for generation in sorted(walk.alive & (walk.killed | walk.asked)):
            walk.alive.discard(generation)
            walk.perform(walk.fleet.exited(generation, ERRORS[0], served=False, now=walk.now))
        for generation in sorted(walk.alive - walk.admitted):
            walk.perform(walk.fleet.became_ready(generation))
        walk.tick()
        walk.check()
        if walk.fleet.next_timer() < inf:
            walk.now = max(walk.now, walk.fleet.next_timer())
    assert walk.fleet.view().ready >= walk.fleet.size
    assert walk.fleet.count(WorkerState.READY, spare=True) == walk.fleet.spare
    assert walk.fleet.view().breaker is Breaker.CLOSED
