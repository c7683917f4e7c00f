"""Callers who want one worker and no other, or prefer one: their queues, their turn, and the end of their worker.

Apart from test_pool_state.py, whose callers take any; interruptions have test_pool_interruptions.py.
"""

from __future__ import annotations

from math import inf

import pytest

from bridge.core.pool_state import PoolState, Waiter
from bridge.errors import PoolClosed
from tests.core.pool_situations import wanting
from tests.core.test_pool_state import Worker, lent, pool_of, queued


def who_wants(worker: Worker) -> Waiter[Worker]:
    """A waiter that has not asked yet."""
    waiter: Waiter[Worker] = Waiter()
    waiter.wants = worker
    return waiter


def two_lent() -> tuple[PoolState[Worker], list[Worker], list[Waiter[Worker]]]:
    """A pool, its workers, and who holds each."""
    workers = [Worker("a"), Worker("b")]
    pool = pool_of(*workers)
    holders = [lent(pool), lent(pool)]
    return pool, workers, holders[::-1]


# -- A worker that is idle ---------------------------------------------------------------------------------


def test_an_idle_worker_is_lent_at_once_to_who_wants_it() -> None:
    """The coldest of three, too. Fails when `checkout` lends the warmest, or queues whoever wants one."""
    cold, *others = (Worker(name) for name in "abc")
    pool = pool_of(cold, *others)
    waiter = who_wants(cold)

    assert pool.checkout(waiter, now=10) is True
    assert (waiter.worker, waiter.taken) == (cold, True)
    assert list(pool.idle) == others
    assert not pool.own


def test_whoever_prefers_a_worker_is_lent_it_when_it_is_idle() -> None:
    """Else the warmest. Fails when `prefers` isn't looked at, or is waited for."""
    a, b, c = (Worker(name) for name in "abc")
    pool = pool_of(a, b, c)
    for expected in (a, c):
        waiter: Waiter[Worker] = Waiter()
        waiter.prefers = a
        assert pool.checkout(waiter, now=10) is True
        assert waiter.worker is expected


def test_whoever_prefers_a_worker_waits_for_any() -> None:
    """Fails when a preference has a queue of its own."""
    pool, (a, b), (_, holder) = two_lent()
    waiter: Waiter[Worker] = Waiter()
    waiter.prefers = a

    assert pool.checkout(waiter, now=10) is False
    assert pool.checkin(holder, now=11) is waiter
    assert waiter.worker is b


def test_a_preference_is_heeded_by_the_audit() -> None:
    """Of two workers that an interruption left idle, the one preferred. Fails when the audit takes the warmest."""
    pool, (a, _b), _ = two_lent()
    waiter: Waiter[Worker] = Waiter()
    waiter.prefers = a
    pool.checkout(waiter, now=10)
    pool.idle.update(dict.fromkeys(pool.workers, 11.0))  # two returns that were cut short

    assert pool.audit() == ([], [waiter])
    assert waiter.worker is a


# -- Whose turn it is ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["any, one", "one, any"])
def test_a_worker_that_comes_back_goes_to_whoever_came_first(order: str) -> None:
    """Of its own queue and of the common one. Fails when `_match` looks at one of the queues first, or compares the
    tickets the wrong way round."""
    worker = Worker()
    pool = pool_of(worker)
    holder = lent(pool)
    waiters = [wanting(pool, worker) if each == "one" else queued(pool, 1)[0] for each in order.split(", ")]

    for waiter in waiters:
        assert pool.checkin(holder, now=20) is waiter
        assert pool.take(waiter)
        assert waiter.worker is worker
        holder = waiter
    assert (len(pool.waiting), pool.own) == (0, {})


def test_whoever_wants_a_worker_never_gets_another_one() -> None:
    """Neither one that comes back, nor a new one, nor from the audit; those who take any are served meanwhile, though
    they came later. Fails when the head of an own queue is matched with whatever is free, or bars the way."""
    pool, (a, _b), (_, holder) = two_lent()
    picky = wanting(pool, a)
    first, second = queued(pool, 2)

    assert pool.checkin(holder, now=20) is first
    assert pool.add(Worker("c"), now=21) is second
    assert pool.add(Worker("d"), now=22) is None
    assert pool.audit() == ([], [first, second])
    assert picky.worker is None
    assert list(pool.own[a]) == [picky]
    assert lent(pool).worker is not None  # nor does it keep newcomers from one that is idle


