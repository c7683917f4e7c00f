"""The guard against orphans: what is dropped when its adapter is shared."""

from __future__ import annotations

import os
import time

from bridge.adapters.python_port import PythonPortAdapter
from bridge.runtime.guard import Guard
from bridge.runtime.poller import Poller


class Shared(PythonPortAdapter):
    """An adapter whose guard is the reading end of a pipe."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd

    def settle(self) -> int:
        """The same for all."""
        return self._fd


def test_a_guard_that_another_runtime_had_closed_is_dropped_without_an_error() -> None:
    """It heard of two deaths before this one heard of the first. Fails when the closed descriptor is unwatched
    regardless: the supervisor's last step was cut short."""
    reader, writer = os.pipe()
    poller, guard = Poller(), Guard(Shared(reader), "a bridge", time.monotonic)
    guard.settle(poller)
    os.close(reader)

    guard.drop(poller)

    assert reader not in poller
    os.close(writer)
    poller.close()
