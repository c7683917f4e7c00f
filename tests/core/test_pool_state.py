"""Who gets which worker, as plain data: the order, the offers, the returns, the accounts."""

from __future__ import annotations

import gc
from math import inf
from typing import Any
from weakref import ReferenceType

import pytest

from bridge.core.pool_state import PoolState, Waiter
from bridge.errors import PoolClosed


class Worker:
    """All that the pool asks of one."""

    def __init__(self, name: str = "w") -> None:
        self.name = name
        self.holder: ReferenceType[Any] | None = None
        self.departed = False
        self.host = "a"  # where there are several

    def __repr__(self) -> str:
        return self.name


def pool_of(*workers: Worker) -> PoolState[Worker]:
    """All idle; the last one is the warmest."""
    pool: PoolState[Worker] = PoolState()
    for now, worker in enumerate(workers):
        assert pool.add(worker, now) is None
    return pool


def queued(pool: PoolState[Worker], count: int, now: float = 10) -> list[Waiter[Worker]]:
    """Waiters that came one second after the other."""
    waiters: list[Waiter[Worker]] = [Waiter() for _ in range(count)]
    for after, waiter in enumerate(waiters):
        assert pool.checkout(waiter, now + after) is False
    return waiters


def lent(pool: PoolState[Worker], now: float = 5) -> Waiter[Worker]:
    """A waiter that got a worker at once."""
    waiter: Waiter[Worker] = Waiter()
    assert pool.checkout(waiter, now) is True
    return waiter


def test_the_warmest_worker_is_lent_first() -> None:
    """The one that came back last has its caches warm. Fails when the coldest is taken."""
    a, b = Worker("a"), Worker("b")
    pool = pool_of(a, b)
    first, second = lent(pool), lent(pool)
    assert (first.worker, second.worker) == (b, a)

    pool.checkin(second, now=6)
    pool.checkin(first, now=7)

    assert lent(pool).worker is b


def test_waiters_are_served_in_their_order() -> None:
    """First come, first served; each return serves one. Fails when the queue is a stack."""
    pool = pool_of(Worker())
    holder = lent(pool)
    waiters = queued(pool, 3)

    for waiter in waiters:
        assert pool.checkin(holder, now=20) is waiter
        assert pool.take(waiter)
        holder = waiter

    assert pool.checkin(holder, now=21) is None
    assert list(pool.idle) == list(pool.workers)


def test_a_newcomer_does_not_overtake() -> None:
    """Whoever comes while others wait queues, even past an idle worker. Fails when checkout looks at idle alone."""
    pool = pool_of()
    (waiter,) = queued(pool, 1)
    worker = Worker()
    pool.workers[worker] = pool.idle[worker] = None  # type: ignore[assignment]  # an `add` that was cut short
    newcomer: Waiter[Worker] = Waiter()

    assert pool.checkout(newcomer, now=11) is False
    assert pool.audit() == ([], [waiter])


def test_an_offer_is_not_taken_before_its_owner_takes_it() -> None:
    """Offered and taken are two states. Fails when `take` answers for a waiter that has nothing."""
    pool = pool_of()
    (waiter,) = queued(pool, 1)
    assert pool.take(waiter) is False

    worker = Worker()
    assert pool.add(worker, now=12) is waiter
    assert (waiter.worker, waiter.taken) == (worker, False)
    assert not pool.waiting
    assert not pool.idle

    assert pool.take(waiter) is True
    assert waiter.taken


def test_a_grant_that_meets_a_timeout_goes_to_the_next_waiter() -> None:
    """A worker offered to a caller that just gave up is never lost. Fails when `leave` forgets the check-in."""
    worker = Worker()
    pool = pool_of(worker)
    holder = lent(pool)
    late, patient = queued(pool, 2)
    assert pool.checkin(holder, now=20) is late

    assert pool.leave(late, now=20) is patient
    assert pool.take(patient)
    assert (late.worker, patient.worker) == (None, worker)


def test_leaving_the_queue_lets_the_next_one_move_up() -> None:
    """Who gave up isn't served any more. Fails when `leave` forgets the queue."""
    pool = pool_of()
    first, second = queued(pool, 2)

    assert pool.leave(first, now=12) is None
    assert pool.leave(first, now=12) is None
    assert pool.add(Worker(), now=13) is second


def test_checkin_is_idempotent() -> None:
    """The second return of a worker doesn't take it from its next holder. Fails when the holder isn't compared."""
    worker = Worker()
    pool = pool_of(worker)
    first = lent(pool)
    pool.checkin(first, now=6)
    assert first.worker is None
    second = lent(pool)

    assert pool.checkin(first, now=7) is None
    assert not pool.idle
    first.worker = worker  # as an interruption between two assignments leaves it
    assert pool.checkin(first, now=8) is None
    assert not pool.idle
    assert worker.holder is not None
    assert worker.holder() is second
    assert first.worker is None  # else its next `take` would succeed, with somebody else's worker


def test_a_worker_removed_while_lent_is_not_lent_again() -> None:
    """Its holder keeps it; its return only unbinds. Fails when checkin doesn't ask whether it is still ours."""
    worker = Worker()
    pool = pool_of(worker)
    holder = lent(pool)
    (waiter,) = queued(pool, 1)

    pool.remove(worker)
    pool.remove(worker)

    assert pool.audit() == ([], [])
    assert holder.worker is worker
    assert pool.checkin(holder, now=20) is None
    assert holder.worker is None
    assert worker.holder is None
    assert not pool.idle
    assert waiter.worker is None


