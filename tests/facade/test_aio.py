"""asyncio callers, containers and scopes: who answers is decided at the door, in the task that calls."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import pytest

import bridge
from bridge import AsyncBridge
from tests.facade.looping import turns

ECHO: Final = f"{Path(__file__).parent.parent / 'handlers.py'}:Echo"


def test_a_container_lends_its_bridge_to_asyncio() -> None:
    """`async with container.async_bridge()` starts it in the lifespan of an application, and shuts it down."""

    async def main() -> None:
        container = bridge.BridgeContainer(settings={"adapter": "python_port", "worker": {"handler": ECHO}})
        async with container.async_bridge() as ab:
            assert await ab.call("add", [1, 2]) == 3
            assert container.bridge().call("add", [1, 2]) == 3
        with pytest.raises(bridge.PoolClosed):
            await ab.call("add", [1, 2])

    asyncio.run(main())


def test_a_scope_decides_for_tasks_too() -> None:
    """Two tasks side by side, each in its own scope, by one AsyncBridge."""

    async def ask(ab: AsyncBridge, answer: str) -> str:
        async with bridge.with_adapter(bridge.MockAdapter({"who": answer})):
            await turns(2)
            value: str = await ab.call("who")
            return value

    async def main() -> None:
        ab = bridge.BridgeContainer(settings={"worker": {"handler": ECHO}}).async_bridge()
        assert list(await asyncio.gather(ask(ab, "one"), ask(ab, "two"))) == ["one", "two"]

    asyncio.run(main())


def test_a_map_answers_for_the_scope_that_it_was_made_in() -> None:
    """Not for the one that its items are taken in; a bad timeout is refused at once, too. Fails when `map` is itself a
    generator."""

    async def main() -> None:
        ab = bridge.BridgeContainer(settings={"worker": {"handler": ECHO}}).async_bridge()
        async with bridge.with_adapter(bridge.MockAdapter({"who": "outer"})):
            made = ab.map("who", [None, None])
            async with bridge.with_adapter(bridge.MockAdapter({"who": "inner"})):
                assert [item async for item in made] == ["outer", "outer"]
            with pytest.raises(bridge.ConfigurationError):
                ab.map("who", [None], timeout=-1)

    asyncio.run(main())
