"""Whoever gives a worker back begins the next thread's call: where that is right, and who waits for it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from math import inf
from types import SimpleNamespace
from typing import Any, cast
from weakref import ref

import pytest

from bridge.contract import ExitStatus, WorkerGone
from bridge.core.members import View
from bridge.core.stats import AT_ONCE
from bridge.errors import CallCancelled, PoolClosed, WorkerStartError
from bridge.link import SMALL
from bridge.runtime.claims import Claim
from bridge.runtime.pool import LAST_LOOK, Pool
from bridge.runtime.pool_policy import PoolPolicy
from bridge.testing import FakeClock


class Stand(SimpleNamespace):
    """A worker, as far as the pool looks at it."""

    __hash__ = object.__hash__  # type: ignore[assignment]


class Link(SimpleNamespace):
    """Notes what it was handed."""

    def __init__(self) -> None:
        self.handed: list[Any] = []
        super().__init__(clean=True, hands_on=True, outcome=True, handed=self.handed)

    def hand(self, *call: Any) -> bool:
        """Says what it is told to."""
        self.handed.append(call)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return bool(self.outcome)


def pool_of(**policy: Any) -> Pool:
    """One whose supervisor has a thread, and has said how it is."""
    pool = Pool(PoolPolicy(size=1, **policy), name="shop", clock=FakeClock())
    pool.attended = True
    pool.publish(View())
    return pool


def answered(pool: Pool) -> tuple[Claim, Any]:
    """A claim and its worker, which has answered."""
    known = {"status": None, "holder": None, "active_at": 0.0, "calls": 1, "most_calls": inf, "departed": False}
    worker: Any = Stand(**known, link=Link())
    claim = Claim()
    pool.add(worker)
    assert pool.lend(claim) is worker
    return claim, worker


def queued(pool: Pool) -> Any:
    """Whoever waits there, with a call that may be begun."""
    claim: Any = Claim()
    claim.body, claim.deadline = b"[]", pool._clock() + 5
    assert not pool.ask(claim, pool._clock())
    return claim


def elsewhere(act: Callable[..., Any], *args: Any) -> Any:
    """In a thread that no signal interrupts."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(act, *args).result(20)


def test_the_next_one_has_its_call_begun_and_is_told() -> None:
    """Its worker was counted, and is its. Fails when `hand_over` leaves out a part of it."""
    pool = pool_of()
    claim, worker = answered(pool)
    claim.sent_at = pool._clock() - 1
    first, second = queued(pool), queued(pool)

    assert elsewhere(pool.hand_over, claim, worker)
    assert worker.link.handed == [(b"[]", 5.0, ref(first))]
    assert (first.worker, first.begun, first.handing, first.taken) == (worker, True, False, True)
    assert first.sleep(0)
    assert (first.sent_at, worker.active_at, worker.calls) == (pool._clock(), pool._clock(), 2)
    assert (claim.worker, claim.sent_at, pool.tally.latencies.count) == (None, 0.0, 1)
    assert (second.worker, pool.waiting) == (None, 1)


def test_times_are_sorted_in_when_there_are_many() -> None:
    """Fails when `hand_over` keeps each of them: a list would grow with the calls."""
    pool = pool_of()
    claim, worker = answered(pool)
    for _ in range(2 * AT_ONCE):
        heir = queued(pool)
        claim.sent_at = 1.0
        assert elsewhere(pool.hand_over, claim, worker)
        claim = heir

    assert pool.tally.latencies.count == 2 * AT_ONCE
    assert len(pool.tally.latencies.fresh) < AT_ONCE


def test_what_was_no_call_is_not_counted() -> None:
    """A lease's. Fails when `hand_over` notes a time for whoever sent nothing."""
    pool = pool_of()
    claim, worker = answered(pool)
    queued(pool)

    assert elsewhere(pool.hand_over, claim, worker)
    assert pool.tally.latencies.count == 0


def dies(_claim: Claim, worker: Any, _heir: Any, _pool: Pool) -> None:
    worker.status = ExitStatus(code=1)


def has_served(_claim: Claim, worker: Any, _heir: Any, _pool: Pool) -> None:
    worker.most_calls = 1


def left(_claim: Claim, _worker: Any, heir: Any, pool: Pool) -> None:
    pool.leave(heir)


def no_body(_claim: Claim, _worker: Any, heir: Any, _pool: Pool) -> None:
    heir.body = None


def long(_claim: Claim, _worker: Any, heir: Any, _pool: Pool) -> None:
    heir.body = bytes(SMALL + 1)


