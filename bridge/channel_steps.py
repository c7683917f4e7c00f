"""What can be done with the descriptors of a worker at once: each step writes or reads what is possible now.

Rules: descriptors are non-blocking, and nothing here waits. A link is clean exactly when no reply is outstanding on it.
Apart from the drivers, which differ in how they wait: channel.py in poll(), channel_async.py in an event loop, and the
supervisor in its own poller.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from math import inf
from os import read, readv, write
from signal import SIG_DFL, SIGPIPE, getsignal
from termios import FIONREAD
from typing import Any

from bridge.arena import Arena
from bridge.buffers import Rope
from bridge.contract import WorkerGone
from bridge.core.messages import decode_item, decode_reply, split_state
from bridge.core.protocol import BUSY, FOLLOWED, IDLE, Body, Connection, Frame, State
from bridge.errors import BridgeError, CallCancelled, ProtocolError
from bridge.link import SMALL, ClaimRef, Following, Left, ListenerRef, ring
from bridge.pipes import write_quietly
from bridge.wire import (
    ANSWER,
    CALL,
    CODEC_JSON,
    EXTRAS,
    LONG,
    READ_SIZE,
    RESULT,
    SHARED,
    STATE,
    decode_json,
    scan_text,
)


class FdSteps:
    """A worker's two descriptors, and where the conversation on them stands.

    Args:
        clock: Monotonic seconds.
    """

    __slots__ = (
        "_alarm",
        "_claim",
        "_clock",
        "_dead",
        "_heard",
        "_read_fd",
        "_sentinel",
        "_whole",
        "_write",
        "_write_fd",
        "arena",
        "connection",
        "host",
        "listener",
        "pid",
        "snapshot",
    )

    def __init__(
        self,
        fds: tuple[int, int],
        sentinel: int | None,
        limit: int,
        pid: int | None,
        clock: Callable[[], float],
        codec: int = CODEC_JSON,
    ) -> None:
        self._read_fd, self._write_fd = fds
        self._write = write_quietly if getsignal(SIGPIPE) == SIG_DFL else write  # Python itself ignores it
        self._clock = clock
        self._dead = False
        self._heard = False  # something of the call that is out: its handler certainly runs
        self._whole = True  # the request that is out was wholly written
        self._claim: ClaimRef | None = None  # whose call is out, if others may cancel it
        self._alarm = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)  # readable when another thread has
        self._sentinel = sentinel
        self.connection = Connection(limit, codec)
        self.pid = pid
        self.host: str | None = None  # one of `pool.hosts`
        self.arena: Arena | None = None
        self.snapshot: bytes | None = None
        self.listener: ListenerRef | None = None
        """The holder, while a call is out that it doesn't wait for in `call`."""

    @property
    def clean(self) -> bool:
        """No reply is outstanding."""
        return self.connection.state is IDLE

    @property
    def call_id(self) -> int:
        """Of the request that is out, or was last."""
        return self.connection.call_id

    @property
    def cancellable(self) -> bool:
        """Whether a cancel can follow the request that is out. Half a request can't be followed by anything."""
        return self._whole and not self._dead and self.connection.state in (BUSY, FOLLOWED)

    # -- For whoever waits by other means than `call`: each step is made at once ---------------------------

    def begin(
        self,
        command: str,
        body: bytes,
        seconds: float,
        kind: int = CALL,
        claim: ClaimRef | None = None,
        follow: Following | None = None,
    ) -> bytes:
        """Send a call, as far as that is possible now; what is left is for `push_on`. Raises WorkerGone."""
        del command
        self._claim = claim
        self._heard = False
        if follow is not None:
            return self.push_on(self._composed(kind, follow.head + body, EXTRAS, seconds))
        if kind != CALL or len(body) > SMALL or ((arena := self.arena) is not None and not arena.short):
            return self.push_on(self._composed(kind, body, 0, seconds))
        # Most calls: too short for shared memory, where no place is to be granted, and for half of it to be written.
        frame = self.connection.ask(body, seconds)
        try:
            rest = frame[self._write(self._write_fd, frame) :]
        except BlockingIOError:
            rest = frame
        except OSError:
            raise WorkerGone(started=False) from None
        self._whole = not rest
        return rest

    def hand(self, body: bytes, seconds: float, claim: ClaimRef | None) -> bool:
        """`begin` of a plain call that is SMALL: whether it was written whole, which it is unless not at all."""
        arena = self.arena
        if arena is not None and not arena.short:
            return not self.begin("", body, seconds, claim=claim)
        self._claim, self._heard = claim, False  # and `_whole` is true, as long as nothing is out
        frame = self.connection.ask(body, seconds)
        try:
            if self._write(self._write_fd, frame) == len(frame):
                return True
        except BlockingIOError:
            pass  # so somebody has filled its pipe
        except OSError:
            raise WorkerGone(started=False) from None
        self._whole = False
        return False

    def _composed(self, kind: int, body: bytes, flags: int, seconds: float) -> bytes:
        """The frame of a call. What is long lies in memory that the worker shares, if there is such."""
        if self.arena is None or len(body) < self.arena.short:
            if kind == CALL and not flags:
                return self.connection.ask(body, seconds)
            return self.connection.send(kind, body, flags, seconds)
        return self.arena.compose(self.connection, kind, body, flags, seconds)

    def _arrived(self, body: Body) -> Body:
        """The body of a result that is long."""
        if self.arena is not None and self.connection.flags & SHARED:
            return self.arena.taken(body)
        if self.arena is not None:
            self.arena.heard(len(body))
        return body

    def begin_answer(self, body: bytes) -> bytes:
        """The same with the answer to an ASK."""
        return self.push_on(self.connection.send(ANSWER, body))

    def push_on(self, frame: bytes) -> bytes:
        """Write what fits now of the rest; what is left. Raises WorkerGone."""
        try:
            frame = self._rest_of(frame)
        except BlockingIOError:
            pass  # the pipe is full
        except OSError:
            raise WorkerGone(started=self._heard) from None
        self._whole = not frame
        return frame

    def _rest_of(self, frame: Any) -> Any:
        """Write what fits now of bytes, a view or a Rope; what is left, without a copy of it if it is long."""
        if type(frame) is Rope:
            return frame[frame.put(self._write_fd, self._write) :]
        count = self._write(self._write_fd, frame)
        return frame[count:] if len(frame) - count < READ_SIZE else memoryview(frame)[count:]

    def poll(self, command: str) -> tuple[int, Any] | None:
        """What has come of a call, as its kind and value. Raises as `call`, and Left when it was cancelled."""
        claim = self._claim
        if claim is not None and (caller := claim()) is not None and caller.cancelled:
            raise Left
        connection = self.connection
        try:
            if not self._heard:  # mostly all that there will be comes now
                come: Any
                try:
                    come = read(self._read_fd, READ_SIZE)
                except BlockingIOError:
                    come = None  # nothing yet
                if come and (reply := connection.result(come)) is not None:
                    try:
                        value, end = scan_text(text := reply.decode(), 0)
                        if end == len(text):
                            return RESULT, value
                    except (ValueError, RecursionError, StopIteration):
                        pass  # `_value` says what it is, or has buffers
                    return RESULT, self._value(reply, command)
                if self._checked(come) is None:
                    return None
                self._heard = True
                frame: Frame | None = connection.receive(come)
            else:  # several may have come at once
                frame = connection.receive(b"") if connection.state is FOLLOWED else None
            while frame is None:
                space = connection.space()
                if (come := self._read_now(space)) is None:
                    return None
                frame = connection.receive(come) if space is None else connection.filled(come)
            return self._said(frame, command)
        except (ProtocolError, CallCancelled) as error:
            raise self._named(error) from None

    def _read_now(self, space: memoryview | None) -> Any:
        """What has come, or how much of it was read into `space`; None while there is nothing."""
        try:
            return self._checked(read(self._read_fd, READ_SIZE) if space is None else readv(self._read_fd, [space]))
        except BlockingIOError:
            return self._checked(None)

    def _checked(self, come: Any) -> Any:
        """What was read, or None. Raises WorkerGone if there will be nothing any more."""
        if come or (come is None and not self._dead):
            return come
        raise WorkerGone(started=self._was_read())

    def _said(self, frame: Frame, command: str) -> tuple[int, Any]:
        """A frame of a call as its kind and value. Raises as `call`."""
        kind, body = frame
        self.snapshot = None
        if kind == RESULT and self.arena is not None and (self.connection.flags & SHARED or len(body) >= LONG):
            body = self._arrived(body)
        if self.connection.flags & STATE:
            self.snapshot, body = split_state(body, self.pid)
        if kind > ANSWER:
            self._heard = True
            return kind, decode_item(body, self.pid)
        return kind, decode_reply(kind, body, command, self.pid, pickled=self.connection.pickled)

    def _value(self, reply: bytes, command: str) -> Any:
        """Of a result that came whole and alone. Raises as `call`. Whoever is on the hot path decodes it in place, and
        comes here with what isn't so simple: to come here with each would be 2 % of a call."""
        self.snapshot = None
        try:
            return decode_json(reply)
        except (ValueError, RecursionError):
            pass  # `decode_reply` says what it is; out here, or it would print this error as its context
        try:
            return decode_reply(RESULT, reply, command, self.pid)
        except ProtocolError as error:
            raise self._named(error) from None

    def _named(self, error: ProtocolError | CallCancelled) -> BridgeError:
        """The same, of this worker; its conversation is over if it broke the protocol."""
        if isinstance(error, CallCancelled):
            return CallCancelled(error.command, pid=self.pid, started=True, host=self.host)
        self.connection.state = State.CLOSED
        return ProtocolError(error.detail, pid=self.pid, host=self.host)

    @property
    def watched(self) -> tuple[int, int] | None:
        """(read, write): what becomes ready when another step can be made."""
        return self._read_fd, self._write_fd

    @property
    def next_look(self) -> float:
        """Monotonic seconds at which to poll, whatever happens."""
        return inf

    def _was_read(self) -> bool:
        """Whether the dead worker had read the request: as long as a byte of it lies in the pipe, it had not. After the
        first frame of a call what lies there is no request."""
        if self._heard:
            return True
        unread = fcntl.ioctl(self._write_fd, FIONREAD, b"\0" * 4)
        return int.from_bytes(unread, "little") == 0

    def interrupt(self) -> None:
        """Have the holder look whether its call was cancelled. Takes no lock, never blocks."""
        alarm = self._alarm
        if alarm >= 0:
            try:
                os.eventfd_write(alarm, 1)
            except OSError:
                pass  # it rang already, or the worker is dead and nobody's
        ring(self.listener)

    def abort(self) -> None:
        """The worker is dead. A holder that waits in `call` sees the end of the stream, or its sentinel."""
        if self.listener is not None:
            self._dead = True
            ring(self.listener)

    def close(self) -> None:
        """Give the alarm back; only when nobody holds the worker any more. Idempotent."""
        self.arena = None
        alarm, self._alarm = self._alarm, -1
        if alarm >= 0:
            os.close(alarm)

    def forget(self) -> None:
        """In a forked child: the numbers may be other files soon, and are never used again."""
        self._read_fd = self._write_fd = -1
        self.connection.state = State.CLOSED
        self.close()

    # -- For the supervisor, while the worker is nobody's ------------------------------------------------

    def push(self, data: Any) -> Any:
        """Write what fits now; what is left. A worker that is gone takes it all: its death is reported elsewhere."""
        try:
            return self._rest_of(data)
        except BlockingIOError:
            return data
        except OSError:
            return b""

    def pull(self, data: bytes = b"") -> list[Frame] | None:
        """The whole frames that have come, those first that its holder had read and not looked at; None at the end of
        the stream.

        Args:
            data: What somebody has read already.
        """
        frames = []
        try:
            while True:
                frame = self.connection.receive(data)
                while frame is not None:
                    frames.append(frame)
                    frame = self.connection.receive(b"")
                if not (data := read(self._read_fd, READ_SIZE)):
                    break
        except BlockingIOError:
            return frames
        return frames or None
