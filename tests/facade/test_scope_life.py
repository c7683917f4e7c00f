"""How scopes begin and end when something goes wrong on the way: nothing stays open, set or claimed."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import pytest

from bridge import BridgeContainer, ScopeClosedError, ScopeError, WorkerStartError, current_scope, with_adapter
from bridge.contract import WorkerSpec
from bridge.frames import Active, Frame, Kind
from bridge.overrides import binding_of
from bridge.scope import Scope
from bridge.testing import Gate, ScriptedAdapter
from tests.facade.conftest import MakeContainer
from tests.named import PATIENCE, Maker, Named, NamedChannel, a_turn, in_plain_thread


class Faulty(Named):
    """Its workers can't be started, or it can't be closed."""

    def __init__(self, *, opening: BaseException | None = None, closing: Exception | None = None) -> None:
        super().__init__("faulty")
        self._opening, self._closing = opening, closing

    def open(self, spec: WorkerSpec, *, deadline: float) -> NamedChannel:
        """Fail, if it is to."""
        if self._opening is not None:
            raise self._opening
        return super().open(spec, deadline=deadline)

    def close(self) -> None:
        """Fail, if it is to."""
        super().close()
        if self._closing is not None:
            raise self._closing


def check_nothing_is_left(container: BridgeContainer, test: Frame) -> None:
    """The container answers as before, and may be claimed again."""
    assert current_scope() is None
    assert test.open_scopes == {}
    assert binding_of(container).everywhere is None
    assert in_plain_thread(lambda: container.bridge().call("who")) == "default"


@pytest.mark.parametrize("fault", [WorkerStartError("handler", "no", handler="x"), KeyboardInterrupt()], ids=type)
@pytest.mark.parametrize("in_a_loop", [False, True], ids=["with", "async with"])
def test_an_entry_that_fails_leaves_nothing(
    make_container: MakeContainer, fault: BaseException, in_a_loop: bool
) -> None:
    """A worker that can't be started, or Ctrl-C while it is: the adapter is closed, and no thread is answered by it."""
    adapters: list[Faulty] = []

    def make() -> Faulty:
        adapters.append(Faulty(opening=fault))
        return adapters[0]

    async def enter(scope: Scope) -> None:
        await scope.__aenter__()

    with Active(test := Frame(Kind.TEST, "test")):
        container = make_container(adapter=Named("default"))
        scope = with_adapter(make, container=container, everywhere=True)
        with pytest.raises(type(fault)):
            asyncio.run(enter(scope)) if in_a_loop else scope.__enter__()

        assert adapters[0].closed
        assert scope.frame.closed
        check_nothing_is_left(container, test)


@pytest.mark.parametrize("where", ["queued", "constructor", "open"])
def test_an_entry_that_is_cancelled_leaves_nothing(make_container: MakeContainer, where: str) -> None:
    """The loop goes on at once, wherever the entry's thread is; what that builds later is closed. Fails when closing
    waits for a lock, or when nobody looks after the thread."""
    gate, made = Gate(), []

    class Slow(Named):
        def __init__(self) -> None:
            super().__init__("slow")
            made.append(self)
            if where == "constructor":
                gate.wait()

        def open(self, spec: WorkerSpec, *, deadline: float) -> NamedChannel:
            if where == "open":
                gate.wait()
            return super().open(spec, deadline=deadline)

    async def main(container: BridgeContainer) -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(2 if where != "queued" else 1))
        before = loop.run_in_executor(None, gate.wait) if where == "queued" else None
        entry = asyncio.create_task(with_adapter(Slow, container=container, everywhere=True).__aenter__())
        await a_turn()
        if before is None:
            await asyncio.to_thread(gate.await_arrivals)
        entry.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(entry, PATIENCE / 2)
        gate.open()
        await asyncio.to_thread(bool)  # whatever was queued before has run

    with Active(test := Frame(Kind.TEST, "test")):
        container = make_container(adapter=Named("default"))
        asyncio.run(main(container))

        assert len(made) == (where != "queued")
        assert all(each.closed or not each.opened for each in made)
        check_nothing_is_left(container, test)


