"""What a scope has started beside its block, and how it ends.

Rules: every function that was spawned is joined, bounded; an error that nobody fetched is not lost. Apart from scope.py
because it owns threads.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from inspect import iscoroutinefunction
from typing import Any

from bridge.errors import ScopeError
from bridge.frames import CURRENT, Active, Frame


class Spawned(Future[Any]):
    """The future of one spawned function, which is a thread or a task. It knows whether somebody asked how it went."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.thread: threading.Thread | None = None
        self.task: asyncio.Task[Any] | None = None
        self._seen = False

    def cancel(self) -> bool:
        """Stop a task. A thread can't be stopped: it looks at `stopping`."""
        if self.task is not None and not self.task.done():
            with suppress(RuntimeError):  # its loop is closed, and the task with it
                self.task.get_loop().call_soon_threadsafe(self.task.cancel)
            return not self.done()
        return super().cancel()

    def result(self, timeout: float | None = None) -> Any:
        """What the function returned; raises what it raised."""
        self._seen = True
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the function raised."""
        self._seen = True
        return super().exception(timeout)

    def unseen(self) -> BaseException | None:
        """What it raised, if nobody asked."""
        return None if self._seen or not self.done() or self.cancelled() else super().exception()


class Crew:
    """The spawned functions of one scope."""

    def __init__(self, label: str) -> None:
        self.stopping = threading.Event()
        self._label = label
        self._all: list[Spawned] = []
        self._lock = threading.RLock()  # after `stop` nobody is added whom `join` wouldn't see

    def spawn(self, frame: Frame, function: Callable[..., Any], args: Any, kwargs: Mapping[str, Any]) -> Spawned:
        """Start a function in a frame: in a thread, an `async def` as a task of the running loop."""
        future = Spawned(getattr(function, "__qualname__", repr(function)))
        with self._lock:
            if self.stopping.is_set():
                raise ScopeError(f"{self._label} is ending; {future.name} can't be spawned in it any more")
            if iscoroutinefunction(function):
                try:
                    loop = asyncio.get_running_loop()
                except RuntimeError:
                    raise ScopeError(f"{future.name} is an `async def`: spawn it where an event loop runs") from None
                with Active(frame):
                    future.task = loop.create_task(function(*args, **kwargs))
                future.task.add_done_callback(lambda done: _copy(done, future))
            else:
                name = f"bridge-scope-{future.name}"
                future.thread = threading.Thread(
                    target=_work, args=(future, frame, function, args, kwargs), name=name, daemon=True
                )
                future.thread.start()
            self._all.append(future)
        return future

    def stop(self) -> None:
        """Tell them all to end."""
        with self._lock:
            self.stopping.set()
        for future in self._all:
            if future.task is not None:
                future.cancel()

    def join(self, seconds: float) -> list[str]:
        """Wait for the threads; the names of those that still run. Tasks end when their loop runs on."""
        deadline = time.monotonic() + seconds
        threads = [(future.name, future.thread) for future in self._all if future.thread is not None]
        for _, thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))
        return [name for name, thread in threads if thread.is_alive() and thread is not threading.current_thread()]

    async def ajoin(self, seconds: float) -> list[str]:
        """Wait for the threads and the tasks, without blocking the loop."""
        deadline = time.monotonic() + seconds
        tasks = {_end_of(future): future.name for future in self._all if future.task is not None}
        late = (await asyncio.wait(tasks, timeout=seconds))[1] if tasks else ()
        done = all(future.done() for future in self._all)  # then what is left of the threads is their last lines
        seconds = 1.0 if done else max(0.0, deadline - time.monotonic())
        return [tasks[task] for task in late] + await asyncio.to_thread(self.join, seconds)

    def unseen(self) -> list[tuple[str, BaseException]]:
        """The errors that nobody fetched, and of whom they are."""
        found = ((future.name, future.unseen()) for future in self._all)
        return [(name, error) for name, error in found if error is not None]


def _work(future: Spawned, frame: Frame, function: Callable[..., Any], args: Any, kwargs: Mapping[str, Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    CURRENT.set(frame)  # the thread's own context, which ends with it
    try:
        future.set_result(function(*args, **kwargs))
    except BaseException as error:
        future.set_exception(error)


def _end_of(future: Spawned) -> asyncio.Future[None]:
    """Done when it is. (`wrap_future` would fetch its error, which then nobody told its owner.)"""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def end() -> None:
        if not ended.done():
            ended.set_result(None)

    def tell(_: object) -> None:
        with suppress(RuntimeError):  # nobody waits in a loop that is closed
            loop.call_soon_threadsafe(end)

    future.add_done_callback(tell)
    return ended


def _copy(done: asyncio.Task[Any], future: Spawned) -> None:
    try:
        if done.cancelled():
            future.cancel()
            future.set_running_or_notify_cancel()
        elif (error := done.exception()) is not None:
            future.set_exception(error)
        else:
            future.set_result(done.result())
    except InvalidStateError:
        pass  # its owner cancelled it meanwhile
