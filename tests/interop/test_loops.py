"""asyncio callers on uvloop, and inside anyio: the same verbs, deadlines and cancels."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

import anyio
import pytest
import uvloop

import bridge
from bridge import AsyncBridge
from tests.facade.looping import turns

ECHO: Final = f"{Path(__file__).parents[1] / 'handlers.py'}:Echo"


async def use(ab: AsyncBridge) -> None:
    """Every way in which a call ends; the one worker is the same afterwards."""
    pid = await ab.call("pid")
    assert await asyncio.gather(*(ab.call("echo", [number]) for number in range(100))) == list(range(100))
    text = "x" * 1_000_000
    assert await ab.call("echo", [text]) == text
    with pytest.raises(bridge.CallTimeout):
        await ab.call("sleep", [60], timeout=0.1)
    for steps in range(30):
        task = asyncio.ensure_future(ab.call("echo", [steps]))
        await turns(steps)
        task.cancel()
        await asyncio.wait([task])
        assert await ab.call("echo", ["next"]) == "next"
    assert await ab.call("pid") == pid
    with pytest.raises(bridge.WorkerCrashed):
        await ab.call("crash")
    assert await ab.call("echo", [1]) == 1


async def open_and_use() -> None:
    """From the start of a bridge to its end."""
    async with bridge.connect(ECHO, adapter="python_port", size=1, cancel_grace=30) as ab:
        await use(ab)


@pytest.mark.leaks  # libuv's own pipe for signals, one for the process
def test_on_uvloop() -> None:
    """Its readers, writers and timers are others than asyncio's own."""
    loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(open_and_use())
    finally:
        loop.close()


@pytest.mark.leaks
@pytest.mark.parametrize("uv", [False, True])
def test_inside_anyio(uv: bool) -> None:
    """Task groups, `move_on_after` and `fail_after` cancel calls as asyncio does."""

    async def main() -> None:
        async with bridge.connect(ECHO, adapter="python_port", size=1, cancel_grace=30) as ab:
            pid = await ab.call("pid")
            with anyio.move_on_after(0.1) as scope:
                await ab.call("sleep", [60])
            assert scope.cancelled_caught
            with pytest.raises(TimeoutError):
                await late(ab)
            found: list[Any] = []

            async def ask(number: int) -> None:
                found.append(await ab.call("echo", [number]))

            async with anyio.create_task_group() as group:
                for number in range(20):
                    group.start_soon(ask, number)
            assert sorted(found) == list(range(20))
            assert await ab.call("pid") == pid

    anyio.run(main, backend_options={"use_uvloop": uv})


async def late(ab: AsyncBridge) -> None:
    """A call in a scope that ends before it."""
    with anyio.fail_after(0.1):
        await ab.call("sleep", [60])
