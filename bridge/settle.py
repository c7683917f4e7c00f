"""Run a coroutine to its end where nobody awaits it: what a mock's function returned, or a plain thread's callback.

Rules: in a loop of its own and in its caller's context; asyncio is imported when there is a coroutine. Apart from
coroutines.py, which has the loop and imports asyncio.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from threading import Thread
from types import CoroutineType
from typing import Any, Final

__scoped_bridge__: Final = True


def settled(value: Any, own: list[Any] | None = None) -> Any:
    """What a function returned; a coroutine is run to its end, in a loop of its own and the caller's context.

    Args:
        own: Where the loop is kept for the next one; whoever keeps it closes it.
    """
    if type(value) is not CoroutineType:
        return value
    from bridge.coroutines import Loop  # not above: asyncio costs 50 ms

    ended: list[tuple[Any, BaseException | None]] = []
    loops = [] if own is None else own
    loops += [] if loops else [Loop()]

    def run() -> None:
        try:
            ended.append((loops[0].run(value), None))
        except BaseException as error:
            ended.append((None, error))
        finally:
            if own is None:
                loops[0].close()

    apart(run)
    result, error = ended[0]
    if error is not None:
        raise error
    return result


def apart(run: Callable[[], None]) -> None:
    """Do it here, or where a loop runs in a thread: a thread has one loop at a time."""
    from bridge.coroutines import is_running

    if is_running():
        thread = Thread(target=copy_context().run, args=(run,), name="bridge-mock-async")
        thread.start()
        thread.join()
    else:
        run()
