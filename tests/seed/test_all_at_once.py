"""All 45 at the same time, in threads and as tasks of one event loop, while the global configuration changes.

The post-mortem's cure was to run such tests one after the other. Here each has a scope, and that is enough: on one
bridge, with the environment and the container's override being changed under them all the time.
"""

from __future__ import annotations

import asyncio
import os
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import iscoroutinefunction
from itertools import cycle
from typing import Final

import pytest

from bridge import BridgeContainer, MockAdapter, ScopedExecutor, current_scope, with_adapter
from tests.seed import (
    test_adapter_resolution,
    test_bridge_not_running,
    test_checkout_timeouts,
    test_exit_cascades,
    test_port_connection,
)
from tests.seed.application import APP, PATIENCE, Failure, named

ALL: Final[tuple[Failure, ...]] = (
    *test_port_connection.FAILURES,
    *test_exit_cascades.FAILURES,
    *test_checkout_timeouts.FAILURES,
    *test_adapter_resolution.FAILURES,
    *test_bridge_not_running.FAILURES,
)
PAUSE: Final = 0.002
"""Seconds between two changes of the global configuration."""

WITNESS: Final = BridgeContainer(settings={"name": "the witness"})
"""Asked by each before and after whose scope it is in."""


@contextmanager
def vandal() -> Iterator[MockAdapter]:
    """Change what is global, until the block is left; the adapter that nobody may ever meet."""
    poison, over = MockAdapter({}), threading.Event()
    before = dict(os.environ)
    variables = ("TEST_MODE", "BRIDGE_TEST_MODE", "BRIDGE_ADAPTER")

    def change() -> None:
        for mode in cycle(("mock_adapter", "full_integration", "bridge_mock")):
            os.environ.update(dict.fromkeys(variables[:2], mode), BRIDGE_ADAPTER="mock")
            APP.adapter.override(poison)
            if over.wait(PAUSE):
                return
            APP.adapter.reset_override()
            for name in variables:
                del os.environ[name]
            if over.wait(PAUSE):
                return

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield poison
    finally:
        over.set()
        thread.join()
        APP.adapter.reset_override()
        for name in variables:
            os.environ.pop(name, None)
            if name in before:
                os.environ[name] = before[name]


def whose() -> tuple[object, str | None]:
    """Whose scope the caller is in, as the witness says, and which one."""
    scope = current_scope()
    return WITNESS.bridge().call("whose"), None if scope is None else scope.label


class Round:
    """One run of all of them. Each begins when all are inside their scopes."""

    def __init__(self, failures: tuple[Failure, ...]) -> None:
        self.happened: dict[str, str] = {}
        self.finished: list[str] = []
        self._tasks = [failure for failure in failures if iscoroutinefunction(failure)]
        self._threads = [failure for failure in failures if not iscoroutinefunction(failure)]
        self._all_inside = threading.Barrier(len(self._threads) + 1)

    def run(self) -> None:
        """Run them all."""
        targets: list[Callable[[], None]] = [lambda each=each: self._in_thread(each) for each in self._threads]  # type: ignore[misc]
        threads = [threading.Thread(target=target) for target in (*targets, self._in_loop)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _note(self, failure: Failure, error: BaseException | None = None) -> None:
        if error is not None:
            self.happened[named(failure)] = "".join(traceback.format_exception(error))
        self.finished.append(named(failure))

    def _in_thread(self, failure: Failure) -> None:
        error: BaseException | None = None
        try:
            with with_adapter(MockAdapter({"whose": named(failure)}), container=WITNESS):
                self._all_inside.wait(PATIENCE)
                before = whose()
                failure()
                assert whose() == before == (named(failure), "with_adapter(MockAdapter(...))")
        except BaseException as caught:
            error = caught
        self._note(failure, error)

    def _in_loop(self) -> None:
        asyncio.run(self._in_tasks())

    async def _in_tasks(self) -> None:
        loop = asyncio.get_running_loop()
        executor = ScopedExecutor(4 * len(self._tasks))  # the loop's own may be too small for all of them to wait
        loop.set_default_executor(executor)
        all_inside = asyncio.Event()
        tasks = [asyncio.create_task(self._in_task(failure, all_inside)) for failure in self._tasks]
        await loop.run_in_executor(None, self._all_inside.wait, PATIENCE)
        all_inside.set()
        await asyncio.gather(*tasks)

    async def _in_task(self, failure: Failure, all_inside: asyncio.Event) -> None:
        error: BaseException | None = None
        try:
            async with with_adapter(MockAdapter({"whose": named(failure)}), container=WITNESS):
                await all_inside.wait()
                before = whose()
                await failure()  # type: ignore[misc]
                assert whose() == before == (named(failure), "with_adapter(MockAdapter(...))")
        except BaseException as caught:
            error = caught
        self._note(failure, error)


@pytest.mark.thread_unsafe  # it changes the environment, and sees to the parallelism itself
@pytest.mark.parametrize("number", [0, pytest.param(1, marks=pytest.mark.deep)])
def test_all_45_at_once(number: int) -> None:
    """Each sees its own adapter, workers and settings only, and none of the 45 happens. Fails with each mutation that
    the five files name, and when a scope looks at anything global."""
    order = ALL[number * 22 :] + ALL[: number * 22]  # another order in each round
    round_ = Round(order)
    with vandal() as poison:
        round_.run()

    assert not round_.happened, "\n".join(round_.happened.values())
    assert sorted(round_.finished) == sorted(map(named, ALL))
    assert poison.calls == []
