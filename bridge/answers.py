"""What a mock answers: from an entry of its table to the reply that a caller gets.

Rules: what a worker would do to a value, to an exception and to wrong arguments is done by the worker's own functions,
so that a mock can't say what the wire couldn't carry. An interrupt of the caller is its own, and never an answer. No
lock: what counts is a deque or an itertools.count. Apart from adapters/mock.py, which decides whose turn it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Mapping
from copy import copy
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from inspect import Signature, signature
from typing import Any, Final

from bridge.contract import Reply, Request
from bridge.core.messages import error_of
from bridge.dialogue import Context, encode_question, fill, nothing_exposed, steps_of, value_of
from bridge.errors import BridgeError, CallError, ConfigurationError
from bridge.handler import (
    Misused,
    arguments_fault,
    commands_of,
    describe,
    fault_of,
    invoke,
    no_command,
    result_of,
    wanted_of,
)
from bridge.settle import apart, settled
from bridge.states import States
from bridge.wire import decode_json

__scoped_bridge__: Final = True

RAISED: Final = (Exception, SystemExit)
"""What a function's raising is an answer. A KeyboardInterrupt is for the caller, in whose thread it runs."""
UNCHANGED: Final = frozenset((bool, float, type(None)))
"""Of these, and of a text that isn't too long, what comes back is what was sent. An integer can be too long."""
PLAIN: Final = frozenset((*UNCHANGED, str, int, dict, list))
"""Answers that are values, and nothing else."""
MOST_BYTES: Final = 12
"""Of one character in JSON."""


class InTurn:
    """Answers that are given one after the other. `in_turn` makes it."""

    def __init__(self, answers: tuple[Any, ...]) -> None:
        self._left = deque(answers)

    def take(self) -> Any:
        """The next one. Raises IndexError when there is none."""
        return self._left.popleft()


def in_turn(*answers: Any) -> InTurn:
    """An answer of a mock that gives one of these at each call: a value, a function, or an exception."""
    for answer in answers:
        check_answer(answer)
    return InTurn(answers)


def check_answer(answer: Any) -> None:
    """Refuse an exception class that can't be raised as it is."""
    if isinstance(answer, type) and issubclass(answer, BaseException):
        try:
            answer()
        except TypeError as fault:
            raise ConfigurationError(f"{answer.__name__} can't be made without arguments ({fault}): give one") from None


def reply_with(answer: Any, request: Request, limit: int, session: dict[str, Any] | None = None) -> Reply | None:
    """The reply that an answer makes: a value as it is, a function called, an exception raised. None: it is used up.

    Args:
        limit: Bytes that a result may have.
        session: The state of its session.
    """
    if type(answer) in PLAIN and not request.streams:
        return _returned(answer, request, limit)
    while isinstance(answer, InTurn):
        try:
            answer = answer.take()
        except IndexError:
            return None
    if isinstance(answer, type) and issubclass(answer, BaseException):
        answer = answer()
    if isinstance(answer, BridgeError):
        return Reply(request.call_id, error=copy(answer))
    if isinstance(answer, BaseException):
        return _failed({"kind": "raised", **describe(answer, RAISED)}, request)
    if not callable(answer):
        if request.streams and isinstance(answer, (list, tuple)):
            answer = iter(answer)
        return _returned(answer, request, limit)
    try:
        value = settled(invoke(filled(answer, request, limit, session), request.args))
    except BridgeError as error:
        return Reply(request.call_id, error=copy(error))
    except RAISED as error:
        return failed(error, answer, request)
    return _returned(value, request, limit)


def reply_of(
    function: Callable[..., Any], request: Request, limit: int, session: dict[str, Any] | None = None
) -> Reply:
    """The reply of a handler's command or hook, as a worker would give it."""
    try:
        value = settled(invoke(filled(function, request, limit, session), request.args))
    except RAISED as error:
        return failed(error, function, request)
    return _returned(value, request, limit)


def filled(
    function: Callable[..., Any], request: Request, limit: int, session: dict[str, Any] | None
) -> Callable[..., Any]:
    """The function with those of its parameters filled that a worker fills."""
    names = wanted_of(function)
    return fill(function, names, _Caller(request, limit, session)) if names else function


class _Caller:
    """Whom a handler reports to and asks, without a wire between them."""

    def __init__(self, request: Request, limit: int, session: dict[str, Any] | None) -> None:
        self._request, self._limit, self.session = request, limit, session
        self.context = Context(request.context)
        self.context.deadline = request.deadline

    def report(self, value: Any = None) -> None:
        """`progress(value)`."""
        if self._request.progress is not None:
            settled(self._request.progress(_carried(value, self._limit)))

    def ask(self, name: str, args: Any) -> Any:
        """`parent.call`."""
        asked = decode_json(bytes(encode_question(name, args)))
        return value_of(nothing_exposed(name) if self._request.ask is None else bytes(self._request.ask(asked)))


def _carried(value: Any, limit: int) -> Any:
    """A value as it is at the other end of a wire."""
    fault, body = result_of(value, limit, RAISED)
    if fault is not None:
        raise Misused("result", fault["message"])
    return decode_json(bytes(body))


