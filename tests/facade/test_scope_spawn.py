"""What a scope has started beside its block is ended with it: threads are joined, tasks cancelled, errors told."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from bridge import Bridge, ScopeClosedError, ScopeError, with_adapter
from bridge.overrides import plan_of_adapter
from bridge.scope import Scope
from bridge.testing import Gate
from tests.facade.conftest import MakeContainer
from tests.named import PATIENCE, Named, a_turn


@pytest.fixture
def client(make_container: MakeContainer) -> Bridge:
    """Answers with "default" outside every scope."""
    return make_container(adapter=Named("default")).bridge()


def impatient() -> Scope:
    """A scope that waits for nobody."""
    return Scope(plan_of_adapter(Named("scope")), join_timeout=0.05)


def test_a_spawned_function_runs_in_the_scope_and_is_joined(client: Bridge) -> None:
    """It is told by `stopping`, and its last call still is in the open scope."""
    started = Gate()

    def work(scope: Scope, *, last: str) -> list[Any]:
        started.then(lambda: None)
        assert scope.stopping.wait(PATIENCE)
        return [client.call("who"), last]

    with with_adapter(Named("scope")) as scope:
        future = scope.spawn(work, scope, last="word")
        started.await_arrivals()
        assert not future.done()
    assert future.result(0) == ["scope", "word"]


def test_who_does_not_end_is_named(client: Bridge) -> None:
    """After join_timeout: ScopeError with the survivors' names; they are refused from then on."""
    gate, told = Gate(), Gate()

    def stubborn() -> None:
        gate.wait()
        with pytest.raises(ScopeClosedError):
            client.call("who")
        told.then(lambda: None)

    with pytest.raises(ScopeError, match=r"didn't end within 0\.05 s of .*stubborn"), impatient() as scope:
        future = scope.spawn(stubborn)
    gate.open()
    told.await_arrivals()
    assert future.exception(PATIENCE) is None


def test_an_error_that_nobody_fetched_is_raised_at_the_end() -> None:
    """As the cause of a ScopeError; one that was fetched isn't."""

    def fail() -> None:
        raise KeyError("mine")

    with with_adapter(Named()) as scope, pytest.raises(KeyError):
        scope.spawn(fail).result(PATIENCE)
    with pytest.raises(ScopeError, match=r"fail, spawned in .* failed: KeyError\('mine'\)") as caught:
        _spawn_and_leave(fail)
    assert isinstance(caught.value.__cause__, KeyError)


def _spawn_and_leave(function: Any, error: Exception | None = None) -> None:
    with with_adapter(Named()) as scope:
        scope.spawn(function)
        if error is not None:
            raise error


def test_an_error_of_the_block_is_raised_and_the_others_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Neither is lost. Fails when unseen errors are dropped because the block failed."""

    def fail() -> None:
        raise KeyError("beside")

    with pytest.raises(ValueError, match="block"):
        _spawn_and_leave(fail, ValueError("block"))
    assert "KeyError('beside')" in caplog.text


def test_nobody_joins_a_scope_that_is_ending(client: Bridge) -> None:
    """What a spawned function starts late would not be joined: refused. Fails when only the closed bit is looked at."""

    def breed(scope: Scope) -> Any:
        scope.stopping.wait(PATIENCE)
        return scope.spawn(client.call, "who")

    with with_adapter(Named()) as scope:
        future = scope.spawn(breed, scope)
        scope.spawn(lambda: future.exception(PATIENCE))
    with pytest.raises(ScopeError, match="is ending"):
        future.result(0)
    with pytest.raises(ScopeClosedError):
        scope.spawn(client.call, "who")


def test_a_scope_that_ends_in_its_own_spawned_thread_does_not_wait_for_itself() -> None:
    """It closes, and the thread goes on to its end."""
    scope = with_adapter(Named())
    scope.open()

    assert scope.spawn(scope.close).exception(PATIENCE) is None
    assert scope.frame.closed


def test_a_spawned_task_is_cancelled_and_cleans_up_in_the_scope(client: Bridge) -> None:
    """The scope is closed after the task has ended, not when it was asked to. Fails when the request is the end."""
    found: list[Any] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(20):
                await a_turn()
            found.append(client.call("who"))

    async def main() -> None:
        async with with_adapter(Named("scope")) as scope:
            future = scope.spawn(work)
            await a_turn()
        assert future.cancelled()

    asyncio.run(main())
    assert found == ["scope"]


def test_a_task_that_ignores_its_cancellation_is_named() -> None:
    """It is a survivor like a thread. Fails when a cancelled future counts as an ended task."""
    enough = asyncio.Event()

    async def stubborn() -> None:
        while not enough.is_set():
            try:
                await enough.wait()
            except asyncio.CancelledError:
                continue

    async def main() -> None:
        scope = impatient()
        await scope.__aenter__()
        future = scope.spawn(stubborn)
        await a_turn()
        with pytest.raises(ScopeError, match=r"didn't end within 0\.05 s of .*stubborn"):
            await scope.__aexit__(None, None, None)
        enough.set()
        await asyncio.wrap_future(future)

    asyncio.run(main())


def test_a_tasks_error_that_nobody_fetched_is_raised_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    """And asyncio has nothing to complain of. Fails when our own waiting counts as fetching."""

    async def fail() -> None:
        raise KeyError("mine")

    async def main(*, fetch: bool) -> None:
        async with with_adapter(Named()) as scope:
            future = scope.spawn(fail)
            if fetch:
                with pytest.raises(KeyError):
                    await asyncio.wrap_future(future)
            await a_turn()

    with pytest.raises(ScopeError, match=r"fail, spawned in .* failed: KeyError\('mine'\)"):
        asyncio.run(main(fetch=False))
    asyncio.run(main(fetch=True))
    assert caplog.text == ""


def test_cancelling_a_spawned_task_cancels_the_task() -> None:
    """Its future answers when it has ended."""
    log: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            log.append("ended")

    async def main() -> None:
        async with with_adapter(Named()) as scope:
            future = scope.spawn(work)
            await a_turn()
            assert future.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wrap_future(future)
            assert log == ["ended"]

    asyncio.run(main())


def test_a_coroutine_function_needs_a_loop() -> None:
    """ScopeError, and no coroutine that was never awaited."""

    async def work() -> None:
        pytest.fail("ran")

    with with_adapter(Named()) as scope, pytest.raises(ScopeError, match="spawn it where an event loop runs"):
        scope.spawn(work)


def test_spawning_is_for_the_scopes_frame_whoever_calls(client: Bridge) -> None:
    """Also from a thread without a scope, and inside another scope."""
    with with_adapter(Named("outer")) as scope, with_adapter(Named("inner")):
        found = [scope.spawn(client.call, "who").result(PATIENCE)]
        thread = threading.Thread(target=lambda: found.append(scope.spawn(client.call, "who").result(PATIENCE)))
        thread.start()
        thread.join(PATIENCE)

    assert found == ["outer", "outer"]
