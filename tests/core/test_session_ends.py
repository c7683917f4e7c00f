"""Sessions that end, and workers that do: what is lost, who is told of it, what is left."""

from __future__ import annotations

from bridge.core.sessions import BATCH, Landing
from tests.core.test_pool_state import Worker
from tests.core.test_sessions import book_of, placed


def test_the_end_is_told_to_its_worker() -> None:
    """And the session is nowhere any more. Fails when `end` forgets the worker, the book, or the place."""
    book, worker = book_of(), Worker()
    a = placed(book, "a", worker)
    book.news = False

    book.end(a, "it was closed")

    assert (a.ended, a.worker, book.is_current(a)) == ("it was closed", None, False)
    assert book.owed(worker) == (("a", a.epoch),)
    assert book.news
    assert not book.records
    assert not book._at


def test_the_first_reason_is_the_one() -> None:
    """The end is idempotent, also once its farewell was said. Fails when the reason is overwritten, or the worker is
    told again."""
    book, worker = book_of(), Worker()
    a = placed(book, "a", worker)
    book.end(a, "it was closed")
    book.told(worker, book.owed(worker))

    book.end(a, "the bridge was closed")

    assert a.ended == "it was closed"
    assert not book.farewells


def test_the_end_of_an_old_one_spares_the_new_one() -> None:
    """Both have the same key. Fails when `end` deletes by the key alone."""
    book, worker = book_of(), Worker()
    old = placed(book, "a", worker)
    book.end(old, "it was closed")
    new = placed(book, "a", worker)

    book.end(old, "again")

    assert book.is_current(new)
    assert (new.worker, book.owed(worker)) == (worker, ())
    assert book._at == {worker: {"a": new}}


def test_an_end_that_was_cut_short_is_finished_by_the_next_call() -> None:
    """Its reason is noted first; whoever found it before lands nowhere. Fails when `land` or `find` goes on with it."""
    book, worker = book_of(), Worker()
    a = placed(book, "a", worker)
    a.ended = "it was closed"

    assert book.land(a, worker, strict=False, durable=False) is Landing.ELSEWHERE
    new = book.find("a", 1)

    assert new is not a
    assert (a.ended, a.worker, new.ended) == ("it was closed", None, "")
    assert book.owed(worker) == (("a", a.epoch),)


def test_all_can_be_ended() -> None:
    """Each with its reason. Fails when `clear` forgets one, or the workers."""
    book, worker = book_of("ab"), Worker()
    records = [*book.records.values(), placed(book, "c", worker)]

    book.clear("the bridge was closed")

    assert not book.records
    assert {record.ended for record in records} == {"the bridge was closed"}
    assert [key for key, _ in book.owed(worker)] == ["c"]


# -- Farewells -----------------------------------------------------------------------------------------------


def test_a_worker_is_told_of_so_many_at_a_time() -> None:
    """One call isn't to carry ten thousand; the rest comes next. Fails without the bound."""
    book, worker = book_of(most=1000), Worker()
    for number in range(BATCH + 1):
        placed(book, str(number), worker)
    book.clear("it was closed")

    first = book.owed(worker)
    assert len(first) == BATCH
    assert book.owed(worker) == first
    book.told(worker, first)
    assert len(book.owed(worker)) == 1
    book.told(worker, book.owed(worker))
    assert book.owed(worker) == ()
    assert not book.farewells


def test_what_was_told_is_what_is_forgotten() -> None:
    """A newer epoch of the same key is another state. Fails when `told` doesn't compare the epoch."""
    book, one, other = book_of(), Worker("one"), Worker("other")
    a = placed(book, "a", one)
    book.land(a, other, strict=False, durable=False)
    before = book.owed(one)
    book.land(a, one, strict=False, durable=False)
    book.land(a, other, strict=False, durable=False)
    now = book.owed(one)
    assert now != before

    book.told(one, before)
    assert book.owed(one) == now
    book.told(one, now)
    assert book.owed(one) == ()
    assert one not in book.farewells


def test_telling_a_worker_that_is_owed_nothing_leaves_nothing() -> None:
    """It may be gone meanwhile. Fails when a look at what is owed makes a table."""
    book, worker = book_of(), Worker()

    book.told(worker, (("a", 1),))

    assert book.owed(worker) == ()
    assert not book.farewells


def test_a_departed_worker_is_owed_nothing() -> None:
    """Nobody will ever tell it. Fails when `_leave_worker` doesn't ask."""
    book, worker = book_of(), Worker()
    a = placed(book, "a", worker)
    worker.departed = True

    book.end(a, "it was closed")

    assert not book.farewells
    assert not book._at


# -- The end of a worker -------------------------------------------------------------------------------------


def test_what_a_strict_one_loses_with_its_worker() -> None:
    """It is told by whose death; durable ones and hints lose nothing to speak of. Fails when either isn't asked."""
    book, worker = book_of(), Worker()
    strict = placed(book, "strict", worker, strict=True)
    durable = placed(book, "durable", worker, strict=True, durable=True)
    hint = placed(book, "hint", worker)

    book.worker_gone(worker, 123, "SIGKILL", "a")

    assert strict.lost == (123, "SIGKILL", "a")
    assert (durable.lost, hint.lost) == (None, None)
    assert [record.worker for record in (strict, durable, hint)] == [None] * 3
    assert all(map(book.is_current, (strict, durable, hint)))


