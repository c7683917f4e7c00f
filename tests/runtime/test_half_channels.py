"""An adapter whose channels haven't all that it has promised."""

from __future__ import annotations

import os
from typing import Any

import pytest

from bridge.contract import Capability, WorkerInfo, WorkerSpec
from bridge.errors import WorkerStartError
from tests.runtime.conftest import MakeRuntime


class Half:
    """A channel that says when its process is dead, and can't take its status."""

    info = WorkerInfo(1, None)

    def __init__(self) -> None:
        self._fds = os.pipe()

    def fileno(self) -> None:
        """Its calls are submitted."""

    def sentinel(self) -> int:
        """Never readable."""
        return self._fds[0]

    def stderr_fileno(self) -> None:
        """It has none."""

    def kill(self) -> None:
        """Idempotent."""
        fds, self._fds = self._fds, (-1, -1)
        for fd in fds:
            if fd >= 0:
                os.close(fd)


class Halves:
    """Opens such."""

    name = "halves"
    capabilities = frozenset({Capability.PROCESSES})

    def open(self, spec: WorkerSpec, *, deadline: float) -> Any:
        """At once."""
        del spec, deadline
        return Half()

    def close(self) -> None:
        """Nothing is shared."""


def test_a_channel_that_has_not_what_its_adapter_promised_is_no_worker(make_runtime: MakeRuntime) -> None:
    """Each time: else its death would be met by a supervisor that can't do what that takes. Fails when a start doesn't
    look, or believes of a class what it has refused before."""
    runtime = make_runtime(Halves())
    for _ in range(2):
        with pytest.raises(WorkerStartError):
            runtime.warm()
    assert runtime.health().ready == 0
