"""What a crowd is spared: who joins it, and to whom a worker is handed on.

Apart from test_pool_queues.py, whose callers have more to say than that they take any worker.
"""

from __future__ import annotations

from bridge.core.pool_state import Waiter
from tests.core.pool_situations import wanting
from tests.core.test_pool_queues import two_lent, who_wants
from tests.core.test_pool_state import Worker, lent, pool_of, queued


def test_who_joins_a_crowd_is_where_a_checkout_would_have_put_it() -> None:
    """Behind others, or first where there are none. Fails when `join` leaves out a part of it."""
    for waiting in (0, 3):
        one, other = pool_of(), pool_of()
        queued(one, waiting)
        queued(other, waiting)
        joined: Waiter[Worker] = Waiter()
        alike: Waiter[Worker] = Waiter()

        assert one.join(joined, now=20) is True
        assert other.checkout(alike, now=20) is False
        for name in ("ticket", "enqueued_at", "taken", "withdrawn", "worker", "error"):
            assert getattr(joined, name) == getattr(alike, name), name
        assert [*one.waiting].index(joined) == [*other.waiting].index(alike) == waiting
        assert (one.tickets, one.standing_since) == (other.tickets, other.standing_since)


def test_who_may_not_join_a_crowd_checks_out() -> None:
    """Whoever a worker is idle for, wants one and no other, had one before, or has a place already. Fails, each, when
    `join` doesn't look at that."""
    newcomer: Waiter[Worker] = Waiter()
    assert pool_of(Worker("idle")).join(newcomer, now=20) is False
    assert newcomer.ticket == 0

    pool, [a, _b], holders = two_lent()
    served = Waiter[Worker]()
    served.taken = True
    withdrawn = queued(pool, 1)[0]
    pool.checkin(holders[0], now=11)
    pool.withdraw(withdrawn, now=12)
    assert lent(pool).worker is a
    queue = queued(pool, 1)
    for waiter in (who_wants(a), served, withdrawn):
        assert pool.join(waiter, now=20) is False
    assert [*pool.waiting] == queue


def test_who_is_handed_a_worker_has_it_as_by_a_checkin() -> None:
    """And has taken its turn. Fails when `hand_on` leaves out a part of that."""
    found = []
    for handed in (False, True):
        worker = Worker("a")
        pool = pool_of(worker)
        holder = lent(pool)
        first, second = queued(pool, 2)
        if handed:
            assert pool.hand_on(holder, worker, first) is True
        else:
            assert pool.checkin(holder, now=20) is first
            pool.accept(first)
        assert worker.holder is not None
        assert worker.holder() is first.worker.holder() is first  # type: ignore[union-attr, misc]
        assert [*pool.waiting] == [second]
        found.append((holder.worker, first.taken, first.withdrawn, [*pool.idle], pool.audit()))
    assert found[0] == found[1]


def test_whose_turn_is_in_doubt_is_handed_nothing() -> None:
    """The worker was given back already, or lent to another since; it was removed; somebody wants it and no
    other; or who is first was half given another. Fails, each, when `hand_on` doesn't look at that."""
    pool, [a, b], [holder, other] = two_lent()
    first = queued(pool, 1)[0]

    def in_doubt() -> bool:
        before = (first.worker, first.taken, [*pool.waiting])
        assert pool.hand_on(holder, a, first) is False
        return before == (first.worker, first.taken, [*pool.waiting])

    assert holder.worker is a
    first.worker = b
    assert in_doubt()
    first.worker = None
    wanting(pool, a)
    assert in_doubt()
    pool.own.clear()
    pool.remove(a)
    assert in_doubt()
    pool.workers[a] = None
    bound, a.holder = a.holder, b.holder
    assert in_doubt()
    a.holder = None
    assert in_doubt()
    a.holder = bound
    assert pool.hand_on(holder, a, first) is True
    assert other.worker is b


def test_who_wants_another_one_is_in_nobodys_way() -> None:
    """Fails when `hand_on` hands nothing over as long as anybody wants one worker and no other."""
    pool, [a, b], [holder, _other] = two_lent()
    first = queued(pool, 1)[0]
    wanting(pool, b)

    assert pool.hand_on(holder, a, first) is True
    assert first.worker is a


def test_a_worker_is_put_back_as_by_a_checkin() -> None:
    """Where nobody waits. Fails when `put_back` leaves out a part of it."""
    found = []
    for put in (False, True):
        pool = pool_of(Worker("a"), Worker("b"))
        holder = lent(pool)
        worker = holder.worker
        assert worker is not None
        if put:
            assert pool.put_back(holder, now=20) is True
        else:
            assert pool.checkin(holder, now=20) is None
        found.append(([*map(str, pool.idle.items())], worker.holder, holder.worker))

    assert found[0] == found[1]


def test_what_else_comes_back_is_checked_in() -> None:
    """Where somebody waits for any worker or for that one, when it was removed or left to another, and once it is back.
    Fails, each, when `put_back` doesn't look at that."""

    def of(situation: str) -> bool:
        worker = Worker("a")
        pool = pool_of(worker)
        holder = lent(pool)
        if situation == "any":
            queued(pool, 1)
        elif situation == "that one":
            pool.checkout(who_wants(worker), now=11)
        elif situation == "removed":
            pool.remove(worker)
        elif situation == "another's":
            pool.checkin(holder, now=11)
            other = lent(pool)
            holder.worker = other.worker
        elif situation == "back":
            pool.checkin(holder, now=11)
        before = [*pool.idle.items()]
        back = pool.put_back(holder, now=20)
        assert back or [*pool.idle.items()] == before
        return back

    assert of("lent")
    for situation in ("any", "that one", "removed", "another's", "back"):
        assert not of(situation), situation
