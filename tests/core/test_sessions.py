"""Which sessions there are, and which worker has the state of each: the calls, as plain data."""

from __future__ import annotations

import gc
from collections.abc import Iterable
from math import inf
from weakref import ref

import pytest

from bridge.core.sessions import Landing, Record, SessionBook, SessionPolicy
from tests.core.test_pool_state import Worker


class Caller:
    """Whoever has a worker, and the session that it is for."""

    def __init__(self, worker: Worker, session: str | None) -> None:
        self.session = session
        worker.holder = ref(self)


Book = SessionBook[Worker]


def book_of(keys: Iterable[str] = (), *, ttl: float | None = 100.0, most: int = 10) -> Book:
    """Sessions that were begun one second after the other, from 0 on."""
    book: Book = SessionBook(SessionPolicy(ttl=ttl, max_sessions=most))
    for now, key in enumerate(keys):
        book.find(key, now)
    return book


def placed(
    book: Book, key: str, worker: Worker, now: float = 0, *, strict: bool = False, durable: bool = False
) -> Record[Worker]:
    """A session whose state is begun in that worker; no call of it is out."""
    record = book.find(key, now)
    assert book.land(record, worker, strict=strict, durable=durable) is Landing.BEGUN
    return record


# -- Which there are -----------------------------------------------------------------------------------------


def test_a_session_is_begun_once() -> None:
    """Its key finds it from then on, with the time of its use. Fails when `find` makes a new one, or forgets the
    time."""
    book = book_of()
    record = book.find("a", 1)

    assert book.find("a", 7) is record
    assert (record.key, record.used_at, record.worker, record.ended) == ("a", 7, None, "")
    assert [*book.records.values()] == [record]


def test_the_first_one_is_news() -> None:
    """Else nobody looks when its time is over; the others come later. Fails when `find` says nothing, or always."""
    book = book_of()
    book.find("a", 1)
    assert book.news

    book.news = False
    book.find("b", 2)
    assert not book.news


def test_they_stand_in_the_order_of_their_use() -> None:
    """A call's beginning and its end are uses. Fails when `find` or `leave` doesn't move the record."""
    book = book_of("abc")

    book.find("a", 10)
    assert [*book.records] == ["b", "c", "a"]
    book.leave(book.records["b"], 12)
    assert [*book.records] == ["c", "a", "b"]
    assert book.records["b"].used_at == 12


def test_leaving_a_session_that_has_ended_moves_no_other() -> None:
    """One of the same key may have begun meanwhile. Fails when `leave` doesn't ask whether it is current."""
    book = book_of("ab")
    old = book.records["a"]
    book.end(old, "it was closed")
    new = book.find("a", 5)
    book.find("b", 6)

    book.leave(old, 9)
    book.leave(old, 9)

    assert [*book.records] == ["a", "b"]
    assert new.used_at == 5


# -- How many ------------------------------------------------------------------------------------------------


def test_beyond_the_limit_the_one_least_recently_used_ends() -> None:
    """It says so, and its worker is owed a farewell. Fails when `trim` doesn't look at the number, or `end` forgets
    the worker."""
    book, worker = book_of(most=2), Worker()
    a, b = placed(book, "a", worker, 0), placed(book, "b", worker, 1)
    book.find("a", 2)

    c = book.find("c", 3)

    assert [*book.records.values()] == [a, c]
    assert b.ended == "it was the one least recently used (max_sessions=2)"
    assert book.owed(worker) == (("b", b.epoch),)


def test_one_in_use_is_not_ended_for_another() -> None:
    """The next one is. Fails when `trim` doesn't ask whether it is in use."""
    book, worker = book_of(most=2), Worker()
    a = placed(book, "a", worker, 0)
    b = book.find("b", 1)
    caller = Caller(worker, "a")

    book.find("c", 2)

    assert caller.session == "a"
    assert (book.is_current(a), book.is_current(b)) == (True, False)
    assert book.owed(worker) == ()


def test_all_in_use_may_exceed_the_limit_until_they_are_left() -> None:
    """Neither a loop without an end, nor the one just asked for. Fails when `trim` doesn't stop at the first that it
    spared (it hangs), or ends the one that is asked for."""
    book, one, other = book_of(most=1), Worker("one"), Worker("other")
    a = placed(book, "a", one, 0)
    callers = [Caller(one, "a")]
    b = placed(book, "b", other, 1)
    callers.append(Caller(other, "b"))

    c = book.find("c", 2)
    assert {*book.records.values()} == {a, b, c}

    one.holder = other.holder = None
    book.trim(3)
    assert [*book.records.values()] == [c]
    assert len(callers) == 2


