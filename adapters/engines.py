"""An executor of somebody's: where it comes from, whose it is, how it is left.

Rules: what was made here is ended here, what was handed in never is; whatever it does by itself, such as being made,
asked or ended, is given a time, and goes on without us after that. Apart from executor.py, which has jobs for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future
from contextvars import copy_context
from functools import partial
from importlib import import_module
from typing import Any, Final

from bridge.errors import ConfigurationError

__scoped_bridge__: Final = True

OF_THE_LIBRARY: Final = ("concurrent.futures.thread", "concurrent.futures.process")
"""Whose futures are cancelled at once, and only if their job hasn't begun. By name, since the latter imports much."""
Make = Callable[[], Any]


class Late(Exception):
    """It took too long."""


class Engine:
    """An executor, and how it ends.

    Args:
        end: Ends it; it may block.
    """

    def __init__(self, executor: Any, end: Callable[[], object] = bool) -> None:
        self.executor, self.end, self.given = executor, end, end is bool
        self.fault = ""
        """What it said when it last took no job, or gave none back; empty: nothing."""
        self._instant = any(each.__module__ in OF_THE_LIBRARY for each in type(executor).__mro__)

    @classmethod
    def of(cls, make: Make) -> Engine:
        """A new one, which is ours."""
        made = make()
        if hasattr(made, "submit"):
            return cls(made, partial(made.shutdown, wait=True))
        if not hasattr(made, "__enter__"):
            raise TypeError(f"{made!r:.99} is no executor: it has no submit(), and is no context manager of one")
        executor = made.__enter__()
        leave = partial(made.__exit__, None, None, None)
        if not hasattr(executor, "submit"):
            leave()
            raise TypeError(f"{executor!r:.99} is no executor: it has no submit()")
        return cls(executor, leave)

    def submit(self, function: Callable[..., bytes], *args: Any) -> Future[bytes]:
        """Have it run a function. Whatever it raises is its fault."""
        try:
            future: Future[bytes] = self.executor.submit(function, *args)
        except Exception as error:  # an executor may be anybody's
            self.blame(error)
            raise
        return future

    def blame(self, error: BaseException) -> str:
        """Take note of what it did with a job, in words."""
        try:
            text = f"{type(error).__name__}: {error}".rstrip(". :")
        except Exception:  # whatever its class does when it is asked: a caller waits for the answer
            text = type(error).__name__
        self.fault = f"the executor {type(self.executor).__name__} said {text}"
        return self.fault

    def cancel(self, future: Future[bytes]) -> bool:
        """Cancel a job that hasn't begun; whether that is certain. Never blocks: some engines ask their scheduler."""
        if self._instant:
            return future.cancel()
        if not future.done():
            threading.Thread(target=future.cancel, name="bridge-engine-cancel", daemon=True).start()
        return False


class Gone:
    """Stands for an executor that stayed in the process which this one was forked from."""

    def submit(self, *_: Any) -> Any:
        """Never."""
        raise RuntimeError("it stayed in the process that this one was forked from")


def given_or_made(executor: Any, arguments: Mapping[str, Any] | None) -> tuple[Engine | None, Make | None]:
    """The executor that was handed in, or what makes one.

    Raises:
        ConfigurationError: It is neither.
    """
    if executor is None:
        raise ConfigurationError(
            "no executor is named that runs the calls: ExecutorAdapter(executor), or in the settings "
            "adapter_options={'executor': 'package.module:name'}"
        )
    found = _found(executor) if isinstance(executor, str) else executor
    if not isinstance(found, type) and hasattr(found, "submit"):
        if arguments:
            raise ConfigurationError(f"arguments={dict(arguments)!r:.99} are for what makes an executor; this is one")
        return Engine(found), None
    if not callable(found):
        raise ConfigurationError(f"executor={executor!r:.99} is none: it has no submit(), and can't be called for one")
    return None, partial(found, **(arguments or {}))


def _found(text: str) -> Any:
    """What `pkg.mod:name` names."""
    module, _, attribute = text.partition(":")
    if not module or not attribute:
        raise ConfigurationError(f"executor={text!r:.99}: name it as 'package.module:name'")
    try:
        found: Any = import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(
            f"executor={text!r:.99} can't be imported: {error}; is it 'package.module:name'?"
        ) from error
    return found


def outcome_of(future: Future[Any], seconds: float) -> Any:
    """What comes of it. Raises Late, and what the future does: an error of its own may be a TimeoutError, too."""
    try:
        return future.result(max(0.0, seconds))
    except (Exception, CancelledError):
        if not future.done():
            raise Late from None
        raise


def begun(function: Callable[[], Any]) -> Future[Any]:
    """What will come of a function of somebody's, in a thread of its own."""
    future: Future[Any] = Future()

    def call() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    apart(partial(copy_context().run, call))
    return future


def end_made(future: Future[Engine]) -> None:
    """An executor came too late: end it."""
    if future.exception() is None:
        future.result().end()


def apart(function: Callable[[], Any]) -> None:
    """Have it done without waiting for it, and without keeping the interpreter from its end."""
    threading.Thread(target=function, name="bridge-engine", daemon=True).start()
