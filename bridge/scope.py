"""Scopes: what is in force for a block, a function, and all that is started inside it.

Rules: the standard library only; a scope is used once; its frame is closed before anything else is said of its end, so
that nobody who still carries it falls back to something else in silence; whatever it started is ended with it, bounded.
Apart from overrides.py, which says what a scope changes: a `Plan` is opaque here. (`run` is Java's
`ScopedValue.where(...).run(...)`; `spawn` is joined at the end, as in structured concurrency.)
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from inspect import iscoroutinefunction
from types import CoroutineType, TracebackType
from typing import Any, Final

from bridge.errors import ScopeError
from bridge.frames import CURRENT, Active, Carried, Frame, Function, Kind, Plan, bind
from bridge.spawning import Crew

log = logging.getLogger("bridge.scope")

JOIN_TIMEOUT: Final = 5.0
"""Seconds that spawned functions have to end after `stopping` was set."""


@dataclass(frozen=True)
class ScopeInfo:
    """A scope, for those who look."""

    label: str
    depth: int
    """Scopes around it."""
    pinned: bool
    """Whether it is for one container only."""
    closed: bool


def current_scope() -> ScopeInfo | None:
    """The innermost scope that the caller is in; None outside any."""
    frame, depth = CURRENT.get(), -1
    found: Frame | None = None
    while frame is not None:
        if frame.kind is Kind.SCOPE:
            depth += 1
            found = found or frame
        frame = frame.parent
    if found is None or found.plan is None:
        return None
    return ScopeInfo(found.label, depth, found.plan.key is not None, found.closed)


class Scope:
    """What `with_adapter` and its like answer with: enter it with `with` or `async with`, or decorate a function.

    Single use; as a decorator it makes a fresh one for each call. A generator's consumer never sees the scope.

    Args:
        join_timeout: Seconds that spawned functions have to end.
    """

    def __init__(self, plan: Plan, *, join_timeout: float = JOIN_TIMEOUT) -> None:
        self._plan, self._join_timeout = plan, join_timeout
        self._frame: Frame | None = None
        self._crew = Crew(plan.label)

    @property
    def stopping(self) -> threading.Event:
        """Set when the scope ends: spawned functions look at it, and return."""
        return self._crew.stopping

    @property
    def frame(self) -> Frame:
        """What callers inside it see.

        Raises:
            ScopeError: It wasn't entered.
        """
        if self._frame is None:
            raise ScopeError(f"{self._plan.label} was not entered; use it as `with {self._plan.label}:`")
        return self._frame

    # -- with and async with -----------------------------------------------------------------------------

    def __enter__(self) -> Scope:
        frame = self.open()
        frame.token = CURRENT.set(frame)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(error)

    async def __aenter__(self) -> Scope:
        frame = await self.aopen()
        frame.token = CURRENT.set(frame)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose(error)

    # -- The same, without setting the variable ----------------------------------------------------------

    def open(self) -> Frame:
        """Enter without making it the caller's current one; `close` ends it.

        Raises:
            ScopeError: It was used before. Whatever its entry raises: nothing is left of it.
        """
        frame = self._begin()
        try:
            self._plan.enter(frame)
        except BaseException:
            frame.await_closed(self._end(0.0)[0])
            raise
        return frame

    async def aopen(self) -> Frame:
        """`open`, without blocking the event loop."""
        frame = self._begin()
        entry = asyncio.ensure_future(asyncio.to_thread(self._plan.enter, frame))
        try:
            await asyncio.shield(entry)
        except BaseException:
            until, _ = self._end(0.0)
            # Cancelled: the thread goes on, and finds that the frame is closed; whatever it built is closing.
            entry.add_done_callback(lambda done: done.cancelled() or done.exception())
            if entry.done():
                await asyncio.to_thread(frame.await_closed, until)
            raise
        return frame

    def close(self, error: BaseException | None = None) -> None:
        """End what was spawned, close the frame and all that it owns, bounded.

        Args:
            error: That leaves the block: then calls of others aren't waited for.

        Raises:
            ScopeError: It was left in another context or out of order, or spawned functions didn't end. It is closed
                all the same.
        """
        frame = self.frame
        if frame.closed:
            _put_back(frame)  # if somebody else has closed it, who couldn't
            return
        self._crew.stop()
        try:
            survivors = self._crew.join(self._join_timeout)
        finally:
            until, fault = self._end(None if error is None else 0.0)
            told = frame.await_closed(until)
        self._report(fault, survivors, error, told)

    async def aclose(self, error: BaseException | None = None) -> None:
        """`close`, without blocking the event loop."""
        frame = self.frame
        if frame.closed:
            _put_back(frame)
            return
        self._crew.stop()
        try:
            survivors = await self._crew.ajoin(self._join_timeout)
        finally:
            until, fault = self._end(None if error is None else 0.0)
            told = await asyncio.to_thread(frame.await_closed, until)
        self._report(fault, survivors, error, told)

    def _begin(self) -> Frame:
        if self._frame is not None:
            raise ScopeError(f"{self._plan.label} was used before; a scope is for one use, make another one")
        parent = CURRENT.get()
        if parent is not None:
            parent.check()
        self._frame = frame = Frame(Kind.SCOPE, self._plan.label, parent, self._plan)
        if frame.test is not None:
            frame.test.open_scopes[frame] = None
        return frame

    def _end(self, timeout: float | None) -> tuple[float, str]:
        """Close the frame, then put back what was current: until when its runtimes have time, and what went wrong."""
        frame, fault = self.frame, ""
        try:
            until = frame.close(timeout)
        finally:
            self._plan.leave(frame)
            fault = _put_back(frame)
        return until, fault

    def _report(
        self, fault: str, survivors: list[str], error: BaseException | None, told: BaseException | None
    ) -> None:
        problems = []
        if fault:
            problems.append(
                f"{self._plan.label} was left {fault}. It is closed. Enter and leave it in one function, or decorate "
                "the function with it; don't `yield` inside it but in a fixture or a context manager"
            )
        if survivors:
            problems.append(
                f"spawned functions didn't end within {self._join_timeout:g} s of {self._plan.label}: "
                f"{', '.join(survivors)}. They must return when `scope.stopping` is set"
            )
        unseen = self._crew.unseen()
        problems += [f"{name}, spawned in {self._plan.label}, failed: {each!r}" for name, each in unseen]
        if problems and (error is None or isinstance(error, GeneratorExit)):
            raise ScopeError("; ".join(problems)) from (unseen[0][1] if unseen else None)
        for problem in problems:
            log.warning("%s", problem)  # the error that leaves the block is the one to be seen
        if told is not None and error is None:  # else it is in the log already
            raise told

    # -- Functions ---------------------------------------------------------------------------------------

    def run(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call a function in this scope, which begins and ends with it; an `async def` is to be awaited."""
        if iscoroutinefunction(function):
            return self._run_async(function, *args, **kwargs)
        with self:
            result = function(*args, **kwargs)
            self.completed(result)
            return result

    async def _run_async(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        async with self:
            return await function(*args, **kwargs)

    def spawn(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function beside the caller, in this scope: in a thread, or an `async def` as a task of the loop.

        It ends with the scope: `stopping` is set and a thread joined, a task is cancelled. An error that nobody
        fetched from the future is raised at the scope's end.

        Raises:
            ScopeError: The scope isn't open, or there is no running loop for an `async def`.
        """
        frame = self.frame
        frame.check()
        return self._crew.spawn(frame, function, args, kwargs)

    def completed(self, result: object) -> None:
        """What a function returned that isn't an `async def`: a coroutine would run after the scope, outside it.

        Raises:
            ScopeError: It is one; it is closed.
        """
        if isinstance(result, CoroutineType):
            result.close()
            raise ScopeError(
                f"a plain function in {self._plan.label} returned the coroutine {result.__qualname__}, which would run "
                "after the scope has ended, and outside it. Decorate or run the `async def` itself"
            )

    def __call__(self, function: Function) -> Function:
        """Decorate: each call runs in a fresh scope."""
        if not callable(function) or isinstance(function, type):
            raise TypeError(f"{self._plan.label} decorates functions, not {function!r:.60}")
        plan, join_timeout = self._plan, self._join_timeout
        wrapper = bind(function, lambda: Scope(plan, join_timeout=join_timeout))
        wrapper.__bridge_scope__ = plan.label  # type: ignore[attr-defined]  # the pytest plugin looks for it
        return wrapper

    def __repr__(self) -> str:
        return f"<Scope {self._frame if self._frame is not None else self._plan.label}>"


def _put_back(frame: Frame) -> str:
    """Make current again what was so before a frame, which is closed; what is wrong with that."""
    if frame.token is None:
        return ""
    inside = CURRENT.get()
    if not _reset(frame):
        return "in another context (thread, task or generator) than it was entered in"
    if inside is not frame:
        frame.left, frame.token = True, CURRENT.set(inside)  # a token of this context: only here it may end
        return "out of order, before what was entered inside it"
    while (outer := CURRENT.get()) is not None and outer.left and _reset(outer):
        pass  # it was left before; without this every later call here would be told that it is closed
    return ""


def _reset(frame: Frame) -> bool:
    """False in another context than the frame was entered in: whoever carries it there goes on carrying it."""
    if frame.token is None:
        return False
    try:
        CURRENT.reset(frame.token)
    except ValueError:
        return False
    frame.token = None
    if frame.left:
        CURRENT.set(frame.parent)
    return True


def carry(function: Function) -> Function:
    """The same function, bound to the caller's scope: call it later, from any thread, task or callback."""
    frame = CURRENT.get()
    return bind(function, lambda: Carried(frame))


class ScopedThread(threading.Thread):
    """A thread that runs in the scope of whoever starts it."""

    def start(self) -> None:
        """Start it, in the caller's scope."""
        self.run = carry(self.run)  # type: ignore[method-assign]
        super().start()


class ScopedExecutor(ThreadPoolExecutor):
    """A thread pool whose jobs run in the scope of whoever submitted them: set and reset for each job.

    `loop.set_default_executor(ScopedExecutor())` covers `run_in_executor` too.
    """

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run `fn(*args, **kwargs)` in a thread, in the caller's scope."""
        return super().submit(_in_frame, CURRENT.get(), fn, args, kwargs)


def _in_frame(frame: Frame | None, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    with Active(frame):
        return function(*args, **kwargs)
