"""How the tests of this ring open a bridge over an adapter, by the front door's own parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from multiprocessing import forkserver, resource_tracker
from typing import Any

import pytest

from bridge.client import Bridge
from bridge.contract import Adapter, WorkerSpec
from bridge.door import Fixed
from bridge.runtime import Runtime
from bridge.runtime.pool_policy import PoolPolicy
from bridge.runtime.supervisor import SupervisorPolicy
from tests.contract.engines import Counted

OpenBridge = Callable[..., Bridge]


@pytest.fixture
def open_bridge() -> Iterator[OpenBridge]:
    """Opens warm bridges, and closes them after the test."""
    with ExitStack() as opened:

        def open_(
            adapter: Adapter,
            handler: str = "tests.contract.fakes:Real",
            *,
            size: int = 1,
            policy: SupervisorPolicy | None = None,
            **spec: Any,
        ) -> Bridge:
            runtime = Runtime(
                adapter,
                WorkerSpec(handler, name="test", **spec),
                pool_policy=PoolPolicy(size),
                supervisor_policy=policy or SupervisorPolicy(),
            )
            return opened.enter_context(Bridge(Fixed(runtime)))

        yield open_


@pytest.fixture(scope="module")
def server() -> Iterator[None]:
    """What forks an engine's processes, and the tracker beside it: both outlive every executor, but not the tests."""
    forkserver.ensure_running()
    yield
    forkserver._forkserver._stop()  # type: ignore[attr-defined]
    resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]


@pytest.fixture
def threads() -> Iterator[Counted]:
    """An engine of four threads, which the test hands in."""
    with Counted() as made:
        yield made
