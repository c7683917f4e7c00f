"""The supervisor's decisions: events in, effects out.

Rules: nothing here starts, kills or waits; each method takes `now` (monotonic seconds) and answers with effects, in
the order in which they are to be performed. A member is one start, named by its generation, from the decision to
start it until its death is known. Apart from runtime/supervisor.py so that every order of events can be tested.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from bridge.core.policy import Breaker, RestartPolicy
from bridge.errors import WorkerStartError


class Phase(str, Enum):
    """Where a member stands."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"


class Why(str, Enum):
    """Why a member is killed."""

    STARTUP_TIMEOUT = "startup timeout"
    START_FAILED = "its start failed"
    DIRTY = "a call was left unfinished on it"
    SHUTDOWN_TIMEOUT = "it did not stop in time"
    CLOSING = "the pool is closing"


@dataclass(frozen=True)
class Spawn:
    """Start a worker."""

    generation: int


@dataclass(frozen=True)
class Admit:
    """Hand a ready worker to the pool."""

    generation: int


@dataclass(frozen=True)
class Stop:
    """Ask an idle worker to end."""

    generation: int


@dataclass(frozen=True)
class Kill:
    """End a worker and its group, now."""

    generation: int
    why: Why


@dataclass(frozen=True)
class Refuse:
    """Tell everybody who waits that no worker will come."""

    error: WorkerStartError


Effect = Spawn | Admit | Stop | Kill | Refuse


@dataclass
class Member:
    """One start."""

    started_at: float
    deadline: float
    """When its phase has lasted too long; infinity for a ready one."""
    phase: Phase = Phase.STARTING
    killed: bool = False


@dataclass(frozen=True)
class View:
    """A fleet at one moment, for other threads."""

    ready: int = 0
    starting: int = 0
    can_grow: bool = False
    """A waiter should ask for one more worker."""
    unavailable: bool = False
    """Starts failed too often and nobody is alive: callers are to be refused at once."""
    probe_at: float = 0.0
    """When the next start is allowed, in monotonic seconds."""
    breaker: Breaker = Breaker.CLOSED
    last_error: WorkerStartError | None = None
    """Why the last start failed; None once one succeeded."""
    restarts: int = 0
    failed_starts: int = 0


