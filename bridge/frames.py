"""Which scope a caller is in: one ContextVar, and the frames that it holds.

Rules: the standard library only; a frame never changes, but for its one-way `closed` bit and what it has built so far;
it knows for each container which frame answers, so that looking up costs the same at any depth; the variable is always
set and reset around one step, never left set. Apart from scope.py, whose scopes open and close frames; here they are
only found and carried.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Hashable
from contextlib import AbstractContextManager
from contextvars import ContextVar, Token
from enum import Enum
from functools import wraps
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from typing import Any, Final, Protocol, TypeVar, cast

from bridge.errors import ScopeClosedError

Function = TypeVar("Function", bound=Callable[..., Any])


class Kind(Enum):
    """What a frame stands for."""

    ROOT = "a test run"
    """Import time and wide fixtures, under the pytest plugin: what is built here belongs to no test."""
    TEST = "a test"
    SCOPE = "a scope"


class Closeable(Protocol):
    """What a frame owns: it is asked to close first and awaited afterwards, so that many close at once."""

    def request_close(self, timeout: float | None = None) -> float:
        """Begin to close without waiting. Answers until when, in monotonic seconds."""

    def await_closed(self, until: float) -> BaseException | None:
        """Wait for the end of it, bounded; what that said, to the first who asks."""


class Plan(Protocol):
    """What a scope changes, opaque to everything here."""

    @property
    def label(self) -> str:
        """As a person names it, in errors."""

    @property
    def key(self) -> Hashable | None:
        """The one container that it is for; None is all of them."""

    def enter(self, frame: Frame) -> None:
        """Start and warm what can be known now. May block. Whatever it raises ends the entry."""

    def leave(self, frame: Frame) -> None:
        """The frame is closed: undo what `enter` did outside it."""


class Frame:
    """One entered scope, one test, or the test run.

    Args:
        strict: Of a ROOT frame: whether what was built in it may be used by a thread without a frame.
    """

    __slots__ = (
        "__weakref__",
        "_guard",
        "_pid",
        "closed",
        "default",
        "kind",
        "label",
        "left",
        "open_scopes",
        "owned",
        "parent",
        "pins",
        "plan",
        "runtimes",
        "shared",
        "strict",
        "test",
        "token",
    )

    def __init__(
        self, kind: Kind, label: str, parent: Frame | None = None, plan: Plan | None = None, *, strict: bool = True
    ) -> None:
        self.kind, self.label, self.parent, self.plan, self.strict = kind, label, parent, plan, strict
        self.default: Frame | None = parent.default if parent is not None else None
        # A plain dict that nobody changes: a mapping proxy costs 20 ns at each call.
        self.pins: dict[Any, Frame] = parent.pins if parent is not None else {}
        if plan is not None:
            # The innermost wins, pinned or not: one that is for all containers hides every pin outside it.
            if plan.key is None:
                self.default, self.pins = self, {}
            else:
                self.pins = {**self.pins, plan.key: self}
        self.closed = False
        self.token: Token[Frame | None] | None = None  # while it is current in the context that entered it
        self.left = False  # out of order: it is current there once more when what is inside it ends
        self.runtimes: dict[Any, Any] = {}  # container -> what answers for it here
        self.owned: list[Closeable] = []
        self.shared: Any = None  # what answers for every container here, if entry knew it
        self.test: Frame | None = self if kind is Kind.TEST else parent.test if parent is not None else None
        self.open_scopes: dict[Frame, None] = {}  # of a TEST: the scopes that were opened in it
        self._pid, self._guard = os.getpid(), threading.RLock()

    def lock(self) -> AbstractContextManager[object]:
        """Guards what the frame has built. A forked child has a new one: the old may be held by a thread it lacks."""
        if self._pid != os.getpid():
            self._pid, self._guard = os.getpid(), threading.RLock()
        return self._guard

    def check(self) -> None:
        """Raise ScopeClosedError when its scope has ended."""
        if self.closed:
            raise ScopeClosedError(self.label)

    def own(self, built: Closeable) -> None:
        """Close it with the frame.

        Raises:
            ScopeClosedError: The frame was closed meanwhile; what was built is closing.
        """
        # First one's own mark, then a look at the other's, as in `close`: so one of the two sees it, without a lock,
        # which somebody may hold for as long as an adapter's constructor takes, and which would block an event loop.
        self.owned.append(built)
        if self.closed:
            built.request_close(0.0)
            self.check()

    def is_in(self, outer: Frame) -> bool:
        """Whether it is that frame, or one inside it."""
        frame: Frame | None = self
        while frame is not None and frame is not outer:
            frame = frame.parent
        return frame is not None

    def close(self, timeout: float | None = None) -> float:
        """Refuse everybody from now on, and ask all that it owns to close. Answers until when they have time."""
        self.closed = True
        if self.test is not None:
            self.test.open_scopes.pop(self, None)
        until, faults = 0.0, []
        for each in list(self.owned):
            try:
                until = max(until, each.request_close(timeout))
            except Exception as error:  # an adapter may be anybody's: the others are asked all the same
                faults.append(error)
        for fault in faults:
            raise fault
        return until

    def await_closed(self, until: float) -> BaseException | None:
        """Wait for the end of all that it owns, bounded; the first of what that said."""
        faults = [each.await_closed(until) for each in self.owned]
        return next(filter(None, faults), None)

    def __repr__(self) -> str:
        return f"<{self.kind.value} {self.label}{' (closed)' if self.closed else ''}>"


CURRENT: Final[ContextVar[Frame | None]] = ContextVar("scoped_bridge_frame", default=None)


class Active:
    """`with Active(frame)`: set the variable for one step, and put back what was there."""

    __slots__ = ("_frame", "_token")

    def __init__(self, frame: Frame | None) -> None:
        self._frame = frame

    def __enter__(self) -> None:
        self._token: Token[Frame | None] = CURRENT.set(self._frame)

    def __exit__(self, *_: object) -> None:
        CURRENT.reset(self._token)


class Stay(Protocol):
    """How a function that is bound to a frame gets it, and what becomes of it."""

    def open(self) -> Frame | None:
        """Before the first step."""

    def close(self, error: BaseException | None = None) -> None:
        """After the last one, with the error that it ended in."""

    def completed(self, result: object) -> None:
        """What a plain function returned; raises when that has yet to run."""

    async def aopen(self) -> Frame | None:
        """`open`, in an event loop."""

    async def aclose(self, error: BaseException | None = None) -> None:
        """`close`, in an event loop."""


class Carried:
    """A frame that is somebody else's to end."""

    __slots__ = ("_frame",)

    def __init__(self, frame: Frame | None) -> None:
        self._frame = frame

    def open(self) -> Frame | None:
        """The frame."""
        return self._frame

    def close(self, error: BaseException | None = None) -> None:
        """Nothing."""

    def completed(self, result: object) -> None:
        """Whatever it is."""

    async def aopen(self) -> Frame | None:
        """The frame."""
        return self._frame

    async def aclose(self, error: BaseException | None = None) -> None:
        """Nothing."""


