"""Serve one handler, in whatever interpreter this file is run by.

Rules: one file, standard library only, Python 3.8 syntax; at start it imports os, sys, struct, fcntl and json's C
accelerator (docs/design/benchmarks.md says why), all else on first need. The wire section is the only definition of
the wire: core/protocol.py imports it from here. Apart from the rest because it is all that the other interpreter
ever sees of this package; one file for both sides is execnet's idea.
"""

import fcntl
import os
import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, NoReturn, Optional, Tuple

# -- The wire ----------------------------------------------------------------------------------------------

PROTOCOL = 1
HEADER = struct.Struct("<BBHIQ")
"""kind, codec, flags, length of the body in bytes, call id: 16 bytes, little-endian."""

HELLO, START, READY, FAILED, CALL, HOOK, RESULT, ERROR, STOP = range(0xB1, 0xBA)
"""Kinds. They begin where no ASCII text can, so that a stray print is seen for what it is at its first byte."""

CODEC_NONE, CODEC_JSON = 0, 1
READ_SIZE = 65536
MAX_TEXT = 65536  # characters of a message or a traceback that travel; more would only fill the caller's log


class NotEncodable(TypeError):
    """A value can't travel. Says where in the value, and the cure."""


def pack(kind: int, call_id: int, body: bytes = b"", codec: int = CODEC_NONE) -> bytes:
    """One whole frame."""
    return HEADER.pack(kind, codec, 0, len(body), call_id) + body


def _refuse(_value: "Any") -> "NoReturn":
    raise TypeError


try:
    import _json

    class _Reading:
        strict = True
        object_hook = object_pairs_hook = None
        parse_float, parse_int = float, int
        parse_constant = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}.__getitem__

    # No circle check: a circle ends as RecursionError, and the check costs on each container.
    _encode = _json.make_encoder(None, _refuse, _json.encode_basestring_ascii, None, ":", ",", False, False, True)
    _scan = _json.make_scanner(_Reading)  # type: ignore[arg-type]
except ImportError:  # an interpreter without the accelerator: slower to start, same values
    import json

    _encode = json.JSONEncoder(check_circular=False, separators=(",", ":"), default=_refuse).iterencode  # type: ignore[assignment]
    _scan = json.JSONDecoder().scan_once  # type: ignore[attr-defined]

_SCALARS = frozenset((str, int, float, bool, type(None)))
_TEXT = frozenset((str,))


def _keys_are_text(value: "Any") -> bool:
    """The encoder would turn the key 1 into "1" without a word. The walk is in C wherever a level is flat."""
    if isinstance(value, dict):
        if not _TEXT.issuperset(map(type, value)) and not all(isinstance(key, str) for key in value):
            return False
        value = value.values()
    elif not isinstance(value, (list, tuple)):
        return True
    return _SCALARS.issuperset(map(type, value)) or all(map(_keys_are_text, value))


def encode_json(value: "Any", root: str) -> bytes:
    """JSON bytes of a value. Raises NotEncodable, which says where and why, as in `root.items[3].when is ...`."""
    problem: "Any" = None
    try:
        if _keys_are_text(value):
            return "".join(_encode(value, 0)).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        problem = error
    try:
        raise NotEncodable(_find_fault(value, root) or "%s: %s" % (root, problem))
    except RecursionError:
        raise NotEncodable(root + " contains itself, or is nested too deeply; send a flatter value") from None


def _find_fault(value: "Any", path: str) -> str:
    """Where the value can't travel, why, and the cure; empty when it can."""
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                kind = type(key).__name__
                return "%s has the key %.99r of type %s; use str(key), or send a list of pairs" % (path, key, kind)
        steps = [((".%s" if key.isidentifier() else "[%.99r]") % key, item) for key, item in value.items()]
    elif isinstance(value, (list, tuple)):
        steps = [("[%d]" % index, item) for index, item in enumerate(value)]
    elif value is None or isinstance(value, (str, int, float)):
        return ""
    else:
        cure = next((cure for mark, cure in _CURES if hasattr(value, mark)), "send its fields as a dict")
        return "%s is of type %s, which JSON can't carry; %s" % (path, _type_name(type(value)), cure)
    return next(filter(None, (_find_fault(item, path + step) for step, item in steps)), "")


_CURES = (
    ("isdisjoint", "use sorted(...) or list(...)"),
    ("decode", "send text, for instance base64.b64encode(...).decode()"),
    ("isoformat", "use .isoformat()"),
    ("tolist", "use .tolist()"),
    ("cr_frame", "an async def can't be a command yet; return a plain value"),
    ("__next__", "an iterator can't travel; use list(...)"),
)


def decode_json(data: "Any") -> "Any":
    """The value of JSON bytes. Raises ValueError or RecursionError for anything else."""
    text = str(data, "utf-8")
    try:
        value, end = _scan(text, 0)
    except StopIteration:
        raise ValueError("not JSON") from None
    if end == len(text):
        return value
    raise ValueError("%d characters behind the value" % (len(text) - end))


def _type_name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else kind.__module__ + "." + kind.__qualname__


# -- Reading and writing -----------------------------------------------------------------------------------


