"""The shell of core/fleet.py: performs its effects, and reports what happened as its events.

Rules: one daemon thread for an adapter with processes, and none for the others, whose events are handled by the
thread that caused them; every spawn, kill and reap is here; no step waits for a worker, so who needs one that is
starting comes back by `attend`. Posting to the inbox takes no lock, so finalisers and signal handlers may do it. Apart
from the pool: that one decides who has a worker, this one that there are workers.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from math import inf
from random import random
from typing import Final

from bridge.contract import Adapter, Capability, WorkerSpec
from bridge.core.effects import Why
from bridge.core.hosts import fleet_of
from bridge.core.policy import SupervisorPolicy
from bridge.core.recycling import RecyclePolicy, Worn
from bridge.errors import BridgeError
from bridge.runtime.announcer import Announcer
from bridge.runtime.checkups import Checkups
from bridge.runtime.courier import Listener
from bridge.runtime.forking import ForkHold
from bridge.runtime.inbox import Inbox
from bridge.runtime.journal import log, say
from bridge.runtime.poller import Poller
from bridge.runtime.pool import FIRST_LOOK, Pool
from bridge.runtime.roster import Roster
from bridge.runtime.session import end_late, next_end
from bridge.runtime.starting import drop_frames
from bridge.runtime.threads import begin
from bridge.runtime.worker import Latch, Worker

__all__ = ["Supervisor", "SupervisorPolicy"]

AFTER_DEFECT: Final = 0.1
"""Seconds until the loop goes on after an error of our own, so that one that repeats doesn't take a core."""
UNDEAD_LOOK: Final = 1.0
"""Seconds between two looks at dead workers that are still lent."""


