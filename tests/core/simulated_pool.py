"""The pool of the simulation: what callers and processes do to the core, as bridge.runtime.pool does it.

Rules: every method that callers use is one entry of the pool's lock, and posts what it has for the supervisor; no
invariant is known here. Apart from simulated_shell.py, which is the supervisor.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from bridge.core.fleet import Fleet
from bridge.core.hosts import HostFleets
from bridge.core.lifecycle import WorkerState
from bridge.core.policy import RestartPolicy
from bridge.core.pool_state import Departed, PoolState
from bridge.core.recycling import RecyclePolicy
from tests.core.simulated_callers import Call, Caller, End, SimWaiter
from tests.core.simulated_workers import Actor, Worker

WITHDRAW_AFTER: Final = 0.1
"""Seconds until an offer that a loop hasn't taken goes to somebody else."""


@dataclass(frozen=True)
class Odds:
    """How much of what happens is bad: chances, 0 to 1."""

    bad_start: float
    bad_call: float


@dataclass(frozen=True)
class Limits:
    """The settings of one run. Seconds."""

    size: int
    max_overflow: int
    spare: int
    checkout_timeout: float
    max_waiting: int | None
    queue_interval: float
    queue_target: float
    cancel_grace: float
    startup_timeout: float
    shutdown_timeout: float
    max_idle: float


class Core:
    """The classes under test; a mutant takes the place of one."""

    def __init__(
        self,
        pool: Callable[[], PoolState[Worker]] = PoolState,
        fleet: Callable[..., Fleet | HostFleets] = Fleet,
    ) -> None:
        self.pool, self.fleet = pool, fleet