class HungUp(Exception):
    """The caller is gone, or told us to stop."""


class Pipes:
    """The two data descriptors. The only reader and the only writer is the main thread."""

    def __init__(self, request: int, reply: int) -> None:
        self.request, self.reply = request, reply
        self._pending = b""

    def read(self) -> "Tuple[int, int, Any]":
        """Wait for one whole frame: kind, call id, body."""
        data = self._pending
        while len(data) < 16:
            data += self._more()
        kind, _codec, _flags, length, call_id = HEADER.unpack_from(data)
        end = 16 + length
        self._pending = data[end:]
        if len(data) >= end:
            return kind, call_id, data[16:end]
        body = bytearray(length)
        filled = len(data) - 16
        body[:filled] = data[16:]
        while filled < length:
            count = os.readv(self.request, [memoryview(body)[filled:]])
            if not count:
                raise HungUp
            filled += count
        return kind, call_id, body

    def _more(self) -> bytes:
        data = os.read(self.request, READ_SIZE)
        if not data:
            raise HungUp
        return data

    def write(self, frame: bytes) -> None:
        """Write one whole frame; the pipe is blocking."""
        try:
            count = os.write(self.reply, frame)
            while count < len(frame):
                count += os.write(self.reply, memoryview(frame)[count:])
        except OSError:
            if self.reply < 0:
                os._exit(0)  # a child that the handler forked came back from the call; its parent answers it
            raise HungUp from None

    def forget(self) -> None:
        """In a forked child: it must neither answer its parent's calls nor keep its pipes open."""
        os.close(self.request)
        os.close(self.reply)
        self.request = self.reply = -1


def take(fd: int) -> int:
    """Move a descriptor away from 0, 1 and 2, and keep it from every program that the handler starts."""
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(fd)


