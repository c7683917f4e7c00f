"""Workers that somebody wants, and that are away for a while, or for good; and offers of them that were cut short.

Apart from test_pool_queues.py, which is about whose turn it is.
"""

from __future__ import annotations

import pytest

from bridge.core.pool_state import Departed, PoolState, Waiter
from tests.core.pool_situations import wanting
from tests.core.test_pool_queues import two_lent, who_wants
from tests.core.test_pool_state import Worker, lent, pool_of, queued

# -- A worker that is away, and one that is buried --------------------------------------------------------------


def test_a_worker_that_was_away_serves_its_own_queue_first_when_it_is_back() -> None:
    """Whoever wants it waited through. Fails when `remove` refuses them, or `add` looks at the common queue alone."""
    pool, (a, _), (holder, _) = two_lent()
    before = wanting(pool, a)
    (common,) = queued(pool, 1)
    pool.remove(a)
    assert pool.checkin(holder, now=20) is None
    during = wanting(pool, a)
    assert (before.error, during.error) == (None, None)
    assert pool.audit() == ([], [])

    assert pool.add(a, now=30) is before
    assert pool.take(before)
    assert pool.checkin(before, now=31) is common
    assert pool.take(common)
    assert pool.checkin(common, now=32) is during


def test_a_worker_that_is_away_is_lent_to_nobody_when_its_holder_leaves_it() -> None:
    """Not to who wants it either, though another one is idle. Fails when `_match` doesn't ask whether it is."""
    pool, (a, b), (holder, other) = two_lent()
    picky = wanting(pool, a)
    pool.checkin(other, now=20)
    pool.remove(a)

    assert pool.checkin(holder, now=21) is None
    assert picky.worker is None
    assert list(pool.idle) == [b]


def test_a_burial_refuses_whoever_wants_that_worker() -> None:
    """Each once, to be woken; nobody else. Fails when `bury` forgets those who wait, refuses others, or keeps them
    queued."""
    pool, (a, b), _ = two_lent()
    refused = [wanting(pool, a), wanting(pool, a)]
    other = wanting(pool, b)
    (common,) = queued(pool, 1)

    assert pool.bury(a) == refused
    assert [type(waiter.error) for waiter in refused] == [Departed, Departed]
    assert pool.bury(a) == []
    assert pool.audit() == ([], [])
    assert (other.error, common.error) == (None, None)
    assert (list(pool.own), list(pool.waiting), list(pool.workers)) == ([b], [common], [b])


def test_a_buried_worker_is_not_lent_again() -> None:
    """Idle or lent; its holder keeps it. Fails when `bury` leaves it in the pool."""
    idle, busy = Worker("a"), Worker("b")
    pool = pool_of(idle, busy)
    holder = lent(pool)

    assert pool.bury(idle) == pool.bury(busy) == []

    assert holder.worker is busy
    assert not pool.idle
    assert pool.checkin(holder, now=20) is None
    queued(pool, 1)


def test_nobody_waits_for_a_worker_that_was_buried() -> None:
    """Fails when `checkout` queues whoever comes after the burial, or leaves a queue behind, or `bury` doesn't say that
    its worker has departed."""
    pool, (a, _), (holder, _) = two_lent()
    pool.bury(a)
    waiter = who_wants(a)

    with pytest.raises(Departed):
        pool.checkout(waiter, now=20)

    assert (waiter.worker, waiter.taken, pool.own, pool.all_waiting) == (None, False, {}, 0)
    assert pool.leave(waiter, now=21) is None
    assert pool.checkin(holder, now=22) is None


def test_an_offer_that_was_taken_back_meets_the_burial_when_its_owner_looks() -> None:
    """It was in no queue when that worker was buried. Fails when whoever comes back is queued unasked."""
    pool, (a, _), (holder, _) = two_lent()
    asleep = wanting(pool, a)
    pool.checkin(holder, now=20)
    pool.withdraw(asleep, now=20)

    assert pool.bury(a) == []
    with pytest.raises(Departed):
        pool.checkout(asleep, now=21)
    assert not pool.own


