"""What may be cut short: each situation is a pool, and says what an owner, or the supervisor, does next.

Rules: a situation is sound, nobody in it has been interrupted yet (but for the one that says so); whoever waits is in
`waiters`, whoever holds a worker in `holders`, and what leaves the pool is in `removed`. Apart from
test_pool_interruptions.py, which cuts them short and judges what is left.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

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


def interrupted_at(count: int, act: Callable[[], object], file: str = pool_state.__file__) -> bool:
    """Run it; True when it was cut short at that event inside that file."""
    left = count

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal left
        if frame.f_code.co_filename != file:
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


# -- Of those who take any worker ----------------------------------------------------------------------


def checkout_of_an_idle_worker() -> tuple[World, Act]:
    return World(idle=2, busy=0, waiting=0), lambda pool, owner: pool.checkout(owner, 20)


def checkout_into_the_queue() -> tuple[World, Act]:
    return World(idle=0, busy=1, waiting=1), lambda pool, owner: pool.checkout(owner, 20)


def join_of_the_queue() -> tuple[World, Act]:
    return World(idle=0, busy=1, waiting=1), lambda pool, owner: pool.join(owner, 20)


def join_of_an_empty_queue() -> tuple[World, Act]:
    return World(idle=0, busy=1, waiting=0), lambda pool, owner: pool.join(owner, 20)


def checkin() -> tuple[World, Act]:
    world = World(idle=2, busy=0, waiting=0)
    assert world.owner is not None
    world.pool.checkout(world.owner, 15)
    return world, lambda pool, owner: pool.checkin(owner, 20)


def putting_back() -> tuple[World, Act]:
    world, _act = checkin()
    return world, lambda pool, owner: pool.put_back(owner, 20)


def checkin_while_others_wait() -> tuple[World, Act]:
    world = World(idle=1, busy=0, waiting=0)
    assert world.owner is not None
    world.pool.checkout(world.owner, 15)
    world.waiters = queued(world.pool, 2)
    return world, lambda pool, owner: pool.checkin(owner, 20)


def handing_on() -> tuple[World, Act]:
    world, _act = checkin_while_others_wait()
    return world, lambda pool, owner: pool.hand_on(owner, world.workers[0], world.waiters[0])


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


# -- Of those who want one worker, or prefer it ----------------------------------------------------------


def wanting(pool: PoolState[Worker], worker: Worker, now: float = 10) -> Waiter[Worker]:
    """A waiter in that worker's own queue."""
    waiter: Waiter[Worker] = Waiter()
    waiter.wants = worker
    assert pool.checkout(waiter, now) is False
    return waiter


def checkout_of_the_one_it_wants() -> tuple[World, Act]:
    world = World(idle=2, busy=0, waiting=0)
    assert world.owner is not None
    world.owner.wants = world.workers[0]
    return world, lambda pool, owner: pool.checkout(owner, 20)


def checkout_of_the_one_it_prefers() -> tuple[World, Act]:
    world = World(idle=2, busy=0, waiting=0)
    assert world.owner is not None
    world.owner.prefers = world.workers[0]
    return world, lambda pool, owner: pool.checkout(owner, 20)


def checkout_into_the_first_queue_of_its_own() -> tuple[World, Act]:
    world = World(idle=1, busy=1, waiting=0)
    assert world.owner is not None
    world.owner.wants = world.workers[1]
    return world, lambda pool, owner: pool.checkout(owner, 20)


def checkout_into_a_queue_of_its_own() -> tuple[World, Act]:
    world, act = checkout_into_the_first_queue_of_its_own()
    world.waiters = [wanting(world.pool, world.workers[1])]
    return world, act


def checkin_while_others_want_it(older: int = 0, younger: int = 1) -> tuple[World, Act]:
    """Two who want it, and among them those who take any; another worker is wanted too, and lent."""
    world = World(idle=2, busy=0, waiting=0)
    pool, owner = world.pool, world.owner
    assert owner is not None
    pool.checkout(owner, 9)
    world.holders.append(lent(pool, 9))
    assert owner.worker is not None
    world.waiters = [*queued(pool, older), wanting(pool, owner.worker), *queued(pool, younger)]
    world.waiters += [wanting(pool, worker, 13) for worker in world.workers]
    return world, lambda pool, owner: pool.checkin(owner, 20)


def checkin_while_others_want_it_who_came_later() -> tuple[World, Act]:
    return checkin_while_others_want_it(older=1)


def checkin_of_a_removed_worker_that_others_want() -> tuple[World, Act]:
    world, act = checkin_while_others_want_it()
    assert world.owner is not None
    assert world.owner.worker is not None
    world.removed.add(world.owner.worker)
    world.pool.remove(world.owner.worker)
    return world, act


def _offered_what_it_wants(behind: int) -> World:
    """It was lent to a holder, who has returned it by now."""
    world = World(idle=0, busy=1, waiting=0)
    pool, owner, worker = world.pool, world.owner, world.workers[0]
    assert owner is not None
    owner.wants = worker
    pool.checkout(owner, 9)
    world.waiters = [wanting(pool, worker) for _ in range(behind)] + queued(pool, 1)
    assert pool.checkin(world.holders.pop(), 15) is owner
    return world


