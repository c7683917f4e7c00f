"""The caller's side of one conversation with one worker, without I/O.

Rules: bytes in, frames out; the length of a frame is checked before any of its body is kept; what is legal when is
one table, and all else is a ProtocolError. After a ProtocolError the connection is closed for good. Apart from the
drivers so that every split of the byte stream can be tested as data (the sans-IO way of h11).
"""

from __future__ import annotations

from enum import IntEnum
from math import inf
from struct import Struct
from types import MappingProxyType
from typing import Final

from bridge.errors import ProtocolError
from bridge.wire import (
    ANSWER,
    ASK,
    CALL,
    CANCEL,
    CODEC_JSON,
    CODEC_NONE,
    CODEC_PICKLE,
    CREDIT,
    ERROR,
    EXTRAS,
    FAILED,
    GRANT,
    HEADER,
    HELLO,
    HOOK,
    ITEM,
    PLAIN_RESULT,
    READY,
    RESULT,
    SHARED,
    START,
    STATE,
    STOP,
    TIMED,
    TIMED_HEADER,
    pack,
    pack_timed,
    room,
)

HEADER_SIZE: Final = HEADER.size
WHOLE: Final = Struct("<IiQ")
"""FRONT of what was read at once. Its length has a sign: what is shorter than a header begins with none."""
Body = bytes | bytearray | memoryview
Frame = tuple[int, Body]
"""Kind and body of one received frame."""


class State(IntEnum):
    """Where a conversation stands, seen from the caller."""

    CONNECTING = 0
    STARTING = 1
    IDLE = 2
    BUSY = 3
    CLOSED = 4
    FOLLOWED = 5
    """Busy with a call that was sent with EXTRAS: more than its terminal frame may come."""


# A member is found by a look-up in Python up to 3.11: 170 ns each.
IDLE, BUSY, FOLLOWED, STARTING = State.IDLE, State.BUSY, State.FOLLOWED, State.STARTING

KINDS: Final = MappingProxyType(
    {
        HELLO: "hello",
        START: "start",
        READY: "ready",
        FAILED: "failed",
        CALL: "call",
        HOOK: "hook",
        CANCEL: "cancel",
        RESULT: "result",
        ERROR: "error",
        STOP: "stop",
        CREDIT: "credit",
        ANSWER: "answer",
        ITEM: "item",
        ASK: "ask",
        GRANT: "grant",
    }
)

SEND: Final = MappingProxyType(
    {
        (State.CONNECTING, START): State.CONNECTING,  # sent blind: it saves a round trip at each start
        (State.IDLE, CALL): State.BUSY,
        (State.IDLE, HOOK): State.BUSY,
        (State.IDLE, GRANT): State.IDLE,
        (State.BUSY, CANCEL): State.BUSY,  # its terminal frame is still due
        (State.FOLLOWED, CANCEL): State.FOLLOWED,
        (State.FOLLOWED, CREDIT): State.FOLLOWED,
        (State.FOLLOWED, ANSWER): State.FOLLOWED,
        (State.IDLE, STOP): State.CLOSED,
    }
)
"""(state, kind of the frame sent) -> next state."""

RECEIVE: Final = MappingProxyType(
    {
        (State.CONNECTING, HELLO): State.STARTING,
        (State.STARTING, READY): State.IDLE,
        (State.STARTING, FAILED): State.CLOSED,
        (State.BUSY, RESULT): State.IDLE,
        (State.BUSY, ERROR): State.IDLE,
        (State.FOLLOWED, ITEM): State.FOLLOWED,
        (State.FOLLOWED, ASK): State.FOLLOWED,
        (State.FOLLOWED, RESULT): State.IDLE,
        (State.FOLLOWED, ERROR): State.IDLE,
    }
)
"""(state, kind of the frame received) -> next state."""


def diagram() -> str:
    """Both tables as a state diagram, in Mermaid's language: what is sent is marked by !, what is received by ?."""
    steps = [(before, after, "!" + KINDS[kind]) for (before, kind), after in SEND.items()]
    steps.append((IDLE, FOLLOWED, f"!{KINDS[CALL]} with extras"))  # as `send` has it
    steps += [(before, after, "?" + KINDS[kind]) for (before, kind), after in RECEIVE.items()]
    arrows: dict[tuple[State, State], list[str]] = {}
    for before, after, said in steps:
        arrows.setdefault((before, after), []).append(said)
    lines = [f"    {before.name} --> {after.name}: {', '.join(said)}" for (before, after), said in arrows.items()]
    first, last = State.CONNECTING.name, State.CLOSED.name
    return "\n".join(["stateDiagram-v2", f"    [*] --> {first}", *lines, f"    {last} --> [*]"])


