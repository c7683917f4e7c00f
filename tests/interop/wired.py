"""A FastAPI application whose endpoints are given their bridge by dependency_injector's wiring.

Rules: every endpoint asks through each kind of FastAPI dependency, before and after the answer where a dependency can;
whatever they heard is in the answer, or is kept for those who look. `Provide` markers are filled by `App().wire(...)`.
No `from __future__ import annotations` here: `@inject` looks at annotations as they are, and would see texts.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, Final

from dependency_injector import containers, providers
from dependency_injector.wiring import Provide, inject
from fastapi import Depends, FastAPI

from bridge import Bridge, BridgeContainer


class Asker:
    """A service that got its bridge once, long ago."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    def ask(self) -> Any:
        """Whose adapter answers here."""
        return self._bridge.call("who")


class App(containers.DeclarativeContainer):
    """The application's container."""

    ml = providers.Container(BridgeContainer, settings=providers.Object({"pool": {"size": 2}}))
    asker = providers.Singleton(Asker, bridge=ml.bridge)


AFTERWARDS: Final[list[tuple[Any, Any]]] = []
"""What generator dependencies heard before and after the answer."""

Wired = Annotated[Bridge, Depends(Provide[App.ml.bridge])]
WiredAsker = Annotated[Asker, Depends(Provide[App.asker])]


@inject
def sync_dependency(bridge: Wired) -> Any:
    """Runs in anyio's threads."""
    return bridge.call("who")


@inject
async def async_dependency(bridge: Wired) -> Any:
    """Runs in the loop, and calls from a thread."""
    return await asyncio.to_thread(bridge.call, "who")


@inject
def generator_dependency(bridge: Wired) -> Iterator[Any]:
    """Each step runs in some thread of anyio's."""
    who = bridge.call("who")
    yield who
    AFTERWARDS.append((who, bridge.call("who")))


@inject
async def async_generator_dependency(bridge: Wired) -> AsyncIterator[Any]:
    """Both steps run in the loop."""
    who = bridge.call("who")
    yield who
    AFTERWARDS.append((who, bridge.call("who")))


app = FastAPI()


@app.get("/sync")
@inject
def sync_endpoint(
    bridge: Wired,
    asker: WiredAsker,
    one: Annotated[Any, Depends(sync_dependency)],
    two: Annotated[Any, Depends(async_dependency)],
    three: Annotated[Any, Depends(generator_dependency)],
    four: Annotated[Any, Depends(async_generator_dependency)],
) -> list[Any]:
    """Runs in anyio's threads."""
    return [bridge.call("who"), asker.ask(), one, two, three, four]


@app.get("/async")
@inject
async def async_endpoint(
    bridge: Wired,
    asker: WiredAsker,
    one: Annotated[Any, Depends(sync_dependency)],
    two: Annotated[Any, Depends(async_dependency)],
    three: Annotated[Any, Depends(generator_dependency)],
    four: Annotated[Any, Depends(async_generator_dependency)],
) -> list[Any]:
    """Runs in the loop, and calls from a thread as well."""
    return [bridge.call("who"), await asyncio.to_thread(asker.ask), one, two, three, four]