def test_those_who_take_any_do_not_starve_behind_those_who_want_one() -> None:
    """Tickets are common to all queues. Fails when an own queue always goes first."""
    worker = Worker()
    pool = pool_of(worker)
    holder = lent(pool)
    early = wanting(pool, worker)
    (between,) = queued(pool, 1)
    late = wanting(pool, worker)

    served = []
    for _ in range(3):
        following = pool.checkin(holder, now=20)
        assert following is not None
        pool.take(following)
        served.append(holder := following)
    assert served == [early, between, late]


def test_those_who_want_one_worker_are_served_in_their_order() -> None:
    """Fails when the own queue is a stack."""
    pool, (a, _), (holder, _) = two_lent()
    waiters = [wanting(pool, a) for _ in range(3)]

    for waiter in waiters:
        assert pool.checkin(holder, now=20) is waiter
        assert pool.take(waiter)
        holder = waiter
    assert not pool.own


def test_a_newcomer_who_wants_a_worker_overtakes_nobody() -> None:
    """Neither those who take any nor those who want the same, past a worker that a return that was cut short left idle.
    Fails when `checkout` asks only whether it is idle, or looks at one queue alone."""
    pool, (a, b), _ = two_lent()
    early = wanting(pool, a)
    (common,) = queued(pool, 1)
    pool.idle.update(dict.fromkeys(pool.workers, 11.0))

    for wanted in (a, b):
        assert pool.checkout(who_wants(wanted), now=12) is False
    assert pool.audit() == ([], [early, common])
    assert (early.worker, common.worker) == (a, b)


def test_a_newcomer_who_takes_any_overtakes_nobody_who_wants_that_one() -> None:
    """Fails when `checkout` looks at the common queue alone."""
    worker = Worker()
    pool = pool_of(worker)
    lent(pool)
    early = wanting(pool, worker)
    pool.idle[worker] = 11

    assert pool.checkout(Waiter(), now=12) is False
    assert pool.audit() == ([], [early])


def test_the_audit_serves_who_waits_for_a_worker_that_is_idle() -> None:
    """Its return was cut short. Fails when the audit doesn't look at own queues."""
    pool, (a, b), _ = two_lent()
    first, second = wanting(pool, a), wanting(pool, a)
    other = wanting(pool, b)
    pool.idle[a] = 11

    assert pool.audit() == ([], [first])
    assert (first.worker, second.worker, other.worker) == (a, None, None)


def test_the_audit_gives_nobody_what_an_older_one_wants() -> None:
    """Of two idle workers, the warmer one is wanted by somebody who came before the common queue. Fails when a worker
    whose turn it is is matched with the head of that queue, who is then given the warmest."""
    pool, (a, b), _ = two_lent()
    leaver = wanting(pool, a)  # so that the audit looks at that queue first
    early = wanting(pool, b)
    (common,) = queued(pool, 1)
    late = wanting(pool, a)
    pool.leave(leaver, now=11)
    pool.idle.update(dict.fromkeys((a, b), 11.0))

    pool.audit()

    assert (early.worker, common.worker, late.worker) == (b, a, None)


def test_the_audit_serves_both_an_offer_that_was_cut_short_and_who_wants_another_worker() -> None:
    """The one who is first has its own worker already. Fails when the audit looks at each worker's queue once."""
    pool, (a, b), (_, holder) = two_lent()
    (common,) = queued(pool, 1)
    picky = wanting(pool, a)
    pool.checkin(holder, now=20)
    pool.waiting[common], pool.idle[b] = None, 20
    pool.idle[a] = 21

    assert pool.audit() == ([], [common, picky])
    assert (common.worker, picky.worker) == (b, a)


# -- Take, leave, withdraw, come back ------------------------------------------------------------------------


def test_leaving_an_own_queue_lets_the_next_one_move_up() -> None:
    """And the last one takes the queue with it. Fails when `leave` forgets own queues, or keeps empty ones."""
    pool, (a, _), (holder, _) = two_lent()
    first, second, third = (wanting(pool, a) for _ in range(3))

    assert pool.leave(first, now=12) is None
    assert pool.leave(first, now=12) is None
    assert pool.checkin(holder, now=13) is second
    assert pool.leave(third, now=14) is None
    assert not pool.own


def test_a_grant_that_meets_a_timeout_goes_to_the_next_who_wants_it() -> None:
    """Fails when `leave` of an offer looks at the common queue alone."""
    pool, (a, _), (holder, _) = two_lent()
    late, patient = wanting(pool, a), wanting(pool, a)
    assert pool.checkin(holder, now=20) is late

    assert pool.leave(late, now=20) is patient
    assert pool.take(patient)
    assert (late.worker, patient.worker) == (None, a)


