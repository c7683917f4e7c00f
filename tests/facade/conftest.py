"""What the tests of the facades share: no test mode and no frame but what a test sets itself, and containers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import MappingProxyType
from typing import Any

import pytest

from bridge import BridgeContainer, registry
from bridge.frames import CURRENT, Active, Frame, Kind

MakeContainer = Callable[..., BridgeContainer]


@pytest.fixture(autouse=True)
def _as_in_production(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No TEST_MODE, no frame of a test; and a test that leaves the variable set fails."""
    for name in ("TEST_MODE", "BRIDGE_TEST_MODE"):
        monkeypatch.delenv(name, raising=False)
    with Active(None):
        yield
        left = CURRENT.get()
    assert left is None, f"this test left {left} set"


@pytest.fixture
def make_container() -> Iterator[MakeContainer]:
    """`BridgeContainer`, with one worker and nothing read from the environment if nothing else is said."""
    made: list[Any] = []

    def make(**keywords: Any) -> BridgeContainer:
        made.append(BridgeContainer(**{"settings": {"pool": {"size": 1}}, **keywords}))
        container: BridgeContainer = made[-1]
        return container

    yield make
    with Active(Frame(Kind.TEST, "the end of a test")):  # what was built in none can only be used in one
        for container in made:
            container.shutdown_resources()


@pytest.fixture
def _named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the adapter Named as "named"."""
    adapters = {**registry.BUILT_IN, "named": "tests.named:Named"}
    monkeypatch.setattr(registry, "BUILT_IN", MappingProxyType(adapters))
