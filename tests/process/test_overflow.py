"""Workers above `size`: those that come on demand and have to go again, and spare ones for the places of the dead."""

from __future__ import annotations

import os
import signal

import pytest

import bridge
from tests.process.conftest import Connect
from tests.process.waiting import is_gone, wait_until, wait_until_gone


def test_overflow_workers_go_although_all_were_busy_when_the_supervisor_fell_asleep() -> None:
    """Nothing wakes it when they become idle. Fails when it sets no timer while nobody is idle."""
    with bridge.connect("colorsys", adapter="python_port", size=1, max_overflow=2, max_idle=0.1) as b:
        leases = [b.lease() for _ in range(3)]
        wait_until(lambda: b.stats().busy == 3, 20, what="three busy workers")
        for lease in leases:
            lease.close()
        wait_until(lambda: len(b.stats().workers) == 1, 20, what="the overflow to go")


def of_state(b: bridge.Bridge, state: str) -> set[int]:
    """Pids of the workers in that state."""
    return {worker.pid for worker in b.stats().workers if worker.pid is not None and worker.state == state}


def test_a_spare_worker_takes_a_dead_ones_place_and_another_one_comes(connect: Connect, rough: str) -> None:
    """It was ready before the death, and nobody waits for a start. Fails when the place is filled by a new one."""
    b = connect(f"{rough}:Rough", spare=1)
    (first,) = {b.call("pid")}
    b.call("pid")
    wait_until(lambda: of_state(b, "spare"), 20, what="a spare one")
    (second,) = of_state(b, "spare")
    os.kill(first, signal.SIGKILL)
    wait_until_gone({first})

    assert b.call("pid") == second
    wait_until(lambda: of_state(b, "spare") - {first, second}, 20, what="another spare one")
    assert (b.stats().restarts, b.stats().size, b.stats().idle) == (1, 1, 1)


def test_spare_workers_are_lent_to_nobody(connect: Connect, rough: str) -> None:
    """At most `size` calls run at once. Fails when a spare one is admitted to the pool."""
    b = connect(f"{rough}:Rough", spare=2)
    b.call("pid")
    wait_until(lambda: len(of_state(b, "spare")) == 2, 20, what="both")
    with b.lease(), pytest.raises(bridge.PoolTimeout):
        b.call("pid", timeout=0.1)


def test_closing_stops_spare_workers_softly(connect: Connect, rough: str) -> None:
    """Long before its time-out. Fails when `Fleet.close` passes them by: they would be killed at the end of it."""
    killed: list[str] = []
    b = connect(f"{rough}:Rough", spare=1, shutdown_timeout=60, on_event=lambda event: killed.append(event.name))
    b.call("pid")
    wait_until(lambda: of_state(b, "spare"), 20, what="a spare one")
    (spare,) = of_state(b, "spare")
    b.close()

    assert is_gone(spare)
    assert "worker.killed" not in killed


def test_a_recycled_pool_has_new_spare_workers_too(connect: Connect, rough: str) -> None:
    """All that have loaded what is old go. Fails when `wear` waits for the successor of a spare one."""
    b = connect(f"{rough}:Rough", spare=1)
    b.call("pid")
    wait_until(lambda: of_state(b, "spare"), 20, what="a spare one")
    before = of_state(b, "spare") | of_state(b, "ready")
    b.recycle()

    wait_until(lambda: of_state(b, "spare") and of_state(b, "ready"), 20, what="the new ones")
    assert not before & (of_state(b, "spare") | of_state(b, "ready"))
