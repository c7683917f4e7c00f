"""Scopes through dependency-injector's own wiring: `@inject` in functions of the four kinds."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from dependency_injector import containers, providers
from dependency_injector.wiring import Provide, inject

from bridge import Bridge, BridgeContainer, with_adapter
from bridge.contract import Adapter
from tests.named import Named


class App(containers.DeclarativeContainer):
    """An application with a bridge in it."""

    ml = providers.Container(BridgeContainer, settings={"pool": {"size": 1}}, adapter=Named("default"))


@inject
def plain(client: Bridge = Provide[App.ml.bridge], adapter: Adapter = Provide[App.ml.adapter]) -> Any:
    """What a view function is like."""
    return client.call("who"), adapter.name


@inject
async def coroutine(client: Bridge = Provide[App.ml.bridge], adapter: Adapter = Provide[App.ml.adapter]) -> Any:
    """What an endpoint is like."""
    return client.call("who"), adapter.name


@inject
def generator(
    client: Bridge = Provide[App.ml.bridge], adapter: Adapter = Provide[App.ml.adapter]
) -> Iterator[tuple[Any, str]]:
    """What a dependency with a clean-up is like."""
    yield client.call("who"), adapter.name


@inject
async def async_generator(
    client: Bridge = Provide[App.ml.bridge], adapter: Adapter = Provide[App.ml.adapter]
) -> AsyncIterator[tuple[Any, str]]:
    """The same in a loop."""
    yield client.call("who"), adapter.name


async def all_of(steps: AsyncIterator[Any]) -> list[Any]:
    """A list of them."""
    return [step async for step in steps]


@pytest.fixture
def _wired() -> Iterator[None]:
    app = App()
    app.wire(modules=[sys.modules[__name__]])
    yield
    app.unwire()
    app.shutdown_resources()


@pytest.mark.usefixtures("_wired")
def test_what_is_injected_follows_the_scope_of_each_call() -> None:
    """Bridge and adapter, in all four kinds, before, inside and after."""

    def ask() -> set[Any]:
        return {
            plain(),
            asyncio.run(coroutine()),
            *generator(),
            *asyncio.run(all_of(async_generator())),
        }

    found = [ask()]
    with with_adapter(Named("scope")):
        found.append(ask())
        with with_adapter(Named("inner")):
            found.append(ask())
    found.append(ask())

    assert found == [{(name, name)} for name in ("default", "scope", "inner", "default")]
