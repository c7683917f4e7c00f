"""Run a handler's `async def`: one event loop per worker, on which a cancelled call is a cancelled task.

Rules: standard library only, Python 3.8 syntax, and nothing of this package is imported: a worker loads this file, and
asyncio with it, only when its handler returns a coroutine for the first time. The loop runs while a call does; tasks
that a call leaves behind go on in the next one that runs on it, and are cancelled at the end. Apart from worker.py for
what asyncio costs to import (51 ms).
"""

import asyncio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Coroutine, Optional, Tuple

__scoped_bridge__ = True  # frames of modules that have this are left out of a handler's traceback, as in unittest


class Loop:
    """The event loop of one worker."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()

    def run(self, coroutine: "Coroutine[Any, Any, Any]", request: int, hear: "Callable[[], Optional[bool]]") -> "Any":
        """Its value; what it raises.

        Args:
            request: The descriptor on which a cancel comes.
            hear: Reads what is there: True for a cancel of this call, None at the end of the stream.

        Raises:
            asyncio.CancelledError: It was cancelled, by `hear` or by itself.
        """
        loop = self._loop
        task = loop.create_task(_outcome(coroutine))

        def look() -> None:
            heard = hear()
            if heard is not False:  # at the end of the stream it would be readable for ever
                loop.remove_reader(request)
            if heard:
                task.cancel()

        loop.add_reader(request, look)
        try:
            look()  # a cancel may have been read with the call
            value, error = loop.run_until_complete(task)
        finally:
            loop.remove_reader(request)
            coroutine.close()  # one that was cancelled before its first step would be warned about
        if error is not None:
            raise error
        return value

    def close(self) -> None:
        """Cancel what calls left behind, and end."""
        loop = self._loop
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True)) if left else None
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


async def _outcome(coroutine: "Coroutine[Any, Any, Any]") -> "Tuple[Any, Optional[BaseException]]":
    """What it ends in. As a value, with the frames of the handler alone: a SystemExit would end the loop too."""
    try:
        return await coroutine, None
    except BaseException as error:
        return None, error