def silence() -> None:
    """0 reads nothing and 1 goes where 2 goes, at descriptor level: C code and child programs obey too."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    if null:
        os.close(null)
    os.dup2(2, 1)
    if sys.stdout is not None and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(line_buffering=True)  # what was printed before a crash belongs to its report


def arm_lifeline(fd: int) -> None:
    """Let the kernel kill this process group when the last writer of the pipe `fd` is gone.

    No thread and no cooperation is needed: it also ends C code that holds the GIL. The pipe is opened anew, since
    owner and signal belong to the open file, which the workers of a pool would otherwise share.
    """
    mine = os.open("/proc/self/fd/%d" % fd, os.O_RDONLY | os.O_NONBLOCK)
    os.close(fd)
    fcntl.fcntl(mine, fcntl.F_SETSIG, 9)
    fcntl.fcntl(mine, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(mine, fcntl.F_SETFL, fcntl.fcntl(mine, fcntl.F_GETFL) | os.O_ASYNC)
    try:
        if not os.read(mine, 1):  # it was gone before we were armed
            os.killpg(0, 9)
    except BlockingIOError:
        pass  # it is there


# -- The handler -------------------------------------------------------------------------------------------

HOOKS = frozenset(("on_start", "on_session_start", "on_session_end", "on_health", "on_reset", "on_close"))


def load(target: str, options: "Dict[str, Any]") -> "Any":
    """The handler that `pkg.mod:Class`, `pkg.mod` or `path/file.py:Class` names; a class is called with options."""
    name, _, attribute = target.partition(":")
    if name.endswith(".py"):
        found = _load_file(name)
    else:
        __import__(name)
        found = sys.modules[name]
    for part in attribute.split(".") if attribute else ():
        found = getattr(found, part)
    if callable(found):
        return found(**options)
    if options:
        raise TypeError("worker.options %s were given, but %s can't be called" % (sorted(options), target))
    return found


def _load_file(path: str) -> "Any":
    from _frozen_importlib_external import SourceFileLoader

    sys.path.insert(0, os.path.dirname(path))  # as for a script: its neighbours can be imported
    name = "bridge_handler_" + os.path.basename(path)[:-3]
    module = sys.modules[name] = type(sys)(name)
    module.__file__ = path
    SourceFileLoader(name, path).exec_module(module)
    return module


def commands_of(handler: "Any") -> "Dict[str, Callable[..., Any]]":
    """Its public methods; of a module `__all__`, else its own public functions. Hooks are never commands."""
    owner: "Any" = type(handler)
    listed = None
    if isinstance(handler, type(sys)):
        owner, listed = handler, getattr(handler, "__all__", None)
    found = {}
    for name in dir(owner) if listed is None else listed:
        member = getattr(owner, name, None)
        own = owner is not handler or getattr(member, "__module__", None) == owner.__name__
        offered = listed is not None or (own and not isinstance(member, type) and name not in HOOKS)
        if offered and callable(member) and not name.startswith("_"):
            found[name] = getattr(handler, name)
    return found


def hooks_of(handler: "Any") -> "Dict[str, Callable[[], Any]]":
    """Those of HOOKS that it has."""
    module = isinstance(handler, type(sys))
    return {} if module else {name: getattr(handler, name) for name in HOOKS if callable(getattr(handler, name, None))}


def _arguments_fault(error: TypeError, function: "Callable[..., Any]", args: "Any") -> "Optional[str]":
    """What is wrong with the arguments, or None when the handler itself raised this TypeError."""
    from inspect import signature, unwrap
    from traceback import walk_tb

    if any(f.f_code is getattr(unwrap(function), "__code__", None) for f, _line in walk_tb(error.__traceback__)):
        return None  # its own lines ran: what a decorator passed on to them isn't the caller's
    try:
        signature(function).bind(**args) if isinstance(args, dict) else signature(function).bind(*args or ())
    except TypeError as fault:
        return "%s; it takes %s" % (fault, signature(function))
    except ValueError:  # many C functions have no signature
        pass
    return None if error.__traceback__ and error.__traceback__.tb_next else str(error)


def describe(error: BaseException) -> "Dict[str, str]":
    """An exception as data. Frames of this file are left out of its traceback."""
    from traceback import format_exception

    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    try:
        message = str(error)
    except Exception as broken:
        message = "(its __str__ raised %s)" % type(broken).__name__
    text = "".join(format_exception(type(error), error, trace))
    return {"type": _type_name(type(error)), "message": message, "traceback": text}


# -- The serve loop ----------------------------------------------------------------------------------------


def serve(pipes: Pipes, handler: "Any", limit: int) -> "NoReturn":
    """Answer calls until the caller hangs up. Each call gets exactly one terminal frame with its id."""
    commands, hooks = commands_of(handler), hooks_of(handler)
    while True:
        kind, call_id, body = pipes.read()
        if kind == CALL:
            pipes.write(_answer(commands, call_id, body, limit))
        elif kind == HOOK:
            pipes.write(_answer(hooks, call_id, body, limit))
        else:
            raise HungUp  # STOP


def _answer(commands: "Dict[str, Callable[..., Any]]", call_id: int, body: bytes, limit: int) -> bytes:
    command, args = decode_json(body)
    function = commands.get(command)
    if function is None:
        known = ", ".join(sorted(commands)) or "none"
        return fault_frame(
            ERROR, call_id, limit, kind="command", message="the handler has no such command; it has: " + known
        )
    try:
        if args is None:
            value = function()
        elif type(args) is dict:
            value = function(**args)
        else:
            value = function(*args)
    except BaseException as error:  # sys.exit() in a handler is an answer like any other
        fault = _arguments_fault(error, function, args) if isinstance(error, TypeError) else None
        if fault is not None:
            return fault_frame(ERROR, call_id, limit, kind="arguments", message=fault)
        return fault_frame(ERROR, call_id, limit, kind="raised", **describe(error))
    try:
        body = encode_json(value, "result")
    except Exception as refused:  # NotEncodable, or a value that another thread changes meanwhile
        if hasattr(value, "cr_frame"):
            value.close()  # an un-awaited coroutine would be warned about in the handler's name
        return fault_frame(ERROR, call_id, limit, kind="result", message=str(refused))
    if len(body) > limit:
        fault = "the result has %d bytes, over max_frame_bytes=%d; return less, or raise the limit"
        return fault_frame(ERROR, call_id, limit, kind="result", message=fault % (len(body), limit))
    return HEADER.pack(RESULT, CODEC_JSON, 0, len(body), call_id) + body


def fault_frame(frame: int, call_id: int, limit: int, **fields: str) -> bytes:
    """An ERROR or FAILED frame whose texts are cut until it fits, however small the limit is."""
    room = min(MAX_TEXT, limit // 40)  # three texts, of characters that JSON writes as twelve
    fields = {name: text[-room:] if name == "traceback" else text[:room] for name, text in fields.items()}
    return pack(frame, call_id, encode_json(fields, "error"), CODEC_JSON)


def main(argv: "List[str]") -> None:
    """Entry: argv[1:4] are the request, reply and lifeline descriptors (lifeline -1: there is none)."""
    pipes = Pipes(take(int(argv[1])), take(int(argv[2])))
    silence()
    if int(argv[3]) >= 0:
        arm_lifeline(int(argv[3]))
    os.register_at_fork(after_in_child=pipes.forget)
    sys.argv[:] = [__file__]
    version = "%d.%d.%d" % sys.version_info[:3]
    hello = {"protocol": PROTOCOL, "pid": os.getpid(), "python": version, "executable": sys.executable}
    try:
        pipes.write(pack(HELLO, 0, encode_json(hello, "hello"), CODEC_JSON))
        start = decode_json(pipes.read()[2])
        limit = start["max_frame_bytes"]
        sys.path[:] = start["path"] + ([] if start["replace_path"] else [entry for entry in sys.path if entry])
        try:
            handler = load(start["handler"], start["options"])
            hooks = hooks_of(handler)
            hooks.get("on_start", bool)()
        except BaseException as error:  # whatever it is, the caller shall read it
            pipes.write(fault_frame(FAILED, 0, limit, **describe(error)))
            return
        pipes.write(pack(READY, 0, encode_json({"hooks": sorted(hooks)}, "ready"), CODEC_JSON))
        try:
            serve(pipes, handler, limit)
        except HungUp:
            hooks.get("on_close", bool)()
    except HungUp:
        return  # nobody is left to tell
