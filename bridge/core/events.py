"""What happens to a bridge, as plain data: what `on_event` is told, and what a log record carries.

Rules: an event is noted by whoever decides its transition (fleet and policy), and before that is made, so that an
exception between the two may have it told twice, but never lose it. What only the shell knows (labels, pid, the time)
is filled in there. Apart from the fleet, since users read it, and from stats.py, which tells how many.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from enum import Enum
from types import MappingProxyType
from typing import Any, Final

from bridge.core.lifecycle import WorkerState, step


@dataclass(frozen=True)
class Event:
    """One thing that happened to a bridge. It can be pickled."""

    name: str
    """One of a fixed list, such as worker.ready; those of a transition end in the state that follows."""
    bridge: str = ""
    """The bridge's name."""
    adapter: str = ""
    at: float = 0.0
    """When: seconds since 1970, as time.time() and the `created` of a log record."""
    pid: int | None = None
    """Of the worker; None before its process is there, and where it is none."""
    generation: int | None = None
    """Which start of this bridge's it is: 1, 2, 3, and never again."""
    before: str | None = None
    """The state before a transition, of the worker, the breaker or the bridge."""
    after: str | None = None
    """The state that follows it."""
    reason: str | None = None
    """Why: a word that doesn't change."""
    detail: str | None = None
    """The same for people; may change."""
    count: int | None = None
    """How many callers, in pool.overloaded."""
    host: str | None = None
    """Of the worker or the breaker, by its name in `pool.hosts`; None without these."""


NAMES: Final = MappingProxyType(
    {
        "bridge.open": "{bridge} is open",
        "bridge.closing": "{bridge} is closing",
        "bridge.closed": "{bridge} is closed",
        "worker.starting": "start {generation} of {bridge} begins",
        "worker.ready": "worker {pid} of {bridge} is ready",
        "worker.draining": "worker {pid} of {bridge} is to answer: {detail}",
        "worker.retiring": "worker {pid} of {bridge} retires: {detail}",
        "worker.stopped": "worker {pid} of {bridge} is gone ({reason}): {detail}",
        "worker.killed": "worker {pid} of {bridge} is killed: {detail}",
        "worker.failed": "a worker of {bridge} could not be started: {detail}",
        "worker.recycling": "worker {pid} of {bridge} is to be replaced: {detail}",
        "breaker.open": "starts of {bridge} failed too often: no more for now",
        "breaker.half-open": "one start of {bridge} is tried",
        "breaker.closed": "starts of {bridge} succeed again",
        "pool.overloaded": "{count} callers of {bridge} were refused: {detail}",
    }
)
"""Every name of an event, and how it is said to people."""


def said(event: Event) -> str:
    """An event in words."""
    who = event.pid or f"#{event.generation}"
    text = NAMES[event.name].format_map({**vars(event), "pid": who, "detail": event.detail or event.reason})
    return text if event.host is None else f"{text} (host {event.host})"


def fields_of(event: Event) -> dict[str, Any]:
    """An event as attributes of a log record: `bridge_event` for its name, `bridge_name`, `bridge_pid` and so on."""
    values = {f"bridge_{field.name}": getattr(event, field.name) for field in fields(event)}
    values["bridge_event"], values["bridge_name"] = event.name, event.bridge
    del values["bridge_bridge"]
    return values


def of_worker(name: str, generation: int, why: Enum | None = None) -> Event:
    """An event of one worker; the name of `why` becomes its reason, the value its detail."""
    if why is None:
        return Event(name, generation=generation)
    return Event(name, generation=generation, reason=why.name.lower(), detail=str(why.value))


def moved(
    generation: int, before: WorkerState, after: WorkerState, why: Enum | None = None, *, lent: bool = False
) -> Event:
    """A worker's transition, checked against the table.

    Args:
        lent: Somebody holds it: what is ready to the fleet is busy then.
    """
    if lent and before is WorkerState.READY:
        before = WorkerState.BUSY
    step(before, after)
    return replace(of_worker(f"worker.{after.value}", generation, why), before=before.value, after=after.value)