def test_an_idle_worker_that_is_removed_is_gone() -> None:
    """Nobody is lent it. Fails when it stays in either table."""
    worker = Worker()
    pool = pool_of(worker)

    pool.remove(worker)

    assert not pool.idle
    assert not pool.workers
    queued(pool, 1)


def test_the_coldest_worker_and_since_when() -> None:
    """For the one who lets idle workers go."""
    a, b = Worker("a"), Worker("b")
    pool = pool_of(a, b)
    assert pool.coldest() == (a, 0)

    first, second = lent(pool), lent(pool)
    assert pool.coldest() is None
    pool.checkin(first, now=8)
    pool.checkin(second, now=9)
    assert pool.coldest() == (b, 8)


def test_waiting_is_charged_from_the_later_of_queueing_and_the_first_worker() -> None:
    """Start-up isn't the waiter's fault. Fails when either `max` or `min` goes."""
    pool = pool_of()
    (waiter,) = queued(pool, 1, now=10)
    assert pool.expiry(waiter, checkout_timeout=5, deadline=inf) == inf
    assert pool.expiry(waiter, checkout_timeout=5, deadline=12) == 12

    other = Worker()
    pool.add(other, now=100)
    pool.take(waiter)
    (late,) = queued(pool, 1, now=101)
    assert pool.expiry(waiter, checkout_timeout=5, deadline=inf) == 105
    assert pool.expiry(late, checkout_timeout=5, deadline=inf) == 106
    assert pool.expiry(late, checkout_timeout=5, deadline=102) == 102


def test_a_pool_that_was_empty_starts_its_clock_anew() -> None:
    """A second worker doesn't prolong the wait; a first one after none does."""
    pool = pool_of(Worker("a"))
    lent(pool)
    (waiter,) = queued(pool, 1, now=10)

    second = Worker("b")
    pool.add(second, now=50)
    assert pool.expiry(waiter, checkout_timeout=5, deadline=inf) == 15

    for worker in list(pool.workers):
        pool.remove(worker)
    assert pool.expiry(waiter, checkout_timeout=5, deadline=inf) == inf
    pool.add(Worker("c"), now=70)
    assert pool.expiry(waiter, checkout_timeout=5, deadline=inf) == 75


def test_who_waits_in_a_queue_that_stands_is_shed_after_the_target() -> None:
    """Not before the queue stands, and time without workers isn't charged: after an outage those who waited are served,
    not shed at once. Fails when either `max` goes, or the look whether there are workers."""
    pool = pool_of(Worker("a"))
    lent(pool)
    (first,) = queued(pool, 1, now=10)
    (second,) = queued(pool, 1, now=13)
    assert pool.shed_at(first, target=1, interval=2) == 12  # it stands from then on
    assert pool.shed_at(second, target=1, interval=2) == 14

    for worker in list(pool.workers):
        pool.remove(worker)
    assert pool.shed_at(first, target=1, interval=2) == inf
    pool.add(Worker("b"), now=50)
    assert pool.shed_at(second, target=1, interval=2) == 51


def test_all_who_wait_can_be_refused() -> None:
    """Each has the error and is out of the queue; who holds an offer keeps it. Fails when `fail_all` takes all."""
    worker = Worker()
    pool = pool_of(worker)
    holder = lent(pool)
    offered, *rest = queued(pool, 3)
    assert pool.checkin(holder, now=20) is offered
    error = PoolClosed("n")

    assert pool.fail_all(error) == rest
    assert [waiter.error for waiter in rest] == [error, error]
    assert offered.error is None
    assert not pool.waiting
    assert pool.fail_all(error) == []


def test_a_waiter_that_was_refused_may_come_again() -> None:
    """Queueing forgets what was before."""
    pool = pool_of()
    (waiter,) = queued(pool, 1)
    pool.fail_all(PoolClosed("n"))

    pool.checkout(waiter, now=30)

    assert (waiter.error, waiter.enqueued_at) == (None, 30)


def test_the_audit_of_a_sound_pool_finds_nothing() -> None:
    """Idle workers and living holders are no findings. Fails when a taken lease counts as an offer."""
    pool = pool_of(Worker("a"), Worker("b"))
    holder = lent(pool)

    assert pool.audit() == ([], [])
    assert holder.taken


@pytest.mark.parametrize("took", [True, False])
def test_the_audit_reports_workers_whose_holder_is_gone(took: bool) -> None:
    """Once it is dead, taken or not, its worker may have had a call out. Fails when a dead reference isn't seen."""
    worker = Worker()
    pool = pool_of()
    waiters = queued(pool, 1)
    pool.add(worker, now=12)
    if took:
        pool.take(waiters[0])
    waiters.clear()
    gc.collect()

    assert pool.audit() == ([worker], [])
    queued(pool, 1)  # it isn't lent again
    assert pool.audit() == ([worker], [])
    pool.remove(worker)
    assert pool.audit() == ([], [])


def test_the_audit_wakes_whoever_was_offered_a_worker() -> None:
    """The wake-up may have been lost with its waker. Fails when offers aren't looked at."""
    pool = pool_of()
    (waiter,) = queued(pool, 1)
    pool.add(Worker(), now=12)

    assert pool.audit() == ([], [waiter])
    assert pool.take(waiter)
    assert pool.audit() == ([], [])


def test_waking_the_cores_own_waiter_does_nothing() -> None:
    """It doesn't sleep; the runtime's does."""
    Waiter[Worker]().wake()
