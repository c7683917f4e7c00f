"""The supervisor's decisions: events in, effects out.

Rules: nothing here starts, kills or waits; each method takes `now` (monotonic seconds) and answers with effects, in
the order in which they are to be performed. A member is one start, named by its generation, from the decision to
start it until its death is known. Apart from runtime/supervisor.py so that every order of events can be tested.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from enum import Enum
from itertools import count
from math import inf
from types import MappingProxyType
from typing import Final

from bridge.core.effects import Admit, Cancel, Effect, Kill, Ping, Refuse, Retire, Spawn, Stop, Why
from bridge.core.events import Event, moved, of_worker
from bridge.core.lifecycle import WorkerState, step
from bridge.core.members import Asked, Member, View, told
from bridge.core.policy import Breaker, RestartPolicy
from bridge.core.recycling import Worn
from bridge.errors import WorkerStartError

TOO_LATE: Final = MappingProxyType(
    {
        WorkerState.STARTING: Why.STARTUP_TIMEOUT,
        WorkerState.READY: Why.SHUTDOWN_TIMEOUT,
        WorkerState.DRAINING: Why.CANCEL_GRACE,
        WorkerState.RETIRING: Why.SHUTDOWN_TIMEOUT,
    }
)
"""Why a member is killed whose state has lasted too long. A ready one has a deadline only while the pool closes."""


class Fleet:
    """Keeps `size` workers alive, and up to `max_overflow` more on demand.

    Args:
        spare: Workers besides that are ready and lent to nobody: the first to fill a place.
        startup_timeout: Seconds from a start to readiness.
        shutdown_timeout: Seconds that a worker has for ending by itself.
        cancel_grace: Seconds that it has for ending a cancelled call; 0 kills at once.
        chance: Random numbers in [0, 1), for the jitter.
        generations: Numbers of its starts, if it shares them with others.
    """

    def __init__(
        self,
        *,
        size: int,
        max_overflow: int,
        policy: RestartPolicy,
        startup_timeout: float,
        shutdown_timeout: float,
        cancel_grace: float = 0.0,
        spare: int = 0,
        chance: Callable[[], float],
        generations: Iterator[int] | None = None,
    ) -> None:
        self.size, self.ceiling, self.spare = size, size + max_overflow, spare
        self.policy = policy
        self.events = policy.events  # one list: what the breaker does stands between the starts that made it do so
        self.members: dict[int, Member] = {}
        self.last_error: WorkerStartError | None = None
        self.restarts = self.failed_starts = self.recycled = 0
        self.closing = False
        self._startup_timeout, self._shutdown_timeout = startup_timeout, shutdown_timeout
        self._cancel_grace = cancel_grace
        self._chance = chance
        self._generations = generations or count(1)
        self._generation = 0  # the last one
        self._open = False
        self._close_at = inf

    def count(self, state: WorkerState, *, spare: bool = False) -> int:
        """Members in a state; those that have a place, or the spare ones."""
        return sum(member.state is state and member.spare is spare for member in self.members.values())

    def _placed(self) -> list[Member]:
        return [member for member in self.members.values() if not member.spare]

    def _strength(self) -> int:
        """Members that are to stay; one whose successor was started isn't."""
        return sum(member.successor not in self.members for member in self._placed())

    def _missing(self) -> int:
        """Places that are empty. One that was told to end may take its time, so it keeps none, where there is room."""
        members = self._placed()
        told = [each for each in members if each.state is WorkerState.RETIRING and not each.killed]
        leaving = sum(each.successor not in self.members for each in told)  # the others aren't counted anyhow
        above = any(each.successor is not None for each in members)  # as long as one is, or was being, replaced
        return min(self.size - self._strength() + leaving, self.ceiling + above - len(members))

    def _missing_spares(self) -> int:
        kept = [member for member in self.members.values() if member.spare and member.state is not WorkerState.RETIRING]
        return self.spare - len(kept)

    def _starting(self) -> int:
        return self.count(WorkerState.STARTING) + self.count(WorkerState.STARTING, spare=True)

    @property
    def can_grow(self) -> bool:
        """Whether a waiter should ask for one more worker."""
        return self._open and not self.closing and self._strength() < self.ceiling

    def view(self) -> View:
        """What others may know of it now."""
        ready, error = self.count(WorkerState.READY), self.last_error
        return View(
            ready=ready,
            starting=self._starting(),
            can_grow=self.can_grow,
            unavailable=self.policy.breaker is not Breaker.CLOSED and not ready + self.count(WorkerState.DRAINING),
            probe_at=self.policy.not_before,
            breaker=self.policy.breaker,
            last_error=error,
            restarts=self.restarts,
            failed_starts=self.failed_starts,
            recycled=self.recycled,
            hopeless=error is not None and (error.final or self.policy.breaker is not Breaker.CLOSED),
        )

    # -- Events ------------------------------------------------------------------------------------------

    def open(self, now: float) -> list[Effect]:
        """Begin: from now on there shall be `size` workers."""
        if not self._open:
            self.events.append(Event("bridge.open", before="starting", after="open"))
        self._open = True
        return self._fill(now)

    def grow(self, waiting: int, now: float) -> list[Effect]:
        """Callers wait and nobody is idle."""
        if not self.can_grow:
            return []
        wanted = min(waiting - self.count(WorkerState.STARTING), self.ceiling - self._strength())
        return self._staff(wanted, now)

    def became_ready(self, generation: int, now: float = 0.0, lifetime: float = inf) -> list[Effect]:
        """A start succeeded.

        Args:
            lifetime: Seconds after which it is to be replaced.
        """
        member = self.members.get(generation)
        if member is None or member.state is not WorkerState.STARTING or member.killed:
            return []
        self._move(generation, member, WorkerState.READY)
        member.deadline, member.expires_at = inf, now + lifetime
        self.policy.became_ready()
        self.last_error = None
        if member.spare and not self._swap(member):
            return [] if member.worn is None else self._dismiss(generation, member, member.worn, now)
        return self._admit(generation)

    def _swap(self, spare: Member) -> bool:
        """Give a spare one that is ready the place of one that still starts, if there is any."""
        heirs = {member.successor for member in self.members.values()}
        for generation, member in self.members.items():
            late = member.state is WorkerState.STARTING and not (member.spare or member.killed or generation in heirs)
            if late and spare.worn is None:
                member.spare, spare.spare = True, False
                return True
        return False

    def _admit(self, generation: int) -> list[Effect]:
        effects: list[Effect] = [Admit(generation)]
        for old, predecessor in self.members.items():
            if predecessor.successor == generation and predecessor.state is not WorkerState.RETIRING:
                self.recycled += 1
                effects += [Retire(old)] if predecessor.state is WorkerState.READY else []  # else once it has drained
        return effects

    def abandoned(self, generation: int, *, softly: bool, now: float) -> list[Effect]:
        """Whoever held a member left in the middle of a call.

        Args:
            softly: Whether it can be asked to end that call.
        """
        member = self.members.get(generation)
        if member is None or member.state is not WorkerState.READY:
            return []
        if not softly or not self._cancel_grace:
            return self.retire(generation, Why.DIRTY, lent=True)
        self._move(generation, member, WorkerState.DRAINING, Asked.CANCEL, lent=True)
        member.deadline = min(now + self._cancel_grace, self._close_at)
        return [Cancel(generation)]

    def drained(self, generation: int) -> list[Effect]:
        """The last frame of the call that was left has come: it is clean, and knows all that it knew."""
        member = self.members.get(generation)
        if member is None or member.state is not WorkerState.DRAINING:
            return []
        self._move(generation, member, WorkerState.READY)
        member.deadline = self._close_at
        heir = self.members.get(member.successor or 0)
        if heir is not None and heir.state is not WorkerState.STARTING:
            return [Retire(generation)]  # it was to be retired meanwhile
        return [Admit(generation)]

    def check_up(self, generation: int, timeout: float, now: float) -> list[Effect]:
        """Look after an idle member, which is lent to nobody meanwhile; without an answer in time it is killed."""
        member = self.members.get(generation)
        if member is None or member.state is not WorkerState.READY or self.closing:
            return []
        self._move(generation, member, WorkerState.DRAINING, Asked.HEALTH)
        member.deadline = now + timeout
        return [Ping(generation)]

    def wear(self, generation: int, why: Worn, now: float) -> list[Effect]:
        """A member has served for long enough. Its successor is started first; until that is ready it goes on."""
        member = self.members.get(generation)
        if member is None or member.worn is not None or member.state is WorkerState.RETIRING:
            return []
        if member.spare and member.state is WorkerState.READY:
            return self._dismiss(generation, member, why, now) + self._fill(now)
        self._wear(generation, member, why)
        return self._fill(now)

    def _dismiss(self, generation: int, member: Member, why: Worn, now: float) -> list[Effect]:
        """Nobody needs this spare one: it goes before its successor comes."""
        if member.worn is None:
            self._wear(generation, member, why)
        return self.stop(generation, now)

    def exited(
        self, generation: int, error: WorkerStartError | None, *, served: bool, now: float, lent: bool = False
    ) -> list[Effect]:
        """A member is dead, or the system refused its very start.

        Args:
            error: Why its start is to be called a failure, if it is.
            served: It lived to see a call.
            lent: Somebody held it when it died.
        """
        member = self.members.get(generation)
        if member is None:
            return []
        reason = member.ending or ("died" if error is None else error.reason)
        self.events.append(replace(moved(generation, member.shown, WorkerState.STOPPED, lent=lent), reason=reason))
        del self.members[generation]
        effects: list[Effect] = []
        if served:
            self.policy.served()
        elif member.state is not WorkerState.RETIRING and error is not None and not self.closing:
            self.failed_starts += 1
            self.last_error = error
            self.events.append(Event("worker.failed", generation=generation, reason=error.reason, detail=error.detail))
            late, wrong = error.reason == "timeout", error.reason == "configuration"
            self.policy.failed(member.started_at, now, self._chance(), unanswered=late, for_good=wrong)
            # One that was ready, and died before a call reached it, costs nobody an error: another one is tried first.
            tell = member.state is WorkerState.STARTING or self.policy.breaker is not Breaker.CLOSED
            alive = any(each.state in (WorkerState.READY, WorkerState.DRAINING) for each in self.members.values())
            if tell and not alive and (error.final or not self._starting()):
                effects.append(Refuse(told(error)))
        if (member.spare or self._missing() > 0) and not self.closing and member.worn is None:
            self.restarts += 1
        return effects + self._fill(now)

    def retire(self, generation: int, why: Why, *, lent: bool = False) -> list[Effect]:
        """A member can't be trusted again.

        Args:
            lent: Somebody holds it.
        """
        member = self.members.get(generation)
        if member is None or member.killed:
            return []
        if member.state in (WorkerState.READY, WorkerState.DRAINING):
            self._move(generation, member, WorkerState.RETIRING, why, lent=lent)
        elif member.state is WorkerState.STARTING:  # a start that is ended is a failed start: it stays one to the end
            self.events.append(moved(generation, member.state, WorkerState.RETIRING, why))
        self.events.append(of_worker("worker.killed", generation, why))
        member.killed, member.deadline, member.why = True, inf, why
        return [Kill(generation, why)]

    def stop(self, generation: int, now: float, why: Enum = Why.MAX_IDLE) -> list[Effect]:
        """An idle member isn't needed any more; it was taken out of the pool."""
        member = self.members.get(generation)
        if member is None or member.state is not WorkerState.READY:
            return []
        why = Why.CLOSING if self.closing else member.worn or why
        self._move(generation, member, WorkerState.RETIRING, why)
        member.deadline = min(now + self._shutdown_timeout, self._close_at)
        return [Stop(generation)]

    def close(self, until: float, now: float) -> list[Effect]:
        """End: nothing is started any more, and at `until` whoever is left is killed."""
        if not self.closing:
            self.events.append(Event("bridge.closing", before="open", after="closing"))
        self.closing = True
        self._close_at = min(self._close_at, until)
        effects: list[Effect] = []
        for generation, member in self.members.items():
            if not member.killed:  # else its death is the next event, and a deadline would make the timer spin
                member.deadline = min(member.deadline, self._close_at)
            if member.state is WorkerState.STARTING:
                effects += self.retire(generation, Why.CLOSING)
            elif member.spare:  # the others are stopped as they come back to the pool
                effects += self.stop(generation, now)
        return effects

    def tick(self, now: float, lent: Callable[[int], bool] = lambda _: False) -> list[Effect]:
        """Time has passed.

        Args:
            lent: Whether somebody holds that member.
        """
        effects: list[Effect] = []
        for generation, member in self.members.items():
            if member.deadline <= now:
                why = Why.UNHEALTHY if member.why is Asked.HEALTH else TOO_LATE[member.state]
                effects += self.retire(generation, why, lent=lent(generation))
            elif member.expires_at <= now and member.worn is None:
                if member.spare and member.state is WorkerState.READY:
                    effects += self._dismiss(generation, member, Worn.LIFETIME, now)
                else:
                    self._wear(generation, member, Worn.LIFETIME)
        return effects + self._fill(now)

    def next_timer(self) -> float:
        """When `tick` has something to do; infinity when nothing is to come."""
        times = [member.deadline for member in self.members.values()]
        times += [member.expires_at for member in self.members.values() if member.worn is None]
        missing = self._missing() > 0 or self._missing_spares() > 0 or self._heirless() is not None
        if missing and self._open and not self.closing and not self._starting():  # else its outcome is the next event
            times.append(self.policy.not_before)
        return min(times, default=inf)

    # -- Inside ------------------------------------------------------------------------------------------

    def _move(
        self, generation: int, member: Member, state: WorkerState, why: Enum | None = None, *, lent: bool = False
    ) -> None:
        self.events.append(moved(generation, member.state, state, why, lent=lent))
        member.state = step(member.state, state)
        member.why = why

    def _wear(self, generation: int, member: Member, why: Worn) -> None:
        self.events.append(of_worker("worker.recycling", generation, why))
        member.worn = why

    def _fill(self, now: float) -> list[Effect]:
        if not self._open or self.closing:
            return []
        effects = self._staff(self._missing(), now)
        if (old := self._heirless()) is not None and (started := self._spawn(1, now)):
            self.members[old].successor = self._generation
            effects += started
        return effects + self._spawn(self._missing_spares(), now, spare=True)

    def _heirless(self) -> int | None:
        """The next worn member to be replaced: one at a time, until it is gone; never two above the ceiling."""
        heirless = None
        for generation, member in self.members.items():
            if member.successor in self.members:
                return None
            if member.worn is not None and member.state in (WorkerState.READY, WorkerState.DRAINING):
                heirless = heirless or generation
        return heirless if len(self._placed()) <= self.ceiling else None

    def _staff(self, wanted: int, now: float) -> list[Effect]:
        """Fill so many places: by spare ones, first those that are ready, and by new ones."""
        effects: list[Effect] = []
        for state in (WorkerState.READY, WorkerState.STARTING):
            for generation, member in self.members.items():
                if wanted > 0 and member.spare and member.state is state and not member.killed:
                    member.spare, wanted = False, wanted - 1
                    effects += self._admit(generation) if state is WorkerState.READY else []
        return effects + self._spawn(wanted, now)

    def _spawn(self, wanted: int, now: float, *, spare: bool = False) -> list[Effect]:
        if wanted <= 0:
            return []
        effects: list[Effect] = []
        for _ in range(min(wanted, self.policy.allows(now, self._starting()))):
            self._generation = next(self._generations)
            self.events.append(Event("worker.starting", generation=self._generation, after="starting"))
            self.members[self._generation] = Member(now, now + self._startup_timeout, spare=spare)
            effects.append(Spawn(self._generation))
        return effects
