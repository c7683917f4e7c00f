"""Run a handler's `async def`: one event loop per worker, on which a cancelled call is a cancelled task.

Rules: standard library only, Python 3.8 syntax, and nothing of this package is imported: a worker loads this file, and
asyncio with it, only when its handler returns a coroutine for the first time. The loop runs while a call does; tasks
that a call leaves behind go on in the next one that runs on it, and are cancelled at the end. Apart from worker.py for
what asyncio costs to import (51 ms).
"""

import asyncio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Coroutine, Optional, Tuple, Type

__scoped_bridge__ = True  # frames of modules that have this are left out of a handler's traceback, as in unittest


class Loop:
    """An event loop, of one worker or of one call of a mock.

    Args:
        request: The descriptor on which a cancel comes; None where none can.
        hear: Reads what is there: True for a cancel of the call that runs, None at the end of the stream.
        left: Raised in place of what a task that was cancelled so ends in.
    """

    def __init__(
        self,
        request: "Optional[int]" = None,
        hear: "Callable[[], Optional[bool]]" = bool,
        left: "Type[BaseException]" = asyncio.CancelledError,
    ) -> None:
        self._loop = asyncio.new_event_loop()
        self._request, self._hear, self._left = request, hear, left

    def run(self, coroutine: "Coroutine[Any, Any, Any]") -> "Any":
        """Its value; what it raises, with the handler's frames alone below ours."""
        loop, request = self._loop, self._request
        task = loop.create_task(_outcome(coroutine))
        told = False

        def look() -> None:
            nonlocal told
            heard = self._hear()
            if heard is not False and request is not None:  # at the end of the stream it would be readable for ever
                loop.remove_reader(request)
            if heard:
                told = True
                task.cancel()

        try:
            if request is not None:
                loop.add_reader(request, look)
                look()  # a cancel may have been read with the call
            value, error = loop.run_until_complete(task)
        except asyncio.CancelledError as cancelled:  # before its first step
            value, error = None, cancelled
        finally:
            if request is not None:
                loop.remove_reader(request)
            coroutine.close()  # one that was cancelled before its first step would be warned about
        if told and isinstance(error, asyncio.CancelledError):
            raise self._left from None
        if error is not None:
            raise error
        return value

    def close(self) -> None:
        """Cancel what calls left behind, and end."""
        loop = self._loop
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def is_running() -> bool:
    """Whether the caller is in an event loop."""
    try:
        return asyncio.get_running_loop() is not None
    except RuntimeError:
        return False


async def _outcome(coroutine: "Coroutine[Any, Any, Any]") -> "Tuple[Any, Optional[BaseException]]":
    """What it ends in, as a value: an error would bring asyncio's frames along, and a SystemExit end the loop."""
    try:
        return await coroutine, None
    except BaseException as error:
        return None, error
