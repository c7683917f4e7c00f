"""The runtime: one adapter, its supervisor, its pool. What a bridge is made of, and what a scope activates.

Rules: frozen values come in through the constructor; nothing here reads configuration. States only go forward:
new -> starting -> open -> closing -> closed. Apart from the facades so that several of them share one pool.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from copy import copy
from enum import Enum
from typing import TYPE_CHECKING, Final
from weakref import WeakSet, ref

from bridge.channel import FdLink
from bridge.contract import Adapter, Capability, FdChannel, ForkedAdapter, WorkerSpec
from bridge.core.recycling import RecyclePolicy, Worn
from bridge.core.sessions import SessionPolicy
from bridge.core.stats import Health, Stats
from bridge.errors import BridgeError, ConfigurationError, PoolClosed, WorkerStartError
from bridge.runtime.courier import Listener
from bridge.runtime.crew import Crew
from bridge.runtime.figures import stats_of
from bridge.runtime.follow import Depths
from bridge.runtime.hooks import install
from bridge.runtime.journal import log, say
from bridge.runtime.pool import Pool
from bridge.runtime.pool_policy import PoolPolicy
from bridge.runtime.status import StatusSocket, teller_of
from bridge.runtime.supervisor import Supervisor, SupervisorPolicy
from bridge.runtime.watching import OnCall, Watcher

if TYPE_CHECKING:
    from bridge.runtime.loop_claims import Homes
    from bridge.runtime.propagation import Propagation

AFTER_KILL: Final = 2.0
"""Seconds that `close` waits for killed workers to be gone, beyond its timeout."""


class RuntimeState(str, Enum):
    """Where a runtime stands."""

    NEW = "new"
    STARTING = "starting"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


class Runtime:
    """Workers of one handler, and the way to them.

    Args:
        name: Labels logs, stats and errors.
        owns_adapter: Whether closing it closes the adapter too.
        call_timeout: Seconds for a call that names none; None is no limit.
        prewarm: Workers that `warm` waits for; None is all.
        test_mode: The TEST_MODE that chose the adapter, to be shown.
        on_event: Is told what happens, in a thread of its own.
        status_path: Of the socket that serves its status; None is none.
        on_call: Is told of each call, where it is made.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        adapter: Adapter,
        spec: WorkerSpec,
        *,
        pool_policy: PoolPolicy,
        supervisor_policy: SupervisorPolicy,
        recycle_policy: RecyclePolicy | None = None,
        session_policy: SessionPolicy | None = None,
        owns_adapter: bool = True,
        call_timeout: float | None = 60.0,
        prewarm: int | None = None,
        test_mode: str | None = None,
        on_event: Listener | None = None,
        status_path: str | None = None,
        on_call: OnCall | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.adapter, self.spec, self.name = adapter, spec, spec.name
        self.origin: object = None  # the frame that it was built in or for; opaque here
        self.call_timeout, self.test_mode, self.clock = call_timeout, test_mode, clock
        self._has_plain = (on_call, pool_policy.poison_threshold, spec.pickle, spec.propagate) == (None, None, None, ())
        self.depths, self.watcher = Depths(), None if on_call is None else Watcher(on_call, spec.name)
        self.propagation: Propagation | None = None  # made by the first call that has something to carry
        self._prewarm = pool_policy.size if prewarm is None else prewarm
        self._owns_adapter, self._on_event, self._status_path = owns_adapter, on_event, status_path
        self._pool_policy, self._supervisor_policy = pool_policy, supervisor_policy
        self._recycle_policy, self._session_policy = recycle_policy or RecyclePolicy(), session_policy
        self._build()
        _live.add(self)

    def _build(self) -> None:
        # Guards the state, never held while waiting; re-entrant, since a signal handler may start it again inside.
        self._lock = threading.RLock()
        self.state, self._over = RuntimeState.NEW, False  # `_over` is one way: the end was asked for
        # It is open, nobody looks at its calls, and nothing goes with them: they take the short way (`calls.plain`).
        self.plain = False
        self.homes: Homes = {}  # made by the first call of a task in each loop: asyncio costs 50 ms
        self.pool = Pool(self._pool_policy, self._session_policy, name=self.name, clock=self.clock)
        self._status = self._new_status()
        self.crew = Crew(self.name, self._pool_policy.size + self._pool_policy.max_overflow, self.clock)
        self.supervisor = Supervisor(
            self.adapter,
            self.spec,
            self.pool,
            self._supervisor_policy,
            self._recycle_policy,
            owns_adapter=self._owns_adapter,
            on_event=self._on_event,
            clock=self.clock,
        )

    # -- Life --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to start workers. Idempotent, also from a signal handler or a finaliser that interrupted a start.

        Raises:
            PoolClosed: It was closed.
            ConfigurationError: There is no handler to start, or its status can't be served where it was told to.
        """
        state = self.state
        if state is RuntimeState.OPEN:
            return
        if not self.spec.handler and Capability.PROCESSES in self.adapter.capabilities:
            raise ConfigurationError(
                "no handler is set: name one, as in bridge.connect('myapp.worker:Handler'), or in the settings "
                "(worker.handler, BRIDGE_WORKER__HANDLER)"
            )
        with self._lock:
            if self.state in (RuntimeState.CLOSING, RuntimeState.CLOSED):
                raise PoolClosed(self.name)
            if self.state is RuntimeState.OPEN:
                return
            self.state = RuntimeState.STARTING
            if self._over:  # somebody who takes no lock closed it since the first look
                self.state = RuntimeState.CLOSED
                raise PoolClosed(self.name)
        try:
            if self._status is not None:
                self._status.open()
            self.supervisor.start()
        except ConfigurationError:
            self._not_started()
            raise
        except (RuntimeError, OSError) as error:
            if "shutdown" in str(error):  # no thread can be started any more: the interpreter is exiting
                self.state = RuntimeState.CLOSED
                raise PoolClosed(self.name) from error
            self._not_started()
            detail = f"{error}. The system refused a thread or a descriptor; raise its limits"
            raise WorkerStartError("spawn", detail, handler=self.spec.handler) from error
        with self._lock:
            if self.state in (RuntimeState.STARTING, RuntimeState.NEW):  # new: a start at the same time failed
                self.state = RuntimeState.OPEN
                self.plain = self._has_plain
                if self._over:  # somebody who takes no lock closed it at this moment
                    self.plain = False
        if self.state is RuntimeState.CLOSED:  # by a finaliser, which found nothing to close
            self.supervisor.close(self.clock())

    def _not_started(self) -> None:
        with self._lock:
            if self.state is not RuntimeState.STARTING:
                return  # another start came through, or somebody closed it
            self.state = RuntimeState.NEW
            status, self._status = self._status, self._new_status()
        if status is not None:
            status.end()
            status.await_end(AFTER_KILL)

    def _new_status(self) -> StatusSocket | None:
        path = self._status_path
        return None if path is None else StatusSocket(path, self.name, teller_of(ref(self)))

    @property
    def holds_resources(self) -> bool:
        """Whether it has processes, threads or descriptors once it is started."""
        return not self.adapter.capabilities.isdisjoint({Capability.PROCESSES, Capability.FDS})

    @property
    def blocks(self) -> bool:
        """Whether `warm` has to wait for processes."""
        return Capability.PROCESSES in self.adapter.capabilities and self._prewarm > 0

    def warm(self, workers: int | None = None) -> None:
        """Start, and wait until so many workers are ready, for `startup_timeout` at most.

        Args:
            workers: None is what it was made with.

        Raises:
            WorkerStartError: A start failed; the runtime is as it was, and goes on trying.
        """
        workers = self._prewarm if workers is None else workers
        self.start()
        deadline = self.clock() + self._supervisor_policy.startup_timeout
        while True:
            step = self.supervisor.next_step()
            fleet = self.pool.fleet
            # Of a host that fails nobody waits for workers; one of another is enough to begin.
            if fleet.ready >= max(workers - fleet.lost, min(workers, 1)):
                return
            if self.state in (RuntimeState.CLOSING, RuntimeState.CLOSED):
                raise PoolClosed(self.name)
            failed = fleet.refusal
            if failed is not None and fleet.hopeless:
                raise copy(failed)
            left = deadline - self.clock()
            if left <= 0 and fleet.hosts and fleet.ready:
                return
            if left <= 0:
                detail = f"{fleet.ready} of {workers} workers were ready in time; see `startup_timeout`"
                raise copy(failed) or WorkerStartError("timeout", detail, handler=self.spec.handler)
            self.supervisor.await_step(step, left)

    def recycle(self, generation: int | None = None, timeout: float | None = None) -> None:
        """Replace workers, one after the other; see Bridge.recycle."""
        self.start()
        supervisor = self.supervisor
        old = [each for each, worker in [*supervisor.workers.items()] if worker.ready and generation in (None, each)]
        seconds = self._supervisor_policy.startup_timeout * max(1, len(old)) if timeout is None else timeout
        until = self.clock() + seconds
        for each in old:
            supervisor.wear(each, Worn.ASKED)
        while left := [each for each in old if each in supervisor.workers]:
            step = supervisor.next_step()
            if self.state is not RuntimeState.OPEN:
                raise PoolClosed(self.name)
            if (seconds := until - self.clock()) <= 0:
                raise TimeoutError(
                    f"{len(left)} of {len(old)} workers of {self.name} weren't replaced in time; it goes on"
                )
            if any(each in supervisor.workers for each in left):
                supervisor.await_step(step, seconds)

    def close(self, timeout: float | None = None) -> None:
        """Refuse new calls, let running ones end, stop the workers softly; after `timeout` seconds kill.

        Returns when every worker is gone, at the latest 2 s after the timeout. Idempotent, from any thread.

        Args:
            timeout: None is `shutdown_timeout`.

        Raises:
            BridgeError: What the adapter said at its end, once. All is closed.
        """
        fault = self.await_closed(self.request_close(timeout))
        if fault is not None:
            raise fault

    def await_closed(self, until: float) -> BridgeError | None:
        """Wait for the end of what `request_close` began; what the adapter said then, to the first who asks.

        Returns at once where that would hang: in a signal handler or a finaliser that interrupted a holder of the
        pool's lock, or a step of the supervisor.
        """
        supervisor = self.supervisor
        if self.pool.interrupted_here or supervisor.interrupted_here:
            return None
        if self.state is RuntimeState.CLOSING:
            step, told = supervisor.next_step(), False
            while not supervisor.finished and (left := until + AFTER_KILL - self.clock()) > 0:
                pause = min(left, max(0.0, until - self.clock()) or left)
                if not supervisor.attend(pause):
                    step.wait(pause)
                step = supervisor.next_step()
                if not told and self.clock() >= until:  # once: each notice is a step, which would wake us again
                    told = True
                    supervisor.notice()  # where it has no thread, nobody else tells it that the time is up
            self.state = RuntimeState.CLOSED
            supervisor.announcer.await_delivery(until + AFTER_KILL - self.clock())
        if self._status is not None:
            self._status.await_end(until + AFTER_KILL - self.clock())
        fault, supervisor.fault = supervisor.fault, None
        return fault

    def request_close(self, timeout: float | None = None) -> float:
        """Begin to close without waiting or taking a lock: for finalisers and exit hooks. Answers until when."""
        until = self.clock() + (self._supervisor_policy.shutdown_timeout if timeout is None else timeout)
        self._over, self.plain = True, False
        if self.state is RuntimeState.NEW:
            self.state = RuntimeState.CLOSED
            self.pool.close()
            self.supervisor.roster.lookout.close()  # of a start that failed
        elif self.state is not RuntimeState.CLOSED:
            self.state = RuntimeState.CLOSING
            self.supervisor.close(until)
        self.crew.end()
        if self._status is not None:
            self._status.end()
        return until

    def forget(self) -> None:
        """In a forked child: drop the parent's workers without touching them; the first call starts our own."""
        closed = self.state in (RuntimeState.CLOSING, RuntimeState.CLOSED)
        try:
            for drop in self._inherited():
                try:
                    drop()
                except Exception:  # one that can't be dropped must not keep the others
                    say(log.exception, "a forked child of %s can't drop what it inherited", self.name)
        finally:
            self._status_path = None  # who asks there is answered by the parent
            self._build()
            if closed:
                self.request_close()

    def _inherited(self) -> list[Callable[[], None]]:
        """What closes all that is the parent's."""
        supervisor, drops = self.supervisor, []
        if self._status is not None:
            drops.append(self._status.forget)
        if supervisor.poller is not None:
            drops.append(supervisor.poller.close)  # our thread isn't here, but its frames, which hold it, never end
        if isinstance(self.adapter, ForkedAdapter):
            drops.append(self.adapter.forget)
        for worker in [*supervisor.workers.values(), *supervisor.undead]:
            if isinstance(worker.channel, FdChannel):
                drops.append(worker.channel.forget)
            if isinstance(worker.link, FdLink):
                drops.append(worker.link.forget)
        return drops

    # -- For those who look ------------------------------------------------------------------------------

    def stats(self) -> Stats:
        """What it has done and is doing."""
        self._attend()
        return stats_of(
            self.supervisor,
            name=self.name,
            adapter=self.adapter.name,
            state=self.state.value,
            test_mode=self.test_mode,
            now=self.clock(),
        )

    def _attend(self) -> None:
        """Whoever looks sees to what nobody else may: what starts without a thread, and dropped leases. (A finaliser of
        theirs would swallow a Ctrl-C that comes while it runs.)"""
        self.supervisor.attend(0.0)
        if self.pool.forsaken:
            self.supervisor.notice()

    def health(self) -> Health:
        """Whether calls can be served."""
        self._attend()
        fleet = self.pool.fleet
        error = fleet.last_error
        # A new worker is lent in the middle of a step that tells at its end: whoever was answered sees it ready.
        ready = max(fleet.ready, self.pool.strength)
        return Health(
            ok=self.state is RuntimeState.NEW or (self.state is RuntimeState.OPEN and ready > 0),
            state=self.state.value,
            ready=ready,
            size=self._pool_policy.size,
            breaker=fleet.breaker.value,
            last_error=None if error is None else error.brief,
            test_mode=self.test_mode,
            stuck_for=self.supervisor.stuck_for,
        )


_live: WeakSet[Runtime] = WeakSet()
"""Every runtime that wasn't collected: the exit and fork hooks walk it."""


def live() -> list[Runtime]:
    """Every runtime that wasn't collected, closed ones too."""
    while True:
        try:
            return list(_live)
        except RuntimeError:  # another thread added one meanwhile
            continue


install(live)
