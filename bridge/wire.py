"""The wire: kinds, header, and how values become bytes. The only definition of it, for both ends.

Rules: standard library only, Python 3.8 syntax; what it imports at start is counted (docs/design/benchmarks.md). Apart
from worker.py, which is loaded beside it in the other interpreter, so that each fits on some pages. (One definition for
both sides is execnet's idea.)
"""

import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__scoped_bridge__ = True  # frames of modules that have this are left out of a handler's traceback, as in unittest

PROTOCOL = 3
HEADER = struct.Struct("<BBHIQ")
"""kind, codec, flags, length of the body in bytes, call id: 16 bytes, little-endian."""
TIMED_HEADER = struct.Struct("<BBHIQd")
"""The same and, with the flag TIMED, the first of the body: seconds that the call has left."""
HELLO, START, READY, FAILED, CALL, HOOK, RESULT, ERROR, STOP, CANCEL, CREDIT, ANSWER, ITEM, ASK, GRANT = range(
    0xB1, 0xC0
)
"""Kinds. They begin where no ASCII text can, so that a stray print is seen for what it is at its first byte."""
TIMED, EXTRAS, STATE, SHARED = 1, 2, 4, 8
"""Flags of CALL: what stands before the command in its body, in this order. EXTRAS: 4 bytes of length, an object.
And of RESULT: STATE, before the value: 4 bytes of length, the snapshot of a durable session.
SHARED, of either: in place of the body stands its PLACE in the memory that both ends have (bridge/arena.py)."""
PLACE = struct.Struct("<QQ")
"""Offset and length. Also the body of GRANT: a range that the worker may put its next long result into."""
LONG = 131072
"""Bytes of a body that isn't sent through the pipe if there is such memory."""
NO_HOOK = ""
"""A hook that every worker has, and that does nothing: what stands before it is all."""
SECONDS = struct.Struct("<d")
CODEC_NONE, CODEC_JSON, CODEC_PICKLE = 0, 1, 2
FRONT = struct.Struct("<IIQ")
"""A header whose first three fields are taken for one number, as it is compared and made where each step counts."""
pack_front, unpack_front, pack_timed = FRONT.pack, FRONT.unpack_from, struct.Struct("<IIQd").pack
"""In Python 3.11 an attribute of an imported name is looked up anew each time, which is 1 % of a call."""
PLAIN_CALL, PLAIN_RESULT = CALL | CODEC_JSON << 8 | TIMED << 16, RESULT | CODEC_JSON << 8
SHORT_TEXT = 1024
"""Characters of a value's JSON that is looked through for keys that aren't text: of a longer one the value is."""
READ_SIZE = MAX_TEXT = 65536  # bytes; characters of a message or a traceback: more would only fill the caller's log
RICH = 0xFF
"""First byte of a value that holds buffers (bridge/buffers.py): no text can begin so, and no pickle."""
TOO_DEEP = " contains itself, or is nested too deeply; send a flatter value"


class HungUp(Exception):
    """The other end is gone, or what comes can't be its."""


class NotEncodable(TypeError):
    """A value can't travel. Says where in the value, and the cure."""


def pack(kind: int, call_id: int, body: bytes = b"", codec: int = CODEC_NONE) -> bytes:
    """One whole frame."""
    return HEADER.pack(kind, codec, 0, len(body), call_id) + body


try:
    import _json

    class _Reading:
        strict = True
        object_hook = object_pairs_hook = None
        parse_float, parse_int = float, int
        parse_constant = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}.__getitem__

    # No circle check: a circle ends as RecursionError, and checks cost. str.upper: TypeError for all that isn't text.
    encode_text = _json.make_encoder(None, str.upper, _json.encode_basestring_ascii, None, ":", ",", False, False, True)
    scan_text = _json.make_scanner(_Reading)  # type: ignore[arg-type]
except ImportError:  # an interpreter without the accelerator: slower to start, same values
    import json

    encode_text = json.JSONEncoder(check_circular=False, separators=(",", ":"), default=str.upper).iterencode  # type: ignore[assignment]
    scan_text = json.JSONDecoder().scan_once  # type: ignore[attr-defined]


_SCALARS, SHORT = frozenset((str, int, float, bool, type(None))), 16  # items: fewer are looked at one by one


def check_keys(value: "Any") -> None:
    """The encoder would turn the key 1 into "1" without a word: a TypeError. The walk is in C where a level is long and
    flat, and takes few steps elsewhere, since many calls make it."""
    kind = type(value)
    if kind is dict or isinstance(value, dict):
        "".join(value)  # TypeError for any other key, in one step
        value = value.values()
    elif kind is not list and not isinstance(value, (list, tuple)):
        return
    if len(value) > SHORT and _SCALARS.issuperset(map(type, value)):
        return
    for item in value:
        if type(item) not in _SCALARS:
            check_keys(item)


