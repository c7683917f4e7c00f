"""Every method of the book, cut short before each of its lines and at each return.

The tracer raises KeyboardInterrupt at the k-th event inside sessions.py, for every k until the method comes through.
What is left must be a book that goes on: the calls that come next are made on workers that keep real states, so that a
state which is dropped, or older than what was stored, is seen by what is in it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

import pytest

from bridge.core import sessions
from bridge.core.sessions import Landing, Record
from bridge.states import States
from tests.core.pool_situations import interrupted_at
from tests.core.test_pool_state import Worker
from tests.core.test_sessions import Book, Caller, book_of

TTL: Final = 1000.0
STRICT: Final = {"strict", "strict durable"}
DURABLE: Final = {"durable", "strict durable", "unstored"}
KEYS: Final = ("hint", "strict", "durable", "strict durable", "unstored")


class World:
    """A book, two workers with their states, and what each session is known to stand at."""

    def __init__(self, most: int = 50) -> None:
        self.book: Book = book_of(ttl=TTL, most=most)
        self.one, self.other = Worker("one"), Worker("other")
        self.states = {self.one: States({}), self.other: States({})}
        self.now = 0.0
        self.stands_at: dict[Record[Worker], int] = {}  # calls that came through
        self.stored: dict[Record[Worker], int] = {}
        self.answered: set[int] = set()  # epochs in which a call came through
        self.callers: list[Caller] = []
        for key in KEYS:
            self.call(key, self.one)
        self.call("unstored", self.one, fails=True)

    def call(self, key: str, worker: Worker, *, fails: bool = False) -> None:
        """As a visit does: where its state is, else in that worker."""
        book, strict, durable = self.book, key in STRICT, key in DURABLE
        self.now += 1
        for _ in range(3):
            record = book.find(key, self.now)
            assert not record.ended
            assert record.worker is None or not record.worker.departed, "it points at a worker that is gone"
            lost, record.lost = record.lost, None
            if lost is not None:
                assert lost == (1, "SIGKILL", None)
                self.stands_at[record] = 0
            place = record.worker if record.worker is not None and strict else worker
            caller = Caller(place, key)
            landing = book.land(record, place, strict=strict, durable=durable)
            if landing is not Landing.ELSEWHERE:
                break
        else:
            pytest.fail("it lands nowhere")
        states, ended = self.states[place], book.owed(place)
        states.end(ended)
        here = states._kept.get(key, (0, {}))[0] == record.epoch
        assert here or landing is Landing.BEGUN or record.epoch not in self.answered, "its state was dropped"
        snapshot = record.snapshot if landing is Landing.BEGUN else None
        state = states.enter(key, record.epoch, None if snapshot is None else json.loads(snapshot))
        if durable:
            assert state.get("n", 0) == self.stored.get(record, 0), "it isn't what was stored last"
        elif strict:
            assert state.get("n", 0) == self.stands_at.get(record, 0), "a strict one lost its state unheard"
        state["n"] = state.get("n", 0) + 1
        if not fails:
            self.stands_at[record] = state["n"]
            self.answered.add(record.epoch)
            book.told(place, ended)
            if durable:
                book.store(record, record.epoch, json.dumps(state).encode())
                self.stored[record] = state["n"]
        place.holder = None
        book.leave(record, self.now)
        del caller

    def dies(self, worker: Worker) -> None:
        self.book.worker_gone(worker, 1, "SIGKILL")
        worker.departed = True

    def land(self, key: str, worker: Worker) -> Callable[[], object]:
        record = self.book.find(key, self.now)
        return lambda: self.book.land(record, worker, strict=key in STRICT, durable=key in DURABLE)


Act = Callable[[], object]


def landing(key: str, where: str) -> Callable[[], tuple[World, Act]]:
    def begin() -> tuple[World, Act]:
        world = World()
        if where == "back":
            world.call(key, world.other)
        elif where == "anew":
            world.dies(world.one)
            world.book.records[key].lost = None  # it was told
            world.stands_at.clear()
        return world, world.land(key, world.one if where in ("one", "back") else world.other)

    begin.__name__ = f"land {key} {where}"
    return begin


def ending(key: str) -> Callable[[], tuple[World, Act]]:
    def begin() -> tuple[World, Act]:
        world = World()
        record = world.book.records[key]
        return world, lambda: world.book.end(record, "it was closed")

    begin.__name__ = f"end {key}"
    return begin


def the_first_landing() -> tuple[World, Act]:
    world = World()
    return world, world.land("new", world.one)


def a_find_beyond_the_limit() -> tuple[World, Act]:
    world = World(most=len(KEYS))
    return world, lambda: world.book.find("new", world.now)


def a_find_of_a_late_one() -> tuple[World, Act]:
    world = World()
    world.now += TTL + 1
    return world, lambda: world.book.find("strict durable", world.now)


def a_find_of_an_old_one() -> tuple[World, Act]:
    world = World()
    world.now += TTL / 2
    return world, lambda: world.book.find(KEYS[0], world.now)


def a_trim_of_late_ones() -> tuple[World, Act]:
    world = World()
    world.now += TTL + 1
    return world, lambda: world.book.trim(world.now)


def a_trim_past_one_in_use() -> tuple[World, Act]:
    world = World()
    world.callers.append(Caller(world.one, KEYS[0]))
    world.now += TTL + 1
    return world, lambda: world.book.trim(world.now)


def a_leave() -> tuple[World, Act]:
    world = World()
    record = world.book.records[KEYS[0]]
    world.now += TTL / 2
    return world, lambda: world.book.leave(record, world.now)


def the_death_of_a_worker() -> tuple[World, Act]:
    world = World()
    world.call("hint", world.other)  # so that there is a farewell
    return world, lambda: world.dies(world.one)


def a_farewell() -> tuple[World, Act]:
    world = World()
    world.book.clear("it was closed")
    ended = world.book.owed(world.one)
    world.states[world.one].end(ended)
    return world, lambda: world.book.told(world.one, ended)


def the_end_of_all() -> tuple[World, Act]:
    world = World()
    return world, lambda: world.book.clear("it was closed")


def a_store() -> tuple[World, Act]:
    world = World()
    record = world.book.records["unstored"]
    state = world.states[world.one].enter("unstored", record.epoch, None)
    world.stored[record] = state["n"]
    return world, lambda: world.book.store(record, record.epoch, json.dumps(state).encode())


SITUATIONS: Final = (
    *(landing(key, where) for key in KEYS for where in ("one", "other", "back", "anew")),
    *map(ending, KEYS),
    the_first_landing,
    a_find_beyond_the_limit,
    a_find_of_a_late_one,
    a_find_of_an_old_one,
    a_trim_of_late_ones,
    a_trim_past_one_in_use,
    a_leave,
    the_death_of_a_worker,
    a_farewell,
    the_end_of_all,
)


def nothing(world: World, act: Act) -> None: ...


def it_is_repeated(world: World, act: Act) -> None:
    act()


def its_worker_dies(world: World, act: Act) -> None:
    world.dies(world.one)


def the_other_one_dies(world: World, act: Act) -> None:
    world.dies(world.other)


def time_passes(world: World, act: Act) -> None:
    world.callers.clear()
    world.now += 0.75 * TTL
    world.book.trim(world.now)
    assert all(record.used_at + TTL > world.now for record in world.book.records.values()), "a late one is kept"


MEANWHILE: Final = (nothing, it_is_repeated, its_worker_dies, the_other_one_dies, time_passes)


def check(world: World) -> None:
    """All can be called, in whatever worker lives, and the limits are kept."""
    book = world.book
    world.callers.clear()
    world.one.holder = world.other.holder = None
    living = [worker for worker in (world.one, world.other) if not worker.departed]
    for worker in living:
        for key in (*KEYS, "new"):
            world.call(key, worker)
            world.call(key, worker)
    assert not any(worker.departed for worker in (*book.farewells, *book._at)), "a table is kept for one that is gone"
    book.trim(world.now)
    assert len(book.records) <= book.policy.max_sessions
    times = [record.used_at for record in book.records.values()]
    assert times == sorted(times), "the order isn't that of their use"
    for record in book.records.values():
        if record.worker is not None:
            assert book._at[record.worker][record.key] is record, "its worker doesn't know of it"


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda f: str(f.__name__))
def test_an_interruption_leaves_a_book_that_goes_on(situation: Callable[[], tuple[World, Act]]) -> None:
    """Cut short anywhere, each session can be called again, with the state that it stood at, or is told of its loss.

    Fails when a session that lands is live before it has; when it isn't found by its worker before it has left
    that; when `worker_gone` forgets whom it is about to tell, or clears the place before the loss is noted; when `find`
    goes on with one whose end was cut short; when a time is written before the order.
    """
    for count, meanwhile in ((count, meanwhile) for count in range(300) for meanwhile in MEANWHILE):
        world, act = situation()
        cut = interrupted_at(count, act, sessions.__file__)
        if situation is the_death_of_a_worker and cut:
            world.dies(world.one)  # whoever ends a worker comes again
        if not (situation is the_death_of_a_worker and meanwhile is the_other_one_dies):
            meanwhile(world, act)
        check(world)
        if not cut and meanwhile is MEANWHILE[-1]:
            assert count > 1
            return
    pytest.fail("it never came through")


@pytest.mark.parametrize("count", range(4))
def test_a_snapshot_that_was_cut_short_is_stored_or_not(count: int) -> None:
    """What is called live was stored. Fails when `store` says so first."""
    world, act = a_store()
    record = world.book.records["unstored"]
    before = record.snapshot

    interrupted_at(count, act, sessions.__file__)

    assert not record.live or record.snapshot != before
    world.stored[record] = json.loads(record.snapshot or b"")["n"]
    check(world)
