"""How the tests of this ring open a bridge over an adapter, by the front door's own parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from bridge.client import Bridge
from bridge.contract import Adapter, WorkerSpec
from bridge.door import Fixed
from bridge.runtime import Runtime
from bridge.runtime.pool_policy import PoolPolicy
from bridge.runtime.supervisor import SupervisorPolicy

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
