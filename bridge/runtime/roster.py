"""The workers that there are, and what is done to them: the fleet's effects, performed.

Rules: on the supervisor's thread, or where there is none in the thread that makes its steps; nothing here waits. What
fails for one worker never keeps another one's effect from being performed. Apart from supervisor.py, which has the
thread, the inbox and the timers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import random
from typing import cast

from bridge.channel import FdLink, link_to
from bridge.contract import (
    Adapter,
    Capability,
    Channel,
    HearingAdapter,
    HookChannel,
    LateChannel,
    ProcessChannel,
    Reply,
    TellingChannel,
    WorkerSpec,
)
from bridge.core.effects import Admit, Cancel, Effect, Ping, Refuse, Retire, Spawn, Stop, Why
from bridge.core.fleet import Fleet
from bridge.core.hosts import HostFleets
from bridge.core.lifecycle import WorkerState
from bridge.core.policy import SupervisorPolicy
from bridge.core.recycling import RecyclePolicy, Worn
from bridge.errors import WorkerStartError
from bridge.runtime.announcer import Announcer
from bridge.runtime.drains import Drain
from bridge.runtime.guard import SETTLE_AFTER, Guard
from bridge.runtime.journal import say, stderr_log
from bridge.runtime.poller import Lookout
from bridge.runtime.pool import Pool
from bridge.runtime.session import owed, told
from bridge.runtime.starting import Starting, discard, fault_of, on_host, start_error
from bridge.runtime.worker import Worker
from bridge.wire import STOP


class Roster:
    """Performs effects on workers, and reports what becomes of them to the fleet.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        adapter: Adapter,
        spec: WorkerSpec,
        pool: Pool,
        fleet: Fleet | HostFleets,
        policy: SupervisorPolicy,
        recycling: RecyclePolicy,
        announcer: Announcer,
        *,
        clock: Callable[[], float],
    ) -> None:
        self.workers: dict[int, Worker] = {}
        self.undead: set[Worker] = set()  # dead, but lent: their descriptors belong to the holder
        self.starting: dict[Worker, Starting] = {}
        self.leaving: set[Worker] = set()  # told to end, and without a process whose death would tell of it
        self.retiring: set[Worker] = set()  # out of the pool; to be stopped as soon as nobody holds them
        self.lookout = Lookout()
        self.threaded = False
        self.guard = Guard(adapter, self.lookout, spec.name, clock)
        self._drains: dict[Worker, Drain] = {}
        self._adapter, self._spec, self._pool, self._fleet = adapter, spec, pool, fleet
        self._policy, self._recycling, self._clock = policy, recycling, clock
        self._announcer = announcer
        self.limits_memory = recycling.max_rss is not None
        self._launchers = {host.name: host.launcher for host in pool.policy.hosts}
        # Once: up to Python 3.11 it takes 20 us to find out whether something has all that a protocol has. So it is
        # asked once for each class of channels, and then what only one kind of them has is looked for.
        self._known: set[type[Channel]] = set()
        self._hearing = adapter if isinstance(adapter, HearingAdapter) else None
        self._softly = Capability.SOFT_CANCEL in adapter.capabilities

    # -- Effects -----------------------------------------------------------------------------------------

    def perform(self, effects: list[Effect]) -> None:
        """Do what the fleet decided, in its order."""
        self._announcer.collect()
        for number, effect in enumerate(effects):
            try:
                self._do(effect)
            except BaseException:
                self.perform(effects[number + 1 :])  # they count all the same
                raise

    def _do(self, effect: Effect) -> None:
        if isinstance(effect, Refuse):
            self._pool.publish(self._fleet.view())  # first: whoever comes after those who are refused shall see why
            self._pool.refuse_all(effect.error)
        elif isinstance(effect, Spawn):
            self._spawn(effect.generation, effect.host)
        elif (worker := self.workers.get(effect.generation)) is None:  # it got lost; its place is to be filled
            self.perform(self._fleet.exited(effect.generation, None, served=True, now=self._clock()))
        elif isinstance(effect, Admit):
            self._pool.add(worker)
        elif isinstance(effect, (Cancel, Ping)):
            self._converse(worker, effect)
        elif isinstance(effect, Retire):
            self._pool.remove(worker)
            self.retiring.add(worker)
        elif isinstance(effect, Stop):
            self._stop(worker)
        else:
            self.kill(worker, effect.why)

    def _spawn(self, generation: int, host: str) -> None:
        spec, now = self._spec_of(generation, host), self._clock()
        try:
            channel = self._adapter.open(spec, deadline=now + self._policy.startup_timeout)
            worker = self._enlist(channel, generation, now)
            worker.host = host
            if isinstance(worker.link, FdLink):
                worker.link.host = host or None
        except Exception as error:  # an adapter may be anybody's; whatever it raises is a failed start
            fault = on_host(fault_of(error, self._adapter.name, spec.handler), host)
            self.perform(self._fleet.exited(generation, fault, served=False, now=now))
            return
        try:
            if self.lookout.poller is not None and isinstance(worker.link, FdLink):
                self.starting[worker] = Starting(worker, worker.link, spec, self.lookout.poller, self)
            else:
                worker.hooks = channel.hooks if isinstance(channel, HookChannel) else frozenset()
                self.became_ready(worker)
        except Exception as error:
            self.start_failed(worker, fault_of(error, self._adapter.name, spec.handler))

    def _spec_of(self, generation: int, host: str) -> WorkerSpec:
        launcher = self._launchers.get(host, ())
        if launcher:
            return replace(self._spec.elsewhere or self._spec, generation=generation, launcher=launcher)
        return replace(self._spec, generation=generation, elsewhere=None)

    def _enlist(self, channel: Channel, generation: int, now: float) -> Worker:
        """From here on its death is noticed; on an error it is dead already."""
        link = None
        try:
            spec, clock = self._spec, self._clock
            pickled, busy = spec.pickle is not None, spec.busy_poll_us
            ear = None if self._hearing is None else self._hearing.ear()
            link = link_to(channel, spec.max_frame_bytes, clock, pickle=pickled, busy_poll_us=busy, ear=ear)
            worker = Worker(channel, link, replace(channel.info, generation=generation), now)
            self._announcer.meet(worker)
            if self.threaded:
                if type(channel) not in self._known:
                    assert isinstance(channel, ProcessChannel)
                    self._known.add(type(channel))
                worker.process = cast("ProcessChannel", channel)
                worker.late = cast("LateChannel", channel) if hasattr(channel, "is_over") else None
                self.lookout.watch(worker.process.sentinel(), lambda: self._signalled(worker))
                self.lookout.watch(worker.process.stderr_fileno(), lambda: self._drain_stderr(worker))
                self.guard.want(now + SETTLE_AFTER)
        except BaseException:
            if isinstance(channel, ProcessChannel):
                self.lookout.unwatch(channel.sentinel())
                self.lookout.unwatch(channel.stderr_fileno())
            discard(channel)
            if link is not None:
                link.close()
            raise
        self.workers[generation] = worker
        return worker

    def _signalled(self, worker: Worker) -> None:
        if not self._meet(worker):
            self._died(worker)

    def _meet(self, worker: Worker) -> bool:
        """Take note of a process that has come since. False: it is dead, or none will come."""
        channel, late = worker.channel, worker.late
        lives = late is not None and not late.is_over()
        if worker.info.launcher is not None:  # its number is one of another machine, perhaps, and came in HELLO
            return lives
        worker.info = replace(worker.info, pid=channel.info.pid)
        if isinstance(worker.link, FdLink):
            worker.link.pid = channel.info.pid
        return lives

    def kill(self, worker: Worker, why: Why) -> None:
        """End it, now."""
        worker.killed = why
        self._drop_drain(worker)
        self._pool.remove(worker)
        worker.channel.kill()
        if worker.process is None:  # there is no death to wait for
            worker.status = worker.channel.ending() if isinstance(worker.channel, TellingChannel) else None
            self._hear_no_more_of(worker)
            worker.link.abort()
            self._buried(worker)

    def _stop(self, worker: Worker) -> None:
        worker.killed = Why.CLOSING
        member = self._fleet.members.get(worker.generation)
        self._pool.bury(worker, "" if member is None or member.why is None else str(member.why.value))
        link, fds = worker.link, worker.channel.fileno()
        if not isinstance(link, FdLink):
            link.stop(worker.hooks, self._said_goodbye)
            self._buried(worker)
            return
        link.push(link.connection.send(STOP))
        if worker.process is None and fds is not None:  # the end of its replies is its death
            self.lookout.watch(fds[0], lambda: self.kill(worker, Why.CLOSING))
            self.leaving.add(worker)

    def _said_goodbye(self, reply: Reply) -> None:
        if reply.error is not None:
            say(stderr_log.warning, "on_close of a worker of %s: %s", self._spec.name, reply.error)

    def _hear_no_more_of(self, worker: Worker) -> None:
        start = self.starting.pop(worker, None)
        if start is not None:
            start.abandon()
        self.lookout.unwatch((worker.channel.fileno() or (None,))[0])
        self.leaving.discard(worker)

    # -- How a start ends (starting.Outcome) -------------------------------------------------------------

    def became_ready(self, worker: Worker) -> None:
        """It may be lent."""
        if worker.process is not None and worker.info.pid is None:
            self._meet(worker)  # its first words came before the news that it is there
        worker.ready, worker.active_at = True, self._clock()
        self.starting.pop(worker, None)
        worker.thresholds = self._recycling.draw(random)
        worker.most_calls = worker.thresholds.calls
        self.perform(self._fleet.became_ready(worker.generation, self._clock(), worker.thresholds.lifetime))
        self.guard.want(self._clock())

    def start_failed(self, worker: Worker, fault: WorkerStartError | None) -> None:
        """It must be ended; without a fault, its exit status says why."""
        worker.fault = fault
        self.perform(self._fleet.retire(worker.generation, Why.START_FAILED))

    # -- Ending ------------------------------------------------------------------------------------------

    def _died(self, worker: Worker) -> None:
        process = worker.process
        assert process is not None
        try:
            start = self.starting.pop(worker, None)
            if start is not None:
                start.hear()
                start.abandon()
            self._drain_stderr(worker)
        finally:  # whatever failed, its place is to be filled
            self._drop_drain(worker)
            self.lookout.unwatch(worker.channel.sentinel())
            self.lookout.unwatch(process.stderr_fileno())
            try:
                worker.ended(process.reap())
                if not self._fleet.closing:  # at its end the adapter sweeps for all of them
                    process.sweep()
            finally:
                self._buried(worker)

    def _buried(self, worker: Worker) -> None:
        """A worker is dead for certain: tell whoever waits for that, and let the fleet decide what follows."""
        self._pool.remove(worker)
        self.workers.pop(worker.generation, None)
        self.retiring.discard(worker)
        lent = worker.lent  # before `exited` is set: its holder waits for that, and leaves it then
        worker.exited.set()
        worker.link.abort()
        how = worker.how_it_ended()
        self._pool.bury(worker, how if worker.killed in (None, Why.DIRTY) else f"{how}; {worker.killed.value}")
        self._pool.explain(worker)
        served = worker.calls > 0
        try:
            if worker.lent:
                self.undead.add(worker)
            else:
                worker.release()
        finally:
            spec, host = self._spec_of(worker.generation, worker.host), worker.host
            error = None if served else on_host(start_error(worker, spec, self._policy.startup_timeout), host)
            now = self._clock()
            self.perform(self._fleet.exited(worker.generation, error, served=served, now=now, lent=lent))

    def _drain_stderr(self, worker: Worker) -> None:
        process = worker.process
        if process is None or (fd := process.stderr_fileno()) is None:
            return
        lines = process.drain_stderr()
        if process.stderr_fileno() is None:
            self.lookout.unwatch(fd)
        for line in lines:
            say(stderr_log.info, "%s", line, extra={"bridge": self._spec.name, "worker_pid": worker.info.pid})

    def keep_results(self) -> None:
        """Before a fork: what the child has views of stays as it is. From any thread."""
        for worker in list(self.workers.values()):
            if isinstance(worker.link, FdLink) and worker.link.arena is not None:
                worker.link.arena.keep()

    # -- Conversations with workers that nobody holds (drains.Outcome) ------------------------------------

    def abandoned(self, worker: Worker, call_id: int) -> None:
        """Whoever held a worker left that call. It may be over by now, and another one under way."""
        link = worker.link
        if not link.clean and link.call_id == call_id:
            softly = self._softly and link.cancellable
            self.perform(self._fleet.abandoned(worker.generation, softly=softly, now=self._clock()))

    def _converse(self, worker: Worker, effect: Cancel | Ping) -> None:
        self._pool.remove(worker)
        link = worker.link
        poller = self.lookout.poller
        if poller is None or not isinstance(link, FdLink):
            self.perform(self._fleet.retire(worker.generation, Why.DIRTY))
            return
        self._drains[worker] = drain = Drain(worker, link, poller, self)
        if isinstance(effect, Cancel):
            drain.cancel()
        else:
            drain.ping(owed(self._pool, worker))

    def drained(self, worker: Worker) -> None:
        """It answers, and no reply is outstanding."""
        worker.active_at = self._clock()
        self._end_drain(worker)
        self.perform(self._fleet.drained(worker.generation))

    def drain_failed(self, worker: Worker, why: Why) -> None:
        """It doesn't do what it should; it must be ended."""
        self._drains.pop(worker, None)
        self.perform(self._fleet.retire(worker.generation, why))

    def unwell(self, worker: Worker) -> None:
        """Its handler says that it isn't well: it serves on until a successor is ready."""
        self._end_drain(worker)
        now = self._clock()
        self.perform(self._fleet.drained(worker.generation) + self._fleet.wear(worker.generation, Worn.UNHEALTHY, now))

    def _end_drain(self, worker: Worker) -> None:
        drain = self._drains.pop(worker, None)
        if drain is not None:
            told(self._pool, worker, drain.ended)

    def _drop_drain(self, worker: Worker) -> None:
        drain = self._drains.pop(worker, None)
        if drain is not None:
            drain.abandon()

    # -- What is looked for at each step -----------------------------------------------------------------

    def lent(self, generation: int) -> bool:
        """Whether somebody holds that worker."""
        worker = self.workers.get(generation)
        return worker is not None and worker.lent

    def let_go(self) -> None:
        """Release what is nobody's any longer: descriptors of dead workers, workers whose successor is ready."""
        for worker in [worker for worker in self.undead if not worker.lent]:
            self.undead.discard(worker)
            worker.release()
        for worker in [worker for worker in self.retiring if not worker.lent]:
            self.retiring.discard(worker)
            if worker.link.clean:
                self.perform(self._fleet.stop(worker.generation, self._clock()))
            else:  # its holder is gone, and left a call on it: it is retired when that has ended
                self.abandoned(worker, worker.link.call_id)

    def mend(self, now: float) -> None:
        """Finish what a signal cut short: without a thread of our own, steps run in callers, who may be interrupted."""
        for generation, member in [*self._fleet.members.items()]:
            worker = self.workers.get(generation)
            if worker is None:
                self.perform(self._fleet.exited(generation, None, served=True, now=now))
            elif member.killed or (member.state is WorkerState.RETIRING and worker not in self.leaving):
                self.kill(worker, worker.killed or Why.DIRTY)
            elif not worker.ready and isinstance(worker.link, FdLink):
                if worker not in self.starting or not self.starting[worker].pending:
                    worker.calls += 1  # it did nothing wrong: that is no failed start
                    self.kill(worker, Why.DIRTY)
            elif not worker.ready:
                self.became_ready(worker)
            elif not (member.spare or self._pool.has(worker) or worker in self.leaving or worker in self.retiring):
                # Not to be lent again: somebody may have taken it out of the pool who is just about to say so.
                self.perform(self._fleet.retire(generation, Why.DIRTY))
