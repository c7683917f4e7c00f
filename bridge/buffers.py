"""Values that hold buffers: bytes, arrays, whatever exports its memory. They travel behind the value, as they are.

Rules: standard library only, Python 3.8 syntax; a worker loads this file beside worker.py when the first such value
comes or goes. No value of a user's can be taken for the place of a buffer, since the places are a table of their own. A
long buffer isn't copied on its way out, and what arrives is a view of what was read. Apart from wire.py because most
values hold none.
"""

import os
import sys
from struct import Struct, calcsize, error, pack

from bridge.wire import (
    HEADER,
    PLACE,
    RESULT,
    RICH,
    SHARED,
    TOO_DEEP,
    HungUp,
    NotEncodable,
    decode_json,
    encode_json,
    room,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, List, Optional, Sequence, Tuple, Union

__scoped_bridge__ = True  # frames of modules that have this are left out of a handler's traceback, as in unittest

HEAD = Struct("<BxxxIQ")
"""RICH, the number of buffers, bytes of the text (or pickle) that holds the value. The lengths of the buffers follow, 8
bytes each, the text, and the buffers, each of which begins at a multiple of ALIGNED."""
ALIGNED = 16
SHORT = 32768
"""Bytes of a buffer that is rather copied than written by itself."""
PIECES = 64
"""That are written at once."""

LETTERS = tuple("c?bBhHiIlLqQnNfd")
"""Formats of elements that can travel, as struct has them."""
TYPES = (
    *("char", "bool", "byte", "ubyte", "short", "ushort", "int", "uint", "long", "ulong", "longlong", "ulonglong"),
    *("ssize_t", "size_t", "float", "double"),
)
"""Their names in ctypes."""
STANDARD = frozenset("?bBhHiIlLqQfd")
"""Those that can stand behind an order of bytes."""
SCALARS = frozenset((str, int, float, bool, type(None)))


class Rope:
    """Bytes in pieces, which are never put together: a body or a frame with long buffers.

    What is bytes elsewhere can be this: it has a length, something can be put before or behind it, and what is left
    when a part was written is `rope[count:]`.
    """

    __slots__ = ("pieces", "size")

    def __init__(self, pieces: "List[Any]", size: int) -> None:
        self.pieces, self.size = pieces, size

    def __len__(self) -> int:
        return self.size

    def __radd__(self, front: bytes) -> "Rope":
        return Rope([front, *self.pieces], len(front) + self.size)

    def __add__(self, behind: "Union[bytes, Rope]") -> "Rope":
        pieces = behind.pieces if isinstance(behind, Rope) else [behind]
        return Rope(self.pieces + pieces, self.size + len(behind))

    def __getitem__(self, rest: slice) -> "Rope":
        skip, pieces = rest.start, self.pieces
        left, index = skip, 0
        while index < len(pieces) and left >= len(pieces[index]):
            left -= len(pieces[index])
            index += 1
        pieces = pieces[index:]
        if left:
            pieces[0] = memoryview(pieces[0])[left:]
        return Rope(pieces, self.size - skip)

    def __bytes__(self) -> bytes:
        return b"".join(self.pieces)

    def put(self, fd: int, write: "Callable[[int, Any], int]" = os.write) -> int:
        """Write what fits now; how many bytes.

        Args:
            write: Writes one piece, if that isn't done as os.write does it.
        """
        if write is os.write:
            return os.writev(fd, self.pieces[:PIECES])
        return write(fd, next(filter(len, self.pieces)))


def joined(main: bytes, buffers: "Sequence[memoryview]") -> "Any":
    """The body of a value: bytes, or a Rope if a buffer is long.

    Args:
        main: What holds the rest of it.
        buffers: Flat, of bytes.
    """
    sizes = [len(each) for each in buffers]
    small: "List[Any]" = [HEAD.pack(RICH, len(sizes), len(main)), pack("<%dQ" % len(sizes), *sizes), main]
    at = HEAD.size + 8 * len(sizes) + len(main)
    pieces: "List[Any]" = []
    for each in buffers:
        small.append(bytes(-at % ALIGNED))
        at += -at % ALIGNED + len(each)
        if len(each) < SHORT:
            small.append(each)
        else:
            pieces += b"".join(small), each
            small = []
    if small:
        pieces.append(b"".join(small))
    return pieces[0] if len(pieces) == 1 else Rope(pieces, at)


def split(data: "Any") -> "Tuple[memoryview, List[memoryview]]":
    """What `joined` was given; views of the body, which may be anybody's. Raises ValueError."""
    view = memoryview(data)
    sizes: "Tuple[int, ...]" = ()
    try:
        mark, count, length = HEAD.unpack_from(view)
        if mark == RICH:
            sizes = Struct("<%dQ" % count).unpack_from(view, HEAD.size) if count <= len(view) // 8 else (len(view),)
    except error:
        raise ValueError("a body of buffers that is cut short") from None
    at = HEAD.size + 8 * len(sizes) + length
    main, buffers = view[at - length : at], []
    for size in sizes:
        at += -at % ALIGNED
        buffers.append(view[at : at + size])
        at += size
    if at != len(view) or mark != RICH:
        raise ValueError("a body of %d bytes whose parts have %d" % (len(view), at))
    return main, buffers


def encode(value: "Any", root: str) -> "Any":
    """The body of a value for which the plain encoder has no answer. Raises NotEncodable, as encode_json."""
    places: "List[Any]" = []
    buffers: "List[memoryview]" = []
    try:
        plain = _without(value, [], root, places, buffers)
    except RecursionError:
        raise NotEncodable(root + TOO_DEEP) from None
    if not buffers:
        return encode_json(value, root)
    try:
        main = encode_json([plain, places], root)
    except NotEncodable:
        encode_json(plain, root)  # raises the same with the place
        raise
    return joined(main, buffers)


def _without(value: "Any", path: "List[Any]", root: str, places: "List[Any]", buffers: "List[memoryview]") -> "Any":
    """A copy of the value with null in place of each buffer, whose place is noted."""
    if isinstance(value, dict):
        if SCALARS.issuperset(map(type, value.values())):
            return value
        return {key: _without(item, [*path, key], root, places, buffers) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        if SCALARS.issuperset(map(type, value)):
            return value
        return [_without(item, [*path, index], root, places, buffers) for index, item in enumerate(value)]
    if value is None or isinstance(value, (str, int, float)) or (view := view_of(value)) is None:
        return value
    kind = format_of(view)
    fault = ""
    if not view.c_contiguous:
        fault = "that isn't C-contiguous; send a copy that is: numpy.ascontiguousarray(...), or bytes(...)"
    elif kind is None:
        fault = "of the format %r, which can't travel; send its bytes: .view('u1') of an array" % view.format
    if fault:
        raise NotEncodable("%s is a buffer %s" % (_place(root, path), fault))
    places.append([path, None if isinstance(value, bytes) else kind, list(view.shape or ())])
    buffers.append(view.cast("B") if view.nbytes else memoryview(b""))
    return None


def view_of(value: "Any") -> "Optional[memoryview]":
    """The memory that a value exports; None if it doesn't, or is but a number, as numpy has them."""
    try:
        view = memoryview(value)
    except (TypeError, ValueError, BufferError):
        return None
    return view if view.ndim or hasattr(type(value), "__setitem__") else None


def _place(root: str, path: "List[Any]") -> str:
    for step in path:
        root += (".%s" if isinstance(step, str) and step.isidentifier() else "[%.99r]") % step
    return root


def format_of(view: memoryview) -> "Optional[str]":
    """Of its elements, without an order of bytes where it is this machine's; None if they can't travel."""
    order, letter = view.format[:-1], view.format[-1:]
    if order in ("", "@"):
        return letter if letter in LETTERS else None
    if letter not in STANDARD or order not in ("<", ">", "=", "!"):
        return None
    letter = {"l": "i", "L": "I"}.get(letter, letter)  # behind an order of bytes they have 4
    order = ">" if order == "!" else order
    here = "<" if sys.byteorder == "little" else ">"
    return letter if order in ("=", here) or view.itemsize == 1 else order + letter


def decode(data: "Any") -> "Any":
    """The value of a body with buffers. Raises ValueError, whatever is in it, and RecursionError."""
    main, buffers = split(data)
    try:
        value, places = decode_json(main)
        if len(places) != len(buffers):
            raise ValueError("%d buffers for %d places" % (len(buffers), len(places)))
        for index, (path, kind, shape) in enumerate(places):
            piece = buffers[index]
            made = bytes(piece) if kind is None else shaped(piece, kind, tuple(shape))
            if not path:
                value = made
                continue
            holder = value
            for step in path[:-1]:
                holder = holder[step]
            holder[path[-1]] = made
    except (TypeError, LookupError, OverflowError, AttributeError, error) as fault:
        raise ValueError("a buffer without a place: %s" % fault) from None
    return value


def shaped(piece: "Any", code: str, shape: "Tuple[int, ...]") -> "Any":
    """A read-only view of flat bytes, with the shape and the elements that they had. Raises ValueError and the like.

    Args:
        code: The format of its elements.
    """
    order, letter, count = code[:-1], code[-1:], 1
    for each in shape:
        if type(each) is not int or each < 0:
            raise ValueError("a shape of %r" % (shape,))
        count *= each
    known = letter in (STANDARD if order in ("<", ">") else LETTERS if not order else ())
    if not known or count * calcsize(code) != len(piece):
        raise ValueError("%d bytes for the shape %r of %r" % (len(piece), shape, code))
    if not order and (len(shape) == 1 or count):
        return piece.toreadonly().cast(code) if len(shape) == 1 else piece.toreadonly().cast(code, shape)
    # What `cast` can't make: another order of bytes, and a shape that has a zero.
    import ctypes

    kind: "Any" = getattr(ctypes, "c_" + TYPES[LETTERS.index(letter)])
    if order:
        kind = kind.__ctype_be__ if order == ">" else kind.__ctype_le__
    for each in reversed(shape):
        kind = kind * each
    made = kind.from_buffer_copy(piece) if piece.readonly else kind.from_buffer(piece)
    return memoryview(made).toreadonly()


# -- The memory that a worker shares with its caller, seen from the worker ---------------------------------------


def stored(fd: int, rope: Rope, offset: int) -> None:
    """Write it into a file. Raises OSError."""
    while rope:
        count = os.pwritev(fd, rope.pieces[:PIECES], offset)
        rope, offset = rope[count:], offset + count


class Shared:
    """The whole of it, mapped: a copy there or from there costs half of a write or a read. Made when it is needed.

    Args:
        fd: Its descriptor.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._view = memoryview(b"")
        self._room: "Any" = None

    def room(self, length: int) -> memoryview:
        """As `wire.room`: the same again when nothing refers to it any more, since its pages were touched."""
        last, self._room = self._room, None
        try:
            if length <= len(last) <= 2 * length:
                last.resize(len(last))  # refused while there are views
                self._room = last
                return memoryview(last)[:length]
        except (TypeError, ValueError, BufferError, OSError, SystemError):
            pass  # there is none, or a handler has kept it
        made = memoryview(room(length))
        self._room = made.obj if type(made.obj) is not bytearray else None
        return made

    def at(self, offset: int, length: int) -> memoryview:
        """A range. Raises OSError where there are no addresses for it, ValueError where there is no file."""
        if offset + length > len(self._view):
            from mmap import mmap

            self._view = memoryview(mmap(self._fd, 0))
        return self._view[offset : offset + length]


def fetched(pipes: "Any", body: "Any") -> "Any":
    """What lies where a frame says, as our own: the caller will put something else there. What stands before the place
    in the frame stands before it, and the rest is aligned. Raises HungUp when it isn't there."""
    pipes.shared = pipes.shared or Shared(pipes.arena)
    front = len(body) - PLACE.size
    offset, length = PLACE.unpack_from(body, front) if front in (0, 8) else (0, pipes.limit + 1)
    if length > pipes.limit:
        raise HungUp
    own = pipes.shared.room(ALIGNED + length)[ALIGNED - front :]
    own[:front] = body[:front]
    try:
        own[front:] = pipes.shared.at(offset, length)
    except (OSError, ValueError):
        _read_into(own[front:], pipes.arena, offset)
    return own


def _read_into(rest: memoryview, fd: int, offset: int) -> None:
    """What can't be mapped."""
    try:
        while rest:
            if not (count := os.preadv(fd, [rest], offset)):
                raise HungUp
            rest, offset = rest[count:], offset + count
    except (OSError, OverflowError):
        raise HungUp from None


def placed(pipes: "Any", frame: "Any") -> "Any":
    """A frame that says where its body lies, which is put where our caller granted it; else the frame itself."""
    pipes.shared = pipes.shared or Shared(pipes.arena)
    whole = frame if type(frame) is Rope else Rope([frame], len(frame))
    kind, codec, flags, length, call_id = HEADER.unpack_from(whole.pieces[0])
    try:
        offset, most = PLACE.unpack(pipes.granted)
        if kind != RESULT or length > most:
            return frame
        at, place = 0, pipes.shared.at(offset, length)
        for piece in whole[HEADER.size :].pieces:
            place[at : at + len(piece)] = piece
            at += len(piece)
    except (OSError, ValueError, error):  # no addresses, or no such place
        return frame
    pipes.granted = b""
    return HEADER.pack(kind, codec, flags | SHARED, PLACE.size, call_id) + PLACE.pack(offset, length)
