"""How the tests of this ring make a runtime: scripted workers, no process, no thread."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.contract import Adapter, WorkerSpec
from bridge.runtime import Runtime
from bridge.runtime.pool_policy import PoolPolicy
from bridge.runtime.supervisor import SupervisorPolicy

MakeRuntime = Callable[..., Runtime]


@pytest.fixture
def make_runtime() -> Iterator[MakeRuntime]:
    """Builds runtimes, and closes them after the test."""
    made: list[Runtime] = []

    def make(adapter: Adapter, *, supervisor: SupervisorPolicy | None = None, **options: Any) -> Runtime:
        pool = {name: options.pop(name) for name in list(options) if name in PoolPolicy.__dataclass_fields__}
        runtime = Runtime(
            adapter,
            WorkerSpec("scripted:Handler", name="scripted"),
            pool_policy=PoolPolicy(**{"size": 1, **pool}),
            supervisor_policy=supervisor or SupervisorPolicy(),
            **options,
        )
        made.append(runtime)
        return runtime

    yield make
    for runtime in made:
        runtime.close(0)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of a socket; short, since the kernel takes 107 bytes."""
    monkeypatch.chdir(tmp_path)
    return str(tmp_path / "s")


@pytest.fixture
def pipes() -> Iterator[list[int]]:
    """Read and write ends: of the replies, then of the requests."""
    fds = [*os.pipe(), *os.pipe()]
    for fd in fds:
        os.set_blocking(fd, False)
    yield fds
    for fd in fds:
        os.close(fd)
