"""Leases that nobody closed, and nobody holds any more: their workers are replaced, though nobody waits for one."""

from __future__ import annotations

import asyncio
import gc
import os

from bridge import Bridge
from tests.process.conftest import Connect
from tests.process.waiting import wait_until


def check_replaced(b: Bridge, pid: int) -> None:
    """Without a call that would wait for a worker, and so have it looked for."""
    wait_until(lambda: b.stats().busy == 0, what="the worker of the dropped lease to be taken back")
    wait_until(lambda: b.stats().idle == b.stats().size, what="its successor")
    assert pid not in {worker.pid for worker in b.stats().workers}


def test_the_worker_of_a_lease_that_is_dropped_is_replaced_at_once(connect: Connect, handlers: str) -> None:
    """Fails without the finaliser: it is shown as busy until somebody waits,
    which the storm met once in some hundred times."""
    b = connect(f"{handlers}:Echo")
    lease = b.lease()
    pid = lease.call("pid")
    del lease
    gc.collect()

    check_replaced(b, pid)


def test_the_worker_of_a_tasks_lease_that_is_dropped_is_replaced_at_once(connect: Connect, handlers: str) -> None:
    """The same. Fails without the finaliser."""
    b = connect(f"{handlers}:Echo")

    async def drop() -> int:
        lease = await b.aio.lease()
        pid: int = await lease.call("pid")
        return pid

    pid = asyncio.run(drop())
    gc.collect()

    check_replaced(b, pid)


def test_a_forked_child_that_drops_its_copy_of_a_lease_does_nothing(connect: Connect, handlers: str) -> None:
    """The parent goes on with it. Fails when the child asks its own supervisor, which isn't begun, for a step."""
    b = connect(f"{handlers}:Echo")
    lease = b.lease()
    pid = lease.call("pid")
    child = os.fork()
    if not child:
        steps: list[object] = []
        b._source.peek().supervisor.notice = lambda: steps.append(1)  # type: ignore[method-assign]
        del lease
        gc.collect()
        os._exit(len(steps))

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert lease.call("pid") == pid
    lease.close()
