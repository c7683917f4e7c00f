"""TEST_MODE: its three values, where it is read, what goes before it, and how it shows where no test is running."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from dependency_injector import providers
from pydantic_settings import BaseSettings, SettingsConfigDict

import bridge
from bridge import BridgeContainer, BridgeSettings, ConfigurationError, TestMode, with_adapter, with_settings
from tests.facade.conftest import MakeContainer
from tests.named import Named

READERS: list[Callable[[], Any]] = [
    lambda: BridgeSettings.load(),
    lambda: BridgeSettings.load(prefix="OCR_"),
    lambda: BridgeContainer().settings(),
    lambda: BridgeContainer(settings={"worker": {"handler": "math"}}).settings(),
    lambda: BridgeContainer(settings=BridgeSettings()).bridge().health(),
    lambda: bridge.connect("math"),
]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("value", ["", "MOCK_ADAPTER", "mock", "mock_adaptor", "0"])
def test_a_wrong_value_is_one_clear_error(value: str, read: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty, in capitals, misspelt: a ConfigurationError that lists the three, wherever it is read."""
    monkeypatch.setenv("TEST_MODE", value)
    message = "TEST_MODE is one of mock_adapter, bridge_mock, full_integration, or not set at all; not "
    with pytest.raises(ConfigurationError, match=message + repr(value)):
        read()


@pytest.mark.parametrize("value", ["", "MOCK_ADAPTER", None, 3])
def test_a_wrong_mode_of_a_scope_is_the_same_error(value: Any) -> None:
    """When the scope is made."""
    with pytest.raises(ConfigurationError, match="TEST_MODE is one of mock_adapter, bridge_mock, full_integration"):
        bridge.with_test_mode(value)


def test_it_is_read_with_a_bridges_own_prefix_and_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """TEST_MODE speaks to all bridges; the one with the prefix goes before it."""
    monkeypatch.setenv("OCR_TEST_MODE", "bridge_mock")
    assert BridgeSettings.load(prefix="OCR_").test_mode is TestMode.BRIDGE_MOCK
    assert BridgeSettings.load().test_mode is None
    monkeypatch.setenv("TEST_MODE", "full_integration")
    assert BridgeSettings.load(prefix="OCR_").test_mode is TestMode.BRIDGE_MOCK
    assert BridgeSettings.load().test_mode is TestMode.FULL_INTEGRATION


class AppSettings(BaseSettings):
    """An application's own settings, with a bridge's in them."""

    model_config = SettingsConfigDict(env_prefix="APP_", env_nested_delimiter="__")

    bridge: BridgeSettings = BridgeSettings(worker={"handler": "math"})


