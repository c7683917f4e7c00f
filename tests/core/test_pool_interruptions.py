"""Every method of the pool, cut short before each of its lines and at each return.

The tracer raises KeyboardInterrupt at the k-th event inside pool_state.py, for every k until the method comes
through. Whatever is left must be a pool that `audit` makes whole.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from bridge.core import pool_state
from bridge.core.pool_state import PoolState, Waiter
from bridge.errors import PoolClosed
from tests.core.test_pool_state import Worker, lent, pool_of, queued

Act = Callable[[PoolState[Worker], Waiter[Worker]], object]


class World:
    """A pool, the waiter whose method is cut short, and the others."""

    def __init__(self, idle: int, busy: int, waiting: int) -> None:
        self.workers = [Worker(f"w{n}") for n in range(idle + busy)]
        self.pool = pool_of(*self.workers)
        self.holders = [lent(self.pool) for _ in range(busy)]
        self.owner: Waiter[Worker] | None = Waiter()
        self.waiters = queued(self.pool, waiting) if waiting else []
        self.removed: set[Worker] = set()


def interrupted_at(count: int, act: Callable[[], object]) -> bool:
    """Run it; True when it was cut short at that event."""
    left = count

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal left
        if frame.f_code.co_filename != pool_state.__file__:
            return None
        if event in ("line", "return"):
            if left == 0:
                left = -1
                raise KeyboardInterrupt
            left -= 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        act()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


# -- What may be cut short: each makes a world and says what its owner, or the supervisor, does next -----------


def checkout_of_an_idle_worker() -> tuple[World, Act]:
    return World(idle=2, busy=0, waiting=0), lambda pool, owner: pool.checkout(owner, 20)


def checkout_into_the_queue() -> tuple[World, Act]:
    return World(idle=0, busy=1, waiting=1), lambda pool, owner: pool.checkout(owner, 20)


def checkin() -> tuple[World, Act]:
    world = World(idle=2, busy=0, waiting=0)
    assert world.owner is not None
    world.pool.checkout(world.owner, 15)
    return world, lambda pool, owner: pool.checkin(owner, 20)


def checkin_while_others_wait() -> tuple[World, Act]:
    world = World(idle=1, busy=0, waiting=0)
    assert world.owner is not None
    world.pool.checkout(world.owner, 15)
    world.waiters = queued(world.pool, 2)
    return world, lambda pool, owner: pool.checkin(owner, 20)


def checkin_of_a_removed_worker() -> tuple[World, Act]:
    world, act = checkin_while_others_wait()
    world.removed.update(world.workers)
    world.pool.remove(world.workers[0])
    return world, act


def _offered() -> World:
    world = World(idle=0, busy=1, waiting=0)
    assert world.owner is not None
    world.pool.checkout(world.owner, 9)
    world.waiters = queued(world.pool, 1)
    assert world.pool.checkin(world.holders.pop(), 15) is world.owner
    return world


def take_of_an_offer() -> tuple[World, Act]:
    return _offered(), lambda pool, owner: pool.take(owner)


def leave_with_an_offer() -> tuple[World, Act]:
    return _offered(), lambda pool, owner: pool.leave(owner, 20)


def withdrawal_of_an_offer() -> tuple[World, Act]:
    return _offered(), lambda pool, owner: pool.withdraw(owner, 20)


def checkout_after_a_withdrawal() -> tuple[World, Act]:
    world = _offered()
    assert world.owner is not None
    pool, owner = world.pool, world.owner
    next_one = pool.withdraw(owner, 16)
    assert next_one is not None
    assert pool.take(next_one)
    world.waiters += queued(pool, 2, now=17)
    return world, lambda pool, owner: pool.checkout(owner, 20)


def leave_of_the_queue() -> tuple[World, Act]:
    world = World(idle=0, busy=1, waiting=0)
    assert world.owner is not None
    world.pool.checkout(world.owner, 9)
    world.waiters = queued(world.pool, 1)
    return world, lambda pool, owner: pool.leave(owner, 20)


def add_while_others_wait() -> tuple[World, Act]:
    world = World(idle=0, busy=0, waiting=2)
    world.workers.append(worker := Worker("new"))
    return world, lambda pool, owner: pool.add(worker, 20)


def add_to_the_idle() -> tuple[World, Act]:
    world = World(idle=1, busy=0, waiting=0)
    world.workers.append(worker := Worker("new"))
    return world, lambda pool, owner: pool.add(worker, 20)


def remove_an_idle_worker() -> tuple[World, Act]:
    world = World(idle=2, busy=0, waiting=0)
    world.removed.add(world.workers[0])
    return world, lambda pool, owner: pool.remove(world.workers[0])


def remove_a_lent_worker() -> tuple[World, Act]:
    world = World(idle=1, busy=1, waiting=0)
    world.removed.add(world.workers[-1])
    return world, lambda pool, owner: pool.remove(world.workers[-1])


def fail_all() -> tuple[World, Act]:
    return World(idle=0, busy=1, waiting=3), lambda pool, owner: pool.fail_all(PoolClosed("n"))


def audit_of_all_that_there_is() -> tuple[World, Act]:
    """Two dead holders, one offer that nobody was told of, and an idle worker that nobody was offered."""
    world = World(idle=0, busy=4, waiting=3)
    del world.holders[:2]
    for holder in (world.holders.pop(), world.holders.pop()):
        interrupted_at(5, lambda holder=holder: world.pool.checkin(holder, 15))  # type: ignore[misc]
    return world, lambda pool, owner: pool.audit()


def coldest() -> tuple[World, Act]:
    return World(idle=2, busy=0, waiting=0), lambda pool, owner: pool.coldest()


SITUATIONS = (
    checkout_of_an_idle_worker,
    checkout_into_the_queue,
    checkin,
    checkin_while_others_wait,
    checkin_of_a_removed_worker,
    take_of_an_offer,
    leave_with_an_offer,
    withdrawal_of_an_offer,
    checkout_after_a_withdrawal,
    leave_of_the_queue,
    add_while_others_wait,
    add_to_the_idle,
    remove_an_idle_worker,
    remove_a_lent_worker,
    fail_all,
    audit_of_all_that_there_is,
    coldest,
)


def holder_of(worker: Worker) -> Waiter[Worker] | None:
    return None if worker.holder is None else worker.holder()


def nothing(world: World) -> None: ...


def those_who_wait_look(world: World) -> None:
    for waiter in world.waiters:
        world.pool.take(waiter)


def a_worker_comes(world: World) -> None:
    world.workers.append(worker := Worker("late"))
    world.pool.add(worker, 22)


def everybody_is_refused(world: World) -> None:
    assert all(waiter.worker is None for waiter in world.pool.fail_all(PoolClosed("n")))


MEANWHILE = (nothing, those_who_wait_look, a_worker_comes, everybody_is_refused)


def check(world: World, *, added: bool, sound: bool) -> None:
    """After an audit: no worker is lost, nobody shares one, nobody is skipped."""
    pool = world.pool
    stranded, awake = pool.audit()
    living = [*world.holders, *world.waiters, *([world.owner] if world.owner is not None else [])]

    assert not (sound and stranded), "a clean worker is to be killed"
    for waiter in (*world.holders, *world.waiters):
        if waiter.taken and waiter.worker is not None and holder_of(waiter.worker) is waiter:
            assert waiter not in pool.waiting
            assert waiter.worker not in pool.idle
    for worker in world.workers if added else pool.workers:
        holder = holder_of(worker)
        held = worker not in pool.idle and holder is not None and holder.worker is worker
        assert worker in pool.idle or held or worker in stranded or worker in world.removed, f"{worker} is lost"
        assert not (worker in pool.idle and worker in stranded)
    for worker in pool.idle:
        assert worker in pool.workers, f"{worker} may be lent, but was removed"
    assert not (pool.waiting and pool.idle), "a waiter is skipped"
    for waiter in awake:
        assert waiter.worker is not None
    for waiter in pool.waiting:
        assert waiter.worker is None

    # Whoever comes now gets workers that nobody else has, and keeps them when the first owner cleans up at last.
    busy = {holder.worker for holder in living if holder.worker and holder_of(holder.worker) is holder}
    busy -= set(pool.idle)
    newcomers = [lent(pool, 30) for _ in list(pool.idle)]
    assert busy.isdisjoint(newcomer.worker for newcomer in newcomers)
    if world.owner is not None:
        pool.leave(world.owner, 40)
        pool.checkin(world.owner, 41)
        assert world.owner.worker is None
    for newcomer in newcomers:
        assert newcomer.worker is not None
        assert holder_of(newcomer.worker) is newcomer
        assert newcomer.worker not in pool.idle


@pytest.mark.parametrize("owner", ["lives", "cleans up at once", "is gone"])
@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda f: str(f.__name__))
def test_an_interruption_loses_no_worker(situation: Callable[[], tuple[World, Act]], owner: str) -> None:
    """Cut short anywhere, each worker is idle, held by somebody alive, or reported; nobody shares one or is skipped.

    Fails when a worker leaves `idle` before it is bound, or is unbound before it is in `idle`; when `remove`
    forgets the worker before it stops lending it; when `audit` forgets what it is about to report; when an offer that
    was cut short is made anew, refused, or taken without leaving both queues.
    """
    name = situation.__name__
    for count, meanwhile in ((count, meanwhile) for count in range(200) for meanwhile in MEANWHILE):
        world, act = situation()
        assert world.owner is not None
        cut = interrupted_at(count, lambda world=world, act=act: act(world.pool, world.owner))  # type: ignore[misc]
        if owner == "is gone":
            world.owner = None
        elif owner == "cleans up at once":
            world.pool.leave(world.owner, 25)
            world.pool.checkin(world.owner, 26)
        meanwhile(world)
        check(
            world,
            added=not name.startswith("add"),
            sound=owner != "is gone" and not name.startswith(("add", "remove", "audit")),
        )
        if not cut and meanwhile is MEANWHILE[-1]:
            assert count > 1
            return
    pytest.fail("it never came through")
