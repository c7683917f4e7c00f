"""Workers that are forked from a zygote which has imported numpy, and loaded a table."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

import bridge

HANDLER = f"{Path(__file__).with_name('heavy.py')}:Heavy"
TABLE = 32_000_000
"""Bytes."""
SIZE = 3


def test_workers_of_a_heavy_module_share_it_and_compute() -> None:
    """The table is read by all and owned by none; linear algebra works after the fork; each draws numbers of its own.
    Fails when each worker imports the module (memory), or without `_reseed` (numbers)."""
    pytest.importorskip("numpy")
    with bridge.connect(HANDLER, adapter="python_port", size=SIZE, start_method="zygote") as b, ExitStack() as stack:
        leases = [stack.enter_context(b.lease()) for _ in range(SIZE)]
        assert [lease.call("total") for lease in leases] == [4_000_000.0] * SIZE
        assert [lease.call("solve") for lease in leases] == [75.0] * SIZE
        assert len({lease.call("draw") for lease in leases}) == SIZE
        found = [lease.call("who") for lease in leases]
        assert len({imported for imported, _ in found}) == 1
        assert len({pid for _, pid in found}) == SIZE
        assert all(lease.call("private") < TABLE / 2 for lease in leases)
