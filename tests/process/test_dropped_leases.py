"""Leases that nobody closed, and nobody holds any more: whoever looks has their workers replaced, as who waits has."""

from __future__ import annotations

import asyncio
import gc

from bridge import Bridge
from tests.process.conftest import Connect
from tests.process.waiting import wait_until


def check_replaced(b: Bridge, pid: int) -> None:
    """Without a call, which would wait for a worker and have it looked for."""
    wait_until(lambda: b.stats().busy == 0, what="the worker of the dropped lease to be found")
    wait_until(lambda: b.stats().idle == b.stats().size, what="its successor")
    assert pid not in {worker.pid for worker in b.stats().workers}


def test_the_worker_of_a_dropped_lease_is_replaced_when_somebody_looks(connect: Connect, handlers: str) -> None:
    """Fails when `stats` doesn't ask for an audit: it is shown as busy until somebody waits, which the storm met in one
    of some hundred runs."""
    b = connect(f"{handlers}:Echo")
    lease = b.lease()
    pid = lease.call("pid")
    del lease
    gc.collect()

    check_replaced(b, pid)


def test_the_worker_of_a_tasks_dropped_lease_is_replaced_when_somebody_looks(connect: Connect, handlers: str) -> None:
    """The same."""
    b = connect(f"{handlers}:Echo")

    async def drop() -> int:
        lease = await b.aio.lease()
        pid: int = await lease.call("pid")
        return pid

    pid = asyncio.run(drop())
    gc.collect()

    check_replaced(b, pid)
