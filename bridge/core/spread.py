"""Lend the idle worker of the least busy host, where there are several.

Rules: those of pool_state.py. The idle workers of each host are a queue of their own, whose length is what is free
there: no count is kept beside it that an interruption could leave wrong. Apart from pool_state.py, so that a pool
without hosts, which lends its warmest worker, does nothing of this.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Mapping, MutableMapping
from heapq import merge
from itertools import count
from operator import itemgetter
from typing import Any, Protocol, TypeVar

from bridge.core.pool_state import Lendable, PoolState, Waiter


class Placed(Lendable, Protocol):
    """A worker that is on a host."""

    host: str


P = TypeVar("P", bound=Placed)


class IdleByHost(MutableMapping[P, float]):
    """Which workers are idle and since when, in the order in which they came to be so: by host, each step at once."""

    __slots__ = ("_numbers", "hosts")

    def __init__(self) -> None:
        self.hosts: defaultdict[str, OrderedDict[P, tuple[int, float]]] = defaultdict(OrderedDict)
        self._numbers = count()  # of those that came: the highest is the warmest

    def __setitem__(self, worker: P, since: float) -> None:
        idle = self.hosts[worker.host]
        idle[worker] = (idle[worker][0] if worker in idle else next(self._numbers), since)

    def __getitem__(self, worker: P) -> float:
        return self.hosts[worker.host][worker][1]

    def __delitem__(self, worker: P) -> None:
        del self.hosts[worker.host][worker]

    def __contains__(self, worker: object) -> bool:
        return worker is not None and worker in self.hosts[worker.host]  # type: ignore[attr-defined]

    def pop(self, worker: P, *default: Any) -> Any:
        """At once, unlike that of any mapping."""
        return self.hosts[worker.host].pop(worker, *default)

    def __iter__(self) -> Iterator[P]:
        return map(itemgetter(0), merge(*map(OrderedDict.items, self.hosts.values()), key=itemgetter(1)))

    def __len__(self) -> int:
        return sum(map(len, self.hosts.values()))

    def __bool__(self) -> bool:
        return any(self.hosts.values())


class SpreadState(PoolState[P]):
    """Which workers there are on which host, who holds them, who waits.

    Args:
        sizes: Workers that each host should have, by its name.
    """

    __slots__ = ("_sizes",)

    idle: IdleByHost[P]  # type: ignore[assignment]  # it has what is asked of the other one

    def __init__(self, sizes: Mapping[str, int]) -> None:
        super().__init__()
        self._sizes = dict(sizes)
        self.idle = IdleByHost()

    def lend(self, waiter: Waiter[P]) -> P | None:
        """As for any pool, but for which one it is."""
        if not self.idle or self.waiting or self.own:
            return None
        return waiter.worker if self.checkout(waiter, 0.0) else None

    def _warmest(self, waiter: Waiter[P]) -> P:
        """Of the host of whose workers most are idle, for its size: one that lost workers counts as busy. Hosts that
        are to be avoided come last; of two that are equal, the one that was used last is first."""
        if waiter.prefers in self.idle:
            return waiter.prefers  # type: ignore[return-value]
        free = {host: idle for host, idle in self.idle.hosts.items() if idle}
        return next(reversed(free[max(free, key=self._to_spare)]))

    def _to_spare(self, host: str) -> tuple[bool, float, tuple[int, float]]:
        idle = self.idle.hosts[host]
        return host not in self.avoided, len(idle) / self._sizes[host], next(reversed(idle.values()))