def test_the_one_asked_for_is_not_the_one_that_is_too_many() -> None:
    """While another in use exceeds the limit. Fails when `find` trims before it knows which one is asked for."""
    book, one, other = book_of(most=1), Worker("one"), Worker("other")
    a = placed(book, "a", one, 0)
    first = Caller(one, "a")
    b = placed(book, "b", other, 1)
    second = Caller(other, "b")
    del first  # its call is over

    assert book.find("a", 2) is a
    assert book.is_current(b)
    assert second.session == "b"


# -- For how long --------------------------------------------------------------------------------------------


def test_late_ones_end() -> None:
    """At their time, not before, and no others. Fails when `trim` doesn't look at the time, or stops at the first."""
    book = book_of("abc", ttl=10)
    a, b, c = book.records.values()

    book.trim(9.9)
    assert len(book.records) == 3
    book.trim(11)

    assert [*book.records.values()] == [c]
    assert (a.ended, b.ended, c.ended) == (why := "it wasn't used for 10 s (session.ttl)", why, "")


def test_a_late_one_that_is_asked_for_is_begun_anew() -> None:
    """Nobody may have looked meanwhile. Fails when `find` doesn't look at the time of what it finds."""
    book = book_of("a", ttl=10)
    old = book.records["a"]

    new = book.find("a", 10)

    assert new is not old
    assert (old.ended, new.ended) == ("it wasn't used for 10 s (session.ttl)", "")


def test_a_late_one_in_use_is_spared_and_does_not_make_the_timer_spin() -> None:
    """Its next time is in the future, whoever trims or asks. Fails when what is spared keeps its time, or `find` ends
    it."""
    book, worker = book_of(ttl=10), Worker()
    a = placed(book, "a", worker, 0)
    caller = Caller(worker, "a")

    book.trim(15)
    assert book.is_current(a)
    assert book.next_end() == 25
    assert book.find("a", 40) is a
    assert caller.session == "a"


def test_when_the_next_one_ends() -> None:
    """That of the first, and never without any or without a ttl. Fails when it isn't the first one's."""
    assert book_of().next_end() == inf
    assert book_of("ab", ttl=None).next_end() == inf
    book = book_of("ab", ttl=10)
    assert book.next_end() == 10
    book.find("a", 5)
    assert book.next_end() == 11


def test_without_a_ttl_none_is_late() -> None:
    """Fails when None is taken for a number."""
    book = book_of("ab", ttl=None)
    book.trim(1e9)
    assert len(book.records) == 2


# -- Where ---------------------------------------------------------------------------------------------------


def test_the_first_call_begins_the_state_and_the_next_one_keeps_it() -> None:
    """Each beginning has an epoch of its own. Fails when `land` begins anew what is there, or an epoch comes twice."""
    book, worker = book_of(), Worker()
    a = book.find("a", 0)
    assert book.land(a, worker, strict=False, durable=False) is Landing.BEGUN
    epoch = a.epoch
    assert (a.worker, a.live, epoch > 0) == (worker, True, True)

    assert book.land(a, worker, strict=False, durable=False) is Landing.KEPT
    assert a.epoch == epoch
    assert placed(book, "b", worker).epoch > epoch


def test_a_departed_worker_is_no_place() -> None:
    """The caller has to look again. Fails when `land` doesn't ask."""
    book, worker = book_of(), Worker()
    a = book.find("a", 0)
    worker.departed = True

    assert book.land(a, worker, strict=False, durable=False) is Landing.ELSEWHERE
    assert a.worker is None


def test_a_session_that_has_ended_lands_nowhere() -> None:
    """Its caller was waiting. Fails when `land` doesn't ask whether it is current."""
    book, worker = book_of(), Worker()
    a = placed(book, "a", worker)
    book.end(a, "it was closed")

    assert book.land(a, worker, strict=False, durable=False) is Landing.ELSEWHERE
    assert a.worker is None
    assert book.owed(worker) == (("a", a.epoch),)


@pytest.mark.parametrize("why", ["strict", "in use"])
def test_a_state_that_can_not_move_is_elsewhere(why: str) -> None:
    """A strict one, or one whose worker has a call of it. Fails when either isn't asked."""
    book, one, other = book_of(), Worker("one"), Worker("other")
    a = placed(book, "a", one)
    epoch = a.epoch
    caller = Caller(one, "a" if why == "in use" else "b")

    assert book.land(a, other, strict=why == "strict", durable=False) is Landing.ELSEWHERE
    assert (a.worker, a.epoch, a.live) == (one, epoch, True)
    assert book.owed(one) == ()
    assert caller.session is not None


def test_a_hint_moves_and_its_old_worker_is_told() -> None:
    """Of the old epoch. Fails when `land` doesn't leave the old worker, or counts first."""
    book, one, other = book_of(), Worker("one"), Worker("other")
    a = placed(book, "a", one)
    epoch = a.epoch
    book.news = False

    assert book.land(a, other, strict=False, durable=False) is Landing.BEGUN

    assert a.worker is other
    assert a.epoch > epoch
    assert book.owed(one) == (("a", epoch),)
    assert book.owed(other) == ()
    assert book.news
    assert [*book._at] == [other]


