"""Adapter resolution mismatch, 5 failures: a test expected python_port and got the mock, since another test had changed
the global configuration.

What makes them impossible: `with_adapter` sets one ContextVar to an immutable frame, and nothing shared is changed; who
calls is answered by the scope that he is in. Each docstring names the change by which its test fails.
"""

from __future__ import annotations

import asyncio
import os
from threading import Barrier
from typing import Final

import pytest
from dependency_injector import providers

from bridge import Bridge, BridgeContainer, BridgeSettings, MockAdapter, ScopedExecutor, with_adapter, with_settings
from bridge.testing import ScriptedAdapter
from tests.seed.application import BRIDGE, PATIENCE, Failure, named, run, variables


def another_test_changed_the_environment_and_python_port_became_the_mock() -> None:
    """The environment is read once for each container. Fails when `Binding.base` reads it again."""
    container = BridgeContainer(settings=providers.Callable(BridgeSettings.load, prefix="SEED_A_"))
    with variables(SEED_A_ADAPTER="python_port", SEED_A_TEST_MODE="full_integration"):
        assert container.settings().adapter == "python_port"
        os.environ.update(SEED_A_ADAPTER="mock", SEED_A_TEST_MODE="mock_adapter")

        with with_settings(size=1):
            assert container.adapter().name == "python_port"
        assert (container.settings().adapter, container.settings().test_mode) == ("python_port", "full_integration")


def another_test_overrode_the_provider_and_this_one_got_its_mock() -> None:
    """A scope beats dependency-injector's `.override()`, which all threads see. Fails when `AdapterProvider`
    answers in `_provide`, and leaves `__call__` to dependency-injector."""
    mine, theirs = MockAdapter({"go": "mine"}), MockAdapter({"go": "theirs"})
    container = BridgeContainer(settings={})
    with ScopedExecutor() as others, with_adapter(mine):
        others.submit(container.adapter.override, theirs).result(PATIENCE)

        assert container.adapter() is mine
        assert container.bridge().call("go") == "mine"
        others.submit(container.adapter.reset_override).result(PATIENCE)

    assert theirs.calls == []


def two_tests_ran_side_by_side_and_one_got_the_others_adapter() -> None:
    """32 threads, each inside its own scope before any of them calls, and one bridge. Fails when `frames.CURRENT` is a
    global variable."""
    count = 32
    barrier = Barrier(count)

    def test(number: int) -> bool:
        mock = MockAdapter({"whose": number})
        with with_adapter(mock):
            barrier.wait(PATIENCE)
            answers = [BRIDGE.call("whose") for _ in range(5)]
            barrier.wait(PATIENCE)
        return answers == [number] * 5 == [number] * len(mock.calls)

    with ScopedExecutor(count) as others:
        assert all(others.map(test, range(count)))


async def two_tasks_of_one_loop_got_one_anothers_adapter() -> None:
    """Tasks that take turns on one thread, and what they run in others. Fails when `frames.CURRENT` is a
    threading.local."""
    count = 20
    inside: list[int] = []
    all_inside = asyncio.Event()

    async def test(number: int) -> bool:
        async with with_adapter(MockAdapter({"whose": number})):
            inside.append(number)
            if len(inside) == count:
                all_inside.set()
            await asyncio.wait_for(all_inside.wait(), PATIENCE)
            answers = [BRIDGE.call("whose"), await asyncio.to_thread(BRIDGE.call, "whose")]
            return answers == [number, number]

    assert all(await asyncio.gather(*map(test, range(count))))


class Service:
    """Part of an application: made once, with the bridge that it keeps."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    def work(self) -> object:
        return self._bridge.call("go")


def a_service_kept_the_adapter_of_the_first_test_that_used_it() -> None:
    """A bridge that was injected once obeys each caller's scope. Fails when `Bridge` remembers its first runtime."""
    service = Service(BRIDGE)
    for test in ("first", "second"):
        adapter = ScriptedAdapter([("go", test)])
        with with_adapter(adapter, size=1):
            assert service.work() == test
            assert adapter.finished


FAILURES: Final[tuple[Failure, ...]] = (
    another_test_changed_the_environment_and_python_port_became_the_mock,
    another_test_overrode_the_provider_and_this_one_got_its_mock,
    two_tests_ran_side_by_side_and_one_got_the_others_adapter,
    two_tasks_of_one_loop_got_one_anothers_adapter,
    a_service_kept_the_adapter_of_the_first_test_that_used_it,
)


@pytest.mark.thread_unsafe  # one of them sets variables of the environment
@pytest.mark.parametrize("failure", FAILURES, ids=named)
def test_no_test_gets_the_adapter_of_another(failure: Failure) -> None:
    """Each of the five is tried, and doesn't happen."""
    run(failure)
