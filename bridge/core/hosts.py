"""Several hosts: each has a fleet, with a restart policy and a breaker of its own; to everybody else they are one.

Rules: as in fleet.py. What happens to a member is its own fleet's business; here is only what needs a look at several:
the order of starts, who is refused when, and how all of them look from outside. Apart from fleet.py, which has one size
and one breaker, so that a pool without hosts has nothing of this.
"""

from __future__ import annotations

from collections import ChainMap, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from math import inf

from bridge.core.effects import Effect, Refuse, Spawn, Why
from bridge.core.events import Event
from bridge.core.fleet import Fleet
from bridge.core.lifecycle import WorkerState
from bridge.core.members import HostView, Member, View
from bridge.core.policy import Breaker, SupervisorPolicy
from bridge.core.recycling import Worn
from bridge.errors import WorkerStartError


@dataclass(frozen=True)
class Host:
    """Where some of the workers are."""

    name: str
    size: int
    """Workers that are always kept there."""
    launcher: tuple[str, ...] = ()
    """What is put in front of a worker's command; nothing starts it right here."""


class HostFleets:
    """Keeps the workers of all hosts alive. A host that fails costs its own places, and nobody else's.

    Args:
        hosts: In the order of the settings.
        chance: Random numbers in [0, 1), for the jitter.
    """

    def __init__(self, hosts: Sequence[Host], policy: SupervisorPolicy, *, chance: Callable[[], float]) -> None:
        self.size = sum(host.size for host in hosts)
        self.closing = False
        self.events: deque[Event] = deque()
        self._open = False
        generations = count(1)
        self.fleets: dict[str, Fleet] = {
            host.name: Fleet(
                size=host.size,
                max_overflow=0,
                policy=policy.of_restarts(of_host=True),
                startup_timeout=policy.startup_timeout,
                shutdown_timeout=policy.shutdown_timeout,
                cancel_grace=policy.cancel_grace,
                chance=chance,
                generations=generations,
            )
            for host in hosts
        }
        self.members: ChainMap[int, Member] = ChainMap(*[fleet.members for fleet in self.fleets.values()])
        self._failed_last: Fleet | None = None

    def view(self) -> View:
        """What others may know of them now."""
        fleets = [*self.fleets.values()]
        views = [fleet.view() for fleet in fleets]
        breakers = {view.breaker for view in views}
        failing = [view for view in views if view.last_error is not None]
        error = None if self._failed_last is None else self._failed_last.last_error
        if error is None and failing:
            error = failing[0].last_error
        return View(
            ready=sum(view.ready for view in views),
            starting=sum(view.starting for view in views),
            can_grow=any(view.can_grow for view in views),
            unavailable=Breaker.CLOSED not in breakers and not any(map(_lives, fleets)),
            probe_at=min((view.probe_at for view in failing), default=-inf),
            breaker=next(each for each in (Breaker.CLOSED, Breaker.HALF_OPEN, Breaker.OPEN) if each in breakers),
            last_error=error,
            restarts=sum(view.restarts for view in views),
            failed_starts=sum(view.failed_starts for view in views),
            recycled=sum(view.recycled for view in views),
            hopeless=all(view.hopeless for view in views),
            hosts=tuple(
                HostView(name, fleet.size, view.ready, view.starting, view.breaker, view.last_error)
                for (name, fleet), view in zip(self.fleets.items(), views, strict=True)
            ),
            failing=frozenset(name for name, fleet in self.fleets.items() if fleet.last_error is not None),
        )

    # -- Events: of all ----------------------------------------------------------------------------------

    def open(self, now: float) -> list[Effect]:
        """Begin: from now on each host shall have its workers."""
        if not self._open:
            self.events.append(Event("bridge.open", before="starting", after="open"))
        self._open = True
        return self._of_all(lambda fleet: fleet.open(now))

    def grow(self, waiting: int, now: float) -> list[Effect]:
        """Callers wait: no host has more than its size, but places may be empty."""
        return self._of_all(lambda fleet: fleet.grow(waiting, now))

    def close(self, until: float, now: float) -> list[Effect]:
        """End: nothing is started any more, and at `until` whoever is left is killed."""
        if not self.closing:
            self.events.append(Event("bridge.closing", before="open", after="closing"))
        self.closing = True
        return self._of_all(lambda fleet: fleet.close(until, now))

    def tick(self, now: float, lent: Callable[[int], bool] = lambda _: False) -> list[Effect]:
        """Time has passed.

        Args:
            lent: Whether somebody holds that member.
        """
        return self._of_all(lambda fleet: fleet.tick(now, lent))

    def next_timer(self) -> float:
        """When `tick` has something to do; infinity when nothing is to come."""
        return min(fleet.next_timer() for fleet in self.fleets.values())

    def _of_all(self, step: Callable[[Fleet], list[Effect]]) -> list[Effect]:
        """What all of them decide; starts come last, and the host with the fewest workers for its size is first."""
        effects: list[Effect] = []
        starts: list[tuple[float, Effect]] = []
        for name, fleet in self.fleets.items():
            begun = 0
            for effect in self._decided(name, fleet, lambda fleet=fleet: step(fleet)):  # type: ignore[misc]
                if isinstance(effect, Spawn):
                    starts.append((begun, effect))
                    begun += 1
                else:
                    effects.append(effect)
            had = len(fleet.members) - begun
            first = len(starts) - begun
            starts[first:] = [((had + number) / fleet.size, effect) for number, effect in starts[first:]]
        return effects + [effect for _, effect in sorted(starts, key=lambda start: start[0])]

    # -- Events: of one member ---------------------------------------------------------------------------

    def became_ready(self, generation: int, now: float = 0.0, lifetime: float = inf) -> list[Effect]:
        """See Fleet."""
        return self._of(generation, lambda fleet: fleet.became_ready(generation, now, lifetime))

    def abandoned(self, generation: int, *, softly: bool, now: float) -> list[Effect]:
        """See Fleet."""
        return self._of(generation, lambda fleet: fleet.abandoned(generation, softly=softly, now=now))

    def drained(self, generation: int) -> list[Effect]:
        """See Fleet."""
        return self._of(generation, lambda fleet: fleet.drained(generation))

    def check_up(self, generation: int, timeout: float, now: float) -> list[Effect]:
        """See Fleet."""
        return self._of(generation, lambda fleet: fleet.check_up(generation, timeout, now))

    def wear(self, generation: int, why: Worn, now: float) -> list[Effect]:
        """See Fleet. The successor comes on the same host."""
        return self._of(generation, lambda fleet: fleet.wear(generation, why, now))

    def exited(
        self, generation: int, error: WorkerStartError | None, *, served: bool, now: float, lent: bool = False
    ) -> list[Effect]:
        """See Fleet. Those who wait hear of a failed start only if no other host is alive, or has yet to fail."""

        def exited(fleet: Fleet) -> list[Effect]:
            before = fleet.failed_starts
            effects = fleet.exited(generation, error, served=served, now=now, lent=lent)
            if fleet.failed_starts > before:
                self._failed_last = fleet
            others = [other for other in self.fleets.values() if other is not fleet]
            if any(_lives(other) or _may_succeed(other) for other in others):
                return [effect for effect in effects if not isinstance(effect, Refuse)]
            return effects

        return self._of(generation, exited)

    def retire(self, generation: int, why: Why, *, lent: bool = False) -> list[Effect]:
        """See Fleet."""
        return self._of(generation, lambda fleet: fleet.retire(generation, why, lent=lent))

    def stop(self, generation: int, now: float, why: Why | Worn = Why.MAX_IDLE) -> list[Effect]:
        """See Fleet."""
        return self._of(generation, lambda fleet: fleet.stop(generation, now, why))

    def _of(self, generation: int, step: Callable[[Fleet], list[Effect]]) -> list[Effect]:
        for name, fleet in self.fleets.items():
            if generation in fleet.members:
                return self._decided(name, fleet, lambda fleet=fleet: step(fleet))  # type: ignore[misc]
        return []

    def _decided(self, name: str, fleet: Fleet, step: Callable[[], list[Effect]]) -> list[Effect]:
        """One fleet's effects, with its name on what is its own; so are its events."""
        effects = step()
        while fleet.events:
            event = fleet.events[0]
            if not event.name.startswith("bridge."):  # those are told once, and here
                self.events.append(replace(event, host=name))
            fleet.events.popleft()
        return [replace(effect, host=name) if isinstance(effect, Spawn) else effect for effect in effects]


def _lives(fleet: Fleet) -> bool:
    return any(each.state in (WorkerState.READY, WorkerState.DRAINING) for each in fleet.members.values())


def _may_succeed(fleet: Fleet) -> bool:
    """A start is under way there, and none has failed since the last one that succeeded."""
    return fleet.last_error is None and any(each.state is WorkerState.STARTING for each in fleet.members.values())


def fleet_of(
    hosts: Sequence[Host],
    policy: SupervisorPolicy,
    *,
    size: int,
    max_overflow: int,
    spare: int,
    chance: Callable[[], float],
) -> Fleet | HostFleets:
    """Of a pool; with hosts, their sizes count."""
    if hosts:
        return HostFleets(hosts, policy, chance=chance)
    return Fleet(
        size=size,
        max_overflow=max_overflow,
        spare=spare,
        policy=policy.of_restarts(),
        startup_timeout=policy.startup_timeout,
        shutdown_timeout=policy.shutdown_timeout,
        cancel_grace=policy.cancel_grace,
        chance=chance,
    )
