"""What a handler is: how it is found and made, its commands and hooks, what a call of one can end in, as data, and how
the call of a worker becomes that; and how the process is set up that is there for it alone.

Rules: standard library only, Python 3.8 syntax; what a handler raises, whatever its classes do when they are looked at,
is an answer. Apart from worker.py, which has the conversation, and is loaded beside this file in the other interpreter;
the mocks do by these same functions what a worker does.
"""

import os
import sys

from bridge.wire import (
    CODEC_JSON,
    CODEC_PICKLE,
    ERROR,
    EXTRAS,
    HEADER,
    MAX_TEXT,
    PLAIN_RESULT,
    RESULT,
    SECONDS,
    SHORT_TEXT,
    TIMED,
    NotEncodable,
    check_keys,
    decode_json,
    encode_json,
    encode_odd,
    encode_text,
    encode_value,
    let_go,
    pack,
    pack_front,
    type_name,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Optional, Tuple

__scoped_bridge__ = True  # frames of modules that have this are left out of a handler's traceback, as in unittest

HOOKS = frozenset(("on_start", "on_session_start", "on_session_end", "on_health", "on_reset", "on_close"))
FOREVER = float("inf")
FILLED = frozenset(("context", "parent", "progress", "session"))
"""Keyword-only parameters of commands that are given what is named so here."""
TOO_LONG = "the result has %d bytes, over max_frame_bytes=%d; return less, or raise the limit"


async def _nothing() -> None: ...


_coroutine = _nothing()
_coroutine.close()
Coroutine = type(_coroutine)
"""What an `async def` returns. Found so, since `types` would have to be imported for it."""
del _coroutine


class Cancelled(BaseException):
    """The caller has left this call: raised inside the handler. Not an Exception, so that `except Exception` lets it
    through; a handler may tidy up (`finally`, `except BaseException`) and should then let it go on.
    """


class Misused(TypeError):
    """A call that a handler can't be called by, or an item of it that can't travel.

    Args:
        kind: Of the fault, as in an ERROR frame.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def load(start: "Dict[str, Any]", found: "Any" = None) -> "Any":
    """The handler that START asks for, in a process that is there for nothing else: it keeps limits and sys.path.

    Args:
        found: What START names, if that was found before (zygote.py).
    """
    if start["umask"] is not None:
        os.umask(start["umask"])
    os.nice(start["niceness"])
    for number, soft, hard in start["rlimits"]:
        import traceback  # noqa: F401  while there is memory: with it a MemoryError is reported
        from resource import setrlimit

        setrlimit(number, (soft, hard))
    target, options = start["handler"], start["options"]
    if found is None:
        found = reach(start)
    if options and not callable(found):
        raise TypeError("worker.options %s were given, but %s can't be called" % (sorted(options), target))
    return found(**options) if callable(found) else found


def silence() -> None:
    """0 reads nothing and 1 goes where 2 goes, at descriptor level: C code and child programs obey too."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    if null:
        os.close(null)
    os.dup2(2, 1)
    if sys.stdout is not None and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(line_buffering=True)  # what was printed before a crash belongs to its report


def arm_lifeline(fd: int) -> int:
    """Let the kernel kill this process group when the last writer of the pipe `fd` is gone, C code that holds the GIL
    too. The pipe is opened anew: owner and signal belong to the open file, which the workers of a pool would share."""
    import fcntl  # here, for the mocks load this file where there is none

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
    return mine


def reach(start: "Dict[str, Any]") -> "Any":
    """What START names, on its path."""
    file = start["handler"].partition(":")[0]
    sys.path[:] = start["path"] + ([] if start["replace_path"] else [entry for entry in sys.path if entry])
    if file.endswith(".py"):
        sys.path.insert(0, os.path.dirname(file))  # as for a script: its neighbours can be imported
    return find(start["handler"])


def find(target: str) -> "Any":
    """What `pkg.mod:Class`, `pkg.mod` or `path/file.py:Class` names. A file is run anew each time."""
    name, _, attribute = target.partition(":")
    if name.endswith(".py"):
        from _frozen_importlib_external import SourceFileLoader

        path, name = name, "bridge_handler_" + os.path.basename(name)[:-3]
        found = sys.modules[name] = type(sys)(name)
        found.__file__ = path
        SourceFileLoader(name, path).exec_module(found)
    else:
        __import__(name)
        found = sys.modules[name]
    for part in attribute.split(".") if attribute else ():
        found = getattr(found, part)
    return found


def commands_of(handler: "Any") -> "Dict[str, Callable[..., Any]]":
    """Its public methods; of a module `__all__`, else its own public functions. Hooks are never commands."""
    module = isinstance(handler, type(sys))
    owner = handler if module else type(handler)
    listed = getattr(handler, "__all__", None) if module else None
    found = {}
    for name in dir(owner) if listed is None else listed:
        member = getattr(owner, name, None)
        own = owner is not handler or getattr(member, "__module__", None) == owner.__name__
        offered = listed is not None or (own and not isinstance(member, type) and name not in HOOKS)
        if offered and callable(member) and not name.startswith("_"):
            found[name] = getattr(handler, name)
    return found


def no_command(commands: "Any") -> str:
    """What is said of a command that isn't there, by the names of those that are."""
    has = ", ".join(sorted(commands)) or "none. If it is a class that you mean, name that too, as in module:Class"
    return "the handler has no such command; it has: " + has


def hooks_of(handler: "Any") -> "Dict[str, Callable[..., Any]]":
    """Those of HOOKS that it has."""
    module = isinstance(handler, type(sys))
    return {} if module else {name: getattr(handler, name) for name in HOOKS if callable(getattr(handler, name, None))}


def wanted_of(function: "Any") -> "Tuple[str, ...]":
    """Those of its keyword-only parameters that are filled here, not by the caller."""
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    code = getattr(function, "__code__", None)
    if code is None or not code.co_kwonlyargcount:
        return ()
    first = code.co_argcount
    return tuple(name for name in code.co_varnames[first : first + code.co_kwonlyargcount] if name in FILLED)


def invoke(function: "Callable[..., Any]", args: "Any") -> "Any":
    """Call with a mapping by keyword, with a list by position, with None without arguments."""
    return function(**args) if type(args) is dict else function(*args or ())


def result_of(
    value: "Any", limit: int, survive: "Any" = BaseException, encode: "Callable[..., Any]" = encode_value
) -> "Tuple[Optional[Dict[str, str]], bytes]":
    """The fields of an ERROR frame if the value can't travel, and the body of a RESULT frame if it can."""
    try:
        body = encode(value, "result")
        if len(body) <= limit:
            return None, body
        refused = TOO_LONG % (len(body), limit)
    except NotEncodable as error:
        if type(value).__name__ == "coroutine":
            value.close()  # an un-awaited one would be warned about in the handler's name
        refused = str(error)
    except survive as error:  # whatever a class of the handler's does when it is looked at
        refused = "encoding it raised %(type)s: %(message)s" % describe(error, survive)
    return {"kind": "result", "message": refused}, b""


def result_frame(value: "Any", call_id: int, limit: int) -> "Any":
    """The frame that `result_of` leads to, in fewer steps where the value is short or flat.

    The encoder makes text of keys that are none, as `check_keys` says. A value in whose text there is no brace has no
    dict at all, and one that is a dict, with one brace in its text, has no other; the text of a short value also can't
    be nested so deeply that others could not read it. Any other value is walked through, as ever.
    """
    try:
        body = "".join(encode_text(value, 0)).encode()
        size, is_dict = len(body), type(value) is dict
        if size > SHORT_TEXT or body.count(b"{") > is_dict:
            check_keys(value)
        elif is_dict:
            "".join(value)  # TypeError for any key that isn't text
        if size <= limit:
            return pack_front(PLAIN_RESULT, size, call_id) + body
        fault: "Optional[Dict[str, str]]" = {"kind": "result", "message": TOO_LONG % (size, limit)}
    except BaseException:  # it holds buffers, or can't travel; or a class of the handler's raised when it was looked at
        fault, body = result_of(value, limit, encode=encode_odd)
    if fault is None:
        return pack_front(PLAIN_RESULT, len(body), call_id) + body
    return fault_frame(ERROR, call_id, limit, **fault)


def fault_of(error: BaseException, function: "Any", args: "Any", survive: "Any" = BaseException) -> "Dict[str, str]":
    """What `invoke` raised, as the fields of an ERROR frame."""
    if isinstance(error, Cancelled):
        return {"kind": "cancelled", "message": ""}
    if isinstance(error, Misused):
        return {"kind": error.kind, "message": str(error)}
    try:
        fault = arguments_fault(error, function, args) if isinstance(error, TypeError) else None
    except survive:
        fault = None
    return dict(describe(error, survive), kind="raised") if fault is None else {"kind": "arguments", "message": fault}


def arguments_fault(error: TypeError, function: "Callable[..., Any]", args: "Any") -> "Optional[str]":
    """What is wrong with the arguments, or None when the handler itself raised this TypeError."""
    from contextlib import suppress
    from inspect import signature, unwrap
    from traceback import walk_tb

    ran = [frame for frame, _line in walk_tb(error.__traceback__)]
    if any(frame.f_code is getattr(unwrap(function), "__code__", None) for frame in ran):
        return None  # its own lines ran: what a decorator passed on to them isn't the caller's
    with suppress(Exception):  # many C functions have no signature, and anybody may define an odd one
        takes = signature(function)
        try:
            takes.bind(**args) if isinstance(args, dict) else takes.bind(*args or ())
        except TypeError as fault:
            return "%s; it takes %s" % (fault, takes)
    return str(error) if ran and "__scoped_bridge__" in ran[-1].f_globals else None  # nothing ran but what calls it


def describe(error: BaseException, survive: "Any" = BaseException) -> "Dict[str, str]":
    """An exception as data, whatever it raises of `survive` when it is looked at. Our own frames are left out."""
    trace, kind = error.__traceback__, type_name(type(error))
    while trace is not None and "__scoped_bridge__" in trace.tb_frame.f_globals:
        trace = trace.tb_next
    try:
        message = str(error)
    except survive as broken:
        message = "(its __str__ raised %s)" % type(broken).__name__
    text = "%s: %s\n" % (kind, message)
    try:
        from traceback import format_exception, format_tb

        text = "Traceback:\n%s%s" % ("".join(format_tb(trace)), text)
        text = "".join(format_exception(type(error), error, trace))
    except survive:  # a SyntaxError with odd fields, a class without a module; or no descriptor is left to import with
        pass
    return {"type": kind, "message": message, "traceback": text}


def fault_frame(frame: int, call_id: int, limit: int, **fields: str) -> bytes:
    """An ERROR or FAILED frame whose texts are cut until it fits, however small the limit is."""
    return pack(frame, call_id, encode_json(shortened(fields, limit), "error"), CODEC_JSON)


def shortened(fields: "Dict[str, str]", limit: int) -> "Dict[str, str]":
    """The fields of a fault, so long that they fit into a frame."""
    room = min(MAX_TEXT, limit // 40)  # three texts, of characters that JSON writes as twelve
    return {name: text[-room:] if name == "traceback" else text[:room] for name, text in fields.items()}


def answer(
    pipes: "Any", commands: "Dict[str, Callable[..., Any]]", flags: int, call_id: int, body: "Any", limit: int
) -> bytes:
    """The frame that answers a call, whatever the call needs.

    Args:
        pipes: The worker's.
        flags: Of the call, as `body` is what stands behind its header and its seconds.
    """
    coding = None if pipes.codec == CODEC_JSON else pipes.coding()
    extras, talk, marks, result_of_it = None, None, 0, result_of if coding is None else coding.result_of
    try:
        if flags & EXTRAS:
            start = 4 + int.from_bytes(body[:4], "little")
            extras, body = decode_json(body[4:start]), memoryview(body)[start:]
        if coding is None:
            command, args = decode_json(body)
            function = commands.get(command)
        else:
            command, args, function = coding.given(body, commands)
    except (ValueError, TypeError, RecursionError) as error:  # what one Python can write another can fail to read
        return fault_frame(ERROR, call_id, limit, kind="arguments", message="the worker can't read them: %s" % error)
    if function is not None:
        try:
            if extras is None and command not in pipes.wants:
                value = pipes.run(call_id, function, args)
            else:
                left = SECONDS.unpack_from(pipes.front, 16)[0] if flags & TIMED else FOREVER
                talk = pipes.beside("dialogue").Dialogue(pipes, call_id, extras or {}, left, limit)
                function = talk.given(function, pipes.wants.get(command, ()), coding)
                value = talk.run(function, args)
            fault, result = result_of_it(value, limit)
            if talk is not None and fault is None:
                fault, marks, result = talk.sealed(result, result_of_it)
        except BaseException as error:  # sys.exit() in a handler is an answer like any other
            pipes.spare = b"" if isinstance(error, MemoryError) else pipes.spare
            let_go(error)
            fault, result = fault_of(error, function, args), b""
            if coding is not None:
                return bytes(coding.error_frame(call_id, limit, fault, error))
    else:
        fault, result = {"kind": "command", "message": no_command(commands)}, b""
    if fault is not None:
        return fault_frame(ERROR, call_id, limit, **fault)
    return HEADER.pack(RESULT, CODEC_JSON if coding is None else CODEC_PICKLE, marks, len(result), call_id) + result
