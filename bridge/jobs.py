"""A call as a job for an engine's process, and the answer that comes back: the caller's side of engine.py.

Rules: what comes back is looked at as a worker's frames are, since anything may stand in between. Apart from engine.py,
which an engine's process imports, and from adapters/executor.py, which has the executor.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import Any

from bridge.contract import Reply, Request, WorkerSpec
from bridge.core.messages import decode_failed, decode_reply, encode_call, encode_start
from bridge.errors import BridgeError, ConfigurationError, ProtocolError, WorkerStartError
from bridge.wire import ERROR, FAILED, HEADER, READY, RESULT, encode_json


def work_of(handler: str, spec: WorkerSpec) -> bytes:
    """What a handler is made from, in whatever process."""
    return encode_start(
        handler=handler,
        options=spec.options,
        path=_own(spec.path),
        replace_path=False,
        max_frame_bytes=spec.max_frame_bytes,
    )


def call_of(request: Request) -> bytes:
    """The command and its arguments. They were within the limit before."""
    return bytes(encode_call(request.command, request.args, sys.maxsize))


def context_of(request: Request) -> bytes:
    """What travels with the call."""
    return encode_json(dict(request.context), "propagated") if request.context else b""


def check_made(frame: Any, handler: str) -> None:
    """Raise WorkerStartError unless a handler was made."""
    try:
        kind, body = _opened(frame)
    except ProtocolError as error:
        raise WorkerStartError("protocol", error.detail, handler=handler) from None
    if kind == FAILED:
        raise decode_failed(body, handler, None)


def reply_of(frame: Any, request: Request, handler: str) -> Reply:
    """The reply to a call."""
    try:
        kind, body = _opened(frame)
        if kind == FAILED:
            return Reply(request.call_id, error=decode_failed(body, handler, None))
        return Reply(request.call_id, decode_reply(kind, body, request.command, None))
    except BridgeError as error:
        return Reply(request.call_id, error=error)


def _opened(frame: Any) -> tuple[int, memoryview]:
    """Kind and body of what an engine brought back. Raises ProtocolError."""
    if isinstance(frame, bytes) and len(frame) >= HEADER.size:
        kind, _codec, flags, length, _call_id = HEADER.unpack_from(frame)
        if kind in (READY, RESULT, FAILED, ERROR) and not flags and length == len(frame) - HEADER.size:
            return kind, memoryview(frame)[HEADER.size :]
    raise ProtocolError(f"an engine answered {frame!r:.60}: is the package there of this release?")


def name_of(handler: Any) -> str:
    """The text that names a handler, in a process that has to import it.

    Raises:
        ConfigurationError: It has no such name.
    """
    if isinstance(handler, str):
        file, colon, attribute = handler.partition(":")
        return os.path.abspath(file) + colon + attribute if file.endswith(".py") else handler
    if isinstance(handler, ModuleType):
        return handler.__name__
    name = getattr(handler, "__qualname__", "<locals>")
    if "<locals>" in name:
        raise ConfigurationError(
            f"handler={handler!r:.99} can't be imported by its name in an engine's process: give a class or a function "
            "at the top of a module, that module, or the text that names it"
        )
    return f"{handler.__module__}:{name}"


def _own(path: tuple[str, ...]) -> tuple[str, ...]:
    """What the worker's path has in front of this process's own; an engine's processes have theirs of that."""
    left, own = list(path), [entry or os.getcwd() for entry in sys.path if isinstance(entry, str)]
    while left and own and left[-1] == own[-1]:
        left.pop()
        own.pop()
    return tuple(left)
