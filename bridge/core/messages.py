"""What the bodies of frames mean: values to bytes, bytes to values or errors.

Rules: what comes from a worker is untrusted; whatever doesn't have the form we expect is a ProtocolError, never a
KeyError. Apart from protocol.py because that one knows frames, not what is in them.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, NoReturn

from bridge.batches import column_of
from bridge.core.limits import is_no_memory, rlimits_of
from bridge.core.protocol import Body
from bridge.errors import BridgeError, CallCancelled, CallError, ProtocolError, RemoteError, WorkerStartError
from bridge.wire import (
    PROTOCOL,
    RESULT,
    SHORT_TEXT,
    NotEncodable,
    check_keys,
    decode_json,
    encode_json,
    encode_text,
    encode_value,
    is_rich,
)

ODD_KEY: Final = re.compile(
    r'":(?<=[\delNy]":)(?:(?<=\d":)|(?<="true":)|(?<="false":)|(?<="null":)|(?<="NaN":)|(?<=Infinity":))'
).search
"""How keys end that the encoder makes of what isn't text: a text that has nothing like it has none. Looked for from
behind, since `":` stands behind keys alone, and is found without a step at each quotation mark: 0.3 of 0.6 us."""


@dataclass(frozen=True, slots=True)
class Hello:
    """Who answers at the other end."""

    pid: int
    python: str
    executable: str


def encode_call(command: Any, args: Any, limit: int, pickle: bool = False) -> bytes:
    """The body of a call.

    Args:
        args: A mapping goes by keyword, a list or tuple by position, None is no argument (as in JSON-RPC).
        limit: Bytes that the body may have.
        pickle: It is pickled, and may be a function in place of a command, with [positional, named] as its args.

    Raises:
        CallError: It can't travel; nothing was taken and nothing was sent.
    """
    if not pickle and type(command) is str and (type(args) is dict or args is None):
        try:
            text = "".join(encode_text((command, args), 0))
            size = len(text)
            if size > SHORT_TEXT or ODD_KEY(text) is not None:
                check_keys(args)
            if size <= limit:
                return text.encode()
        except (TypeError, ValueError, RecursionError):
            pass  # it has buffers, or it is said below what is wrong
    else:
        args = _checked(command, args, pickle)
    try:
        if pickle:
            body: bytes = _pickled((command, args))
        else:
            body = encode_value((command, args), "call")
    except NotEncodable as fault:
        _refuse(name_of(command), "args" + str(fault).removeprefix("call").removeprefix("[1]"))
    if len(body) > limit:
        _refuse(
            name_of(command),
            f"the arguments have {len(body)} bytes, over max_frame_bytes={limit}; raise it, or send less",
        )
    return body


def _checked(command: Any, args: Any, pickle: bool) -> Any:
    """The arguments, of a form that can be passed. Raises CallError, also for a command that is none."""
    if not (isinstance(command, str) or (pickle and callable(command))):  # a list there would end the worker
        _refuse(repr(command), f"a command is a str, not {type(command).__name__}")
    if args is None or isinstance(args, (dict, list, tuple)):
        return args
    if not isinstance(args, Mapping):
        _refuse(name_of(command), f"args must be a mapping, a list, a tuple or None, not {type(args).__name__}")
    return dict(args)


def encode_chunk(command: str, items: list[Any], limit: int) -> Any:
    """The body of a call that is made for each of some items. Raises CallError."""
    column = column_of(items)
    if column is not None and len(body := encode_value((command, column), "call")) <= limit:
        return body
    return encode_call(command, items, limit)


def _pickled(value: Any) -> Any:
    from bridge.pickling import encode  # not above: most callers don't need pickle

    try:
        return encode(value)
    except NotEncodable as fault:
        raise NotEncodable(f": {fault}") from fault


def name_of(command: Any) -> str:
    """What stands for a command in errors: itself, or the name of a function that is called directly."""
    if isinstance(command, str):
        return command
    return str(getattr(command, "__qualname__", None) or type(command).__qualname__)


def encode_extras(extras: Mapping[str, Any]) -> bytes:
    """What stands before a call in its frame: its length, then an object.

    Raises:
        CallError: The context can't travel.
    """
    try:
        body = encode_json(dict(extras), "propagated")
    except NotEncodable as fault:
        _refuse("call", str(fault).replace("propagated.", "propagated ", 1))
    return len(body).to_bytes(4, "little") + body


def add_extras(extras: bytes, added: Mapping[str, Any], state: bytes | None, *, pickled: bool = False) -> bytes:
    """The same with more, and with the state of a session as it once came: it needn't be read here.

    Args:
        extras: What encode_extras made.
        pickled: So is the state.
    """
    parts = [extras[5:-1], encode_json(added, "session")[1:-1]]
    if state is not None:
        parts.append(b'"state":' + (b'"' + b64encode(state) + b'"' if pickled or is_rich(state) else state))
    body = b"{" + b",".join(filter(None, parts)) + b"}"
    return len(body).to_bytes(4, "little") + body


def farewell(ended: tuple[tuple[str, int], ...]) -> bytes:
    """What stands before a hook, to a worker that is to forget sessions: pairs of key and epoch."""
    return add_extras(encode_extras({}), {"ended": ended}, None)


def _refuse(command: str, detail: str) -> NoReturn:
    raise CallError("arguments", detail, command=command, side="caller") from None


def encode_hook(name: str) -> bytes:
    """The body of a call of one of the handler's hooks."""
    return encode_json((name, None), "hook")


