"""A call in a process of somebody's engine: the function that adapters/executor.py submits, and the handlers there.

Rules: such a process has this package installed, and nothing of the caller's settings: what a job needs comes with it,
as bytes, and its answer is one frame of the protocol, so that nothing of the handler's is ever pickled. A handler
serves one call at a time, whatever threads the engine has. No lock: a process may be forked at any moment. Apart from
worker.py, which has a process and a conversation to itself, and from inprocess.py, which is the caller's own.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from bridge.dialogue import Context, answer_of_error, encode_question, fill, scope_of, value_of
from bridge.errors import CapabilityError
from bridge.handler import (
    commands_of,
    describe,
    fault_frame,
    fault_of,
    hooks_of,
    invoke,
    no_command,
    result_of,
    wanted_of,
)
from bridge.inprocess import find_here, make_here
from bridge.settle import apart, settled
from bridge.wire import CALL, CODEC_JSON, ERROR, FAILED, READY, RESULT, STOP, decode_json, encode_json, let_go, pack

__scoped_bridge__: Final = True

CANT_ASK: Final = "on the adapter executor a handler can't ask its caller; on python_port and bridge_mock it can"

log = logging.getLogger("bridge.worker")


class Kept:
    """A handler, made and started, and what belongs to it.

    Args:
        start: What it is, where it is found, and its options.
    """

    def __init__(self, start: dict[str, Any]) -> None:
        self.limit: int = start["max_frame_bytes"]
        self.turn = ""
        self._loops: list[Any] = []  # one, from its first coroutine on
        found = find_here(start["handler"], tuple(start["path"]))
        handler = make_here(found, start["options"], fake=False, named=True)
        self.commands, self._hooks = commands_of(handler), hooks_of(handler)
        self.wants = {name: wanted for name, each in self.commands.items() if (wanted := wanted_of(each))}
        self.tell("on_start")

    def run(self, function: Callable[..., Any], args: Any) -> Any:
        """Call the handler's own code, to its end."""
        return settled(invoke(function, args), self._loops)

    def tell(self, hook: str) -> None:
        """Call one of its hooks, if it has that."""
        self.run(self._hooks.get(hook, bool), None)

    def end(self) -> None:
        """`on_close`, and no more of it."""
        try:
            self.tell("on_close")
        finally:
            for loop in self._loops:
                apart(loop.close)


class _Caller:
    """Whom the handler's `progress`, `context` and `parent` speak of, who is out of reach."""

    session = None

    def __init__(self, context: dict[str, Any], seconds: float) -> None:
        self.context = Context(context)
        self.context.deadline = monotonic() + seconds

    def report(self, value: Any = None) -> None:
        """`progress(value)`: nobody listens."""

    def ask(self, name: str, args: Any) -> Any:
        """`parent.call`: always an error."""
        encode_question(name, args)
        return value_of(answer_of_error(CapabilityError(CANT_ASK), 65536))


_idle: Final[dict[tuple[int, bytes], list[Kept]]] = {}
"""Handlers between two calls, by process and by what they were made from. The only place that outlives a job: an
engine's process has nothing else of ours. A forked child sees its parent's, and leaves them alone."""


def run(
    work: bytes,
    kind: int,
    call_id: int,
    call: bytes,
    context: bytes,
    seconds: float,
    turn: str,
    serial: str,
) -> bytes:
    """One job, in a process of the engine's: a frame, READY or RESULT, or FAILED or ERROR.

    Args:
        work: What the handler is made from, as the body of a START frame.
        kind: START makes a handler if there is none idle; CALL calls; STOP ends one that is idle.
        call: The command and its arguments.
        context: What travels with the call.
        seconds: That its caller waits.
        turn: Changes when somebody else must find no traces: a handler with another one is reset first.
        serial: Unlike that of any other job: some engines do what looks the same only once.
    """
    del serial
    pid = os.getpid()
    try:
        return _stop(work, call_id) if kind == STOP else _run(work, kind, call_id, call, context, seconds, turn)
    finally:
        if os.getpid() != pid:
            os._exit(0)  # a child that the handler forked came back from it; its parent answers, and goes on


