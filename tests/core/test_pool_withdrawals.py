"""Offers that are taken back, since whoever got them doesn't look: a loop that was stopped, or closed."""

from __future__ import annotations

import pytest

from tests.core.test_pool_state import Worker, lent, pool_of, queued


def test_an_offer_that_is_withdrawn_goes_to_the_next_one() -> None:
    """Its owner doesn't look, perhaps for ever. Fails when it is queued again, and so offered the same worker anew."""
    worker = Worker()
    pool = pool_of(worker)
    holder = lent(pool)
    asleep, awake = queued(pool, 2)
    assert pool.checkin(holder, now=20) is asleep

    assert pool.withdraw(asleep, now=20) is awake
    assert pool.withdraw(asleep, now=20) is None
    assert pool.take(awake)
    assert (asleep.worker, asleep.withdrawn, awake.worker) == (None, True, worker)
    assert pool.take(asleep) is False
    assert not pool.waiting


def test_what_was_taken_or_never_offered_cannot_be_withdrawn() -> None:
    """The owner looked in time. Fails when `withdraw` doesn't ask."""
    pool = pool_of(Worker())
    holder = lent(pool)
    (waiter,) = queued(pool, 1)

    assert pool.withdraw(holder, now=20) is None
    assert pool.withdraw(waiter, now=20) is None
    assert holder.worker is not None
    assert not holder.withdrawn
    assert list(pool.waiting) == [waiter]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_whoever_was_withdrawn_comes_back_to_its_place(order: tuple[int, int]) -> None:
    """Before those who came after it, and not before those who came earlier. Fails when it is queued at either end."""
    pool = pool_of(Worker("a"), Worker("b"))
    holders = [lent(pool), lent(pool)]
    asleep = queued(pool, 2)
    for holder in holders:
        pool.checkin(holder, now=20)
    for waiter in asleep:
        pool.withdraw(waiter, now=20)
    holders = [lent(pool), lent(pool)]
    (late,) = queued(pool, 1, now=21)

    for index in order:
        assert pool.checkout(asleep[index], now=30) is False
        assert not asleep[index].withdrawn
    assert list(pool.waiting) == [*asleep, late]
    assert [waiter.enqueued_at for waiter in pool.waiting] == [10, 11, 21]


def test_whoever_was_withdrawn_may_find_an_idle_worker() -> None:
    """Then there is no place to keep any more; the next time it is a newcomer."""
    pool = pool_of(Worker())
    holder = lent(pool)
    (waiter,) = queued(pool, 1)
    pool.checkin(holder, now=20)
    pool.withdraw(waiter, now=20)

    assert pool.checkout(waiter, now=30) is True
    assert not waiter.withdrawn
    pool.checkin(waiter, now=31)
    holder = lent(pool)
    (other,) = queued(pool, 1)
    assert pool.checkout(waiter, now=32) is False
    assert list(pool.waiting) == [other, waiter]


def test_whoever_gives_up_when_withdrawn_gives_up_its_place() -> None:
    """Fails when `leave` keeps it for the next call of the same owner."""
    pool = pool_of(Worker())
    holder = lent(pool)
    (waiter,) = queued(pool, 1)
    pool.checkin(holder, now=20)
    pool.withdraw(waiter, now=20)

    pool.leave(waiter, now=21)

    assert not waiter.withdrawn


def test_a_withdrawal_that_was_cut_short_lends_nothing_twice() -> None:
    """Its worker was idle again when another one took it. Fails when `take` doesn't ask whose it is."""
    worker = Worker()
    pool = pool_of(worker)
    holder = lent(pool)
    (waiter,) = queued(pool, 1)
    pool.checkin(holder, now=20)
    waiter.withdrawn = True
    pool.idle[worker] = 20  # and here came the exception
    other = lent(pool)

    assert pool.take(waiter) is False
    assert waiter.worker is None
    assert (other.worker, waiter.withdrawn) == (worker, True)


def test_an_offer_that_was_cut_short_may_go_to_somebody_who_comes_back() -> None:
    """Then it is made anew when its turn comes. Fails when `_match` takes what is bound to another for an offer."""
    first_worker, second_worker = Worker("a"), Worker("b")
    pool = pool_of(first_worker)
    holder = lent(pool)
    older, younger = queued(pool, 2)
    pool.checkin(holder, now=20)
    assert pool.withdraw(older, now=20) is younger
    pool.waiting[younger], pool.idle[first_worker] = None, 20  # as if the offer had been cut short

    pool.checkout(older, now=21)

    assert pool.audit() == ([], [older])
    assert pool.add(second_worker, now=22) is younger
    assert pool.take(older)
    assert pool.take(younger)
    assert (older.worker, younger.worker) == (first_worker, second_worker)