class Fleet:
    """Keeps `size` workers alive, and up to `max_overflow` more on demand.

    Args:
        startup_timeout: Seconds from a start to readiness.
        shutdown_timeout: Seconds that a worker has for ending by itself.
        chance: Random numbers in [0, 1), for the jitter.
    """

    def __init__(
        self,
        *,
        size: int,
        max_overflow: int,
        policy: RestartPolicy,
        startup_timeout: float,
        shutdown_timeout: float,
        chance: Callable[[], float],
    ) -> None:
        self.size, self.ceiling = size, size + max_overflow
        self.policy = policy
        self.members: dict[int, Member] = {}
        self.last_error: WorkerStartError | None = None
        self.restarts = self.failed_starts = 0
        self.closing = False
        self._startup_timeout, self._shutdown_timeout = startup_timeout, shutdown_timeout
        self._chance = chance
        self._generation = 0
        self._open = False
        self._close_at = float("inf")

    def count(self, phase: Phase) -> int:
        """Members in a phase."""
        return sum(member.phase is phase for member in self.members.values())

    @property
    def can_grow(self) -> bool:
        """Whether a waiter should ask for one more worker."""
        return self._open and not self.closing and len(self.members) < self.ceiling

    def view(self) -> View:
        """What others may know of it now."""
        ready = self.count(Phase.READY)
        return View(
            ready=ready,
            starting=self.count(Phase.STARTING),
            can_grow=self.can_grow,
            unavailable=self.policy.breaker is not Breaker.CLOSED and not ready,
            probe_at=self.policy.not_before,
            breaker=self.policy.breaker,
            last_error=self.last_error,
            restarts=self.restarts,
            failed_starts=self.failed_starts,
        )

    # -- Events ------------------------------------------------------------------------------------------

    def open(self, now: float) -> list[Effect]:
        """Begin: from now on there shall be `size` workers."""
        self._open = True
        return self._fill(now)

    def grow(self, waiting: int, now: float) -> list[Effect]:
        """Callers wait and nobody is idle."""
        if not self.can_grow:
            return []
        wanted = min(waiting - self.count(Phase.STARTING), self.ceiling - len(self.members))
        return self._spawn(wanted, now)

    def became_ready(self, generation: int) -> list[Effect]:
        """A start succeeded."""
        member = self.members.get(generation)
        if member is None or member.phase is not Phase.STARTING or member.killed:
            return []
        member.phase, member.deadline = Phase.READY, float("inf")
        self.policy.became_ready()
        self.last_error = None
        return [Admit(generation)]

    def exited(self, generation: int, error: WorkerStartError | None, *, served: bool, now: float) -> list[Effect]:
        """A member is dead, or the system refused its very start.

        Args:
            error: Why its start is to be called a failure, if it is.
            served: It lived to see a call.
        """
        member = self.members.pop(generation, None)
        if member is None:
            return []
        effects: list[Effect] = []
        if served:
            self.policy.served()
        elif member.phase is not Phase.STOPPING and error is not None and not self.closing:
            self.failed_starts += 1
            self.last_error = error
            self.policy.failed(member.started_at, now, self._chance())
            # One that was ready, and died before a call reached it, costs nobody an error: another one is tried first.
            tell = member.phase is Phase.STARTING or self.policy.breaker is not Breaker.CLOSED
            if tell and not self.count(Phase.READY) and (error.final or not self.count(Phase.STARTING)):
                effects.append(Refuse(error))
        if len(self.members) < self.size and not self.closing:
            self.restarts += 1
        return effects + self._fill(now)

    def retire(self, generation: int, why: Why) -> list[Effect]:
        """A member can't be trusted again."""
        member = self.members.get(generation)
        if member is None or member.killed:
            return []
        member.phase = Phase.STOPPING if member.phase is Phase.READY else member.phase
        member.killed, member.deadline = True, float("inf")
        return [Kill(generation, why)]

    def stop(self, generation: int, now: float) -> list[Effect]:
        """An idle member isn't needed any more; it was taken out of the pool."""
        member = self.members.get(generation)
        if member is None or member.phase is not Phase.READY:
            return []
        member.phase = Phase.STOPPING
        member.deadline = min(now + self._shutdown_timeout, self._close_at)
        return [Stop(generation)]

    def close(self, until: float) -> list[Effect]:
        """End: nothing is started any more, and at `until` whoever is left is killed."""
        self.closing = True
        self._close_at = min(self._close_at, until)
        effects: list[Effect] = []
        for generation, member in self.members.items():
            if not member.killed:  # else its death is the next event, and a deadline would make the timer spin
                member.deadline = min(member.deadline, self._close_at)
            if member.phase is Phase.STARTING:
                effects += self.retire(generation, Why.CLOSING)
        return effects

    def tick(self, now: float) -> list[Effect]:
        """Time has passed."""
        effects: list[Effect] = []
        for generation, member in self.members.items():
            if member.deadline <= now:
                starting = member.phase is Phase.STARTING
                effects += self.retire(generation, Why.STARTUP_TIMEOUT if starting else Why.SHUTDOWN_TIMEOUT)
        return effects + self._fill(now)

    def next_timer(self) -> float:
        """When `tick` has something to do; infinity when nothing is to come."""
        times = [member.deadline for member in self.members.values()]
        missing = self._open and not self.closing and len(self.members) < self.size
        if missing and not self.count(Phase.STARTING):  # else its outcome is the next event
            times.append(self.policy.not_before)
        return min(times, default=float("inf"))

    # -- Inside ------------------------------------------------------------------------------------------

    def _fill(self, now: float) -> list[Effect]:
        if not self._open or self.closing:
            return []
        return self._spawn(self.size - len(self.members), now)

    def _spawn(self, wanted: int, now: float) -> list[Effect]:
        if wanted <= 0:
            return []
        effects: list[Effect] = []
        for _ in range(min(wanted, self.policy.allows(now, self.count(Phase.STARTING)))):
            self._generation += 1
            self.members[self._generation] = Member(now, now + self._startup_timeout)
            effects.append(Spawn(self._generation))
        return effects
