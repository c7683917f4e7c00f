"""Who is lent where there are several hosts: the least busy one's."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from random import Random
from typing import Any
from weakref import ReferenceType

import pytest

from bridge.core.pool_state import Waiter
from bridge.core.spread import SpreadState


class OnHost:
    """A worker that is somewhere."""

    def __init__(self, name: str, host: str) -> None:
        self.name, self.host = name, host
        self.holder: ReferenceType[Any] | None = None
        self.departed = False

    def __repr__(self) -> str:
        return self.name


def state_of(**sizes: int) -> SpreadState[OnHost]:
    """Each host has its workers, idle: those of the last host are the warmest."""
    state: SpreadState[OnHost] = SpreadState(sizes)
    for host, size in sizes.items():
        for number in range(size):
            state.add(OnHost(f"{host}{number}", host), 0)
    return state


def lent(state: SpreadState[OnHost], keep: list[Waiter[OnHost]]) -> str:
    """Whom the next one is lent."""
    waiter = Waiter[OnHost]()
    keep.append(waiter)
    return repr(state.lend(waiter))


def test_the_host_with_the_most_to_spare_is_lent_first() -> None:
    """By what is idle for its size, and of one host the warmest. Fails when the warmest of all is lent, or the bare
    number of idle ones counts."""
    state = state_of(a=4, b=2)
    keep: list[Waiter[OnHost]] = []

    assert [lent(state, keep) for _ in range(7)] == ["b1", "a3", "a2", "b0", "a1", "a0", "None"]


def test_a_host_that_lost_workers_counts_as_busy() -> None:
    """Its others have more to do already. Fails when its idle ones are compared with those that it has."""
    state = state_of(a=4, b=4)
    keep: list[Waiter[OnHost]] = []
    for worker in [worker for worker in state.idle if worker.name in ("b0", "b1", "b2")]:
        state.remove(worker)

    assert [lent(state, keep) for _ in range(3)] == ["a3", "a2", "a1"]


def test_a_host_that_fails_is_lent_last() -> None:
    """What lives there still serves, when nobody else is idle. Fails when `avoided` isn't looked at, or refuses."""
    state = state_of(a=1, b=2)
    keep: list[Waiter[OnHost]] = []
    state.avoided = frozenset({"b"})

    assert [lent(state, keep) for _ in range(3)] == ["a0", "b1", "b0"]


def test_whom_somebody_prefers_is_lent_wherever_it_is() -> None:
    """A session's worker has its state. Fails when the host goes before the preference."""
    state = state_of(a=4, b=1)
    waiter = Waiter[OnHost]()
    waiter.prefers = next(worker for worker in state.idle if worker.name == "a0")

    assert state.checkout(waiter, 0)
    assert repr(waiter.worker) == "a0"


class Counting(SpreadState[OnHost]):
    """Finds the same by a look at each idle worker: what is free is counted at each loan."""

    def _warmest(self, waiter: Waiter[OnHost]) -> OnHost:
        if waiter.prefers in self.idle:
            return waiter.prefers  # type: ignore[return-value]
        warmest: dict[str, OnHost] = {}
        free: dict[str, int] = {}
        for worker in reversed([*self.idle]):
            warmest.setdefault(worker.host, worker)
            free[worker.host] = free.get(worker.host, 0) + 1
        return warmest[max(free, key=lambda host: (host not in self.avoided, free[host] / self._sizes[host]))]


class Ordered(Counting):
    """Keeps its idle workers in one queue, as a pool without hosts does."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        super().__init__(sizes)
        self.idle = OrderedDict()  # type: ignore[assignment]


@pytest.mark.parametrize("seed", range(40))
def test_whoever_is_lent_is_who_a_look_at_each_idle_worker_would_find(seed: int) -> None:
    """Whatever comes, goes, is preferred, avoided or withdrawn, also twice at the same time. Fails when the queues of
    the hosts, or a tie between them, are in another order than one queue of all."""
    chance = Random(seed)
    sizes = {f"h{number}": chance.randint(1, 4) for number in range(chance.randint(1, 4))}
    states = [SpreadState[OnHost](sizes), Ordered(sizes)]
    workers = [[OnHost(f"{host}-{n}", host) for host in sizes for n in range(sizes[host])] for _ in states]
    waiters: list[list[Waiter[OnHost]]] = [[], []]

    for now in range(400):
        step, which, other = chance.random(), chance.randrange(len(workers[0])), chance.randrange(len(workers[0]))
        avoided = frozenset(host for host in sizes if chance.random() < 0.2)
        some = chance.randrange(len(waiters[0])) if waiters[0] else 0
        found = []
        for state, own, asked in zip(states, workers, waiters, strict=True):
            found.append(_step(state, own, asked, step, which, other, some, avoided, float(now // 3)))

        assert found[0] == found[1]
        assert [repr(worker) for worker in states[0].idle] == [repr(worker) for worker in states[1].idle]
        assert (len(states[0].idle), bool(states[0].idle)) == (len(states[1].idle), bool(states[1].idle))
        assert repr(states[0].coldest()) == repr(states[1].coldest())


def _step(
    state: SpreadState[OnHost],
    workers: list[OnHost],
    waiters: list[Waiter[OnHost]],
    step: float,
    which: int,
    other: int,
    some: int,
    avoided: frozenset[str],
    now: float,
) -> str:
    """One of what happens to a pool; who has which worker then."""
    worker = workers[which]
    if step < 0.1 and worker not in state.workers and not worker.departed and worker.holder is None:
        state.add(worker, now)
    elif step < 0.15:
        state.remove(worker)
    elif step < 0.2:
        state.take_out(worker)
    elif step < 0.25:
        state.avoided = avoided
    elif step < 0.3 and worker in state.idle:
        state.idle[worker] = now  # a return that was cut short, and is made again
    elif step < 0.65:
        waiter = Waiter[OnHost]()
        waiter.prefers = workers[other] if step < 0.35 else None
        waiters.append(waiter)
        if waiter.prefers is not None or state.lend(waiter) is None:
            state.checkout(waiter, now)
    elif waiters:
        waiter = waiters[some]
        if step < 0.7:
            state.withdraw(waiter, now)
        elif state.take(waiter) or waiter.taken:
            state.checkin(waiter, now)
        else:
            state.leave(waiter, now)
    return repr([waiter.worker for waiter in waiters])


def test_a_loan_looks_at_hosts_and_not_at_workers() -> None:
    """However many idle. Fails when each idle worker is looked at."""
    looked_at: list[str] = []

    class Watched(OnHost):
        def __getattribute__(self, name: str) -> Any:
            if name == "host":
                looked_at.append(object.__getattribute__(self, "name"))
            return super().__getattribute__(name)

    state: SpreadState[OnHost] = SpreadState({"a": 500, "b": 500})
    for number in range(1000):
        state.add(Watched(f"w{number}", "ab"[number % 2]), 0)
    looked_at.clear()
    keep: list[Waiter[OnHost]] = []

    assert lent(state, keep) == "w999"
    assert set(looked_at) == {"w999"}


def test_nobody_overtakes_those_who_wait() -> None:
    """A worker that comes back goes to whoever was first. Fails when `lend` doesn't look at the queue."""
    state = state_of(a=1)
    keep: list[Waiter[OnHost]] = []
    lent(state, keep)
    first = Waiter[OnHost]()
    assert not state.checkout(first, 1)

    assert state.checkin(keep[0], 2) is first
    assert lent(state, keep) == "None"