def _run(work: bytes, kind: int, call_id: int, call: bytes, context: bytes, seconds: float, turn: str) -> bytes:
    limit = 65536
    try:
        start = decode_json(work)
        limit = start["max_frame_bytes"]
        kept = _taken(work, start, turn)
    except BaseException as error:
        _check(error)
        return fault_frame(FAILED, call_id, limit, **describe(error))
    try:
        return _answer(kept, call_id, call, context, seconds) if kind == CALL else pack(READY, call_id)
    finally:
        _idle_of(work).append(kept)


def _taken(work: bytes, start: dict[str, Any], turn: str) -> Kept:
    """A handler that nobody uses, the one that was used last; else a new one."""
    kept = _idle_one(work)
    if kept is None:
        kept = Kept(start)
        kept.turn = turn
    if kept.turn != turn:
        try:
            kept.tell("on_reset")
        except BaseException as error:
            _check(error)
            log.exception("on_reset of %s failed, so it is made anew", start["handler"])
            _end(kept)
            kept = Kept(start)
        kept.turn = turn
    return kept


def _answer(kept: Kept, call_id: int, call: bytes, context: bytes, seconds: float) -> bytes:
    try:
        command, args = decode_json(call)
    except (ValueError, RecursionError) as error:  # what one Python can write another can fail to read
        message = f"the engine's process can't read them: {error}"
        return fault_frame(ERROR, call_id, kept.limit, kind="arguments", message=message)
    function = kept.commands.get(command)
    if function is None:
        message = no_command(kept.commands)
        return fault_frame(ERROR, call_id, kept.limit, kind="command", message=message)
    try:
        values = decode_json(context) if context else {}
        names = kept.wants.get(command, ())
        filled = fill(function, names, _Caller(values, seconds)) if names else function
        value = scope_of(values, {}).run(kept.run, filled, args) if values else kept.run(filled, args)
        fault, result = result_of(value, kept.limit)
    except BaseException as error:  # sys.exit() in a handler is an answer like any other
        _check(error)
        fault, result = fault_of(error, function, args), b""
    if fault is not None:
        return fault_frame(ERROR, call_id, kept.limit, **fault)
    return pack(RESULT, call_id, bytes(result), CODEC_JSON)


def _stop(work: bytes, call_id: int) -> bytes:
    kept = _idle_one(work)  # none: all are in other processes
    try:
        if kept is not None:
            kept.end()
    except BaseException as error:
        _check(error)
        return fault_frame(ERROR, call_id, 65536, **describe(error), kind="raised")
    return pack(RESULT, call_id, encode_json(None, "result"), CODEC_JSON)


def _check(error: BaseException) -> None:
    """Raise it again if it is a Ctrl-C of whoever runs this; else it is an answer, whose report needs memory."""
    let_go(error)
    if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
        raise error


def _idle_one(work: bytes) -> Kept | None:
    """Take the one that was used last."""
    try:
        return _idle_of(work).pop()
    except IndexError:
        return None


def _idle_of(work: bytes) -> list[Kept]:
    pid = os.getpid()
    if (pid, b"") not in _idle:
        _idle[pid, b""] = []
        atexit.register(_end_all)
        if "multiprocessing.util" in sys.modules:  # its children end without what is registered there
            from multiprocessing.util import Finalize

            Finalize(None, _end_all, exitpriority=0)
    return _idle.setdefault((pid, work), [])


def _end_all() -> None:
    """At the end of the process."""
    for (pid, _), handlers in list(_idle.items()):
        while pid == os.getpid() and handlers:
            _end(handlers.pop())


def _end(kept: Kept) -> None:
    try:
        kept.end()
    except BaseException:  # nobody is left to tell
        log.exception("on_close of a handler failed")
