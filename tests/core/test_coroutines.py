"""The worker's event loop and its pipe, without a process: what a cancel meets, and what the end of the stream does."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import Any

import pytest

from bridge.handler import Cancelled
from bridge.wire import CALL, CANCEL, pack
from bridge.worker import Pipes


@pytest.fixture
def ends() -> Iterator[tuple[Pipes, int]]:
    """A worker's pipes, and the end into which its caller writes. Replies go nowhere."""
    request, caller = os.pipe()
    null = os.open(os.devnull, os.O_WRONLY)
    pipes = Pipes(request, null)
    yield pipes, caller
    pipes.end_loop()
    for fd in (request, caller, null):
        try:
            os.close(fd)
        except OSError:
            pass  # the test closed it


async def hang() -> None:
    """Until it is cancelled."""
    await asyncio.Event().wait()


async def nothing() -> None:
    """To be awaited, so that the loop goes round once."""


@pytest.mark.parametrize("together", [True, False])
def test_a_cancel_that_came_before_the_loop_runs_is_obeyed(ends: tuple[Pipes, int], together: bool) -> None:
    """Also when it was read together with its call, so that the descriptor won't become readable for it. Fails (hangs)
    when nothing looks before the loop runs."""
    pipes, caller = ends
    os.write(caller, pack(CALL, 7) + (pack(CANCEL, 7) if together else b""))
    pipes.read()
    if not together:
        os.write(caller, pack(CANCEL, 7))

    with pytest.raises(Cancelled):
        pipes.run(7, hang, None)


def test_a_cancel_of_an_earlier_call_meets_nobody(ends: tuple[Pipes, int]) -> None:
    """It is read, and passed by. Fails when the id isn't looked at."""
    pipes, caller = ends

    async def turns() -> str:
        for _ in range(5):
            await asyncio.wait([asyncio.ensure_future(nothing())])
        return "done"

    os.write(caller, pack(CANCEL, 6))
    assert pipes.run(7, turns, None) == "done"


def test_the_end_of_the_stream_lets_a_call_end(ends: tuple[Pipes, int]) -> None:
    """A caller that is gone doesn't make the loop spin: it stops listening, and the next read says so.
    Fails when the end of the stream counts as nothing heard."""
    pipes, caller = ends
    looks = []
    hear = pipes._hear

    def counted() -> Any:
        looks.append(hear())
        return looks[-1]

    pipes._hear = counted  # type: ignore[method-assign]
    os.close(caller)

    async def turns() -> str:
        for _ in range(50):
            await asyncio.wait([asyncio.ensure_future(nothing())])
        return "done"

    assert pipes.run(7, turns, None) == "done"
    assert looks == [None]
