"""What tests of asyncio callers share: turns of the loop, and loops in threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Generator
from typing import Any


class Turn:
    """Awaited, it lets the loop make one step."""

    def __await__(self) -> Generator[None, None, None]:
        yield


async def turns(count: int) -> None:
    """So many steps of the loop."""
    for _ in range(count):
        await Turn()


class LoopThread:
    """A loop that runs in a thread of its own until `stop`."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def submit(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """A future of what it ends in."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def stop(self) -> None:
        """The loop runs no longer; it isn't closed."""
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(20)

    def go_on(self) -> None:
        """Run again, until what it had to do is done."""
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def close(self) -> None:
        """The end."""
        self.stop()
        self.loop.close()
