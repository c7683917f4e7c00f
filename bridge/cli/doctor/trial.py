"""Workers that are started to see whether they start: one on each host, or one.

Rules: all else is as the settings say, so that what fails here fails there. What is asked of a worker is bounded in
time, and whatever becomes of it is data. Apart from workers.py, which says what that means.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bridge.assembly import Choice
from bridge.binding import Binding
from bridge.client import Bridge
from bridge.core.events import Event
from bridge.errors import BridgeError
from bridge.leasing import Lease
from bridge.schema import BridgeSettings

Place = str | None
"""A host by its name in `pool.hosts`; None without these."""


@dataclass
class Trial:
    """What became of the workers. The keys are places."""

    seconds: dict[Place, float] = field(default_factory=dict)
    """From a start to readiness, of those that came to be ready."""
    failures: dict[Place, tuple[str, str]] = field(default_factory=dict)
    """Of those that didn't: the reason of a WorkerStartError, and why."""
    answers: dict[Place, str] = field(default_factory=dict)
    """What came of what was asked."""
    faults: dict[Place, BridgeError] = field(default_factory=dict)
    """In place of an answer."""
    python: dict[Place, str] = field(default_factory=dict)
    """Version and path of the interpreter, where it is known."""
    error: BridgeError | None = None
    """Why there is no pool at all."""


def attempt(values: BridgeSettings, choice: Choice, ask: Callable[[Lease], str], worker: dict[str, Any]) -> Trial:
    """Start the workers, ask each, and stop them.

    Args:
        ask: Is given a lease of each worker; what it answers is noted, and so is a BridgeError.
        worker: Changes of the group `worker`.
    """
    events: list[Event] = []
    trial = Trial()
    try:
        once = {"pool": _one_each(values), "supervisor": {"max_restarts": 0}}
        few = values.with_changes({"worker": worker, **once, "status_socket": None})  # that is the application's
        binding = Binding(lambda: few, lambda: choice, scoped=False, listener=lambda: events.append)
        with Bridge(binding) as b, contextlib.ExitStack() as held:
            for _ in range(b.health().ready):
                _ask(b, held.enter_context(b.lease()), ask, trial)
    except BridgeError as error:
        trial.error = error
    _read(events, trial)
    return trial


def _one_each(values: BridgeSettings) -> dict[str, Any]:
    hosts = [{"launcher": host.launcher, "name": host.label, "size": 1} for host in values.pool.hosts]
    return {"hosts": hosts, "size": len(hosts) or 1, "prewarm": None, "max_overflow": 0, "spare": 0}


def _ask(b: Bridge, lease: Lease, ask: Callable[[Lease], str], trial: Trial) -> None:
    hosts = {each.generation: each.host for each in b.stats().workers}
    host = hosts.get(lease.info.generation)  # None if it is dead by now: then its answer says so
    if lease.info.python is not None:
        trial.python[host] = f"Python {lease.info.python}, {lease.info.path}"
    try:
        trial.answers[host] = ask(lease)
    except BridgeError as fault:
        trial.faults[host] = fault


def _read(events: list[Event], trial: Trial) -> None:
    """The first start at each place; whatever was tried after a failure fails alike."""
    began: dict[int | None, float] = {}
    for event in events:
        if event.name == "worker.starting":
            began[event.generation] = event.at
        elif event.name == "worker.ready" and event.host not in trial.seconds:
            trial.seconds[event.host] = event.at - began.get(event.generation, event.at)
        elif event.name == "worker.failed" and event.host not in trial.failures:
            trial.failures[event.host] = event.reason or "", event.detail or ""
