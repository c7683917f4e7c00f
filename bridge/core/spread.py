"""Lend the idle worker of the least busy host, where there are several.

Rules: those of pool_state.py. What is free on each host is counted at each loan and kept nowhere, so that an
interruption can't leave a count behind that is wrong. Apart from pool_state.py, so that a pool without hosts, which
lends its warmest worker, does nothing of this.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeVar

from bridge.core.pool_state import Lendable, PoolState, Waiter


class Placed(Lendable, Protocol):
    """A worker that is on a host."""

    host: str


P = TypeVar("P", bound=Placed)


class SpreadState(PoolState[P]):
    """Which workers there are on which host, who holds them, who waits.

    Args:
        sizes: Workers that each host should have, by its name.
    """

    __slots__ = ("_sizes",)

    def __init__(self, sizes: Mapping[str, int]) -> None:
        super().__init__()
        self._sizes = dict(sizes)

    def lend(self, waiter: Waiter[P]) -> P | None:
        """As for any pool, but for which one it is."""
        if not self.idle or self.waiting or self.own or waiter.wants is not None or waiter.prefers is not None:
            return None
        return waiter.worker if self.checkout(waiter, 0.0) else None

    def _warmest(self, waiter: Waiter[P]) -> P:
        """Of the host of whose workers most are idle, for its size: one that lost workers counts as busy. Hosts that
        are to be avoided come last; of two that are equal, the one that was used last is first."""
        if waiter.prefers in self.idle:
            return waiter.prefers  # type: ignore[return-value]
        warmest: dict[str, P] = {}
        free: dict[str, int] = {}
        for worker in reversed(self.idle):
            host = worker.host
            warmest.setdefault(host, worker)
            free[host] = free.get(host, 0) + 1
        return warmest[max(free, key=lambda host: (host not in self.avoided, free[host] / self._sizes[host]))]
