"""A client that has gone: what was begun for it is stopped.

A server doesn't cancel the endpoint of a client that hangs up; it only says so to whoever asks for the next message.
(Of a StreamingResponse, Starlette itself asks.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from fastapi import HTTPException, Request

CLIENT_CLOSED_REQUEST: Final = 499
"""Nobody gets to see this; it is for the log of a proxy in front."""

T = TypeVar("T")


async def disconnected(request: Request) -> None:
    """Return when the client has gone. FastAPI has read the body by then, for the endpoint's parameters."""
    while (await request.receive())["type"] != "http.disconnect":
        pass  # an empty body is a message, too


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Do something for a client; cancel it when the client has gone.

    Raises:
        HTTPException: The client has gone; `work` was cancelled, and has ended.
    """
    working, gone = asyncio.create_task(work), asyncio.create_task(disconnected(request))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise HTTPException(CLIENT_CLOSED_REQUEST, "the client has gone")
        return working.result()
    finally:
        working.cancel()
        gone.cancel()
        await asyncio.gather(working, gone, return_exceptions=True)
