"""Long buffers through a real worker, by every driver, and where it goes wrong on the way."""

from __future__ import annotations

import asyncio
import gc
from array import array
from typing import Any, Final

import pytest

from bridge import CallTimeout
from bridge.testing import contract_handler
from tests.process.conftest import Connect
from tests.process.rogue import Rogue

HANDLER: Final = f"{contract_handler.__file__}:ContractHandler"
LONG: Final = 5_000_000
"""Bytes of what is long: many times a pipe, and with room of its own where it arrives."""


@pytest.mark.parametrize("adapter", ["python_port", "bridge_mock"])
def test_a_task_sends_and_gets_long_buffers(connect: Connect, adapter: str) -> None:
    """Piece by piece, as the pipe takes them. Fails when a rest is cut at the wrong byte."""
    b = connect(HANDLER, adapter=adapter)
    values = [array("q", range(each, each + LONG // 8)) for each in range(4)]

    async def calls() -> list[Any]:
        return await asyncio.gather(*(b.aio.call("echo", [value]) for value in values))

    assert [found.tolist() for found in asyncio.run(calls())] == [value.tolist() for value in values]


@pytest.mark.parametrize("length", [1, 40_000, 120_000])
def test_a_buffer_that_is_not_long_goes_through_the_pipe(connect: Connect, length: int) -> None:
    """In pieces, if it isn't short either. Fails when a call writes what isn't bytes as if it were."""
    b = connect(HANDLER)
    for _ in range(3):
        value = b.call("echo", [bytearray(length)])
        assert bytes(value) == bytes(length)


def test_a_long_buffer_is_the_callers_own_again(connect: Connect) -> None:
    """Once its call is over it can be resized. Fails when a rope is kept."""
    b = connect(HANDLER)
    mine = bytearray(LONG)

    assert b.call("echo", [mine]) == mine
    mine.append(1)


@pytest.mark.parametrize("driver", ["call", "task"])
def test_a_worker_that_does_not_read_a_long_buffer_is_timed_out(
    connect: Connect, handlers: str, rogue: Rogue, driver: str
) -> None:
    """At the deadline, by either driver; the buffer is the caller's again. Fails when the deadline isn't looked at
    while a rope is written."""
    b = connect(f"{handlers}:Echo", python=rogue.once("get_ready(); signal.pause()"), cancel_grace=0.2)
    mine = bytearray(LONG)

    def call() -> Any:
        if driver == "call":
            return b.call("echo", [mine], timeout=0.3)
        return asyncio.run(b.aio.call("echo", [mine], timeout=0.3))

    with b:  # its start isn't to be a part of that call's time
        with pytest.raises(CallTimeout):
            call()
        assert b.call("echo", [mine]) == mine
    gc.collect()  # an error of a task refers to itself
    mine.append(1)
