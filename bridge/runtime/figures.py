"""What is shown of a runtime: its workers, its hosts and its counters, at one moment.

Rules: only looks, from any thread. Apart from the runtime, which has a life to lead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bridge.core.lifecycle import WorkerState
from bridge.core.members import HostView, Member
from bridge.core.stats import HostStats, Stats, WorkerStats
from bridge.runtime.worker import Worker

if TYPE_CHECKING:
    from bridge.runtime.supervisor import Supervisor


def stats_of(
    supervisor: Supervisor, *, name: str, adapter: str, state: str, test_mode: str | None, now: float
) -> Stats:
    """What a runtime has done and is doing."""
    pool = supervisor.pool
    tally, fleet = pool.tally, pool.fleet
    lent, members = pool.states(), supervisor.fleet.members
    workers = tuple(
        WorkerStats(
            generation=worker.generation,
            pid=worker.info.pid,
            python=worker.info.python,
            path=worker.info.path,
            state=lent.get(worker) or _state_of(worker, members),
            calls=worker.calls,
            age=now - worker.started_at,
            heartbeat_age=max(0.0, now - worker.active_at) if worker.ready else None,
            host=worker.host or None,
            launcher_pid=worker.info.launcher_pid,
        )
        for worker in [*supervisor.workers.values()]
    )
    with pool.lock:  # at one moment: else a count could be less than it was, while others are sorted in
        taken = tally.latencies.copy()
    latencies = taken.latencies
    return Stats(
        name=name,
        adapter=adapter,
        state=state,
        size=pool.policy.size,
        max_overflow=pool.policy.max_overflow,
        workers=workers,
        waiting=pool.waiting,
        sessions=len(pool.sessions.records),
        calls=latencies.count,
        timeouts=tally.timeouts,
        crashes=tally.crashes,
        restarts=fleet.restarts,
        failed_starts=fleet.failed_starts,
        retries=tally.retries,
        repeats=tally.repeats,
        sent_again=dict(tally.sent_again),
        shed=tally.shed,
        recycled=fleet.recycled,
        p50=taken.quantile(0.5),
        p99=taken.quantile(0.99),
        test_mode=test_mode,
        events_dropped=supervisor.announcer.dropped,
        refused=tally.refused,
        breaker=fleet.breaker.value,
        latencies=latencies,
        hosts=tuple(_host(host, workers) for host in fleet.hosts),
    )


def _state_of(worker: Worker, members: Mapping[int, Member]) -> str:
    member = members.get(worker.generation)
    if member is None:
        return WorkerState.STOPPED.value
    if member.state is WorkerState.READY:  # and the pool doesn't have it: it is about to be told to end
        return "spare" if member.spare else str(WorkerState.RETIRING.value)
    return str(member.shown.value)


def _host(host: HostView, workers: tuple[WorkerStats, ...]) -> HostStats:
    there = [worker.state for worker in workers if worker.host == host.name]
    error = host.last_error
    return HostStats(
        name=host.name,
        size=host.size,
        workers=there.count("ready") + there.count("busy"),
        busy=there.count("busy"),
        breaker=host.breaker.value,
        last_error=None if error is None else f"{error.reason}: {error.detail}",
    )