class Supervisor:
    """Keeps the pool's workers alive.

    Args:
        spec: What each worker serves.
        owns_adapter: Whether the adapter is closed with the last worker.
        on_event: Is told what happens, in a thread of its own.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        adapter: Adapter,
        spec: WorkerSpec,
        pool: Pool,
        policy: SupervisorPolicy,
        recycling: RecyclePolicy,
        *,
        owns_adapter: bool,
        on_event: Listener | None = None,
        clock: Callable[[], float],
    ) -> None:
        self.finished = False  # every worker is dead, and the adapter is closed
        self.fault: BridgeError | None = None  # what that said
        self.fleet = fleet_of(
            pool.policy.hosts,
            policy,
            size=pool.policy.size,
            max_overflow=pool.policy.max_overflow,
            spare=pool.policy.spare,
            chance=random,
        )
        self.announcer = Announcer(spec.name, adapter.name, self.fleet.events, pool, on_event, clock=clock)
        self.roster = Roster(adapter, spec, pool, self.fleet, policy, recycling, self.announcer, clock=clock)
        self._checkups = Checkups(self.roster, pool, self.fleet, policy.health_interval)
        self._adapter, self._spec, self.pool, self._policy, self._clock = adapter, spec, pool, policy, clock
        self._owns_adapter = owns_adapter
        self._inbox = Inbox()
        self._watchers: deque[Latch] = deque()
        self._steady = threading.RLock()  # held by our thread, but while it sleeps and all descriptors are in order
        self.at_fork = ForkHold(self._steady, self.roster.keep_results)
        self._running = False
        self._step_began: float | None = None  # while one is made
        self._thread: threading.Thread | None = None
        self._threads: list[int] = []  # by their idents; the first one is ours, others were started in vain
        pool.keeper = self

    # -- From any thread ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin. The workers become ready in their own time. Idempotent: a signal may have cut the last one short."""
        able = self._adapter.capabilities
        if Capability.PROCESSES in able and not self._running:
            self.roster.threaded = True
            self.pool.attended = True
            self.roster.lookout.open()
            name = f"bridge-supervisor-{self._spec.name}"
            # Daemon: a thread that interpreter exit waits for would hang it; the exit hook closes with a bound.
            begin(threading.Thread(target=self._run, name=name, daemon=True))
        elif Capability.FDS in able:
            self.roster.lookout.open()
        self.announcer.begin()
        self._post(lambda: self.roster.perform(self.fleet.open(self._clock())))

    @property
    def poller(self) -> Poller | None:
        """From the start to the end, where there are descriptors."""
        return self.roster.lookout.poller

    def retire(self, worker: Worker) -> None:
        """A worker was left in the middle of a call: it must never be lent again."""
        lent = worker.lent  # now: whoever says so may have given it back when the step is made
        self._post(lambda: self.roster.perform(self.fleet.retire(worker.generation, Why.DIRTY, lent=lent)))

    def abandon(self, worker: Worker, call_id: int) -> None:
        """Whoever held a worker left in the middle of that call: it is asked to end it, or killed."""
        self._post(lambda: self.roster.abandoned(worker, call_id))

    def wear(self, generation: int, why: Worn) -> None:
        """A worker has served for long enough: its successor is started, then it is retired."""
        self._post(lambda: self.roster.perform(self.fleet.wear(generation, why, self._clock())))

    def grow(self) -> None:
        """Callers wait."""
        self._post(self._grow)

    def _grow(self) -> bool:
        """Whether one more is started."""
        effects = self.fleet.grow(self.pool.waiting_for_any, self._clock())
        self.roster.perform(effects)
        return bool(effects)

    @property
    def workers(self) -> dict[int, Worker]:
        """Every start that isn't dead yet, by its generation."""
        return self.roster.workers

    @property
    def undead(self) -> set[Worker]:
        """Dead workers that somebody still holds."""
        return self.roster.undead

    def notice(self) -> None:
        """Look again: a lease came back, or somebody has waited for long."""
        self._post(bool)

    def attend(self, seconds: float) -> bool:
        """Where there is no thread: make the start whose time has come after one that failed; hear workers that are
        starting or ending, for so long at most. False: none is."""
        if self.roster.threaded:
            return False
        seen = self.pool.fleet
        if seen.last_error is not None and not seen.starting and seen.probe_at <= self._clock():
            self.notice()
        poller = self.poller
        if poller is None or not (self.roster.starting or self.roster.leaving):
            return False
        poller.wait(min(seconds, FIRST_LOOK))  # not for longer: another thread may have heard it
        self.notice()
        return True

    def next_step(self) -> Latch:
        """Set at the end of the next step. Ask for it, then look, then wait: so none is missed. (A Condition would
        stay locked when a signal comes between its `__enter__` and the `with`.)"""
        latch = Latch()
        self._watchers.append(latch)
        return latch

    def await_step(self, step: Latch, seconds: float) -> None:
        """Wait for it, for so long at most; where there is no thread not for long, and attend to what is due."""
        if not self.attend(seconds):
            step.wait(seconds if self.roster.threaded else min(seconds, FIRST_LOOK))

    def close(self, until: float) -> None:
        """Refuse all callers, end all workers: idle ones softly, busy ones as they come back, the rest at `until`."""

        def begin() -> None:
            self.pool.close()
            self.roster.perform(self.fleet.close(until, self._clock()))

        self._post(begin)

    @property
    def interrupted_here(self) -> bool:
        """Whether the caller interrupted a step, which can't go on before it returns: it must not wait for one."""
        return self._inbox.interrupted_here or self._steady._is_owned()  # type: ignore[attr-defined]  # noqa: SLF001

    @property
    def stuck_for(self) -> float:
        """For how many seconds the step has lasted that it is in; infinity if its thread has died."""
        began, thread = self._step_began, self._thread
        if began is not None:
            return max(0.0, self._clock() - began)
        return inf if thread is not None and not self.finished and not thread.is_alive() else 0.0

    def _post(self, event: Callable[[], object]) -> None:
        self._inbox.add(event)
        if not self.roster.threaded:
            self._inbox.drive(self._step)
        elif (poller := self.poller) is not None:  # ours while we wake it, whatever the thread does
            poller.wake()

    # -- The loop ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        self._threads.append(threading.get_ident())
        if self._threads[0] != threading.get_ident():
            return  # this start was repeated
        self._running, poller = True, self.poller
        if poller is None:
            return  # it was closed before it began
        self._thread = threading.current_thread()
        while not self.finished or self.roster.undead:
            try:
                poller.poll(self._next_timer() - self._clock(), self._steady)
                with self._steady:
                    self._step()
            except BaseException:
                # A defect of ours, or a log handler that exits, must not leave callers without a supervisor.
                with suppress(BaseException):
                    log.exception("the supervisor of %s met an error of its own and goes on", self._spec.name)
                threading.Event().wait(AFTER_DEFECT)
        with self._steady:
            self.roster.lookout.close()  # a closed bridge that somebody keeps holds no descriptor
            del poller

    def _step(self) -> None:
        self._step_began = self._clock()
        try:
            self._work()
        finally:  # also when a log handler exits: whoever waits looks again
            self._step_began = None
            while self._watchers:
                self._watchers.popleft().set()

    def _work(self) -> None:
        self._inbox.empty()  # first: once it is closing, what a signal cut short isn't replaced any more
        if not self.roster.threaded:
            self.roster.mend(self._clock())
            if self.poller is not None:
                self.poller.poll(0)
            self._inbox.empty()
        now = self._clock()
        self._let_old_overflow_go(now)
        self.roster.perform(self.fleet.tick(now, self.roster.lent))
        if now >= self.roster.guard.at and self.poller is not None and not self.fleet.closing:
            self.roster.guard.settle()
        self._let_idle_go(now)
        end_late(self.pool, now)
        self._checkups.look(now)
        self.roster.let_go()
        self.pool.audit()
        while self.pool.publish(self.fleet.view()) and self._grow():
            pass  # callers came while the last of them was started
        if self.fleet.closing and not self.fleet.members and not self.finished:
            self.roster.guard.drop()
            try:
                if self._owns_adapter:
                    self._adapter.close()
            except BridgeError as error:  # no defect, but what its user asked to be told
                drop_frames(error)
                self.fault = error
                say(log.warning, "the adapter %s of %s, at its end: %s", self._adapter.name, self._spec.name, error)
            finally:
                try:
                    self.announcer.end()  # before it is finished: who closes finds all of it told
                finally:
                    self.finished = True
            if not self.roster.threaded:
                self.roster.lookout.close()
        self.announcer.look(now)
        self.announcer.speak()

    def _next_timer(self) -> float:
        times = [self.fleet.next_timer(), self.roster.guard.at, self._checkups.at, next_end(self.pool)]
        if self.roster.undead or self.roster.retiring:
            times.append(self._clock() + UNDEAD_LOOK)
        if self.pool.strength > self.fleet.size:
            coldest = self.pool.coldest()
            times.append((self._clock() if coldest is None else coldest[1]) + self._policy.max_idle)
        return 0.0 if self._inbox else min(times)

    def _let_old_overflow_go(self, now: float) -> None:
        """Idle ones above `size` whose time is over: a successor would idle in their place, and for as long."""
        if self.pool.strength <= self.fleet.size or self.fleet.closing:
            return
        for worker, _ in self.pool.idle_workers():
            member = self.fleet.members.get(worker.generation)
            over = member is not None and member.expires_at <= now
            if over and self.pool.strength > self.fleet.size and self.pool.take(worker):
                self.roster.perform(self.fleet.stop(worker.generation, now, Worn.LIFETIME))

    def _let_idle_go(self, now: float) -> None:
        """Above `size` after `max_idle`; all of them while closing."""
        closing = self.fleet.closing
        before, keep = (now, 0) if closing else (now - self._policy.max_idle, self.fleet.size)
        while (worker := self.pool.take_idle(before, keep)) is not None:
            self.roster.perform(self.fleet.stop(worker.generation, now))