def decode_reply(kind: int, body: Body, command: str, pid: int | None, *, pickled: bool = False) -> Any:
    """The value that the handler returned.

    Args:
        pickled: By a worker that is trusted.

    Raises:
        RemoteError: The handler raised.
        CallError: Unknown command, wrong arguments, or a result that can't travel.
        ProtocolError: The body isn't what a worker of ours sends.
    """
    if pickled:
        return _unpickled(kind, body, command, pid)
    if kind == RESULT:
        try:
            return decode_json(body)
        except RecursionError:
            detail = "the result is nested too deeply for this Python; return a flatter value"
        except ValueError as error:
            if "set_int_max_str_digits" not in str(error):
                raise _no_json(error, pid) from None
            detail = f"the result has an integer that is too long for this Python; return it as text ({error})"
        raise CallError("result", detail, command=command, side="handler") from None
    value = _decode(body, pid)
    raise error_of(value, command, pid)


def _unpickled(kind: int, body: Body, command: str, pid: int | None) -> Any:
    from bridge.pickling import decode

    try:
        value = decode(body)
    except ValueError as fault:
        raise CallError("result", f"the result: {fault}", command=command, side="handler") from fault.__cause__
    if kind == RESULT:
        return value
    fields, original = value
    error = error_of(fields, command, pid)
    if isinstance(error, RemoteError):
        with suppress(ValueError):  # a class that only the worker has
            found = decode(original)
            error.original = found if isinstance(found, BaseException) else None
    raise error


def split_state(body: Body, pid: int | None) -> tuple[bytes, Body]:
    """The snapshot in a RESULT frame that has the flag STATE, and what follows it. Raises ProtocolError."""
    end = 4 + int.from_bytes(body[:4], "little")
    if len(body) < max(4, end):
        raise ProtocolError("a snapshot that is longer than its frame", pid=pid)
    return bytes(body[4:end]), body[end:]


def decode_item(body: Body, pid: int | None) -> Any:
    """The value of an ITEM or ASK frame."""
    return _decode(body, pid)