def test_a_durable_one_is_begun_anew_unless_it_was_stored() -> None:
    """What its worker has after a call that brought no state is nobody's. Fails when `land` leaves a durable one live,
    or `store` doesn't make it so."""
    book, worker = book_of(), Worker()
    a = placed(book, "a", worker, durable=True)
    assert book.land(a, worker, strict=False, durable=True) is Landing.BEGUN

    book.store(a, a.epoch, b"{}")
    assert a.snapshot == b"{}"
    assert book.land(a, worker, strict=False, durable=True) is Landing.KEPT
    assert book.land(a, worker, strict=False, durable=True) is Landing.BEGUN
    assert a.snapshot == b"{}"


def test_a_result_that_comes_after_the_session_went_on_is_not_stored() -> None:
    """Its worker died with the reply in the pipe, and another call began from the snapshot before: one of the two would
    be lost, though both returned. Fails when `store` doesn't look at the epoch."""
    book, worker, other = book_of(), Worker(), Worker()
    a = placed(book, "a", worker, durable=True)
    late = a.epoch
    worker.departed = True
    book.worker_gone(worker, 7, "exit code 3")
    assert book.land(a, other, strict=True, durable=True) is Landing.BEGUN

    assert not book.store(a, late, b'{"n": 1}')
    assert (a.snapshot, a.live) == (None, False)
    assert book.store(a, a.epoch, b"{}")


def test_a_result_that_comes_after_its_worker_died_is_stored_if_nobody_went_on() -> None:
    """It is what the session stands at. Fails when `store` asks for the worker."""
    book, worker = book_of(), Worker()
    a = placed(book, "a", worker, durable=True)
    worker.departed = True
    book.worker_gone(worker, 7, "exit code 3")
    assert book.store(a, a.epoch, b"{}")


def test_durable_is_for_good() -> None:
    """Whoever calls it later without saying so. Fails when the last caller's word counts."""
    book, worker = book_of(), Worker()
    a = placed(book, "a", worker, durable=True)
    book.store(a, a.epoch, b"{}")

    assert book.land(a, worker, strict=False, durable=False) is Landing.KEPT
    assert (a.durable, a.live) == (True, False)


def test_who_comes_back_to_a_worker_owes_it_no_farewell() -> None:
    """The new epoch says as much, and no empty table is kept. Fails when `land` leaves the farewell, or its table."""
    book, one, other = book_of(), Worker("one"), Worker("other")
    a = placed(book, "a", one)
    book.land(a, other, strict=False, durable=False)
    assert book.owed(one)

    book.land(a, one, strict=False, durable=False)

    assert [*book.farewells] == [other]
    assert [*book._at] == [one]


def test_beginning_anew_where_it_is_leaves_no_table() -> None:
    """As a durable one does after each call that fails. Fails when an empty dict of farewells stays."""
    book, worker = book_of(), Worker()
    a = placed(book, "a", worker, durable=True)

    assert book.land(a, worker, strict=False, durable=True) is Landing.BEGUN
    assert not book.farewells
    assert book._at == {worker: {"a": a}}


def test_a_call_that_was_left_keeps_what_is_not_durable() -> None:
    """A handler's exception isn't the end of the session. Fails when `leave` drops the state."""
    book, worker = book_of(), Worker()
    a = placed(book, "a", worker)
    book.leave(a, 1)

    assert book.land(a, worker, strict=False, durable=False) is Landing.KEPT


# -- Who has it ----------------------------------------------------------------------------------------------


def test_only_the_end_of_its_lease_frees_a_session() -> None:
    """A caller that had it before and cleans up late doesn't. Fails when `in_use` is what `leave` says."""
    book, worker = book_of(), Worker()
    a = placed(book, "a", worker)
    assert not a.in_use
    caller = Caller(worker, "a")
    book.leave(a, 1)
    assert a.in_use

    caller.session = None
    assert not a.in_use


def test_a_worker_lent_for_another_session_is_not_this_ones() -> None:
    """Fails when `in_use` doesn't compare the key."""
    book, worker = book_of(), Worker()
    a, b = placed(book, "a", worker), placed(book, "b", worker)
    caller = Caller(worker, "b")

    assert (a.in_use, b.in_use, caller.session) == (False, True, "b")


def test_a_caller_that_is_gone_uses_nothing() -> None:
    """It may have gone without a word. Fails when a dead reference counts."""
    book, worker = book_of(), Worker()
    a = placed(book, "a", worker)
    caller = Caller(worker, "a")
    assert a.in_use

    del caller
    gc.collect()
    assert not a.in_use