def bind(function: Function, stay: Callable[[], Stay]) -> Function:
    """The same function, of any of the four kinds, each step of which runs in the frame that its stay gives it.

    A generator's consumer never sees the frame: it is current within each step only.
    """
    wrapper: Callable[..., Any]
    if isasyncgenfunction(function):

        @wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            with_it = stay()
            frame = await with_it.aopen()
            try:
                generator = function(*args, **kwargs)
                step, value = generator.asend, None
                while True:
                    with Active(frame):
                        try:
                            item = await step(value)
                        except StopAsyncIteration:
                            break
                    try:
                        value, step = (yield item), generator.asend
                    except GeneratorExit:
                        with Active(frame):
                            await generator.aclose()
                        raise
                    except BaseException as error:
                        value, step = error, generator.athrow
            except BaseException as error:
                await with_it.aclose(error)
                raise
            await with_it.aclose()

    elif isgeneratorfunction(function):

        @wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with_it = stay()
            frame = with_it.open()
            try:
                result = yield from _steps(function(*args, **kwargs), frame)
            except BaseException as error:
                with_it.close(error)
                raise
            with_it.close()
            return result

    elif iscoroutinefunction(function):

        @wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            with_it = stay()
            frame = await with_it.aopen()
            try:
                with Active(frame):
                    result = await function(*args, **kwargs)
            except BaseException as error:
                await with_it.aclose(error)
                raise
            await with_it.aclose()
            return result

    else:

        @wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with_it = stay()
            frame = with_it.open()
            try:
                with Active(frame):
                    result = function(*args, **kwargs)
                    with_it.completed(result)
            except BaseException as error:
                with_it.close(error)
                raise
            with_it.close()
            return result

    return cast("Function", wrapper)


def _steps(generator: Generator[Any, Any, Any], frame: Frame | None) -> Generator[Any, Any, Any]:
    step: Callable[[Any], Any] = generator.send
    value = None
    while True:
        with Active(frame):
            try:
                item = step(value)
            except StopIteration as stop:
                return stop.value
        try:
            value, step = (yield item), generator.send
        except GeneratorExit:
            with Active(frame):
                generator.close()
            raise
        except BaseException as error:
            value, step = error, generator.throw
