"""Every method of the pool, cut short before each of its lines and at each return.

The tracer raises KeyboardInterrupt at the k-th event inside pool_state.py, for every k until the method comes
through. Whatever is left must be a pool that `audit` makes whole.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bridge.core import pool_state, spread
from bridge.core.pool_state import Departed, PoolState, Waiter
from bridge.errors import PoolClosed
from tests.core.pool_situations import SITUATIONS, Act, World, interrupted_at
from tests.core.test_pool_state import Worker, lent


def holder_of(worker: Worker) -> Waiter[Worker] | None:
    return None if worker.holder is None else worker.holder()


def nothing(world: World) -> None: ...


def those_who_wait_look(world: World) -> None:
    for waiter in world.waiters:
        world.pool.take(waiter)


def a_worker_comes(world: World) -> None:
    world.workers.append(worker := Worker("late"))
    world.pool.add(worker, 22)


def everybody_is_refused(world: World) -> None:
    assert all(waiter.worker is None for waiter in world.pool.fail_all(PoolClosed("n")))


def others_come(world: World) -> None:
    """One for each worker, and one for any: nobody overtakes."""
    pool = world.pool
    for wanted in (*world.workers, None):
        newcomer: Waiter[Worker] = Waiter()
        newcomer.wants = wanted
        world.waiters.append(newcomer)
        try:
            granted = pool.checkout(newcomer, 22)
        except Departed:
            assert wanted is not None
            assert wanted.departed
            continue
        assert not (granted and pool.waiting), "a newcomer overtook"
        assert newcomer.worker is None or not pool.own.get(newcomer.worker), "a newcomer overtook"


def who_is_wanted_dies(world: World) -> None:
    for worker in [*world.pool.own]:
        world.removed.add(worker)
        world.pool.bury(worker)


def idle_workers_are_looked_after(world: World) -> None:
    """Nobody is lent one meanwhile, whatever was about to be offered."""
    pool = world.pool
    away = {worker for worker in [*pool.idle] if pool.take_out(worker)}
    for waiter in world.waiters:
        assert not pool.take(waiter) or waiter.worker not in away
    for worker in away:
        pool.add(worker, 23)


def idle_workers_are_let_go(world: World) -> None:
    """Nor is one that is about to be told to end."""
    pool = world.pool
    while (coldest := pool.coldest()) is not None:
        pool.remove(coldest[0])
        world.removed.add(coldest[0])
    for waiter in world.waiters:
        assert not pool.take(waiter) or waiter.worker not in world.removed


MEANWHILE = (
    nothing,
    those_who_wait_look,
    a_worker_comes,
    everybody_is_refused,
    others_come,
    who_is_wanted_dies,
    idle_workers_are_looked_after,
    idle_workers_are_let_go,
)


def check(world: World, *, added: bool, sound: bool) -> None:
    """After an audit: no worker is lost, nobody shares one, nobody is skipped."""
    pool = world.pool
    stranded, awake = pool.audit()
    living = [*world.holders, *world.waiters, *([world.owner] if world.owner is not None else [])]

    assert not (sound and stranded), "a clean worker is to be killed"
    for waiter in (*world.holders, *world.waiters):
        if waiter.taken and waiter.worker is not None and holder_of(waiter.worker) is waiter:
            assert waiter not in pool.waiting
            assert waiter.worker not in pool.idle
    for worker in world.workers if added else pool.workers:
        holder = holder_of(worker)
        held = worker not in pool.idle and holder is not None and holder.worker is worker
        assert worker in pool.idle or held or worker in stranded or worker in world.removed, f"{worker} is lost"
        assert not (worker in pool.idle and worker in stranded)
    for worker in pool.idle:
        assert worker in pool.workers, f"{worker} may be lent, but was removed"
    assert not (pool.waiting and pool.idle), "a waiter is skipped"
    for waiter in awake:
        assert waiter.worker is not None or waiter.error is not None
    for waiter in pool.waiting:
        assert waiter.worker is None
    check_own_queues(world, living)

    # Whoever comes now gets workers that nobody else has, and keeps them when the first owner cleans up at last.
    busy = {holder.worker for holder in living if holder.worker and holder_of(holder.worker) is holder}
    busy -= set(pool.idle)
    newcomers = [lent(pool, 30) for _ in list(pool.idle)]
    assert busy.isdisjoint(newcomer.worker for newcomer in newcomers)
    if world.owner is not None:
        pool.leave(world.owner, 40)
        pool.checkin(world.owner, 41)
        assert world.owner.worker is None
    for newcomer in newcomers:
        assert newcomer.worker is not None
        assert holder_of(newcomer.worker) is newcomer
        assert newcomer.worker not in pool.idle


def check_own_queues(world: World, living: list[Waiter[Worker]]) -> None:
    """Nobody waits for one that is idle or buried, nobody was given another, nobody is forgotten."""
    pool = world.pool
    for worker, queue in pool.own.items():
        assert queue, "an empty queue is kept"
        assert worker not in pool.idle, "a waiter is skipped"
        assert not worker.departed, "somebody waits for a worker that was buried"
        assert all(waiter.wants is worker and waiter.worker is None for waiter in queue)
    assert not any(worker.departed for worker in pool.workers), "a buried worker may be lent"
    for waiter in living:
        assert waiter.wants is None or waiter.worker in (None, waiter.wants), "it was lent another worker"
    for waiter in world.waiters:
        served = waiter.worker is not None or waiter.taken or waiter.error is not None
        refused = waiter.wants is not None and waiter.wants.departed  # as it came
        queued = waiter in (pool.waiting if waiter.wants is None else pool.own.get(waiter.wants, ()))
        assert served or refused or queued, "a waiter is forgotten"


@pytest.mark.parametrize("owner", ["lives", "cleans up at once", "is gone"])
@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda f: str(f.__name__))
def test_an_interruption_loses_no_worker(situation: Callable[[], tuple[World, Act]], owner: str) -> None:
    """Cut short anywhere, each worker is idle, held by somebody alive, or reported; nobody shares one or is skipped.

    Fails when a worker leaves `idle` before it is bound, or is unbound before it is in `idle`; when `remove`
    forgets the worker before it stops lending it; when `audit` forgets what it is about to report; when an offer that
    was cut short is made anew, refused, or taken without leaving both queues.
    """
    cut_short(situation, owner)


@pytest.mark.parametrize("owner", ["lives", "cleans up at once", "is gone"])
@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda f: str(f.__name__))
def test_an_interruption_loses_no_worker_of_several_hosts(
    situation: Callable[[], tuple[World, Act]], owner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut short anywhere among the queues of the hosts. Fails when a worker leaves one in two steps, or a count of the
    idle ones is kept beside them."""
    monkeypatch.setattr("tests.core.pool_situations.pool_of", on_hosts)
    cut_short(situation, owner, spread.__file__)