def cancelled(_claim: Claim, _worker: Any, heir: Any, _pool: Pool) -> None:
    heir.cancelled = True


def late(_claim: Claim, _worker: Any, heir: Any, pool: Pool) -> None:
    heir.deadline = pool._clock()


def removed(_claim: Claim, worker: Any, _heir: Any, pool: Pool) -> None:
    pool.remove(worker)


@pytest.mark.parametrize("change", [dies, has_served, left, no_body, long, cancelled, late, removed])
def test_what_may_not_be_begun_by_another_is_not(change: Callable[..., None]) -> None:
    """On a worker that is dead, to be replaced or out of the pool; where nobody waits; of a call that is long, called
    off, late or not known. Fails, each, when `hand_over` doesn't look at that."""
    pool = pool_of()
    claim, worker = answered(pool)
    heir = queued(pool)
    change(claim, worker, heir, pool)

    assert not elsewhere(pool.hand_over, claim, worker)
    assert (worker.link.handed, claim.worker, heir.worker, heir.begun) == ([], worker, None, False)


def test_the_main_thread_hands_nothing_over() -> None:
    """Fails when `hand_over` doesn't ask which thread it is."""
    pool = pool_of()
    claim, worker = answered(pool)
    queued(pool)

    assert not pool.hand_over(claim, worker)
    assert worker.link.handed == []


@pytest.mark.parametrize("outcome", [False, WorkerGone(started=False), ValueError()])
def test_what_goes_wrong_is_for_the_other_one_to_find_out(outcome: bool | Exception) -> None:
    """Nobody waits for it any more. Fails when an error is raised to the giver, or leaves the other one waiting."""
    pool = pool_of()
    claim, worker = answered(pool)
    heir = queued(pool)
    worker.link.outcome = outcome

    assert elsewhere(pool.hand_over, claim, worker)
    assert isinstance(heir.begun, WorkerGone if outcome is False else type(outcome))
    assert not heir.handing
    assert heir.sleep(0)


@pytest.mark.parametrize("there", ["clean", "hands_on"])
def test_a_worker_that_can_be_handed_nothing_is_given_back(there: str) -> None:
    """One that still owes an answer, or is no process. Fails, each, when `give_back` doesn't look at that."""
    pool = pool_of()
    claim, worker = answered(pool)
    queued(pool)
    worker.link.call_id = 1
    setattr(worker.link, there, False)

    elsewhere(pool.checkin, claim)
    assert worker.link.handed == []
    assert claim.worker is None


def test_a_loop_elsewhere_begins_a_threads_call_too() -> None:
    """A task whose loop isn't the main thread's gives back its worker, and a thread is next. Fails when `give_back` has
    that thread woken to begin it itself."""
    pool = pool_of()
    claim, worker = answered(pool)
    heir = queued(pool)

    assert elsewhere(pool.give_back, claim, object()) is None
    assert (heir.worker, heir.begun) == (worker, True)
    assert heir.sleep(0)


# -- Who waits -------------------------------------------------------------------------------------------------------


class Waiting(Claim):
    """It finds, when it sleeps, what was done meanwhile."""

    def __init__(self, meanwhile: Callable[[Any], bool]) -> None:
        self.meanwhile = meanwhile
        self.slept = 0

    def arm(self) -> Any:
        """As any, but that it rings by itself."""
        super().arm()
        return SimpleNamespace(acquire=lambda _blocking, _seconds: self.sleep(_seconds))

    def sleep(self, seconds: float) -> bool:
        """Have that done."""
        self.slept += 1
        return self.meanwhile(self)


def served(pool: Pool, begun: Any = True) -> tuple[Waiting, Any]:
    """A claim whose worker comes back while it sleeps, and begins its call."""
    claim, worker = answered(pool)

    def meanwhile(waiting: Any) -> bool:
        worker.link.outcome = begun
        assert elsewhere(pool.hand_over, claim, worker)
        return True

    return Waiting(meanwhile), worker


def test_whose_call_was_begun_has_its_worker_at_once() -> None:
    """After one sleep. Fails when `turn` looks at anything else then: it would have an audit made, or time out."""
    pool = pool_of()
    claim, worker = served(pool)
    cast(Any, pool).look = None

    assert pool.turn(claim, b"[]", pool._clock() + 60) is worker
    assert claim.slept == 1


def test_whose_call_could_not_be_begun_is_told() -> None:
    """And still has its worker, whose end is for it to report. Fails when `turn` returns, or gives that back."""
    pool = pool_of()
    claim, worker = served(pool, WorkerGone(started=False))

    with pytest.raises(WorkerGone):
        pool.turn(claim, b"[]", pool._clock() + 60)
    assert claim.worker is worker