@pytest.mark.parametrize(
    "make",
    [
        lambda: BridgeContainer(),
        lambda: BridgeContainer(settings={"worker": {"handler": "math"}}),
        lambda: BridgeContainer(settings=BridgeSettings.load({"worker": {"handler": "math"}})),
        lambda: BridgeContainer(settings=AppSettings().bridge),
        lambda: BridgeContainer(settings=providers.Singleton(AppSettings).provided.bridge),
    ],
    ids=["environment", "in code", "loaded", "nested", "nested, by a provider"],
)
def test_it_is_obeyed_wherever_the_settings_come_from(
    make: Callable[[], BridgeContainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handler set in code, by environment, in the application's own settings; read once."""
    monkeypatch.setenv("BRIDGE_WORKER__HANDLER", "math")
    monkeypatch.setenv("APP_BRIDGE__WORKER__HANDLER", "math")
    assert make().settings().test_mode is None
    monkeypatch.setenv("TEST_MODE", "full_integration")
    container = make()
    assert container.settings().test_mode is TestMode.FULL_INTEGRATION
    monkeypatch.setenv("TEST_MODE", "mock_adapter")

    stats = container.bridge().stats()
    assert (stats.name, stats.adapter, stats.test_mode) == ("math", "python_port", "full_integration")
    assert container.bridge().health().test_mode == "full_integration"


def test_settings_in_an_applications_own_are_validated(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the application's prefix; an error has the field's path and its range."""
    monkeypatch.setenv("APP_BRIDGE__POOL__SIZE", "3")
    assert AppSettings().bridge.pool.size == 3
    monkeypatch.setenv("APP_BRIDGE__POOL__SIZE", "0")
    with pytest.raises(ValueError, match=r"pool\.size: .*greater than or equal to 1"):
        AppSettings()


@pytest.mark.usefixtures("_named")
def test_what_goes_before_what(make_container: MakeContainer, monkeypatch: pytest.MonkeyPatch) -> None:
    """connect(adapter=) > scope > Container(adapter=) > TEST_MODE > BRIDGE_ADAPTER > python_port."""
    monkeypatch.setenv("BRIDGE_WORKER__HANDLER", "math")

    def names() -> tuple[str, str]:
        return BridgeContainer().adapter().name, bridge.connect("math").stats().adapter

    assert names() == ("python_port", "python_port")
    monkeypatch.setenv("BRIDGE_ADAPTER", "named")
    assert names() == ("named", "named")
    monkeypatch.setenv("TEST_MODE", "full_integration")
    assert names() == ("named", "named")
    container = make_container(adapter=Named("of the container"))
    assert container.adapter().name == "of the container"
    assert container.bridge().stats().test_mode is None
    with with_adapter(Named("of the scope")):
        assert container.adapter().name == names()[0] == names()[1] == "of the scope"
        assert bridge.connect("math", adapter=Named("of connect")).stats().adapter == "of connect"
        with bridge.with_test_mode("full_integration"):
            assert names() == ("named", "named")
    assert container.adapter().name == "of the container"


@pytest.mark.parametrize(
    "read",
    [
        lambda: BridgeSettings.load(),
        lambda: BridgeContainer(settings={}).settings(),
        lambda: BridgeContainer(settings=BridgeSettings(test_mode=TestMode.FULL_INTEGRATION)).settings(),
    ],
    ids=["loaded", "in code", "a mode in code"],
)
def test_it_can_be_forbidden(read: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """BRIDGE_FORBID_TEST_MODE=1 makes it an error, also for settings that are not read from the environment."""
    monkeypatch.setenv("TEST_MODE", "full_integration")
    read()
    monkeypatch.setenv("BRIDGE_FORBID_TEST_MODE", "0")
    read()
    monkeypatch.setenv("BRIDGE_FORBID_TEST_MODE", "1")
    with pytest.raises(ConfigurationError, match="forbid_test_mode says that work is real here; unset TEST_MODE"):
        read()
    monkeypatch.delenv("TEST_MODE")
    assert BridgeContainer(settings={}).settings().test_mode is None


def test_where_no_test_runs_it_warns_and_shows() -> None:
    """In a process without pytest: a RuntimeWarning at the first use, once; stats and health say it."""
    code = (
        "import bridge\n"
        "client = bridge.BridgeContainer(settings={'worker': {'handler': 'math'}}).bridge()\n"
        "print(client.stats().test_mode, client.health().test_mode)\n"
        "with bridge.with_settings(size=2): print(client.stats().test_mode)\n"
    )
    environment = {**os.environ, "TEST_MODE": "full_integration"}
    for name in ("BRIDGE_TEST_MODE", "BRIDGE_FORBID_TEST_MODE"):
        environment.pop(name, None)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["full_integration"] * 3
    assert (
        done.stderr.count("RuntimeWarning: TEST_MODE=full_integration decides the adapter of math (python_port)") == 1
    )


def test_a_setting_of_a_scope_is_a_mode_too(make_container: MakeContainer) -> None:
    """with_settings(test_mode=...) chooses like with_test_mode."""
    container = make_container(settings={"worker": {"handler": "math"}}, adapter=Named())
    with with_settings(test_mode="full_integration"):
        assert container.adapter().name == "python_port"