def test_whoever_wants_a_worker_and_was_withdrawn_comes_back_to_its_place() -> None:
    """In the queue of that worker. Fails when it comes back at the end, or to the common queue."""
    pool, (a, _), (holder, _) = two_lent()
    asleep, second = wanting(pool, a), wanting(pool, a)
    assert pool.checkin(holder, now=20) is asleep
    assert pool.withdraw(asleep, now=20) is second
    pool.take(second)
    third = wanting(pool, a, now=21)
    (common,) = queued(pool, 1, now=22)

    assert pool.checkout(asleep, now=30) is False
    assert list(pool.own[a]) == [asleep, third]
    assert list(pool.waiting) == [common]
    assert (asleep.withdrawn, asleep.enqueued_at) == (False, 10)
    assert pool.checkin(second, now=31) is asleep


def test_a_withdrawn_offer_goes_to_the_common_queue_if_that_is_older() -> None:
    """Its owner keeps its place: it is served next. Fails when it comes back as a newcomer."""
    worker = Worker()
    pool = pool_of(worker)
    holder = lent(pool)
    asleep = wanting(pool, worker)
    common, later = queued(pool, 2)
    assert pool.checkin(holder, now=20) is asleep

    assert pool.withdraw(asleep, now=20) is common
    pool.take(common)
    pool.checkout(asleep, now=21)
    assert pool.checkin(common, now=22) is asleep
    assert list(pool.waiting) == [later]


# -- Everybody, and how many ------------------------------------------------------------------------------------


def test_all_who_wait_in_whatever_queue_can_be_refused() -> None:
    """And no queue is left. Fails when `fail_all` looks at the common queue alone, or takes what was offered."""
    pool, (a, b), (holder, _) = two_lent()
    (common,) = queued(pool, 1)
    offered = wanting(pool, a)
    picky = [wanting(pool, a), wanting(pool, b), wanting(pool, b)]
    pool.leave(common, now=12)
    assert pool.checkin(holder, now=20) is offered
    (common,) = queued(pool, 1)
    error = PoolClosed("n")

    assert pool.fail_all(error) == [common, *picky]
    assert [waiter.error for waiter in (common, *picky, offered)] == [error] * 4 + [None]
    assert (len(pool.waiting), pool.own) == (0, {})


def test_an_offer_that_went_to_another_does_not_keep_its_owner_from_being_refused() -> None:
    """It was cut short, and its worker is somebody else's. Fails when `fail_all` asks only whether a worker is set."""
    pool, (a, _), (holder, _) = two_lent()
    waiter = wanting(pool, a)
    waiter.worker = a  # as an interruption left it

    assert pool.fail_all(error := PoolClosed("n")) == [waiter]
    assert (waiter.error, waiter.worker is None, pool.own) == (error, True, {})
    assert holder.worker is a


def test_whoever_wants_one_worker_is_not_shed() -> None:
    """How long it waits says nothing of how busy the pool is, and its queue doesn't stand for the pool's. Fails when
    `shed_at` doesn't ask for `wants`, or an own queue starts the clock of the common one."""
    pool, (a, _), _ = two_lent()
    picky = wanting(pool, a, now=10)
    assert pool.shed_at(picky, target=1, interval=2) == inf
    assert pool.stands_at(2) == inf

    (common,) = queued(pool, 1, now=20)
    assert pool.shed_at(picky, target=1, interval=2) == inf
    wanting(pool, a, now=21)
    assert pool.shed_at(common, target=1, interval=2) == 22


def test_whoever_wants_one_worker_waits_no_longer_than_others() -> None:
    """The checkout timeout is its own. Fails when an own queue has none."""
    pool, (a, _), _ = two_lent()
    picky = wanting(pool, a, now=10)

    assert pool.expiry(picky, checkout_timeout=5, deadline=inf) == 15
    assert pool.expiry(picky, checkout_timeout=5, deadline=12) == 12


def test_how_many_wait() -> None:
    """Where one waits, or would, and everywhere. Fails when either counts the wrong queues."""
    pool, (a, b), _ = two_lent()
    common, *_ = queued(pool, 3)
    picky = [wanting(pool, a), wanting(pool, a)]

    assert [pool.queue_of(waiter) for waiter in (common, picky[0], who_wants(b), Waiter())] == [3, 2, 0, 3]
    assert pool.all_waiting == 5
    assert list(pool.own) == [a]  # to ask leaves nothing behind