def on_hosts(*workers: Worker) -> PoolState[Worker]:
    """As `pool_of`, with two hosts."""
    pool: PoolState[Worker] = spread.SpreadState({"a": 2, "b": 2})
    for now, worker in enumerate(workers):
        worker.host = "ab"[now % 2]
        assert pool.add(worker, now) is None
    return pool


def cut_short(situation: Callable[[], tuple[World, Act]], owner: str, file: str = pool_state.__file__) -> None:
    """At each event inside that file, whatever comes then."""
    name = situation.__name__
    for count, meanwhile in ((count, meanwhile) for count in range(200) for meanwhile in MEANWHILE):
        world, act = situation()
        assert world.owner is not None
        cut = interrupted_at(count, lambda world=world, act=act: act(world.pool, world.owner), file)  # type: ignore[misc]
        if owner == "is gone":
            world.owner = None
        elif owner == "cleans up at once":
            world.pool.leave(world.owner, 25)
            world.pool.checkin(world.owner, 26)
        meanwhile(world)
        check(
            world,
            added=not name.startswith("add"),
            sound=owner != "is gone" and not name.startswith(("add", "remove", "audit")),
        )
        if not cut and meanwhile is MEANWHILE[-1]:
            assert count > 1 or file != pool_state.__file__
            return
    pytest.fail("it never came through")
