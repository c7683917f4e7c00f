"""The guard against orphans: what is dropped when its adapter is shared."""

from __future__ import annotations

import logging
import os
import subprocess
import time
import weakref
from typing import Any

import pytest

from bridge.adapters.python_port import PythonPortAdapter
from bridge.runtime.guard import Guard
from bridge.runtime.poller import Lookout


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
    lookout = Lookout()
    lookout.open()
    guard = Guard(Shared(reader), lookout, "a bridge", time.monotonic)
    guard.settle()
    os.close(reader)

    guard.drop()

    assert lookout.poller is not None
    assert reader not in lookout.poller
    os.close(writer)
    lookout.close()


class Refused(PythonPortAdapter):
    """An adapter whose guard can't be started."""

    def settle(self) -> int:
        """Never."""
        raise OSError(11, "no more processes")


def test_whoever_keeps_the_report_of_a_guard_that_failed_keeps_no_descriptors(caplog: pytest.LogCaptureFixture) -> None:
    """A log handler may keep the traceback for as long as it likes. Fails when `settle` has the poller among its
    locals: its epoll and its eventfd outlive the bridge."""
    lookout = Lookout()
    lookout.open()
    guard = Guard(Refused(), lookout, "a bridge", time.monotonic)
    with caplog.at_level(logging.ERROR, "bridge"):
        guard.settle()
    poller = weakref.ref(lookout.poller)

    lookout.close()

    assert [record.exc_info is not None for record in caplog.records] == [True]
    assert poller() is None


def test_the_guard_is_started_with_an_environment_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one, exec reads the C library's table, and fails with EFAULT when another thread sets a variable just
    then. It was seen once in some thousand starts. Fails without `env=`; the marks of outer runtimes are in it."""
    given: list[dict[str, str]] = []

    def refuse(*_: object, env: Any = None, **__: object) -> None:
        given.append(env)
        raise OSError(11, "no more processes")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setenv("_SCOPED_BRIDGE_RUN", "outer:1")
    with pytest.raises(OSError, match="no more processes"):
        PythonPortAdapter().settle()

    assert [env["_SCOPED_BRIDGE_RUN"] for env in given] == ["outer:1"]
    assert given[0] is not os.environ