def test_an_async_exit_lets_running_calls_end(make_container: MakeContainer) -> None:
    """Like the plain one: calls of other threads have their time. Fails when the runtime is asked to close twice."""
    gate = Gate("answer")
    client = make_container().bridge()

    async def main() -> Any:
        scope = with_adapter(ScriptedAdapter([("go", gate)]))
        with Active(await scope.aopen()):
            call = asyncio.create_task(asyncio.to_thread(client.call, "go"))
        await asyncio.to_thread(gate.await_arrivals)
        end = asyncio.create_task(scope.aclose())
        while not scope.frame.closed:
            await a_turn()
        gate.open()
        await end
        return await call

    assert asyncio.run(main()) == "answer"


def test_an_adapter_that_cannot_be_closed_keeps_nothing_else_open(make_container: MakeContainer) -> None:
    """Its error is raised, after all others were closed and the variable was put back."""
    error = OSError("can't close")
    made: list[Named] = [Faulty(closing=error), Faulty(closing=error), Named(), Named()]
    left = iter(made)
    with Active(test := Frame(Kind.TEST, "test")):
        container, one, other = (make_container(adapter=Named("default")) for _ in range(3))

        @with_adapter(lambda: next(left), container=container, everywhere=True)
        @with_adapter(lambda: next(left))
        def work() -> None:
            for each in (one, other, container):
                each.bridge().call("who")

        with pytest.raises(OSError, match="can't close"):
            work()
        assert [each.opened for each in made] == [1, 1, 1, 1]
        assert all(each.closed for each in made)
        check_nothing_is_left(container, test)


def test_leaving_in_another_context_is_told_and_closes(make_container: MakeContainer) -> None:
    """ScopeError there; the scope has ended; who is still in it is refused until it is left there too."""
    client, maker = make_container(adapter=Named("default")).bridge(), Maker()
    scope, context = with_adapter(maker), copy_context()
    context.run(scope.__enter__)
    context.run(client.call, "who")

    with pytest.raises(ScopeError, match=r"in another context .* It is closed\."):
        scope.__exit__(None, None, None)

    assert maker.made[0].closed
    assert client.call("who") == "default"
    with pytest.raises(ScopeClosedError):
        context.run(client.call, "who")
    context.run(scope.__exit__, None, None, None)
    assert context.run(client.call, "who") == "default"


def test_leaving_out_of_order_is_told_and_passes(make_container: MakeContainer) -> None:
    """ScopeError; the inner one goes on; after its end the caller is where it was. Fails (refused for ever) when the
    inner one puts back the outer one, which is closed."""
    client = make_container(adapter=Named("default")).bridge()
    outer, inner = with_adapter(Named("outer")), with_adapter(Named("inner"))
    outer.__enter__()
    child = copy_context()
    inner.__enter__()
    of_child = with_adapter(Named("child"))
    child.run(of_child.__enter__)

    client.call("who")
    with pytest.raises(ScopeError, match="out of order"):
        outer.__exit__(None, None, None)
    assert client.call("who") == "inner"
    inner.__exit__(None, None, None)

    assert client.call("who") == "default"
    child.run(of_child.__exit__, None, None, None)
    with pytest.raises(ScopeClosedError):  # a task that carries the outer one is told, however it comes back to it
        child.run(client.call, "who")


def test_a_fault_at_the_end_does_not_hide_the_error_of_the_block(caplog: pytest.LogCaptureFixture) -> None:
    """The block's own error is raised; that the scope was left wrongly is logged."""
    scope = with_adapter(Named())
    copy_context().run(scope.__enter__)
    error = KeyError("mine")

    scope.__exit__(KeyError, error, None)

    assert scope.frame.closed
    assert "in another context" in caplog.text


def test_nothing_is_entered_inside_what_has_ended() -> None:
    """A new scope in one that has ended: ScopeClosedError, and not a scope without its surroundings."""
    with with_adapter(Named()):
        context = copy_context()
    with pytest.raises(ScopeClosedError):
        context.run(with_adapter(Named()).__enter__)