def test_a_dead_worker_is_forgotten_once() -> None:
    """With its farewells; a second time changes nothing. Fails when `worker_gone` leaves a table behind."""
    book, worker = book_of(), Worker()
    strict, a = placed(book, "strict", worker, strict=True), placed(book, "a", worker)
    book.end(a, "it was closed")

    book.worker_gone(worker, 123, "SIGKILL")
    strict.lost = None  # somebody was told
    book.worker_gone(worker, 123, "SIGKILL")

    assert strict.lost is None
    assert not book.farewells
    assert not book._at


def test_the_death_of_a_former_worker_is_no_loss() -> None:
    """The state moved before. Fails when `worker_gone` doesn't compare the place, as what was cut short leaves it."""
    book, one, other = book_of(), Worker("one"), Worker("other")
    a = placed(book, "a", one)
    assert book.land(a, other, strict=False, durable=False) is Landing.BEGUN
    a.strict = True
    book._at[one] = {"a": a}

    book.worker_gone(one, 123, "SIGKILL")

    assert (a.worker, a.lost) == (other, None)
    assert not book.owed(one)
    assert [*book._at] == [other]


def test_after_a_loss_the_state_is_begun_anew_anywhere() -> None:
    """A strict one too, and nobody is told of the loss any more. Fails when the place or the loss stays."""
    book, one, other = book_of(), Worker("one"), Worker("other")
    a = placed(book, "a", one, strict=True)
    one.departed = True
    book.worker_gone(one, 123, "SIGKILL")

    assert book.land(a, other, strict=True, durable=False) is Landing.BEGUN
    assert (a.worker, a.lost) == (other, None)


def test_no_table_is_empty() -> None:
    """Whatever comes and goes, a worker without sessions costs nothing. Fails when either table keeps a worker."""
    book, one, other = book_of(most=3), Worker("one"), Worker("other")
    for number in range(40):
        worker = (one, other)[number % 3 == 0]
        record = book.find(str(number % 7), number)
        book.land(record, worker, strict=False, durable=number % 2 == 0)
        if number % 5 == 0:
            book.end(record, "it was closed")
        if number % 4 == 0:
            book.told(one, book.owed(one))
        assert all(book.farewells.values())
        assert all(book._at.values())
        assert sum(map(len, book._at.values())) == sum(record.worker is not None for record in book.records.values())
    book.clear("it was closed")
    for worker in (one, other):
        book.told(worker, book.owed(worker))
    assert not book._at
    assert not book.farewells


def test_a_state_that_a_strict_one_relies_on_does_not_move() -> None:
    """Whoever calls; until it has begun anew. Fails when `land` looks at the caller's affinity alone, or forgets that
    somebody was strict, or never forgets it."""
    book, worker, other = book_of(), Worker(), Worker()
    a = placed(book, "a", worker, strict=True)
    assert book.land(a, worker, strict=False, durable=False) is Landing.KEPT
    assert book.land(a, other, strict=False, durable=False) is Landing.ELSEWHERE

    worker.departed = True
    book.worker_gone(worker, 7, "exit code 3")
    lost = a.lost
    assert book.land(a, other, strict=False, durable=False) is Landing.BEGUN
    assert (lost, a.strict, a.lost) == ((7, "exit code 3", None), False, None)


def test_a_lineage_is_as_long_as_the_state_goes_on() -> None:
    """In another worker too, from its snapshot; not where it begins with nothing. Fails when `land` has a new one for
    each epoch, or `worker_gone` leaves the old one to what is gone."""
    book, worker, other = book_of(), Worker(), Worker()
    plain, durable = placed(book, "plain", worker), placed(book, "durable", worker, durable=True)
    book.store(durable, durable.epoch, b"{}")
    before = plain.lineage, durable.lineage
    worker.departed = True
    book.worker_gone(worker, 7, "exit code 3")
    assert (plain.lineage, durable.lineage) == (0, before[1])

    for record in (plain, durable):
        assert book.land(record, other, strict=False, durable=False) is Landing.BEGUN
    assert plain.lineage == plain.epoch != before[0]
    assert durable.lineage == before[1] != durable.epoch


def test_a_session_with_a_state_is_durable_from_its_first_snapshot_on() -> None:
    """A durable call that fails before leaves what there was. Fails when `land` makes it durable at once, or `store`
    doesn't."""
    book, worker = book_of(), Worker()
    a = placed(book, "a", worker)
    for _ in range(2):
        assert book.land(a, worker, strict=False, durable=True) is Landing.KEPT
        assert not a.durable
    book.store(a, a.epoch, b"{}")
    assert a.durable
    assert book.land(a, worker, strict=False, durable=False) is Landing.KEPT
    assert book.land(a, worker, strict=False, durable=False) is Landing.BEGUN


def test_an_ended_session_keeps_no_snapshot() -> None:
    """Its handles may live on. Fails when `end` leaves it."""
    book = book_of()
    a = placed(book, "a", Worker(), durable=True)
    book.store(a, a.epoch, b"{}")
    book.end(a, "it was closed")
    assert a.snapshot is None
