"""What a call can do besides returning: stream, report progress, ask its caller, and know what came with it.

Rules: standard library only, Python 3.8 syntax; a worker loads this file beside worker.py when the first call needs it.
Every frame is written while the handler's code isn't `armed`, so that a cancel never cuts one; whoever waits for the
caller hears a cancel there. Apart from worker.py, which serves calls that only return.
"""

import os
import sys
from _thread import get_ident
from functools import partial
from time import monotonic

from bridge.handler import TOO_LONG, Cancelled, Misused, describe, invoke, result_of
from bridge.wire import (
    ANSWER,
    ASK,
    CODEC_JSON,
    HEADER,
    ITEM,
    READ_SIZE,
    STATE,
    HungUp,
    decode_json,
    encode_json,
    encode_value,
    is_rich,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterable, Optional, Tuple

__scoped_bridge__ = True  # frames of modules that have this are left out of a handler's traceback, as in unittest

INFINITE = float("inf")
PLAIN = "it doesn't stream, it returned a value of type %s: call it with call(...)"


class ParentError(Exception):
    """What a function of the caller's raised, asked by `parent.call`.

    Args:
        kind: Name of the class there.
        message: Its text.
        traceback: Its traceback there.
    """

    def __init__(self, kind: str, message: str, traceback: str) -> None:
        super().__init__("%s: %s" % (kind, message))
        self.kind, self.message, self.traceback = kind, message, traceback


ParentError.__module__ = "builtins"  # a handler has it as `parent.Error`, whatever this file is loaded as


class Context(dict):  # type: ignore[type-arg]  # Python 3.8
    """What came with the call: values by the names in `worker.propagate`, and how long its caller waits."""

    deadline = INFINITE

    def remaining(self) -> float:
        """Seconds until nobody waits for the result any more; infinite without a deadline, never below 0."""
        return max(0.0, self.deadline - monotonic())


class Parent:
    """The caller, as its handler sees it."""

    Error = ParentError

    def __init__(self, ask: "Callable[[str, Any], Any]") -> None:
        self._ask = ask

    def call(self, name: str, args: "Any" = None) -> "Any":
        """Call a function that the caller exposed; it runs in the caller's thread. Blocks.

        Args:
            args: A mapping is passed by keyword, a list by position, None is no argument.

        Raises:
            parent.Error: It raised, it isn't exposed, or its result can't travel.
        """
        return self._ask(name, args)


class Dialogue:
    """One call that may say more than its result.

    Args:
        pipes: Those of the worker.
        extras: What the caller wants to hear, and what came with the call.
        seconds: That it has left.
        limit: Bytes that a body may have.
    """

    def __init__(self, pipes: "Any", call_id: int, extras: "Dict[str, Any]", seconds: float, limit: int) -> None:
        self._pipes, self.call_id, self._extras, self._limit = pipes, call_id, extras, limit
        self._seconds, self._deadline = seconds, INFINITE if seconds == INFINITE else monotonic() + seconds
        pipes.left = False
        self._thread, self._over = get_ident(), False
        self.session: "Any" = None
        self._scope = None if "context" not in extras else scope_of(extras["context"], pipes.variables)

    def _run(self, function: "Callable[..., Any]", args: "Any") -> "Any":
        """The handler's own code, in the context that came with the call."""
        if self._scope is None:
            return self._pipes.run(self.call_id, function, args)
        return self._scope.run(self._pipes.run, self.call_id, function, args)

    def run(self, function: "Callable[..., Any]", args: "Any") -> "Any":
        """The value that ends the call."""
        try:
            if "chunk" in self._extras:
                column, seconds = self._extras["chunk"]
                batches = self._pipes.beside("batches").Batches(self, self._pipes, column, seconds, self._limit)
                return self._run(batches.serve, (function, args))
            value = self._run(function, args)
            return value if "window" not in self._extras else self._stream(value, self._extras["window"])
        finally:
            self._over = True

    def renew(self, now: float) -> None:
        """The next call of a chunk begins: each has the same time."""
        self.context.deadline = now + self._seconds

    def given(self, function: "Callable[..., Any]", names: "Iterable[str]", coding: "Any") -> "Callable[..., Any]":
        """The function with those of its parameters filled that are ours, unless the caller sent them.

        Args:
            coding: Of the call, if it isn't JSON.
        """
        extras = self._extras
        if "ended" in extras:
            self._pipes.states().end(extras["ended"], self._run)
        if "session" in extras:
            key, epoch = extras["session"]
            state = extras.get("state")
            if coding is not None and state is not None:
                state = coding.decoded(state)
            elif isinstance(state, str):  # it holds buffers
                from base64 import b64decode

                state = decode_json(b64decode(state))
            self.session = self._pipes.states().enter(key, epoch, state, self._run)
        self.context = Context(self._extras.get("context", {}))
        self.context.deadline = self._deadline
        return fill(function, names, self) if names else function

    def sealed(self, result: bytes, encode: "Any") -> "Tuple[Optional[Dict[str, str]], int, bytes]":
        """The fault, flags and body of its RESULT: before the value the session's state, if that is durable.

        Args:
            encode: `result_of`, of whatever codec.
        """
        if "snapshot" not in self._extras:
            return None, 0, result
        fault, state = self._pipes.states().snapshot_of(self.session, self._extras["snapshot"], encode)
        body = len(state).to_bytes(4, "little") + state + result
        if fault is None and len(body) > self._limit:
            fault = {"kind": "result", "message": "with the session's state " + TOO_LONG % (len(body), self._limit)}
        return fault, 0 if fault else STATE, body

    # -- Streams -----------------------------------------------------------------------------------------

    def _stream(self, items: "Any", window: int) -> None:
        step, close = steps_of(items)
        pipes = self._pipes
        pipes.credit = window
        try:
            while True:
                while not pipes.credit:
                    self._listen()
                try:
                    value = self._run(step, None)
                except (StopIteration, StopAsyncIteration):
                    return
                if pipes.left:  # it was cancelled, and yielded all the same; or its step had just been made
                    raise Cancelled
                pipes.credit -= 1
                self._write_item(value)
        finally:
            self._run(close, None)

    def report(self, value: "Any" = None) -> None:
        """`progress(value)`: the caller's `on_progress` is called with it; nothing happens if it has none.

        Raises:
            RuntimeError: Not in the thread of the call, or after its end.
        """
        self._check("progress")
        if "progress" in self._extras:
            was = self._pipes.disarm()
            try:
                self._write_item(value)
            finally:
                self._pipes.rearm(was)

    def _write_item(self, value: "Any") -> None:
        fault, body = result_of(value, self._limit)
        if fault is not None:
            raise Misused("result", fault["message"])
        self._pipes.write(HEADER.pack(ITEM, CODEC_JSON, 0, len(body), self.call_id) + body)

    # -- Callbacks ---------------------------------------------------------------------------------------

    def ask(self, name: str, args: "Any") -> "Any":
        """`parent.call`."""
        self._check("parent.call")
        body = encode_question(name, args)
        if len(body) > self._limit:
            raise TypeError(TOO_LONG.replace("result", "question") % (len(body), self._limit))
        if "parent" not in self._extras:
            return value_of(nothing_exposed(name))
        was = self._pipes.disarm()
        try:
            self._pipes.write(HEADER.pack(ASK, CODEC_JSON, 0, len(body), self.call_id) + body)
            body = self._hear_answer()
        finally:
            self._pipes.rearm(was)
        return value_of(body)

    def _hear_answer(self) -> "Any":
        """The body of an ANSWER. Raises Cancelled when the call was left."""
        pipes = self._pipes
        if pipes.sort():
            raise Cancelled
        while len(pipes.pending) < 16:
            self._listen()
        kind, _flags, _call_id, body = pipes.read()
        if kind != ANSWER:
            raise HungUp
        return body

    def _listen(self) -> None:
        """Wait for what follows the call that runs. Raises Cancelled when it was left."""
        pipes = self._pipes
        data = os.read(pipes.request, READ_SIZE)
        if not data:
            raise HungUp
        pipes.pending += data
        if pipes.sort():
            raise Cancelled

    def _check(self, what: str) -> None:
        if self._over:
            raise RuntimeError("%s was called after the end of its call" % what)
        if get_ident() != self._thread:
            raise RuntimeError("%s belongs to the thread that the handler's method was called in" % what)


def scope_of(values: "Dict[str, Any]", known: "Dict[str, Any]") -> "Any":
    """A context in which those variables have their values that can be imported here.

    Args:
        known: What was looked up before.
    """
    from contextvars import copy_context

    scope = copy_context()
    for path, value in values.items():
        if path not in known:
            known[path] = _variable(path)
        if known[path] is not None:
            scope.run(known[path].set, value)
    return scope


def _variable(path: str) -> "Any":
    from contextvars import ContextVar

    module, _, name = path.rpartition(".")
    try:
        __import__(module)
        found = getattr(sys.modules[module], name)
    except Exception:  # what the caller has needn't be here: its value is in the handler's `context`
        return None
    return found if isinstance(found, ContextVar) else None


def fill(function: "Callable[..., Any]", names: "Iterable[str]", caller: "Any") -> "Callable[..., Any]":
    """The function with those parameters filled; what is sent by keyword wins."""
    ours = {"progress": caller.report, "context": caller.context, "parent": Parent(caller.ask)}
    if caller.session is not None:  # else whoever calls has none, and the handler's own default says what that means
        ours["session"] = caller.session
    return partial(function, **{name: ours[name] for name in names if name in ours})


def encode_question(name: "Any", args: "Any") -> "Any":
    """The body of ASK. Raises TypeError for what can't travel."""
    if not isinstance(name, str):
        raise TypeError("parent.call takes the name of a function, not %.60r" % (name,))
    if not (args is None or isinstance(args, (dict, list, tuple))):
        raise TypeError("args must be a mapping, a list, a tuple or None, not %s" % type(args).__name__)
    return encode_value([name, args], "call")


def value_of(body: "Any") -> "Any":
    """What an ANSWER says. Raises ParentError."""
    error, value = decode_json(body)
    if error is not None:
        raise ParentError(*error)
    return value


def nothing_exposed(name: str) -> bytes:
    """The body of ANSWER where nobody can answer."""
    return answer_of_error(LookupError("the caller exposes no function %r: b.expose(...)" % name), 65536)


def answer_to(function: "Callable[..., Any]", args: "Any", limit: int, survive: "Any" = Exception) -> bytes:
    """The body of ANSWER: what a function of the caller's makes of an ASK, as [error, value]."""
    try:
        value = invoke(function, args)
    except survive as error:
        return answer_of_error(error, limit)
    return answer_with(value, limit)


def answer_with(value: "Any", limit: int) -> bytes:
    """The body of ANSWER that carries a value."""
    fault, body = result_of(value, limit - len(b"[null,]"), Exception)
    if fault is not None:
        return encode_json([["TypeError", fault["message"], ""], None], "answer")
    return result_of([None, value], limit)[1] if is_rich(body) else b"[null," + body + b"]"


def answer_of_error(error: BaseException, limit: int) -> bytes:
    """The body of ANSWER that carries an error."""
    fields, room = describe(error), min(65536, limit // 40)
    return encode_json([[fields["type"], fields["message"][:room], fields["traceback"][-room:]], None], "answer")


def steps_of(items: "Any") -> "Any":
    """How to take the next of an iterator, and how to close it."""
    if hasattr(items, "__anext__"):
        return partial(_anext, items), partial(_aclose, items)
    if hasattr(items, "__next__"):
        return items.__next__, getattr(items, "close", bool)
    raise Misused("command", PLAIN % type(items).__name__)


async def _anext(items: "Any") -> "Any":
    return await items.__anext__()


async def _aclose(items: "Any") -> None:
    if hasattr(items, "aclose"):
        await items.aclose()