class Connection:
    """One conversation: what may be sent now, and what the bytes that came mean.

    Args:
        limit: Bytes that the body of one received frame may have.
        codec: Of the calls; only with CODEC_PICKLE is what comes looked at as such.
    """

    __slots__ = (
        "_body",
        "_call",
        "_codec",
        "_filled",
        "_kind",
        "_pending",
        "call_id",
        "flags",
        "granted",
        "limit",
        "pickled",
        "state",
    )

    def __init__(self, limit: int, codec: int = CODEC_JSON) -> None:
        self.limit, self._codec, self._call = limit, codec, CALL | codec << 8 | TIMED << 16
        self.pickled = False  # the body of the frame that came last
        self.flags = 0  # its
        self.granted = False  # the worker was told of a place for a result, in memory that it shares
        self.state = State.CONNECTING
        self.call_id = 0  # of the call that is out, or was last; never repeats
        self._pending: bytes = b""  # bytes behind the last whole frame
        self._kind = 0
        self._body: bytearray | memoryview | None = None  # of a frame that came in part
        self._filled = 0

    def send(self, kind: int, body: bytes = b"", flags: int = 0, seconds: float = inf) -> bytes:
        """The bytes to write for one frame; a call gets the next id, what follows it that of the call that is out.

        Args:
            flags: EXTRAS if a call's body begins with them; of CREDIT, the items.
            seconds: What the call has left.
        """
        state = SEND.get((self.state, kind))
        if state is None:
            raise ProtocolError(f"{KINDS[kind]} can't be sent while {self.state.name}")
        if kind >= CANCEL:
            return HEADER.pack(kind, CODEC_JSON if body else CODEC_NONE, flags, len(body), self.call_id) + body
        self.state = state
        if state is BUSY:
            if flags & EXTRAS:
                self.state = FOLLOWED
            self.call_id += 1
            codec = self._codec if kind == CALL else CODEC_JSON
            if seconds != inf:
                flags |= TIMED
                return TIMED_HEADER.pack(kind, codec, flags, len(body) + 8, self.call_id, seconds) + body
            return HEADER.pack(kind, codec, flags, len(body), self.call_id) + body
        return pack(kind, 0, body, CODEC_JSON if body else CODEC_NONE)

    def ask(self, body: bytes, seconds: float) -> bytes:
        """The frame of a plain call: what `send` makes of it, in fewer steps, since most frames are such."""
        if self.state is not IDLE:
            return self.send(CALL, body, 0, seconds)
        self.state = BUSY
        self.call_id = call_id = self.call_id + 1
        return pack_timed(self._call, len(body) + 8, call_id, seconds) + body

    def receive(self, data: bytes) -> Frame | None:
        """Take what was read; the next whole frame, or None while there is none.

        More than one frame may have come: call again with b"" until it answers None.

        Raises:
            ProtocolError: The bytes aren't ours, or not now; the connection is closed.
        """
        if self._body is not None:
            return self._fill(data) if data else None
        if self._pending:
            data = self._pending + data
        if len(data) < HEADER_SIZE:
            if data and (self.state, data[0]) not in RECEIVE:
                self._fail(data)
            self._pending = data
            return None
        kind, codec, flags, length, call_id = HEADER.unpack_from(data)
        self.pickled = codec == CODEC_PICKLE == self._codec  # never read as such where nobody asked for it
        state = RECEIVE.get((self.state, kind))
        if state is None or call_id != self.call_id or (flags and not self._may_have(self.state, kind, flags)):
            self._fail(data)
        self.flags = flags
        if length > self.limit:
            self.state = State.CLOSED
            raise ProtocolError(
                f"it announced a frame of {length} bytes, over max_frame_bytes={self.limit}; return less, or raise it"
            )
        end = HEADER_SIZE + length
        if len(data) < end:
            # The one copy on the way in: the rest is read straight into its place.
            self._kind, self._body, self._filled, self._pending = kind, room(length), 0, b""
            return self._fill(data[HEADER_SIZE:])
        self._pending = data[end:]
        return self._finish(kind, data[HEADER_SIZE:end])

    def result(self, data: bytes) -> bytes | None:
        """The body of the result of a plain call, if that is what was read, whole and alone. Else None, and nothing was
        taken: it is for `receive`."""
        length = len(data) - HEADER_SIZE
        if self._pending or self.state is not BUSY or length > self.limit:
            return None
        if not data.startswith(WHOLE.pack(PLAIN_RESULT, length, self.call_id)):
            return None
        self.state = IDLE
        return data[HEADER_SIZE:]

    def space(self) -> memoryview | None:
        """Where the rest of a frame that came in part may be read into, then told to `filled`."""
        return None if self._body is None else memoryview(self._body)[self._filled :]

    def filled(self, count: int) -> Frame | None:
        """`count` bytes were read into `space()`; the frame, when that made it whole."""
        body = self._body
        if body is None:
            raise ProtocolError("bytes were filled into a frame that isn't open")
        self._filled += count
        if self._filled < len(body):
            return None
        self._body = None
        return self._finish(self._kind, body)

    def _fill(self, data: bytes) -> Frame | None:
        body = self._body
        assert body is not None
        room = len(body) - self._filled
        body[self._filled : self._filled + min(room, len(data))] = data[:room]
        self._pending = data[room:]
        return self.filled(min(room, len(data)))

    def _finish(self, kind: int, body: Body) -> Frame:
        self.state = RECEIVE[self.state, kind]
        if self._pending and self.state not in (STARTING, FOLLOWED):
            self._fail(self._pending)  # nothing may follow a terminal frame, READY or FAILED
        return kind, body

    def _fail(self, data: bytes) -> None:
        state, self.state = self.state, State.CLOSED
        kind = KINDS.get(data[0])
        if kind is None:
            raise ProtocolError(f"{bytes(data[:60])!r} is no frame")
        if len(data) >= HEADER_SIZE and (state, data[0]) in RECEIVE:
            _kind, _codec, flags, _length, answered = HEADER.unpack_from(data)
            if flags and not self._may_have(state, data[0], flags):
                raise ProtocolError(f"a {kind} frame with the unknown flags {flags:#x}")
            raise ProtocolError(f"a {kind} for call {answered} came while call {self.call_id} was out")
        raise ProtocolError(f"an unexpected frame ({kind}) came while {state.name}")

    def _may_have(self, state: State, kind: int, flags: int) -> bool:
        """A state comes with nothing but the end of a call that was sent with EXTRAS, a place for none but a result."""
        known = (STATE if state is FOLLOWED else 0) | (SHARED if self.granted else 0)
        return kind == RESULT and not flags & ~known
