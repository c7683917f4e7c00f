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
from dataclasses import replace
from random import random
from typing import Final

from bridge.channel import FdLink, link_to
from bridge.contract import Adapter, Capability, Channel, HookChannel, ProcessChannel, Reply, WorkerSpec
from bridge.core.fleet import Admit, Effect, Fleet, Phase, Refuse, Spawn, Stop, Why
from bridge.core.policy import SupervisorPolicy
from bridge.errors import WorkerStartError
from bridge.runtime.forking import ForkHold
from bridge.runtime.guard import SETTLE_AFTER, Guard
from bridge.runtime.inbox import Inbox
from bridge.runtime.journal import log, say, stderr_log
from bridge.runtime.poller import Lookout, Poller
from bridge.runtime.pool import FIRST_LOOK, Pool
from bridge.runtime.starting import Starting, discard, fault_of, start_error
from bridge.runtime.worker import Latch, Worker
from bridge.worker import STOP

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
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        adapter: Adapter,
        spec: WorkerSpec,
        pool: Pool,
        policy: SupervisorPolicy,
        *,
        owns_adapter: bool,
        clock: Callable[[], float],
    ) -> None:
        self.workers: dict[int, Worker] = {}
        self.finished = False  # every worker is dead, and the adapter is closed
        self.fleet = Fleet(
            size=pool.policy.size,
            max_overflow=pool.policy.max_overflow,
            policy=policy.of_restarts(),
            startup_timeout=policy.startup_timeout,
            shutdown_timeout=policy.shutdown_timeout,
            chance=random,
        )
        self._adapter, self._spec, self._pool, self._policy, self._clock = adapter, spec, pool, policy, clock
        self._owns_adapter = owns_adapter
        self._inbox = Inbox()
        self._starting: dict[Worker, Starting] = {}
        self._watchers: deque[Latch] = deque()
        self.undead: set[Worker] = set()  # dead, but lent: their descriptors belong to the holder
        self._leaving: set[Worker] = set()  # told to end, and without a process whose death would tell of it
        self._guard = Guard(adapter, spec.name, clock)
        self._steady = threading.RLock()  # held by our thread, but while it sleeps and all descriptors are in order
        self.at_fork = ForkHold(self._steady)
        self._threaded = self._running = False
        self._threads: list[int] = []  # by their idents; the first one is ours, others were started in vain
        self._lookout = Lookout()
        pool.keeper = self

    # -- From any thread ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin. The workers become ready in their own time. Idempotent: a signal may have cut the last one short."""
        able = self._adapter.capabilities
        if Capability.PROCESSES in able and not self._running:
            self._threaded = True
            self._lookout.open()
            name = f"bridge-supervisor-{self._spec.name}"
            # Daemon: a thread that interpreter exit waits for would hang it; the exit hook closes with a bound.
            threading.Thread(target=self._run, name=name, daemon=True).start()
        elif Capability.FDS in able:
            self._lookout.open()
        self._post(lambda: self._perform(self.fleet.open(self._clock())))

    @property
    def poller(self) -> Poller | None:
        """From the start to the end, where there are descriptors."""
        return self._lookout.poller

    def retire(self, worker: Worker) -> None:
        """A worker was left in the middle of a call: it must never be lent again."""
        self._post(lambda: self._perform(self.fleet.retire(worker.generation, Why.DIRTY)))

    def grow(self) -> None:
        """Callers wait."""
        self._post(lambda: self._perform(self.fleet.grow(self._pool.waiting, self._clock())))

    def notice(self) -> None:
        """Look again: a lease came back, or somebody has waited for long."""
        self._post(bool)

    def attend(self, seconds: float) -> bool:
        """Where there is no thread: hear workers that are starting or ending, for so long at most. False: none is."""
        poller = self.poller
        if self._threaded or poller is None or not (self._starting or self._leaving):
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

    def close(self, until: float) -> None:
        """Refuse all callers, end all workers: idle ones softly, busy ones as they come back, the rest at `until`."""

        def begin() -> None:
            self._pool.close()
            self._perform(self.fleet.close(until))

        self._post(begin)

    @property
    def interrupted_here(self) -> bool:
        """Whether the caller interrupted a step, which can't go on before it returns: it must not wait for one."""
        return self._inbox.interrupted_here or self._steady._is_owned()  # type: ignore[attr-defined]  # noqa: SLF001

    def _post(self, event: Callable[[], object]) -> None:
        self._inbox.add(event)
        if not self._threaded:
            self._inbox.drive(self._step)
        elif (poller := self.poller) is not None:  # ours while we wake it, whatever the thread does
            poller.wake()

    # -- The loop ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        self._threads.append(threading.get_ident())
        if self._threads[0] != threading.get_ident():
            return  # this start was repeated
        self._running, poller = True, self.poller
        assert poller is not None
        while not self.finished or self.undead:
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
            self._lookout.close()  # a closed bridge that somebody keeps holds no descriptor
            del poller

    def _step(self) -> None:
        self._inbox.empty()  # first: once it is closing, what a signal cut short isn't replaced any more
        if not self._threaded:
            self._mend(self._clock())
            if self.poller is not None:
                self.poller.poll(0)
            self._inbox.empty()
        now = self._clock()
        self._perform(self.fleet.tick(now))
        if now >= self._guard.at and self.poller is not None and not self.fleet.closing:
            self._guard.settle(self.poller)
        self._let_idle_go(now)
        for worker in [worker for worker in self.undead if not worker.lent]:
            self.undead.discard(worker)
            worker.release()
        self._pool.audit()
        self._pool.publish(self.fleet.view())
        if self.fleet.closing and not self.fleet.members and not self.finished:
            self._guard.drop(self.poller)
            try:
                if self._owns_adapter:
                    self._adapter.close()
            finally:
                self.finished = True
            if not self._threaded:
                self._lookout.close()
        while self._watchers:
            self._watchers.popleft().set()

    def _mend(self, now: float) -> None:
        """Finish what a signal cut short: without a thread of our own, steps run in callers, who may be interrupted."""
        for generation, member in [*self.fleet.members.items()]:
            worker = self.workers.get(generation)
            if worker is None:
                self._perform(self.fleet.exited(generation, None, served=True, now=now))
            elif member.killed or (member.phase is Phase.STOPPING and worker not in self._leaving):
                self._kill(worker, worker.killed or Why.DIRTY)
            elif not worker.ready and isinstance(worker.link, FdLink):
                if worker not in self._starting or not self._starting[worker].pending:
                    worker.calls += 1  # it did nothing wrong: that is no failed start
                    self._kill(worker, Why.DIRTY)
            elif not worker.ready:
                self.became_ready(worker)
            elif not self._pool.has(worker) and worker not in self._leaving:
                # Not to be lent again: somebody may have taken it out of the pool who is just about to say so.
                self._perform(self.fleet.retire(generation, Why.DIRTY))

    def _next_timer(self) -> float:
        times = [self.fleet.next_timer(), self._guard.at]
        if self.undead:
            times.append(self._clock() + UNDEAD_LOOK)
        if len(self.fleet.members) > self.fleet.size:
            since = self._pool.idle_since()
            times.append((self._clock() if since is None else since) + self._policy.max_idle)
        return 0.0 if self._inbox else min(times)

    def _let_idle_go(self, now: float) -> None:
        """Above `size` after `max_idle`; all of them while closing."""
        closing = self.fleet.closing
        before, keep = (now, 0) if closing else (now - self._policy.max_idle, self.fleet.size)
        while (worker := self._pool.take_idle(before, keep)) is not None:
            self._perform(self.fleet.stop(worker.generation, now))

    # -- Effects -----------------------------------------------------------------------------------------

    def _perform(self, effects: list[Effect]) -> None:
        for number, effect in enumerate(effects):
            try:
                self._do(effect)
            except BaseException:
                self._perform(effects[number + 1 :])  # they count all the same
                raise

    def _do(self, effect: Effect) -> None:
        if isinstance(effect, Refuse):
            self._pool.publish(self.fleet.view())  # first: whoever comes after those who are refused shall see why
            self._pool.refuse_all(effect.error)
        elif isinstance(effect, Spawn):
            self._spawn(effect.generation)
        elif (worker := self.workers.get(effect.generation)) is None:  # it got lost; its place is to be filled
            self._perform(self.fleet.exited(effect.generation, None, served=True, now=self._clock()))
        elif isinstance(effect, Admit):
            self._pool.add(worker)
        elif isinstance(effect, Stop):
            self._stop(worker)
        else:
            self._kill(worker, effect.why)

    def _spawn(self, generation: int) -> None:
        spec, now = replace(self._spec, generation=generation), self._clock()
        try:
            channel = self._adapter.open(spec, deadline=now + self._policy.startup_timeout)
            worker = self._enlist(channel, generation, now)
        except Exception as error:  # an adapter may be anybody's; whatever it raises is a failed start
            fault = fault_of(error, self._adapter.name, spec.handler)
            self._perform(self.fleet.exited(generation, fault, served=False, now=now))
            say(log.warning, "a worker of %s could not be started: %s", spec.name, fault.detail)
            return
        try:
            if self.poller is not None and isinstance(worker.link, FdLink):
                self._starting[worker] = Starting(worker, worker.link, spec, self.poller, self)
            else:
                worker.hooks = channel.hooks if isinstance(channel, HookChannel) else frozenset()
                self.became_ready(worker)
        except Exception as error:
            self.start_failed(worker, fault_of(error, self._adapter.name, spec.handler))

    def _enlist(self, channel: Channel, generation: int, now: float) -> Worker:
        """From here on its death is noticed; on an error it is dead already."""
        try:
            link = link_to(channel, self._spec.max_frame_bytes, self._clock)
            worker = Worker(channel, link, replace(channel.info, generation=generation), now)
            if self._threaded:
                assert isinstance(channel, ProcessChannel)
                worker.process = channel
                self._lookout.watch(channel.sentinel(), lambda: self._died(worker))
                self._lookout.watch(channel.stderr_fileno(), lambda: self._drain(worker))
                self._guard.want(now + SETTLE_AFTER)
        except BaseException:
            if isinstance(channel, ProcessChannel):
                self._lookout.unwatch(channel.sentinel())
                self._lookout.unwatch(channel.stderr_fileno())
            discard(channel)
            raise
        self.workers[generation] = worker
        return worker

    def _kill(self, worker: Worker, why: Why) -> None:
        worker.killed = why
        self._pool.remove(worker)
        worker.channel.kill()
        if worker.process is None:  # there is no death to wait for
            self._hear_no_more_of(worker)
            worker.link.abort()
            self._buried(worker)

    def _stop(self, worker: Worker) -> None:
        worker.killed = Why.CLOSING
        link, fds = worker.link, worker.channel.fileno()
        if not isinstance(link, FdLink):
            link.stop(worker.hooks, self._said_goodbye)
            self._buried(worker)
            return
        link.push(link.connection.send(STOP))
        if worker.process is None and fds is not None:  # the end of its replies is its death
            self._lookout.watch(fds[0], lambda: self._kill(worker, Why.CLOSING))
            self._leaving.add(worker)

    def _said_goodbye(self, reply: Reply) -> None:
        if reply.error is not None:
            say(stderr_log.warning, "on_close of a worker of %s: %s", self._spec.name, reply.error)

    def _hear_no_more_of(self, worker: Worker) -> None:
        start = self._starting.pop(worker, None)
        if start is not None:
            start.abandon()
        self._lookout.unwatch((worker.channel.fileno() or (None,))[0])
        self._leaving.discard(worker)

    # -- How a start ends (starting.Outcome) -------------------------------------------------------------

    def became_ready(self, worker: Worker) -> None:
        """It may be lent."""
        worker.ready = True
        self._starting.pop(worker, None)
        self._perform(self.fleet.became_ready(worker.generation))
        self._guard.want(self._clock())
        say(log.info, "worker %s of %s is ready", worker.info.pid, self._spec.name)

    def start_failed(self, worker: Worker, fault: WorkerStartError | None) -> None:
        """It must be ended; without a fault, its exit status says why."""
        worker.fault = fault
        self._perform(self.fleet.retire(worker.generation, Why.START_FAILED))

    # -- Ending ------------------------------------------------------------------------------------------

    def _died(self, worker: Worker) -> None:
        process = worker.process
        assert process is not None
        try:
            start = self._starting.pop(worker, None)
            if start is not None:
                start.hear()
                start.abandon()
            self._drain(worker)
        finally:  # whatever failed, its place is to be filled
            self._lookout.unwatch(worker.channel.sentinel())
            self._lookout.unwatch(process.stderr_fileno())
            try:
                worker.status = process.reap()
                if not self.fleet.closing:  # at its end the adapter sweeps for all of them
                    process.sweep()
            finally:
                self._buried(worker)

    def _buried(self, worker: Worker) -> None:
        """A worker is dead for certain: tell whoever waits for that, and let the fleet decide what follows."""
        self._pool.remove(worker)
        self.workers.pop(worker.generation, None)
        worker.exited.set()
        served = worker.calls > 0
        try:
            if worker.lent:
                self.undead.add(worker)
            else:
                worker.release()
        finally:
            error = None if served else start_error(worker, self._spec, self._policy.startup_timeout)
            self._perform(self.fleet.exited(worker.generation, error, served=served, now=self._clock()))
        if worker.killed is None:
            say(log.warning, "worker %s of %s died: %s", worker.info.pid, self._spec.name, worker.how_it_ended())

    def _drain(self, worker: Worker) -> None:
        process = worker.process
        if process is None or (fd := process.stderr_fileno()) is None:
            return
        lines = process.drain_stderr()
        if process.stderr_fileno() is None:
            self._lookout.unwatch(fd)
        for line in lines:
            say(stderr_log.info, "%s", line, extra={"bridge": self._spec.name, "worker_pid": worker.info.pid})
