"""TEST_MODE and the adapters that it stands for: mock and bridge_mock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic_settings import BaseSettings, SettingsConfigDict

import bridge
from bridge import BridgeContainer, BridgeSettings, with_adapter, with_settings, with_test_mode
from tests.named import Named

MODES = [("mock_adapter", "mock"), ("bridge_mock", "bridge_mock"), ("full_integration", "python_port")]


class AppSettings(BaseSettings):
    """An application's own settings, with a bridge's in them."""

    model_config = SettingsConfigDict(env_prefix="APP_", env_nested_delimiter="__")

    bridge: BridgeSettings = BridgeSettings()


MAKERS: dict[str, Callable[[], Any]] = {
    "in code": lambda: BridgeContainer(settings={"worker": {"handler": "math"}}),
    "environment": BridgeContainer,
    "nested": lambda: BridgeContainer(settings=AppSettings().bridge),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize(("mode", "adapter"), MODES)
def test_a_mode_stands_for_an_adapter(
    mode: str, adapter: str, make: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the environment and as a scope; the supervisor follows from the adapter, and is never None."""
    for name in ("BRIDGE_WORKER__HANDLER", "APP_BRIDGE__WORKER__HANDLER"):
        monkeypatch.setenv(name, "math")
    container = make()
    with with_test_mode(mode):
        assert container.adapter().name == adapter
        assert container.supervisor() is not None
    monkeypatch.setenv("TEST_MODE", mode)
    container = make()
    assert container.adapter().name == adapter
    assert container.bridge().stats().test_mode == container.bridge().health().test_mode == mode
    assert bridge.connect("math").stats().adapter == adapter


def test_a_scope_for_a_real_adapter_beats_the_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    """In mock_adapter one test asks for python_port and gets it, with its own supervisor; the next doesn't."""
    monkeypatch.setenv("TEST_MODE", "mock_adapter")
    container = BridgeContainer(settings={"worker": {"handler": "math"}})
    outside = container.supervisor()

    for scope in (with_adapter("python_port"), with_test_mode("full_integration")):
        with scope:
            assert container.adapter().name == "python_port"
            assert container.supervisor() is not outside
            with with_settings(size=2):
                assert container.adapter().name == "python_port"
        assert container.adapter().name == "mock"
        assert container.supervisor() is outside


def test_full_integration_is_what_is_configured_unless_that_is_a_mock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for settings of a scope."""
    monkeypatch.setenv("TEST_MODE", "full_integration")
    container = BridgeContainer(settings={"worker": {"handler": "math"}, "adapter": "bridge_mock"})
    assert container.adapter().name == "python_port"
    with with_settings(adapter="mock"):
        assert container.adapter().name == "mock", "a scope that names an adapter means it"


def test_an_override_beats_the_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Container(adapter=) goes before TEST_MODE."""
    monkeypatch.setenv("TEST_MODE", "mock_adapter")
    container = BridgeContainer(settings={"worker": {"handler": "math"}}, adapter=Named("own"))
    assert container.adapter().name == "own"
    assert container.bridge().stats().test_mode is None


@pytest.mark.parametrize("mode", ["mock_adapter", "bridge_mock"])
def test_a_mode_for_one_container_is_for_no_other(mode: str) -> None:
    """`container=`, and it is warm at entry."""
    one, other = (
        BridgeContainer(settings={"worker": {"handler": name}, "pool": {"size": 1}}) for name in ("math", "json")
    )
    with with_test_mode(mode, container=one):
        assert one.bridge().health().ready == 1
        assert one.bridge().stats().adapter != other.bridge().stats().adapter == "python_port"
