"""Put anyio's async fixtures into the frame of the test, or the run, that they are set up for.

Rules: touches nothing but coroutines that anyio runs, in a run where somebody uses a bridge. Apart from the plugin
because it is about one runner: anyio's keeps one task, and so one context, for all tests of a module or more when a
fixture is that wide; what runs there sees what was current when that task began, which is another test's business.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from functools import wraps
from types import MethodType
from typing import Any

import pytest

from bridge.frames import CURRENT, Frame


class Steps:
    """What is known of a fixture's steps."""

    def __init__(self, frame: Frame | None) -> None:
        self.frame = frame
        self.left: Frame | None = None
        """What was current after its set-up, in the runner's context."""

    def enter(self) -> None:
        """Make the frame current in this context, unless one inside it is: fixtures of one test build on each other."""
        current = CURRENT.get()
        if self.frame is not None and (current is None or not current.is_in(self.frame)):
            # Not reset: the context is the runner's, and the next who runs there does the same.
            CURRENT.set(self.frame)


def runs(function: Any, names: Any) -> bool:
    """Whether anyio runs a function, of a test that uses these fixtures, where somebody uses a bridge."""
    is_async = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
    return is_async and "anyio_backend" in names and "bridge.binding" in sys.modules


@contextmanager
def adopted(fixture: pytest.FixtureDef[Any], names: Any, frame: Frame | None) -> Iterator[Steps]:
    """Have a fixture that is set up now take its steps in a frame, if anyio runs it."""
    steps = Steps(frame)
    function: Any = fixture.func
    if not runs(function, names):
        yield steps
        return
    # anyio binds methods to their instance by itself, and takes the function as it finds it.
    fixture.func = _of_its_kind(function, steps)  # type: ignore[misc]
    try:
        yield steps
    finally:
        fixture.func = function  # type: ignore[misc]


def _of_its_kind(function: Any, steps: Steps) -> Any:
    if inspect.ismethod(function):
        return MethodType(_of_its_kind(function.__func__, steps), function.__self__)
    if inspect.isasyncgenfunction(function):

        @wraps(function)
        async def generator(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            steps.enter()
            async with aclosing(function(*args, **kwargs)) as inner:
                async for value in inner:
                    steps.left = CURRENT.get()
                    yield value
                    CURRENT.set(steps.left)  # a scope must be current to be left

        return generator

    @wraps(function)
    async def coroutine(*args: Any, **kwargs: Any) -> Any:
        steps.enter()
        result = await function(*args, **kwargs)
        steps.left = CURRENT.get()
        return result

    return coroutine
