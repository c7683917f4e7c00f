"""Nothing is kept: containers, runtimes, adapters and frames die with their last user."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import pytest
from dependency_injector import containers, providers

import bridge
from bridge import BridgeContainer, ScopedExecutor, carry, with_adapter, with_settings
from bridge.frames import Active, Frame, Kind
from tests.named import Maker, Named, in_plain_thread


def gone(*kept: weakref.ref[Any]) -> bool:
    """Whether all of these have died."""
    gc.collect()
    return [each() for each in kept] == [None] * len(kept)


class App(containers.DeclarativeContainer):
    """An application with a bridge in it."""

    ml = providers.Container(BridgeContainer, settings={"pool": {"size": 1}})
    service: providers.Singleton[Any] = providers.Singleton(dict, bridge=ml.bridge)


@pytest.mark.parametrize("make", [BridgeContainer, App])
def test_a_container_that_was_used_dies_with_its_last_user(make: Any) -> None:
    """With its bridge, runtime and adapter; used outside and inside scopes, overridden, shut down."""
    app = make()
    part = app.ml if make is App else app
    part.adapter.override(Named("default"))
    with with_adapter(Named("scope")), with_settings(size=2), with_adapter(Named, container=part):
        part.bridge().call("who")
        scoped = [weakref.ref(part.pool()), weakref.ref(part.adapter())]
    assert part.bridge().call("who") == "default"
    app.shutdown_resources()
    kept = [weakref.ref(each) for each in (app, part.bridge(), part.pool(), part.adapter(), part.binding())]

    app = part = None
    assert gone(*scoped, *kept)


def test_a_scope_that_has_ended_is_not_kept() -> None:
    """Not by the container, the task, the thread or the variable; neither is what it had built."""
    container = BridgeContainer(settings={"pool": {"size": 1}}, adapter=Named("default"))
    client = container.bridge()
    frames: list[weakref.ref[Frame]] = []

    async def main() -> None:
        async with with_adapter(Named("task")) as scope, with_settings(size=2):
            await asyncio.wrap_future(scope.spawn(client.call, "who"))
            await asyncio.to_thread(client.call, "who")
            frames.append(weakref.ref(scope.frame))

    def in_a_thread() -> None:
        with with_adapter(Named("thread"), container=container, everywhere=True) as scope:
            frames.append(weakref.ref(scope.frame))

    asyncio.run(main())
    with with_adapter(Named("block")) as scope:
        scope.spawn(client.call, "who").result(10)
        frames.append(weakref.ref(scope.frame))
    del scope
    in_plain_thread(in_a_thread)

    assert len(frames) == 3
    assert gone(*frames)
    container.shutdown_resources()


def test_an_idle_executor_keeps_no_scope() -> None:
    """A worker thread that waits for its next job is in none. Fails when a job's scope stays set."""
    with ScopedExecutor(1) as executor:
        with with_adapter(Named("scope")) as scope:
            frame = weakref.ref(scope.frame)
            executor.submit(bool).result(10)
        del scope
        assert gone(frame)


@pytest.mark.parametrize("keep", [lambda: carry(print), copy_context, lambda: BridgeContainer(settings={})])
def test_what_carries_a_scope_keeps_it_no_longer_than_itself(keep: Callable[[], Any]) -> None:
    """A carried function, a copied context, a container that was built inside."""
    with with_adapter(Named("scope")) as scope:
        frame, kept = weakref.ref(scope.frame), [keep()]
    del scope
    assert not gone(frame)
    kept.clear()
    assert gone(frame)


def test_a_test_forgets_the_scopes_that_ended_in_it() -> None:
    """However many, and whether their entry failed or not; a scope that was left open is seen in it."""
    test = Frame(Kind.TEST, "test")
    with Active(test):
        for number in range(10):
            with with_adapter(Named(f"{number}")):
                assert len(test.open_scopes) == 1
        with pytest.raises(KeyError):
            with_adapter(Named("x")).run({}.__getitem__, "missing")
        assert test.open_scopes == {}
        open_scope = with_adapter(Named("left"))
        frame = open_scope.open()
        assert list(test.open_scopes) == [frame]
        open_scope.close()
    assert test.open_scopes == {}


def test_a_container_in_use_that_is_dropped_warns_and_closes() -> None:
    """ResourceWarning, and its workers go; one that was shut down, or never used, says nothing."""
    adapter = Named("dropped")
    used = [BridgeContainer(settings={"name": "mine", "pool": {"size": 1}}, adapter=adapter)]
    used[0].bridge().call("who")
    runtime = weakref.ref(used[0].binding().peek())

    with pytest.warns(ResourceWarning, match=r"the bridge of mine \(dropped\) was dropped without close"):
        _drop(used)
    assert gone(runtime)
    BridgeContainer(settings={}, adapter=Named()).adapter()
    gc.collect()


def _drop(things: list[Any]) -> None:
    things.clear()
    gc.collect()


# -- connect -----------------------------------------------------------------------------------------------


def test_connect_with_an_adapter_beats_every_scope() -> None:
    """A name, a class or an instance given there is what runs, whoever calls."""
    with bridge.connect("x", adapter=Named("mine"), size=1) as client, with_adapter(Named("scope"), size=3):
        assert client.call("who") == "mine"
        assert client.stats().size == 1


def test_connect_without_an_adapter_obeys_its_callers_scope(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever calls, wherever it was made; its settings are merged with the scope's."""
    client = bridge.connect("x", size=2, timeout=3)
    for name in ("one", "other"):
        with with_adapter(Named(name), max_overflow=4):
            assert (client.call("who"), client.call("serves")) == (name, "x")
            assert (client.stats().size, client.stats().max_overflow) == (2, 4)
    client.close()


def test_connect_that_is_closed_is_closed_for_good() -> None:
    """In a scope, it closes what answers there and its own; the scope's others go on."""
    client = bridge.connect("x", size=1)
    with with_adapter(Maker("scope"), handler="x"):
        other = bridge.connect("x", size=1)
        assert client.call("who") == other.call("who") == "scope"
        client.close()
        with pytest.raises(bridge.PoolClosed):
            client.call("who")
        assert other.call("who") == "scope"
    with with_adapter(Named("next")), pytest.raises(bridge.PoolClosed):
        client.call("who")