def _items(items: Any, request: Request, limit: int) -> Generator[Any, None, bytes | None]:
    step, close = steps_of(items)
    loop: list[Any] = []  # an async generator lives in one
    try:
        while True:
            try:
                value = _carried(settled(step(), loop), limit)
            except (StopIteration, StopAsyncIteration):
                return None
            except BridgeError:
                raise
            except RAISED as error:
                raise error_of(fault_of(error, step, None, RAISED), request.command, None) from None
            yield value
    finally:
        settled(close(), loop)
        for each in loop:
            apart(each.close)


def _returned(value: Any, request: Request, limit: int) -> Reply:
    if request.streams:
        try:
            steps_of(value)
        except Misused as error:
            return _failed(fault_of(error, None, None), request)
        return Reply(request.call_id, items=_items(value, request, limit))
    kind = type(value)
    if kind in UNCHANGED or (kind is str and MOST_BYTES * len(value) < limit):
        return Reply(request.call_id, value)
    fault, body = result_of(value, limit, RAISED)
    return Reply(request.call_id, decode_json(bytes(body))) if fault is None else _failed(fault, request)


def failed(error: BaseException, function: Callable[..., Any], request: Request) -> Reply:
    """The reply to a call in which the handler's own code raised."""
    return _failed(fault_of(error, function, request.args, RAISED), request)


def run_here(function: Callable[..., Any], args: Any) -> Any:
    """Call a handler's hook, to its end."""
    return settled(invoke(function, args))


def sealed(reply: Reply, request: Request, session: dict[str, Any], limit: int) -> Reply:
    """The reply with a snapshot of the session's state, if that is durable and the call came to its end."""
    entry = request.session
    if entry is None or entry.snapshot is None or reply.error is not None:
        return reply
    if reply.items is not None:
        return replace(reply, items=_sealed_items(reply.items, request, session, limit))
    snapshot = _snapshot(request, entry.snapshot, session, limit)
    return replace(reply, snapshot=snapshot) if isinstance(snapshot, bytes) else snapshot


def _sealed_items(
    items: Generator[Any, None, bytes | None], request: Request, session: dict[str, Any], limit: int
) -> Generator[Any, None, bytes]:
    yield from items
    entry = request.session
    assert entry is not None
    assert entry.snapshot is not None
    snapshot = _snapshot(request, entry.snapshot, session, limit)
    if isinstance(snapshot, bytes):
        return snapshot
    assert snapshot.error is not None
    raise snapshot.error


def _snapshot(request: Request, most: int, session: dict[str, Any], limit: int) -> bytes | Reply:
    fault, body = States.snapshot_of(session, min(most, limit), partial(result_of, survive=RAISED))
    return bytes(body) if fault is None else _failed(fault, request)


def _failed(fields: Mapping[str, str], request: Request) -> Reply:
    return Reply(request.call_id, error=error_of(fields, request.command, None))


class _Likeness:
    """A command of the real handler that can be asked what it takes, quickly."""

    def __init__(self, taken: Signature) -> None:
        self.__signature__ = taken

    def __call__(self) -> None:
        """It is never called; without this it has no signature."""


class Shape:
    """Which commands a handler has, and what they take. Nothing of it runs.

    Args:
        handler: A class, a module or an object.
    """

    def __init__(self, handler: Any) -> None:
        self._commands: dict[str, _Likeness | None] = {}
        for name, function in commands_of(_unmade(handler) if isinstance(handler, type) else handler).items():
            try:
                self._commands[name] = _Likeness(signature(function))
            except ValueError:  # many C functions have no signature
                self._commands[name] = None
        if not self._commands:
            raise ConfigurationError(f"spec={handler!r:.99} has no commands; name the real handler's class or module")

    def require(self, command: str) -> None:
        """Refuse to prepare a command that the handler doesn't have."""
        if command not in self._commands:
            close = get_close_matches(command, self._commands, 1)
            hint = f"; did you mean {close[0]!r}?" if close else ", which has " + ", ".join(sorted(self._commands))
            raise ConfigurationError(f"{command!r} is no command of the mock's spec{hint}")

    def fault(self, command: str, args: Any) -> CallError | None:
        """The error by which the real handler's worker would refuse this call."""
        if command not in self._commands:
            message = no_command(self._commands)
            return CallError("command", message, command=command, side="caller")
        likeness = self._commands[command]
        fault = None if likeness is None else arguments_fault(TypeError(), likeness, args)
        return None if fault is None else CallError("arguments", fault, command=command, side="caller")


def _unmade(kind: Any) -> Any:
    """An instance whose constructor didn't run: what that one loads isn't needed to see the methods."""
    if getattr(kind, "__abstractmethods__", None):
        kind = type(kind)(kind.__name__, (kind,), {})  # one that can be made, since it is never used
        kind.__abstractmethods__ = frozenset()
    try:
        return object.__new__(kind)
    except TypeError:  # it derives from a built-in type
        return kind.__new__(kind)