def take_of_what_it_wants() -> tuple[World, Act]:
    return _offered_what_it_wants(behind=1), lambda pool, owner: pool.take(owner)


def leave_with_what_it_wants() -> tuple[World, Act]:
    return _offered_what_it_wants(behind=1), lambda pool, owner: pool.leave(owner, 20)


def leave_with_what_it_alone_wants() -> tuple[World, Act]:
    return _offered_what_it_wants(behind=0), lambda pool, owner: pool.leave(owner, 20)


def withdrawal_of_what_it_wants() -> tuple[World, Act]:
    return _offered_what_it_wants(behind=1), lambda pool, owner: pool.withdraw(owner, 20)


def checkout_of_what_it_wants_after_a_withdrawal() -> tuple[World, Act]:
    world = _offered_what_it_wants(behind=1)
    assert world.owner is not None
    next_one = world.pool.withdraw(world.owner, 16)
    assert next_one is not None
    assert world.pool.take(next_one)
    world.waiters += [wanting(world.pool, world.workers[0], 17) for _ in range(2)]
    return world, lambda pool, owner: pool.checkout(owner, 20)


def leave_of_a_queue_of_its_own() -> tuple[World, Act]:
    world = World(idle=0, busy=1, waiting=1)
    assert world.owner is not None
    world.owner.wants = world.workers[0]
    world.pool.checkout(world.owner, 15)
    return world, lambda pool, owner: pool.leave(owner, 20)


def add_of_a_worker_that_was_away() -> tuple[World, Act]:
    world = World(idle=0, busy=1, waiting=0)
    pool, worker = world.pool, world.workers[0]
    world.waiters = [wanting(pool, worker), *queued(pool, 1), wanting(pool, worker)]
    pool.remove(worker)
    pool.checkin(world.holders.pop(), 15)
    return world, lambda pool, owner: pool.add(worker, 20)


def bury_a_lent_worker() -> tuple[World, Act]:
    world = World(idle=1, busy=1, waiting=0)
    pool, worker, owner = world.pool, world.workers[1], world.owner
    assert owner is not None
    owner.wants = worker
    world.waiters = [wanting(pool, worker) for _ in range(2)]
    pool.checkout(owner, 15)
    world.removed.add(worker)
    return world, lambda pool, owner: pool.bury(worker)


def bury_an_idle_worker() -> tuple[World, Act]:
    world = World(idle=2, busy=0, waiting=0)
    world.removed.add(world.workers[0])
    return world, lambda pool, owner: pool.bury(world.workers[0])


def bury_a_worker_that_is_away() -> tuple[World, Act]:
    world, _ = add_of_a_worker_that_was_away()
    world.removed.update(world.workers)
    return world, lambda pool, owner: pool.bury(world.workers[0])


def fail_all_of_all_queues() -> tuple[World, Act]:
    world = World(idle=0, busy=2, waiting=1)
    world.waiters += [wanting(world.pool, worker) for worker in [*world.workers] * 2]
    return world, lambda pool, owner: pool.fail_all(PoolClosed("n"))


def audit_of_idle_workers_that_others_want() -> tuple[World, Act]:
    """Two of them, whose returns were cut short, while another one waits for any."""
    world = World(idle=0, busy=2, waiting=0)
    world.waiters = [wanting(world.pool, worker) for worker in [*world.workers] * 2] + queued(world.pool, 1)
    for holder in (world.holders.pop(), world.holders.pop()):
        interrupted_at(5, lambda holder=holder: world.pool.checkin(holder, 15))  # type: ignore[misc]
    return world, lambda pool, owner: pool.audit()


def audit_of_a_burial() -> tuple[World, Act]:
    """It was cut short before anybody was refused."""
    world, act = bury_a_lent_worker()
    assert world.owner is not None
    interrupted_at(3, lambda: act(world.pool, world.owner))  # type: ignore[arg-type]
    return world, lambda pool, owner: pool.audit()


SITUATIONS = (
    checkout_of_an_idle_worker,
    checkout_into_the_queue,
    join_of_the_queue,
    join_of_an_empty_queue,
    checkin,
    putting_back,
    checkin_while_others_wait,
    handing_on,
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
    checkout_of_the_one_it_wants,
    checkout_of_the_one_it_prefers,
    checkout_into_the_first_queue_of_its_own,
    checkout_into_a_queue_of_its_own,
    checkin_while_others_want_it,
    checkin_while_others_want_it_who_came_later,
    checkin_of_a_removed_worker_that_others_want,
    take_of_what_it_wants,
    leave_with_what_it_wants,
    leave_with_what_it_alone_wants,
    withdrawal_of_what_it_wants,
    checkout_of_what_it_wants_after_a_withdrawal,
    leave_of_a_queue_of_its_own,
    add_of_a_worker_that_was_away,
    bury_a_lent_worker,
    bury_an_idle_worker,
    bury_a_worker_that_is_away,
    fail_all_of_all_queues,
    audit_of_idle_workers_that_others_want,
    audit_of_a_burial,
)
