"""Workers above `size`, which come on demand and have to go again."""

from __future__ import annotations

import bridge
from tests.process.waiting import wait_until


def test_overflow_workers_go_although_all_were_busy_when_the_supervisor_fell_asleep() -> None:
    """Nothing wakes it when they become idle. Fails when it sets no timer while nobody is idle."""
    with bridge.connect("colorsys", adapter="python_port", size=1, max_overflow=2, max_idle=0.1) as b:
        leases = [b.lease() for _ in range(3)]
        wait_until(lambda: b.stats().busy == 3, 20, what="three busy workers")
        for lease in leases:
            lease.close()
        wait_until(lambda: len(b.stats().workers) == 1, 20, what="the overflow to go")