def test_whose_call_is_still_being_begun_waits_for_that() -> None:
    """Woken by somebody else: the giver still writes what it has noted. Fails when `turn` doesn't ask whether he is."""
    pool = pool_of()
    claim, worker = served(pool)
    begins = claim.meanwhile

    def meanwhile(waiting: Any) -> bool:
        if waiting.slept == 1:
            begins(waiting)
        waiting.handing = waiting.slept == 1
        return True

    claim.meanwhile = meanwhile
    assert pool.turn(claim, b"[]", pool._clock() + 60) is worker
    assert claim.slept == 2


def test_who_is_woken_to_a_worker_begins_its_call_itself() -> None:
    """As where the main thread gave it back. Fails when `turn` doesn't look, or looks for a call that was begun."""
    pool = pool_of()
    before, worker = answered(pool)

    def meanwhile(_waiting: Any) -> bool:
        pool.checkin(before)
        return True

    claim = Waiting(meanwhile)
    assert pool.turn(claim, b"[]", pool._clock() + 60) is worker
    assert (claim.begun, claim.taken) == (False, True)


def test_who_slept_in_vain_has_an_audit_made() -> None:
    """Fails when `turn` goes on sleeping: what an interruption stranded would be found late."""
    pool = pool_of()
    before, worker = answered(pool)
    told: list[str] = []
    keeper: Any = SimpleNamespace(interrupted_here=False, notice=lambda: told.append("notice"), attend=lambda _: False)
    pool.keeper = keeper

    def meanwhile(waiting: Any) -> bool:
        if waiting.slept > 1:
            pool.checkin(before)
        return bool(waiting.slept > 1)

    assert pool.turn(Waiting(meanwhile), b"[]", pool._clock() + 60) is worker
    assert told == ["notice"]


def test_who_is_interrupted_in_a_crowd_leaves_it() -> None:
    """Fails when `turn` leaves it in the queue."""
    pool = pool_of()
    answered(pool)

    def meanwhile(_waiting: Any) -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pool.turn(Waiting(meanwhile), b"[]", pool._clock() + 60)
    assert pool.waiting == 0


def closed(pool: Pool, _claim: Any) -> None:
    pool.close()


def closed_and_told(pool: Pool, _claim: Any) -> None:
    pool.close()
    pool.publish(View())


def growing(pool: Pool, _claim: Any) -> None:
    pool.publish(View(can_grow=True))


def failing(pool: Pool, _claim: Any) -> None:
    pool.publish(View(last_error=WorkerStartError("spawn", "no such file", handler="x")))


def unattended(pool: Pool, _claim: Any) -> None:
    pool.attended = False
    pool.publish(View())


def called_off(_pool: Pool, claim: Any) -> None:
    claim.cancelled = True


def had_one_before(_pool: Pool, claim: Any) -> None:
    claim.taken = True


@pytest.mark.parametrize(
    ("policy", "seconds", "change"),
    [
        ({}, LAST_LOOK - 0.1, None),
        ({"max_waiting": 5}, 60.0, None),
        ({"queue_target": 60.0}, 60.0, None),
        ({"checkout_timeout": LAST_LOOK / 2}, 60.0, None),
        *[({}, 60.0, change) for change in (closed, closed_and_told, growing, failing, unattended)],
        *[({}, 60.0, change) for change in (called_off, had_one_before)],
    ],
)
def test_where_there_is_more_to_be_seen_to_a_thread_asks(
    policy: dict[str, Any], seconds: float, change: Callable[[Pool, Any], None] | None
) -> None:
    """Whether it is refused, asks for a worker, hears one that starts, is shed, or late. Fails, each, when `turn` looks
    not at that."""
    pool = pool_of(**policy)
    answered(pool)
    asked: list[Any] = []
    cast(Any, pool).checkout = lambda claim, _deadline: asked.append(claim)
    claim = Waiting(lambda _: pytest.fail("it sleeps"))
    if change is not None:
        change(pool, claim)

    pool.turn(claim, b"[]", pool._clock() + seconds)
    assert asked == [claim]
    assert pool.waiting == 0


def test_who_asks_is_refused_as_ever() -> None:
    """Fails when `turn` keeps what `checkout` raises."""
    pool = pool_of()
    claim = Claim()
    claim.cancelled = True
    with pytest.raises(CallCancelled):
        pool.turn(claim, b"[]", pool._clock() + 60)
    pool.close()
    with pytest.raises(PoolClosed):
        pool.turn(Claim(), b"[]", pool._clock() + 60)
    assert pool.waiting == 0
