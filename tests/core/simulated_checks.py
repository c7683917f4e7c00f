"""What must hold after every step of the simulation.

Rules: written from the promises and not from the core: times, places in the queue and states are counted here anew,
so that an error of the core can't hide itself. Apart from the shell because that is driven, and this only looks.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Final

from bridge.core.fleet import Fleet
from bridge.core.lifecycle import TRANSITIONS, WorkerState
from bridge.core.members import Member
from bridge.core.pool_state import Departed, Waiter
from tests.core.simulated_callers import LAST_LOOK, Caller, SimWaiter
from tests.core.simulated_shell import ANSWER_WITHIN, Shell
from tests.core.simulated_workers import Worker

TICK: Final = 0.05
"""Seconds by which an actor may be late; the scheduler's promise."""
SLACK: Final = TICK + 1e-6
MOST_SPINS: Final = 3
PATIENCE: Final = 2
"""Passes of the supervisor after which a worker that nobody has must be found."""


class Broken(AssertionError):
    """An invariant doesn't hold."""


class Checks:
    """The invariants, and what they remember from step to step."""

    def __init__(self, shell: Shell, callers: list[Caller]) -> None:
        self.shell, self.callers = shell, callers
        self._states: dict[int, tuple[WorkerState, float]] = {}  # by generation: where it stands, since when
        self._missed: dict[int, int] = {}  # by generation: the pass before which nobody had it
        self._offered: set[int] = set()  # places of those who were offered a worker and haven't taken it
        self._populated_at = self._standing_since = inf
        self._short_since: dict[str, float] = {}  # by host: when fewer than `size` were left, and nobody was coming

    def check(self) -> None:
        """After each step. Raises Broken."""
        self._check_fleet()
        self._check_queue()
        self._check_callers()

    # -- Workers -----------------------------------------------------------------------------------------

    def _check_fleet(self) -> None:
        shell = self.shell
        fleet, workers = shell.fleet, shell.workers
        members = fleet.members
        if shell.spins > MOST_SPINS:
            raise Broken("the supervisor's timer is due, and there is nothing to do")
        for generation, member in members.items():
            worker = workers.get(generation)
            state = member.state if worker is None else self._check_worker(worker, member)
            self._moved(generation, member, state)
        spare = [each for each in members.values() if each.spare and each.state is not WorkerState.RETIRING]
        if len(spare) > shell.limits.spare:
            raise Broken(f"{len(spare)} spare workers, over {shell.limits.spare}: {members}")
        for host, each in self._fleets().items():
            self._check_strength(host, each)
        for generation in [each for each in self._states if each not in members]:
            self._step(generation, self._states.pop(generation)[0], WorkerState.STOPPED)
            self._missed.pop(generation, None)
        for worker in shell.state.idle:
            if worker.generation not in members:
                raise Broken(f"{worker} is dead, and may be lent")

    def _fleets(self) -> dict[str, Fleet]:
        """By host; with a nameless one where there are none."""
        fleet = self.shell.fleet
        found: dict[str, Fleet] = getattr(fleet, "fleets", {"": fleet})  # no isinstance: it may be a mutant
        return found

    def _check_strength(self, host: str, fleet: Fleet) -> None:
        """A place is empty only while nobody may start, or while one is starting or is about to be gone."""
        now = self.shell.now
        members = [member for member in fleet.members.values() if not member.spare]
        replacing = any(member.successor is not None for member in members)
        if len(members) > fleet.ceiling + replacing:
            raise Broken(f"{len(members)} {host}workers, over {fleet.ceiling} + {replacing}: {fleet.members}")
        leaving = [member for member in members if member.state is WorkerState.RETIRING]
        coming = any(member.state is WorkerState.STARTING or member.killed for member in members)
        room = len(members) < fleet.ceiling + any(member.successor for member in leaving)
        if coming or not room or len(members) - len(leaving) >= fleet.size or fleet.closing or not self._states:
            self._short_since.pop(host, None)
        elif host not in self._short_since:
            self._short_since[host] = now
        elif now > max(self._short_since[host], fleet.policy.not_before) + SLACK:  # a pause may have begun since
            raise Broken(f"nobody is started in the place of those who leave: {fleet.members}")

    def _check_worker(self, worker: Worker, member: Member) -> WorkerState:
        """What is true of one worker; its state, with `busy` as the pool has it."""
        shell = self.shell
        pool, generation = shell.state, worker.generation
        idle = worker in pool.idle
        holder: SimWaiter | None = worker.holder() if worker.holder is not None else None
        state = member.state
        if idle:
            if worker not in pool.workers:
                raise Broken(f"{worker} may be lent, but was removed")
            if worker.out:
                raise Broken(f"{worker} may be lent while the reply to call {worker.out} is outstanding")
            if holder is not None:
                raise Broken(f"{worker} may be lent while {holder} has it")
            if generation not in shell.pending:
                if state is not WorkerState.READY or member.killed:
                    raise Broken(f"{worker} may be lent while it is {state.value}, killed: {member.killed}")
                heir = shell.fleet.members.get(member.successor or 0)
                if heir is not None and heir.state is not WorkerState.STARTING:
                    raise Broken(f"{worker} may be lent though its successor is {heir.state.value}")
        elif holder is not None:
            self._check_holder(worker, holder)
        elif worker.out and state is WorkerState.READY and worker in pool.workers and not worker.holder:
            raise Broken(f"{worker} is nobody's, with the reply to call {worker.out} outstanding")
        if member.spare and (worker in pool.workers or holder is not None):
            raise Broken(f"{worker} is spare, and may be lent: idle {idle}, held by {holder}")
        if state is WorkerState.READY:
            if idle or holder is not None or generation in shell.pending or member.spare:
                self._missed.pop(generation, None)
            elif shell.passes >= self._missed.setdefault(generation, shell.passes) + PATIENCE:
                raise Broken(f"{worker} is lost: ready, and neither idle, lent, draining nor being retired")
            if not idle and (worker in pool.workers or holder is not None or worker.left):
                return WorkerState.BUSY
        return state

    def _check_holder(self, worker: Worker, holder: SimWaiter) -> None:
        call = holder.caller.call
        if holder.worker is not worker:
            raise Broken(f"{worker} is bound to {holder}, who has {holder.worker}")
        if holder.wants not in (None, worker):
            raise Broken(f"{worker} is lent to {holder}, who wants {holder.wants}")
        if not holder.taken:
            if worker.out:
                raise Broken(f"{worker} is offered while the reply to call {worker.out} is outstanding")
        elif call is None or call.waiter is not holder:
            raise Broken(f"{worker} is lost: its holder has had its outcome")
        elif worker.out not in (0, call.id):
            raise Broken(f"{worker} was lent to {holder} while the reply to call {worker.out} is outstanding")

    def _moved(self, generation: int, member: Member, state: WorkerState) -> None:
        """Only along the table, and each state only for as long as it may last."""
        now, limits, shell = self.shell.now, self.shell.limits, self.shell
        before = self._states.get(generation)
        if before is None or before[0] is not state:
            if before is not None:
                self._step(generation, before[0], state)
            self._states[generation] = (state, now)
            return
        if member.killed:
            return
        match state:
            case WorkerState.STARTING:
                lasts = limits.startup_timeout
            case WorkerState.DRAINING:
                lasts = max(limits.cancel_grace, ANSWER_WITHIN)
            case WorkerState.RETIRING:
                lasts = limits.shutdown_timeout
            case _:
                lasts = inf
        if now > min(before[1] + lasts, shell.close_at + TICK) + SLACK:
            raise Broken(f"w{generation} is {state.value} since {before[1]:.3f}, and lives at {now:.3f}")

    def _step(self, generation: int, before: WorkerState, after: WorkerState) -> None:
        if (before, after) not in TRANSITIONS:
            raise Broken(f"w{generation} went from {before.value} to {after.value}")

    # -- The queue ---------------------------------------------------------------------------------------

    def _check_queue(self) -> None:
        shell = self.shell
        pool = shell.state
        places = _places(pool.waiting)
        if places and pool.idle:
            raise Broken(f"{list(pool.idle)} are idle while {list(pool.waiting)} wait")
        own = self._check_own_queues() if pool.own else {}
        if pool.all_waiting != len(places) + sum(map(len, own.values())):
            raise Broken(f"{len(places)} wait for any worker, {own} for one, and the pool says {pool.all_waiting}")
        if shell.closed and pool.all_waiting:
            raise Broken(f"{list(pool.waiting)} and {own} wait, and the pool is closed")
        offered = set()
        for worker in shell.workers.values():
            holder = worker.holder() if worker.holder is not None else None
            if holder is not None and not holder.taken:
                offered.add(place := holder.place)
                if worker not in pool.workers and place not in self._offered:
                    raise Broken(f"{worker} was offered to {place}, and had been removed")
                earlier = [queue[0] for queue in (places, own.get(worker)) if queue and queue[0] < place]
                if earlier and place not in self._offered:
                    raise Broken(f"{worker} was offered to {place}, before {earlier}")
        self._offered = offered
        if not places:
            self._standing_since = inf
        elif self._standing_since == inf:
            self._standing_since = shell.now
        interval = shell.limits.queue_interval
        if (pool.stands_at(interval) <= shell.now) is not (self._standing_since + interval <= shell.now):
            raise Broken(f"the queue stands since {self._standing_since}, says {pool.standing_since}")
        if not pool.workers:
            self._populated_at = inf
        elif self._populated_at == inf:
            self._populated_at = shell.now

    def _check_own_queues(self) -> dict[Worker, list[int]]:
        """Of those who want one worker: the places, in their order."""
        pool, own = self.shell.state, {}
        for worker, queue in pool.own.items():
            if worker in pool.idle:
                raise Broken(f"{worker} is idle while {list(queue)} wait for it")
            if worker.is_over:
                raise Broken(f"{list(queue)} wait for {worker}, which will never be lent again")
            if any(waiter.wants is not worker for waiter in queue):
                raise Broken(f"{list(queue)} wait for {worker}, and don't want it")
            own[worker] = _places(queue)
            if not queue:
                raise Broken(f"nobody waits for {worker}, and its queue is kept")
        return own

    # -- Callers -----------------------------------------------------------------------------------------

    def _check_callers(self) -> None:
        shell = self.shell
        now = shell.now
        for waiter in shell.turned_away:
            if waiter.wants is not None:
                raise Broken(f"{waiter}, who wants {waiter.wants}, was turned away since others wait")
            if now < max(waiter.enqueued_at, self._populated_at) + shell.limits.queue_target:
                raise Broken(f"{waiter} was turned away before it had waited for the target")
        shell.turned_away.clear()
        holders: dict[Worker, SimWaiter] = {}
        for caller in self.callers:
            call = caller.call
            if call is None:
                continue
            waiter = call.waiter
            worker = waiter.worker
            if worker is not None and waiter.taken and shell.holds(waiter):
                other = holders.setdefault(worker, waiter)
                if other is not waiter:
                    raise Broken(f"{worker} is lent to {other} and to {waiter}")
            self._check_place(caller, waiter)
            if caller.stalled:
                kept = worker is not None and waiter.taken and not worker.buried and shell.holds(waiter)
                if kept and now > call.deadline + SLACK:
                    raise Broken(f"{worker} is still kept by {caller}, whose loop has stopped")
                continue
            if caller.phase in ("waiting", "running") and self._is_late(caller, call.deadline):
                raise Broken(f"{caller} is {caller.phase} at {now:.3f}, after its deadline {call.deadline:.3f}")
            if caller.phase == "waiting" and not waiter.withdrawn and waiter.worker is None:
                began = max(waiter.enqueued_at, self._populated_at)
                if self._is_late(caller, began + shell.limits.checkout_timeout + LAST_LOOK):
                    raise Broken(f"{caller} waits since {began:.3f}, over its checkout timeout")

    def _check_place(self, caller: Caller, waiter: SimWaiter) -> None:
        """Who waits is in the queue, or has to look; who is told that a worker is gone wanted that one."""
        if isinstance(waiter.error, Departed) and not (waiter.wants is not None and waiter.wants.is_over):
            raise Broken(f"{waiter}, who wants {waiter.wants}, was refused as if that had departed")
        alive = caller.loop is None or not caller.loop.closed
        told = waiter.withdrawn or waiter.worker is not None or waiter.error is not None
        if caller.phase != "waiting" or not alive or told:
            return
        pool, wants = self.shell.state, waiter.wants
        if waiter not in (pool.waiting if wants is None else pool.own.get(wants, ())):
            raise Broken(f"{waiter} has lost its place")

    def _is_late(self, caller: Caller, deadline: float) -> bool:
        """It should have looked by now. One whose loop was stopped until after its deadline is about to."""
        now = self.shell.now
        return now > deadline + SLACK and not deadline < caller.ready_at <= now

    def unrest(self) -> str:
        """What isn't as it must be when nothing is to come any more; empty when all is well."""
        shell = self.shell
        members, pool = shell.fleet.members, shell.state
        if open_calls := [caller for caller in self.callers if caller.call is not None]:
            return f"{open_calls} have no outcome"
        if pool.waiting:
            return f"{list(pool.waiting)} wait for ever"
        if pool.own:
            return f"{pool.own} is left"
        if any(worker.out for worker in shell.workers.values()):
            return "a reply is outstanding, and nobody waits for it"
        if shell.inbox:
            return f"{shell.inbox} was not heard"
        if shell.closed:
            return f"{shell.workers} outlive the end" if members or shell.workers else ""
        fleets = self._fleets().values()
        if short := [fleet.members for fleet in fleets if fleet.count(WorkerState.READY) != fleet.size]:
            return f"{short} aren't all ready"
        ready = sum(fleet.count(WorkerState.READY) for fleet in fleets)
        spare = shell.limits.spare
        kept = sum(fleet.count(WorkerState.READY, spare=True) for fleet in fleets)
        everybody = len(members) == shell.fleet.size + spare and kept == spare
        if ready == len(pool.idle) == shell.fleet.size == len(pool.workers) and everybody:
            return ""
        what = f"{ready} ready, {len(pool.idle)} idle and {kept} spare of {len(members)}"
        return f"{what}; the size is {shell.fleet.size} + {spare}"


def _places(queue: Iterable[Waiter[Worker]]) -> list[int]:
    places = [waiter.place for waiter in queue]  # type: ignore[attr-defined]
    if places != sorted(places):
        raise Broken(f"the queue isn't in the order of arrival: {places}")
    return places
