"""Hosts with workers on them, and the calls that travel there: the parts of tests/core/simulated_park.py.

Rules: values and places; nothing here decides anything or reads a clock. Apart from simulated_workers.py, whose workers
misbehave in every way, step by step: these are many, and a call on them is two numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from random import Random
from weakref import ReferenceType

from bridge.core.pool_state import Waiter


@dataclass(frozen=True)
class Plan:
    """One run. Seconds."""

    workers: int
    hosts: int
    parents: int = 1
    calls: int = 1_000_000
    seed: int = 1
    rate: float | None = None
    """Calls a second, at random moments; None: each caller calls again as soon as it is answered."""
    crowd: int = 2
    """Callers for each worker."""
    begin: float = 2.0
    """When they begin: by then the workers are ready."""
    service: float = 0.02
    """What a call takes in its worker, on the average; log-normal, so one in a hundred takes four times that."""
    parent_cost: float = 40e-6
    """What a call takes in its parent, which does one thing at a time: half of it before the call, half after it."""
    spawn_cost: float = 1e-3
    """What a start takes in its parent."""
    crash: float = 1e-5
    """Of the calls, how many end their worker."""
    lost_at: float = inf
    """When a host is gone, the busiest one."""
    away: float = 10.0
    """For how long."""
    notice: float = 3.0
    """Until its parent knows, and until a start there is given up."""


class Worker:
    """One process on a host."""

    __slots__ = ("__weakref__", "calls", "departed", "generation", "holder", "host", "lost_at", "place")

    def __init__(self, place: Place, generation: int) -> None:
        self.place, self.host, self.generation = place, place.name, generation
        self.holder: ReferenceType[Call] | None = None
        self.departed = False
        self.calls = 0
        self.lost_at = inf
        """Nothing that it says from then on is heard."""


class Call(Waiter[Worker]):
    """One call, on whatever workers it meets until one answers."""

    __slots__ = ("answered", "begun_at", "caller", "tries")

    def __init__(self, caller: int, begun_at: float) -> None:
        self.caller, self.begun_at = caller, begun_at
        self.tries = 0
        self.answered = False


class Place:
    """A machine: how far it is, whether it is there, and what runs on it."""

    def __init__(self, number: int, size: int, random: Random) -> None:
        self.name, self.number, self.size = f"host{number}", number, size
        self.latency = random.uniform(50e-6, 1e-3)  # one way: the next rack, or another building
        self.down = False
        self.workers: dict[int, Worker] = {}
        self.ready = 0

    def busy(self) -> int:
        """How many calls are out there."""
        return sum(worker.holder is not None and worker.holder() is not None for worker in self.workers.values())
