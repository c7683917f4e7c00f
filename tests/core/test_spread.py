"""Who is lent where there are several hosts: the least busy one's."""

from __future__ import annotations

from typing import Any
from weakref import ReferenceType

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

    assert state.lend(waiter) is None, "for `checkout` to see to"
    assert state.checkout(waiter, 0)
    assert repr(waiter.worker) == "a0"


def test_nobody_overtakes_those_who_wait() -> None:
    """A worker that comes back goes to whoever was first. Fails when `lend` doesn't look at the queue."""
    state = state_of(a=1)
    keep: list[Waiter[OnHost]] = []
    lent(state, keep)
    first = Waiter[OnHost]()
    assert not state.checkout(first, 1)

    assert state.checkin(keep[0], 2) is first
    assert lent(state, keep) == "None"