def encode_json(value: "Any", root: str) -> bytes:
    """JSON bytes of a value. Raises NotEncodable, which says where and why, as in `root.items[3].when is ...`."""
    problem: "Any" = None
    try:
        check_keys(value)
        return "".join(encode_text(value, 0)).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        problem = error
    try:
        raise NotEncodable(_find_fault(value, root) or "%s: %s" % (root, problem))
    except RecursionError:
        raise NotEncodable(root + TOO_DEEP) from None


def encode_value(value: "Any", root: str) -> "Any":
    """The same of a value that may hold buffers: bytes, or a Rope of them if one is long."""
    try:
        check_keys(value)
        return "".join(encode_text(value, 0)).encode("ascii")
    except (TypeError, ValueError, RecursionError):
        pass  # it holds buffers, or the other encoder says what is wrong
    return encode_odd(value, root)


def encode_odd(value: "Any", root: str) -> "Any":
    """The same of a value that the plain encoder refused."""
    return beside("buffers").encode(value, root)


def is_rich(body: "Any") -> bool:
    """Whether a value holds buffers, by its body: then that can't be a part of another text."""
    return type(body) is not bytes or body[:1] == b"\xff"


def beside(name: str) -> "Any":
    """Another file of ours. In a worker what starts it has put in its place what can do that there."""
    return getattr(__import__("bridge." + name), name)


def _find_fault(value: "Any", path: str) -> str:
    """Where the value can't travel, why, and the cure; empty when it can."""
    if isinstance(value, dict):
        if odd := [key for key in value if not isinstance(key, str)]:
            kind = type(odd[0]).__name__
            return "%s has the key %.99r of type %s; use str(key), or send a list of pairs" % (path, odd[0], kind)
        steps = [((".%s" if key.isidentifier() else "[%.99r]") % key, item) for key, item in value.items()]
    elif isinstance(value, (list, tuple)):
        steps = [("[%d]" % index, item) for index, item in enumerate(value)]
    elif value is None or isinstance(value, (str, int, float)):
        return ""
    else:
        cure = next((cure for mark, cure in _CURES if hasattr(value, mark)), "send its fields as a dict")
        return "%s is of type %s, which JSON can't carry; %s" % (path, type_name(type(value)), cure)
    return next(filter(None, (_find_fault(item, path + step) for step, item in steps)), "")


_CURES = (
    ("isdisjoint", "use sorted(...) or list(...)"),
    ("decode", "only arguments and results can hold it; send text"),
    ("isoformat", "use .isoformat()"),
    ("tolist", "use .tolist()"),
    ("cr_frame", "await it, and return what it gives"),
    ("__next__", "an iterator can't travel: call it by stream(...), or return list(...)"),
)


def decode_json(data: "Any") -> "Any":
    """The value of JSON bytes, or of those with buffers. Raises ValueError or RecursionError for anything else."""
    if data and data[0] == RICH:  # asked first: the error of what can't be text has a copy of all of it
        return beside("buffers").decode(data)
    text = str(data, "utf-8")
    try:
        value, end = scan_text(text, 0)
    except StopIteration:
        raise ValueError("not JSON") from None
    if end == len(text):
        return value
    raise ValueError("%d characters behind the value" % (len(text) - end))


def room(length: int) -> "Any":
    """Memory for a long body, which is then read straight into it.

    A bytearray is filled with zeros first. That costs little where the C library has the memory already, which is to
    say below 32 MiB; above, most of the time goes to the first touch of each page, so they are to be large, and
    touched once.
    """
    if length >= 2**25:
        try:
            import mmap

            made = mmap.mmap(-1, length, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except (ImportError, OSError):
            return bytearray(length)  # a MemoryError says what is wrong
        try:
            made.madvise(mmap.MADV_HUGEPAGE)
        except (AttributeError, OSError):
            pass  # it is but faster
        return memoryview(made)
    return bytearray(length)


def read_on(fd: int, data: "Any", length: int) -> "Any":
    """The whole of a body, whose beginning was read. Raises HungUp."""
    body, filled = room(length), len(data)
    body[:filled] = data
    while filled < length:
        if not (count := os.readv(fd, [memoryview(body)[filled:]])):
            raise HungUp
        filled += count
    return body


def type_name(kind: type) -> str:
    """A class as a person names it."""
    return kind.__qualname__ if kind.__module__ == "builtins" else "%s.%s" % (kind.__module__, kind.__qualname__)


def let_go(error: BaseException) -> None:
    """Free what the frames below the caller's hold, if there was no memory: the report of the error needs some.

    Called first of all, and so small, because any other call may fail for want of memory itself.
    """
    trace = error.__traceback__ if isinstance(error, MemoryError) else None
    try:
        while trace is not None and (trace := trace.tb_next) is not None:
            trace.tb_frame.clear()
    except RuntimeError:
        pass  # that frame runs on, in another thread
