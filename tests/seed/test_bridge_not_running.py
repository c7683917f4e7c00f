"""Bridge not running, 5 failures: TEST_MODE switched the supervisor off globally.

What makes them impossible: the supervision tree follows from the adapter in scope, never from an environment variable
that is read somewhere deep; the first use starts it. Each docstring names the change by which its test fails.
"""

from __future__ import annotations

import os
from contextlib import suppress
from threading import Barrier, BrokenBarrierError
from typing import Final

import pytest
from dependency_injector import providers

from bridge import (
    BridgeContainer,
    BridgeSettings,
    ConfigurationError,
    ScopedExecutor,
    TestMode,
    with_adapter,
    with_settings,
    with_test_mode,
)
from bridge.runtime import RuntimeState
from bridge.testing import ScriptedAdapter
from tests.seed.application import BRIDGE, BRIEFLY, PATIENCE, PORT, Failure, named, run, variables


async def TEST_MODE_said_mock_and_a_test_of_the_real_port_found_no_bridge() -> None:
    """Who asks for python_port gets it, with its supervisor, whatever the mode. Fails when `Binding._effective` lets
    the test mode of the settings win."""
    container = BridgeContainer(settings={"test_mode": "mock_adapter", "worker": {"handler": PORT}})
    async with with_adapter("python_port", container=container, size=1):
        worker = container.bridge().call("pid", timeout=PATIENCE)

        assert worker != os.getpid()
        assert [each.info.pid for each in container.supervisor().workers.values()] == [worker]
        assert container.bridge().health().ok


def TEST_MODE_switched_the_supervisor_off() -> None:
    """There is a supervisor in every mode, and it keeps the workers that were asked for. Fails when
    `SupervisorProvider` answers None for a mock."""
    for mode in TestMode.MOCK_ADAPTER, TestMode.BRIDGE_MOCK:
        container = BridgeContainer(settings={"worker": {"handler": PORT, "fake": PORT}})
        with with_test_mode(mode), with_settings(size=2):
            assert container.bridge().call("echo", ["mine"]) == "mine"
            assert len(container.supervisor().workers) == 2
            assert container.bridge().health().ok


async def the_mode_of_one_test_was_the_mode_of_the_next() -> None:
    """Three tests in a row on one container, each in another mode, and the first one again. Fails when a `Binding`
    remembers the adapter that it chose."""
    container = BridgeContainer(settings={"worker": {"handler": PORT, "fake": PORT}, "pool": {"size": 1}})
    adapters = {"mock_adapter": "mock", "full_integration": "python_port", "bridge_mock": "bridge_mock"}
    for mode in (*adapters, "mock_adapter"):
        async with with_test_mode(mode, container=container):
            assert container.adapter().name == adapters[mode]
            in_this_process = container.bridge().call("pid", timeout=PATIENCE) == os.getpid()

            assert in_this_process == (mode != "full_integration")


def a_misspelt_TEST_MODE_switched_the_bridge_off_in_silence() -> None:
    """Any value but the three is an error that lists them. Fails when `TestMode.of` falls back to a default."""
    for value in ("", "Mock_Adapter", "full-integration", "none"):
        container = BridgeContainer(settings=providers.Callable(BridgeSettings.load, prefix="SEED_B_"))
        known = pytest.raises(ConfigurationError, match="mock_adapter, bridge_mock, full_integration")
        with variables(SEED_B_TEST_MODE=value), with_settings(size=1), known:
            container.bridge().call("pid")


def the_first_calls_came_before_anybody_had_started_the_bridge() -> None:
    """The first call starts it, and eight at once start it once. Fails when `Binding.build_in` takes no lock."""
    clients = 8
    barrier, both = Barrier(clients), Barrier(2)
    made: list[ScriptedAdapter] = []

    def make() -> ScriptedAdapter:
        with suppress(BrokenBarrierError):
            both.wait(BRIEFLY)  # for a second one that is being made at the same time
        made.append(ScriptedAdapter([("go", "mine")] * clients))
        return made[-1]

    def client(_: int) -> object:
        barrier.wait(PATIENCE)
        return BRIDGE.call("go", timeout=PATIENCE)

    with with_adapter(make, size=2) as scope, ScopedExecutor(clients) as others:
        assert list(others.map(client, range(clients))) == ["mine"] * clients
        (runtime,) = scope.frame.owned
        assert getattr(runtime, "state", None) is RuntimeState.OPEN
        assert [adapter.opened for adapter in made] == [2]


FAILURES: Final[tuple[Failure, ...]] = (
    TEST_MODE_said_mock_and_a_test_of_the_real_port_found_no_bridge,
    TEST_MODE_switched_the_supervisor_off,
    the_mode_of_one_test_was_the_mode_of_the_next,
    a_misspelt_TEST_MODE_switched_the_bridge_off_in_silence,
    the_first_calls_came_before_anybody_had_started_the_bridge,
)


@pytest.mark.thread_unsafe  # some of them set variables of the environment
@pytest.mark.parametrize("failure", FAILURES, ids=named)
def test_the_bridge_runs_wherever_it_is_asked_for(failure: Failure) -> None:
    """Each of the five is tried, and doesn't happen."""
    run(failure)
