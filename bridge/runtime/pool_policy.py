"""How long callers wait for a worker, and how many may.

Rules: frozen values, made of the settings. Apart from the pool, which keeps to them.
"""

from __future__ import annotations

from dataclasses import dataclass

from bridge.core.hosts import Host
from bridge.core.pool_state import PoolState
from bridge.core.spread import SpreadState
from bridge.runtime.worker import Worker


@dataclass(frozen=True)
class PoolPolicy:
    """How long callers wait, and how many may. Seconds."""

    size: int
    max_overflow: int = 0
    spare: int = 0
    """Workers besides, ready, and lent to nobody until one that has a place is gone."""
    checkout_timeout: float = 30.0
    max_waiting: int | None = None
    poison_threshold: int | None = None
    """Deaths of workers after which a call is refused."""
    queue_target: float | None = None
    """Seconds that a caller may wait while the queue stands."""
    queue_interval: float = 1.0
    """Seconds after which a queue that was never empty stands."""
    hosts: tuple[Host, ...] = ()
    """Where the workers are; none: right here. `size` is the sum of their sizes then."""


def state_of(policy: PoolPolicy) -> PoolState[Worker]:
    """The pool's books, empty."""
    return SpreadState({host.name: host.size for host in policy.hosts}) if policy.hosts else PoolState()