def test_whoever_was_offered_a_worker_that_is_then_buried_keeps_it() -> None:
    """It finds out by itself, as any holder. Fails when `bury` takes what was offered."""
    pool, (a, _), (holder, _) = two_lent()
    offered = wanting(pool, a)
    pool.checkin(holder, now=20)

    assert pool.bury(a) == []
    assert offered.error is None
    assert pool.take(offered)


@pytest.mark.parametrize("wants", [True, False])
def test_an_offer_that_was_cut_short_is_void_when_its_worker_is_buried(wants: bool) -> None:
    """Nobody saw it: who wants that one is refused, who takes any waits on. Fails when `bury` takes it for one that was
    made, so that its owner waits for a dead worker or is lent it."""
    pool, (a, _), (holder, _) = two_lent()
    waiter = wanting(pool, a) if wants else queued(pool, 1)[0]
    pool.checkin(holder, now=20)
    pool.idle[a] = 20  # as if it had ended before it left both queues
    (pool.own.setdefault(a, pool.waiting.copy()) if wants else pool.waiting)[waiter] = None

    assert pool.bury(a) == [waiter] * wants
    assert pool.take(waiter) is False
    assert a.holder is None
    assert (waiter in pool.waiting, isinstance(waiter.error, Departed), pool.own) == (not wants, wants, {})


def test_a_burial_leaves_an_offer_of_another_worker_alone() -> None:
    """Its owner had the buried one before, and a return that was cut short left it bound. Fails when `bury` asks only
    whose that worker was."""
    pool, (a, b), (before, holder) = two_lent()
    (waiter,) = queued(pool, 1)
    pool.checkin(holder, now=20)
    pool.waiting[waiter], pool.idle[b] = None, 20
    a.holder = b.holder

    assert pool.bury(a) == []
    assert pool.take(waiter)
    assert (before.worker, waiter.worker) == (a, b)


def test_the_audit_ends_a_burial_that_was_cut_short() -> None:
    """Whoever has not been refused is, and is to be woken; the worker isn't lent. Fails when the audit doesn't ask who
    has departed, of the pool's workers and of those that are away."""
    pool, (a, b), _ = two_lent()
    waiters = [wanting(pool, a), wanting(pool, b)]
    pool.idle[b] = 11
    pool.remove(a)
    a.departed = b.departed = True

    stranded, awake = pool.audit()

    assert (stranded, set(awake)) == ([], set(waiters))
    assert all(isinstance(waiter.error, Departed) for waiter in waiters)
    assert (list(pool.workers), list(pool.idle), pool.own) == ([], [], {})


def test_an_empty_queue_is_cleared_away_by_the_audit() -> None:
    """A check-out was cut short before it was queued. Fails when the audit leaves it, and so holds on to the worker."""
    worker = Worker()
    pool = pool_of(worker)
    holder = lent(pool)
    pool.own[worker] = pool.waiting.copy()

    assert pool.audit() == ([], [])
    assert not pool.own
    assert holder.worker is worker


# -- What an interruption left half done isn't what it seems ---------------------------------------------------


def half_offered() -> tuple[PoolState[Worker], Worker, Waiter[Worker]]:
    """An idle worker that is bound to whoever waits for it: the offer was cut short."""
    worker = Worker()
    pool = pool_of(worker)
    holder = lent(pool)
    waiter = wanting(pool, worker)
    pool.checkin(holder, now=20)
    pool.idle[worker], pool.own[worker] = 20, pool.waiting.copy()
    pool.own[worker][waiter] = None
    return pool, worker, waiter


def test_a_worker_that_is_about_to_be_offered_is_not_taken_out() -> None:
    """Its owner could take it at any time, and so hold what is being looked after. Fails when `take_out` looks at idle
    alone."""
    pool, worker, waiter = half_offered()

    assert pool.take_out(worker) is False
    assert pool.audit() == ([], [waiter])
    assert pool.take(waiter)
    pool.checkin(waiter, now=21)
    assert pool.take_out(worker) is True


def test_a_worker_that_is_about_to_be_offered_is_not_the_coldest() -> None:
    """Else it would be told to end. Fails when `coldest` looks at idle alone."""
    pool, _, _ = half_offered()
    assert pool.coldest() is None
    other = Worker("other")
    pool.idle[other] = pool.workers[other] = 21  # type: ignore[assignment]

    assert pool.coldest() == (other, 21)