class SimPool(Actor):
    """Who has which worker; the supervisor that it posts to is its own other half."""

    def __init__(
        self, core: Core, limits: Limits, odds: Odds, recycle: RecyclePolicy, policy: RestartPolicy, random: Random
    ) -> None:
        super().__init__()
        self.now = 0.0
        self.limits, self.odds, self.recycle, self.random = limits, odds, recycle, random
        self.state: PoolState[Worker] = core.pool()
        self.fleet = core.fleet(
            size=limits.size,
            max_overflow=limits.max_overflow,
            spare=limits.spare,
            policy=policy,
            startup_timeout=limits.startup_timeout,
            shutdown_timeout=limits.shutdown_timeout,
            cancel_grace=limits.cancel_grace,
            chance=random.random,
        )
        self.workers: dict[int, Worker] = {}
        self.inbox: deque[tuple[Any, ...]] = deque()
        self.offers: dict[SimWaiter, None] = {}  # to loops
        self.view = self.fleet.view()
        self.may_ask = self.closed = False
        self.turned_away: list[SimWaiter] = []  # in this step, since the queue stood
        self.places = 0
        self.seen: Counter[str] = Counter()  # outcomes of calls, events and effects, by name
        self.note: Callable[[str], None] | None = None

    # -- For callers: each is one entry of the pool's lock -----------------------------------------------

    def checkout(self, waiter: SimWaiter) -> bool:
        """Lend a worker or queue the waiter. Raises End when it is refused."""
        state = self.state
        if self.closed or state.waiting or not state.idle or waiter.wants is not None:
            self._refuse(waiter)
        if not waiter.withdrawn:
            self.places += 1
            waiter.place = self.places
        overtakes, favourite = bool(state.waiting), waiter.prefers if waiter.prefers in state.idle else None
        try:
            joins = waiter.caller.loop is not None and state.join(waiter, self.now)  # as the shell's `queue`
            granted = not joins and state.checkout(waiter, self.now)
        except Departed:
            assert waiter.wants is not None
            assert waiter.wants.is_over, f"{waiter} was refused {waiter.wants}, which hasn't departed"
            raise End("departed") from None
        worker = waiter.worker
        if granted and worker is not None:
            overtakes = overtakes or worker in state.own
            assert not overtakes, f"{waiter} overtook those who wait"
            assert favourite in (None, worker), f"{waiter} was lent {worker}, and {favourite} is idle"
            self._took(waiter)
        return granted

    def _refuse(self, waiter: SimWaiter) -> None:
        if self.closed:
            raise End("closed")
        if self.view.unavailable and self.view.last_error is not None:
            raise End("unavailable")
        if waiter.wants in self.state.idle:
            return
        if self.limits.max_waiting is not None and self.state.queue_of(waiter) >= self.limits.max_waiting:
            raise End("overloaded")

    def take(self, waiter: SimWaiter) -> bool:
        """Accept what was offered."""
        taken = self.state.take(waiter)
        if taken:
            self._took(waiter)
        return taken

    def _took(self, waiter: SimWaiter) -> None:
        self.offers.pop(waiter, None)
        if waiter.caller.loop is not None:
            self.wake_at(waiter.deadline)
        if self.note is not None:
            self.note(f"{waiter} takes {waiter.worker}")

    def expiry(self, waiter: SimWaiter, deadline: float) -> float:
        """Until when it may wait."""
        return self.state.expiry(waiter, self.limits.checkout_timeout, deadline)

    def shed_at(self, waiter: SimWaiter) -> float:
        """Until when it may wait while the queue stands."""
        return self.state.shed_at(waiter, self.limits.queue_target, self.limits.queue_interval)

    def checkin(self, waiter: SimWaiter) -> None:
        """The end of a check-out, whatever became of it."""
        self.offers.pop(waiter, None)
        worker = waiter.worker
        if worker is None or not waiter.taken:
            self._wake(self.state.leave(waiter, self.now))
        elif worker.out or worker.buried:
            if self.holds(waiter):
                self._leave_behind(worker)
                self.state.remove(worker)  # before it is unbound, else the audit reports it again
                worker.holder = None
            waiter.worker = None
        else:
            worn = worker.thresholds.worn_by(worker.calls, worker.rss)
            if worn is not None:
                self.post("worn", worker, worn)
            self._wake(self.state.checkin(waiter, self.now))
            if self.closed or worker.retired:
                self.post("notice")

    def _leave_behind(self, worker: Worker) -> None:
        worker.left = True
        self.post("abandoned", worker)

    def ask_for_more(self) -> None:
        """One more worker, if it is allowed and nobody has asked."""
        if self.may_ask:
            self.may_ask = False
            self.post("grow")

    def cancel(self, waiter: SimWaiter) -> None:
        """By another thread: its worker is killed, or it leaves the queue."""
        waiter.cancelled = True
        worker = waiter.worker
        if worker is not None and self.holds(waiter):
            self.state.remove(worker)
            self.post("lost", worker)
        waiter.wake()

    def holds(self, waiter: SimWaiter) -> bool:
        """Whether its worker is still its own."""
        worker = waiter.worker
        return worker is not None and worker.holder is not None and worker.holder() is waiter

    def check_link(self, waiter: SimWaiter, worker: Worker) -> None:
        """A loop that was stopped for too long finds that its lease was taken away."""
        if not self.holds(waiter):
            assert waiter.caller.loop is not None, f"{worker} was taken from {waiter}, a thread"
            raise End("timeout")

    def settle(self, caller: Caller, call: Call, outcome: str) -> None:
        """A call has its outcome."""
        assert call.outcome is None, f"{caller} had {call.outcome} for call {call.id}, and now has {outcome}"
        call.outcome = outcome
        self.seen[outcome] += 1
        if self.note is not None:
            self.note(f"{call.waiter}: {outcome}")

    def _wake(self, waiter: Any) -> None:
        """Tell a waiter of its offer. A closed loop refuses it; a stopped one accepts, and doesn't run."""
        while waiter is not None:
            if self.note is not None:
                self.note(f"{waiter} is offered {waiter.worker}")
            loop = waiter.caller.loop
            if loop is None or not loop.closed:
                if loop is not None:
                    waiter.offered_at = self.now
                    self.offers[waiter] = None
                    self.wake_at(self.now + WITHDRAW_AFTER)
                waiter.wake()
                return
            waiter = self.state.leave(waiter, self.now)

    # -- For processes -----------------------------------------------------------------------------------

    def hear(self, event: str, worker: Worker) -> None:
        """A descriptor that the supervisor watches has something."""
        self.post(event, worker)

    def readable(self, worker: Worker) -> None:
        """There is something in its reply pipe: a frame, or the end."""
        holder = worker.holder() if worker.holder is not None else None
        if holder is not None:
            holder.wake()
        elif worker.reply and self._state_of(worker) is WorkerState.DRAINING:
            self.post("frame", worker)

    def _state_of(self, worker: Worker) -> WorkerState:
        member = self.fleet.members.get(worker.generation)
        return WorkerState.STOPPED if member is None else member.state

    # -- For the supervisor ---------------------------------------------------------------------------

    def post(self, event: str, *details: Any) -> None:
        """Put an event into the inbox."""
        self.inbox.append((event, *details))
        self.ready_at = min(self.ready_at, self.now)

    def wake_at(self, when: float) -> None:
        """Not to sleep for longer."""
        self.ready_at = min(self.ready_at, max(when, self.now))