def error_of(value: Any, command: str, pid: int | None) -> BridgeError:
    """The error that the fields of an ERROR frame mean."""
    if not isinstance(value, dict):
        return ProtocolError("an error frame without fields", pid=pid)
    kind, message = value.get("kind"), value.get("message")
    if kind == "raised":
        name, trace = value.get("type"), value.get("traceback")
        if isinstance(name, str) and isinstance(message, str) and isinstance(trace, str):
            return RemoteError(name, message, command=command, remote_traceback=trace)
    elif kind in ("command", "arguments", "result") and isinstance(message, str):
        side = "handler" if kind == "result" else "caller"
        return CallError(kind, message, command=command, side=side)
    elif kind == "cancelled":
        return CallCancelled(command, pid=pid, started=True)
    return ProtocolError(f"an error frame of kind {kind!r:.60}", pid=pid)


def encode_start(
    *,
    handler: str,
    options: Mapping[str, Any],
    path: tuple[str, ...],
    replace_path: bool,
    max_frame_bytes: int,
    umask: int | None = None,
    limits: Mapping[str, int] = MappingProxyType({}),
    pickle: Mapping[str, str] | None = None,
    busy_poll_us: float = 0.0,
) -> bytes:
    """The body of START: what the worker serves, where it finds it, and what it may use."""
    return encode_json(
        {
            "handler": handler,
            "options": dict(options),
            "path": list(path),
            "replace_path": replace_path,
            "max_frame_bytes": max_frame_bytes,
            "umask": umask,
            "niceness": limits.get("niceness", 0),
            "rlimits": rlimits_of(limits),
            "pickle": None if pickle is None else dict(pickle),
            "busy_poll_us": busy_poll_us,
        },
        "worker",
    )


def decode_hello(body: Body) -> Hello:
    """Who is there. Raises ProtocolError when it speaks another version."""
    value = _decode(body, None)
    if not isinstance(value, dict) or value.get("protocol") != PROTOCOL:
        found = value.get("protocol") if isinstance(value, dict) else value
        raise ProtocolError(f"it speaks protocol {found!r:.60}, not {PROTOCOL}: is its worker file of another release?")
    pid, python, executable = value.get("pid"), value.get("python"), value.get("executable")
    if not (isinstance(pid, int) and isinstance(python, str) and isinstance(executable, str)):
        raise ProtocolError("its hello lacks pid, python or executable")
    return Hello(pid, python, executable)


def decode_ready(body: Body, pid: int | None) -> frozenset[str]:
    """Names of the hooks that the handler has."""
    value = _decode(body, pid)
    hooks = value.get("hooks") if isinstance(value, dict) else None
    if not isinstance(hooks, list) or not all(isinstance(hook, str) for hook in hooks):
        raise ProtocolError("its ready frame lacks the list of hooks", pid=pid)
    return frozenset(hooks)


def decode_failed(
    body: Body, handler: str, pid: int | None, hints: Mapping[str, str] = MappingProxyType({})
) -> WorkerStartError:
    """Why the handler couldn't be made, with its own traceback.

    Args:
        hints: Texts that are added: `memory` when there was none for it, `module` when one wasn't found.
    """
    value = _decode(body, pid)
    fields = value if isinstance(value, dict) else {}
    name, message, trace = fields.get("type"), fields.get("message"), fields.get("traceback")
    if not (isinstance(name, str) and isinstance(message, str) and isinstance(trace, str)):
        raise ProtocolError("its failed frame lacks type, message or traceback", pid=pid)
    if fields.get("reason") == "interpreter":
        return WorkerStartError("interpreter", message, handler=handler)
    detail = f"{name}: {message}"
    if is_no_memory(detail):
        detail += hints.get("memory", "")
    if name == "ModuleNotFoundError" or (name == "FileNotFoundError" and handler.partition(":")[0] in message):
        detail += hints.get("module", "")
    return WorkerStartError("handler", detail, handler=handler, remote_traceback=trace)


def _decode(body: Body, pid: int | None) -> Any:
    try:
        return decode_json(body)
    except (ValueError, RecursionError) as error:
        raise _no_json(error, pid) from None


def _no_json(error: Exception, pid: int | None) -> ProtocolError:
    return ProtocolError(f"a body that isn't JSON ({error})", pid=pid)
