"""The supervisor of the simulation: performs the core's effects and reports events, as bridge.runtime.supervisor does.

Rules: it is a generator, and each of its steps is one event, one effect or one entry of the pool's lock, so that
callers run between any two. Apart from simulated_pool.py, which is what callers see.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from random import Random
from typing import Final

from bridge.core.effects import Admit, Cancel, Effect, Kill, Ping, Refuse, Retire, Spawn, Stop, Why
from bridge.core.lifecycle import WorkerState
from bridge.core.policy import RestartPolicy
from bridge.core.recycling import RecyclePolicy, Worn
from bridge.errors import BridgeError, PoolClosed, WorkerStartError
from tests.core.simulated_callers import GO_ON, Program, SimWaiter
from tests.core.simulated_pool import WITHDRAW_AFTER, Core, Limits, Odds, SimPool
from tests.core.simulated_workers import Worker

ANSWER_WITHIN: Final = 0.4
"""Seconds that an idle worker has to say how it is."""
RETIRED_LOOK: Final = 1.0
"""Seconds between two looks at workers that are to be stopped once nobody holds them."""


class Shell(SimPool):
    """The pool with its supervisor; as an actor it is the supervisor's thread."""

    def __init__(
        self, core: Core, limits: Limits, odds: Odds, recycle: RecyclePolicy, policy: RestartPolicy, random: Random
    ) -> None:
        super().__init__(core, limits, odds, recycle, policy, random)
        self.pending: list[int] = []  # generations whose effects are decided, and not yet performed
        self.blamed = 0.8  # of the starts that fail, how many are known to be failures
        self.finished = False
        self.close_at = inf
        self.passes = 0
        self.spins = 0  # passes in a row, at one moment, that had nothing to do
        self._program = self._supervise()
        self.post("open")

    def run(self) -> None:
        """One step of the supervisor."""
        since, self.ready_at = self.ready_at, inf
        until = next(self._program)
        self.ready_at = min(self.ready_at, min(since, self.now) if until == GO_ON else until)

    def _supervise(self) -> Iterator[float]:
        began = -1.0
        while True:
            self.spins, began = (self.spins + 1 if began == self.now else 0), self.now
            while self.inbox:
                self.spins = 0
                event, *details = self.inbox.popleft()
                self.seen[event] += 1
                if self.note is not None:
                    self.note(f"supervisor: {event} {details or ''}")
                yield from self._perform(getattr(self, f"_on_{event}")(*details))
                yield GO_ON
            yield from self._perform(self.fleet.tick(self.now))
            yield from self._let_go()
            self._withdraw_and_seize()
            yield GO_ON
            self._audit()
            self.view = self.fleet.view()
            self.state.avoided = self.view.failing
            self.may_ask = self.view.can_grow
            self.finished = self.closed and not self.fleet.members
            self.passes += 1
            yield min(self._next_timer(), self.now if self.inbox else inf)

    def _audit(self) -> None:
        stranded, awake = self.state.audit()
        for waiter in awake:
            self._wake(waiter)
        # Of those that were taken out of the pool while they were lent the audit knows nothing.
        stranded += [each for each in self.workers.values() if each.retired and each.out and not _is_held(each)]
        stranded = [each for each in stranded if self._state_of(each) is WorkerState.READY]
        for worker in stranded:
            self.seen["stranded"] += 1
            if not worker.left:
                self._leave_behind(worker)
            self.state.remove(worker)

    def _next_timer(self) -> float:
        times = [self.fleet.next_timer()]
        times += [waiter.offered_at + WITHDRAW_AFTER for waiter in self.offers]
        times += [waiter.deadline for waiter in self._leases_of_loops()]
        # Not the fleet's members: with one that is starting, the timer would be due and nobody to be let go.
        if any(each.retired and not each.asked_to_stop for each in self.workers.values()):
            times.append(self.now + RETIRED_LOOK)  # whoever holds it may vanish without a word
        if len(self.state.workers) > self.fleet.size:
            coldest = self.state.coldest()
            times.append((self.now if coldest is None else coldest[1]) + self.limits.max_idle)
        return min(times)

    def _perform(self, effects: list[Effect]) -> Program:
        self.pending += [effect.generation for effect in effects if not isinstance(effect, Refuse)]
        self.spins = 0 if effects else self.spins
        for effect in effects:
            yield GO_ON
            self.seen[type(effect).__name__] += 1
            if self.note is not None:
                self.note(f"supervisor performs {effect}")
            match effect:
                case Spawn(generation, host):
                    yield from self._spawn(generation, host)
                case Admit(generation):
                    self.workers[generation].retired = False
                    self._wake(self.state.add(self.workers[generation], self.now))
                case Cancel(generation):
                    self._cancel(self.workers[generation])
                case Ping(generation):
                    self.workers[generation].ask()
                case Retire(generation):
                    self.state.remove(self.workers[generation])
                    self.workers[generation].retired = True
                case Stop(generation):
                    self._bury(self.workers[generation])
                    self.workers[generation].stop()
                case Kill(generation, why):
                    self.workers[generation].fault = self.workers[generation].fault or why.name.lower()
                    self.state.remove(self.workers[generation])
                    self.workers[generation].kill()
                case Refuse(error):
                    self._refuse_all(error)
            if not isinstance(effect, Refuse):
                self.pending.remove(effect.generation)

    def _spawn(self, generation: int, host: str) -> Program:
        if self.random.random() < self.odds.bad_start / 4:  # the system refuses a process
            error = WorkerStartError("spawn", "EAGAIN", handler="m:H")
            yield from self._perform(self.fleet.exited(generation, error, served=False, now=self.now))
        else:
            self.workers[generation] = worker = self._worker_of(generation, host)
            worker.start()

    def _worker_of(self, generation: int, host: str) -> Worker:
        return Worker(self, generation, self.recycle.draw(self.random.random), host)

    def _cancel(self, worker: Worker) -> None:
        self.state.remove(worker)
        if worker.reply or not worker.out:  # it had ended when its holder left
            self.post("frame", worker)
        else:
            worker.cancel()

    def _refuse_all(self, error: BridgeError) -> None:
        for waiter in self.state.fail_all(error):
            waiter.wake()

    def _bury(self, worker: Worker) -> None:
        """It is dead, or told to end."""
        for waiter in self.state.bury(worker):
            waiter.wake()

    def _let_go(self) -> Program:
        """Idle workers above the size, all of them while closing, and retired ones that nobody holds."""
        closing = self.fleet.closing
        patience, keep = (0.0, 0) if closing else (self.limits.max_idle, self.fleet.size)
        while True:
            coldest = self.state.coldest()
            if coldest is None or coldest[1] + patience > self.now or len(self.state.workers) <= keep:
                break
            self.state.remove(coldest[0])
            self.pending.append(coldest[0].generation)
            yield GO_ON
            yield from self._perform(self.fleet.stop(coldest[0].generation, self.now))
            self.pending.remove(coldest[0].generation)
        for worker in [*self.workers.values()]:
            if worker.retired and not worker.out and not _is_held(worker):
                yield from self._perform(self.fleet.stop(worker.generation, self.now))

    def _withdraw_and_seize(self) -> None:
        """Offers that a loop didn't take, and leases that a stopped or closed one doesn't end."""
        for waiter in [each for each in self.offers if each.offered_at + WITHDRAW_AFTER <= self.now]:
            del self.offers[waiter]
            if not waiter.taken:
                self.seen["withdrawn"] += 1
                self._wake(self.state.withdraw(waiter, self.now))
                waiter.wake()
        for waiter in self._leases_of_loops():
            worker, loop = waiter.worker, waiter.caller.loop
            if worker is not None and loop is not None and (waiter.deadline <= self.now or loop.closed):
                self.seen["seized"] += 1
                self.state.remove(worker)
                self._leave_behind(worker)
                worker.holder = None

    def _leases_of_loops(self) -> list[SimWaiter]:
        held = [worker.holder() for worker in self.workers.values() if worker.holder is not None]
        return [waiter for waiter in held if waiter is not None and waiter.taken and waiter.caller.loop is not None]

    # -- Events ------------------------------------------------------------------------------------------

    def _on_open(self) -> list[Effect]:
        return self.fleet.open(self.now)

    def _on_notice(self) -> list[Effect]:
        return []

    def _on_grow(self) -> list[Effect]:
        return self.fleet.grow(len(self.state.waiting), self.now)

    def _on_ready(self, worker: Worker) -> list[Effect]:
        worker.ready = True
        return self.fleet.became_ready(worker.generation, self.now, worker.thresholds.lifetime)

    def _on_failed(self, worker: Worker) -> list[Effect]:
        return self.fleet.retire(worker.generation, Why.START_FAILED)

    def _on_died(self, worker: Worker) -> list[Effect]:
        self.workers.pop(worker.generation)
        worker.buried = True
        self._bury(worker)
        if worker.holder is not None and (holder := worker.holder()) is not None:
            holder.wake()
        served = worker.calls > 0
        known = not served and self.random.random() < self.blamed
        why = "timeout" if worker.fault == "startup_timeout" else worker.fault or "crashed"
        error = WorkerStartError(why, "so", handler="m:H") if known else None
        return self.fleet.exited(worker.generation, error, served=served, now=self.now)

    def _on_abandoned(self, worker: Worker) -> list[Effect]:
        worker.left = False
        if worker in self.state.idle or _is_held(worker):
            return []  # it was reported twice, and has come back since
        return self.fleet.abandoned(worker.generation, softly=worker.written, now=self.now)

    def _on_frame(self, worker: Worker) -> list[Effect]:
        if self._state_of(worker) is WorkerState.DRAINING:
            worker.reply = worker.out = 0
        return self.fleet.drained(worker.generation)

    def _on_lost(self, worker: Worker) -> list[Effect]:
        return self.fleet.retire(worker.generation, Why.DIRTY)

    def _on_look(self, worker: Worker) -> list[Effect]:
        if not self.state.take_out(worker):
            return []
        effects = self.fleet.check_up(worker.generation, ANSWER_WITHIN, self.now)
        if not effects:
            self._wake(self.state.add(worker, self.now))
        return effects

    def _on_worn(self, worker: Worker, why: Worn) -> list[Effect]:
        return self.fleet.wear(worker.generation, why, self.now)

    def _on_close(self, until: float) -> list[Effect]:
        self.closed = True
        self._refuse_all(PoolClosed("n"))
        return self.fleet.close(until, self.now)


def _is_held(worker: Worker) -> bool:
    return worker.holder is not None and worker.holder() is not None
