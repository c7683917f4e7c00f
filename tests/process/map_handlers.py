"""A handler whose calls are quick, slow, deadly or late, as their items say."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from typing import Any

colour: contextvars.ContextVar[str] = contextvars.ContextVar("colour", default="none")


class Many:
    """Each command takes one item."""

    def __init__(self) -> None:
        self.calls = 0

    def echo(self, item: Any) -> Any:
        return item

    def count(self, item: Any) -> int:
        self.calls += 1
        return self.calls

    def pid(self, item: Any) -> int:
        return os.getpid()

    def act(self, item: Any) -> Any:
        """A text is a deed: `die` now, `wait` for ever, `raise`; a number is echoed."""
        if item == "die":
            os._exit(9)
        if item == "wait":
            threading.Event().wait()
        if item == "raise":
            raise ValueError(item)
        return item

    def rest(self, item: float) -> float:
        """Take so many seconds."""
        threading.Event().wait(item)
        return item

    async def arest(self, item: float) -> float:
        """The same on the event loop."""
        await asyncio.to_thread(threading.Event().wait, item)
        return item

    def left(self, item: float, *, context: Any) -> float:
        """Seconds that the call has, after so many."""
        threading.Event().wait(item)
        return float(context.remaining())

    def tint(self, item: int) -> str:
        return colour.get()
