"""The synchronous driver: whoever holds the lease writes the request and reads the reply.

Rules: descriptors are non-blocking; try first, poll only when there is nothing; one absolute deadline; while a large
request is being written, what comes back is read, so that two full pipes can't wait for each other. The poll also
watches the worker's sentinel, so that a stray that keeps the reply pipe open can't hide its death. A link is clean
exactly when no reply is outstanding on it. Apart from channel_async.py, which drives the same Connection from a loop.
(The holder reads the pipe itself: 6 us per call against 20 with a reader thread; docs/design/benchmarks.md.)
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from math import ceil
from os import read, readv
from typing import TYPE_CHECKING, Any

from bridge.arena import Arena
from bridge.channel_steps import FdSteps
from bridge.channel_submit import SubmitLink
from bridge.contract import Channel, Ear, WorkerGone
from bridge.core.messages import decode_reply
from bridge.core.protocol import Frame
from bridge.errors import CallCancelled, ProtocolError
from bridge.hearing import HeardConnection
from bridge.link import HEARING, SMALL, ClaimRef, DeadlinePassed, Following, Left
from bridge.wire import ANSWER, CALL, CODEC_JSON, CODEC_PICKLE, CREDIT, EXTRAS, LONG, READ_SIZE, RESULT, scan_text

if TYPE_CHECKING:
    from bridge.busy import BusyPoll


class FdLink(FdSteps):
    """A link over two non-blocking descriptors."""

    __slots__ = ("_busy", "_poll")

    hands_on = True
    """Whoever gives it back may begin the next holder's call."""

    def __init__(
        self,
        fds: tuple[int, int],
        sentinel: int | None,
        limit: int,
        pid: int | None,
        clock: Callable[[], float],
        codec: int = CODEC_JSON,
    ) -> None:
        super().__init__(fds, sentinel, limit, pid, clock, codec)
        self._poll = self._watch()
        self._busy: BusyPoll | None = None  # looks for a reply before its holder sleeps

    def call(
        self,
        command: str,
        body: bytes,
        deadline: float,
        kind: int = CALL,
        claim: ClaimRef | None = None,
    ) -> Any:
        """One request and its one reply.

        Args:
            claim: A weak reference to whoever calls; `interrupt` has it looked at.

        Raises:
            RemoteError, CallError: The handler's answer; the link is clean.
            DeadlinePassed, Left: The reply is still due; the supervisor may await it.
            WorkerGone, ProtocolError: The link isn't clean, and never will be.
        """
        self._claim, self._heard = claim, False
        self._send(self._composed(kind, body, 0, deadline - self._clock()), deadline)
        return self.finish(command, deadline)

    def plain(self, command: str, body: bytes, deadline: float, now: float) -> Any:
        """`call` of a command that nobody else can cancel.

        Args:
            now: Monotonic seconds.
        """
        # The hot path: one write, and one read where the worker is quick or shares our core. What there is to be
        # written, read or waited for besides, `call`, `_send` and `finish` do.
        if len(body) > SMALL or ((arena := self.arena) is not None and not arena.short):
            return self.call(command, body, deadline)
        self._claim, self._heard = None, False  # and `_whole` is true, as long as nothing is out
        connection, sent = self.connection, 0
        frame = connection.ask(body, deadline - now)
        try:
            sent = self._write(self._write_fd, frame)
            data = read(self._read_fd, READ_SIZE) if sent == len(frame) else None
        except BlockingIOError:
            data = None  # waited for below: a Ctrl-C in here would print this error as its context
        except OSError:
            raise WorkerGone(started=sent > 0) from None
        if data and (reply := connection.result(data)) is not None:
            try:
                value, end = scan_text(text := reply.decode(), 0)
                if end == len(text):
                    return value
            except (ValueError, RecursionError, StopIteration):
                pass  # `_value` says what it is, or has buffers
            return self._value(reply, command)
        if sent < len(frame):
            self._send(frame[sent:], deadline)
        elif data is None:
            self._pause(deadline)
            return self.reply(command, deadline)
        return self.finish(command, deadline, data)

    def finish(self, command: str, deadline: float, data: bytes | None = None) -> Any:
        """The reply to a call that was begun, by whomever. Raises as `call`.

        Args:
            data: What was read of it.
        """
        connection = self.connection
        try:
            if not data:
                data = self._data(deadline)
                if connection.space() is None and (whole := connection.result(data)) is not None:
                    return self._value(whole, command)
            said, reply = self._receive(connection.receive(data), deadline)
            if connection.flags or (len(reply) >= LONG and said == RESULT):
                reply = self._arrived(reply)
            return decode_reply(said, reply, command, self.pid, pickled=connection.pickled)
        except (ProtocolError, CallCancelled) as error:
            raise self._named(error) from None

    def reply(self, command: str, deadline: float) -> Any:
        """`finish` of a call that was wholly written: mostly the reply is there, or is the next that comes, whole and
        alone."""
        while True:
            try:
                data: bytes | None = read(self._read_fd, READ_SIZE)
            except BlockingIOError:
                data = None
            if data is not None:
                break
            self._pause(deadline)  # out here, as in `_data`
        if data and (reply := self.connection.result(data)) is not None:
            try:
                value, end = scan_text(text := reply.decode(), 0)
                if end == len(text):
                    return value
            except (ValueError, RecursionError, StopIteration):
                pass  # `_value` says what it is, or has buffers
            return self._value(reply, command)
        return self.finish(command, deadline, data)

    def _send(self, frame: Any, deadline: float) -> None:
        self._whole = False
        try:
            rest = frame[self._write(self._write_fd, frame) :] if type(frame) is bytes else self._rest_of(frame)
        except BlockingIOError:
            rest = frame
        except OSError:
            raise WorkerGone(started=self._heard) from None
        if rest:
            self._write_rest(rest, deadline)
        self._whole = True

    def _receive(self, frame: Frame | None, deadline: float) -> Frame:
        """The next frame, if none has come yet."""
        while frame is None:
            frame = self.connection.receive(self._data(deadline))
            if frame is None:
                frame = self._read_rest(deadline)
        return frame

    def _data(self, deadline: float) -> bytes:
        """What comes next, waited for."""
        while True:
            try:
                data: bytes | None = read(self._read_fd, READ_SIZE)
            except BlockingIOError:
                data = None
            if data:
                return data
            if data is not None:
                raise WorkerGone(started=self._was_read())
            self._pause(deadline)  # out here: a Ctrl-C in there would print this error as its context

    # -- A call that more than one frame comes for -------------------------------------------------------

    def open(
        self,
        command: str,
        body: bytes,
        deadline: float,
        seconds: float,
        claim: ClaimRef | None,
        follow: Following,
        kind: int = CALL,
    ) -> None:
        """Send it; `hear` has what comes. Raises as `call`.

        Args:
            seconds: That it has left, as the handler is told.
        """
        del command
        self._claim, self._heard = claim, False
        self._send(self._composed(kind, follow.head + body, EXTRAS, seconds), deadline)

    def hear(self, command: str, deadline: float) -> tuple[int, Any]:
        """The next frame of it, as its kind and value: ITEM, ASK, and at the end RESULT. Raises as `call`."""
        try:
            return self._said(self._receive(self.connection.receive(b""), deadline), command)
        except (ProtocolError, CallCancelled) as error:
            raise self._named(error) from None

    def answer(self, body: bytes, deadline: float) -> None:
        """Answer an ASK. Raises DeadlinePassed, too, when making the answer took too long."""
        if self._clock() >= deadline:
            raise DeadlinePassed(started=True)
        self._send(self.connection.send(ANSWER, body), deadline)

    def credit(self, items: int) -> bool:
        """Ask for more items. False: not now, since the worker hasn't taken what it was told before."""
        try:
            self._write(self._write_fd, self.connection.send(CREDIT, flags=items))
        except BlockingIOError:
            return False
        except OSError:
            pass  # its death is seen where it is read from
        return True

    def leave(self) -> None:
        """Nothing to do: the supervisor ends what was left."""

    # -- What isn't the common case ----------------------------------------------------------------------

    def poll_busily(self, microseconds: float) -> None:
        """Look for each reply so long before sleeping, where that can pay."""
        from bridge.busy import busy_poll_of  # not above: few ask for it

        self._busy = busy_poll_of(self._poll.poll, microseconds)

    def _watch(self) -> select.poll:
        poll = select.poll()
        poll.register(self._read_fd, select.POLLIN)
        if self._sentinel is not None:
            poll.register(self._sentinel, select.POLLIN)
        poll.register(self._alarm, select.POLLIN)
        return poll

    def _pause(self, deadline: float) -> None:
        """There was nothing to be read: look for it, if that can pay, and sleep."""
        if self._busy is not None:
            self._busy.look()
        self._wait(deadline)

    def _wait(self, deadline: float) -> None:
        """Sleep until there is something to read."""
        if self._dead:
            raise WorkerGone(started=self._was_read())
        ready = dict(self._poll.poll(self._timeout(deadline)))
        if not ready:
            if self._clock() >= deadline:
                raise DeadlinePassed(started=True)
        elif self._read_fd not in ready:
            if self._alarm in ready:
                self._look_at_claim()
            else:
                self._dead = True  # one more read: its last bytes may have come between the two looks

    def _look_at_claim(self) -> None:
        """The alarm rang: for this call, or for one that is over."""
        try:
            os.eventfd_read(self._alarm)
        except BlockingIOError:
            pass  # somebody else was told
        claim = None if self._claim is None else self._claim()
        if claim is not None and claim.cancelled:
            raise Left

    def _timeout(self, deadline: float) -> int:
        return max(0, ceil(min(HEARING, deadline - self._clock()) * 1000))

    def _write_rest(self, rest: Any, deadline: float) -> None:
        """Write a frame larger than the pipe, reading meanwhile what comes back."""
        both = self._watch()
        both.register(self._write_fd, select.POLLOUT)
        while rest:
            ready = dict(both.poll(self._timeout(deadline)))
            if not ready and self._clock() >= deadline:
                raise DeadlinePassed(started=False)
            if self._alarm in ready:
                self._look_at_claim()
            if self._read_fd in ready:
                data = read(self._read_fd, READ_SIZE)
                if not data:
                    raise WorkerGone(started=self._heard)
                if self.connection.receive(data) is not None:
                    raise ProtocolError("it answered a call that it had not wholly read")
            elif self._sentinel in ready:
                raise WorkerGone(started=self._heard)
            if self._write_fd in ready:
                try:
                    rest = self._rest_of(rest)
                except BlockingIOError:
                    pass  # the pipe has room, but less than the kernel writes at once
                except OSError:
                    raise WorkerGone(started=self._heard) from None

    def _read_rest(self, deadline: float) -> Frame | None:
        """Read the rest of a large frame straight into its place."""
        while (space := self.connection.space()) is not None:
            try:
                count = readv(self._read_fd, [space])
            except BlockingIOError:
                count = -1
            if count < 0:
                self._wait(deadline)
                continue
            if not count:
                raise WorkerGone(started=True)
            reply = self.connection.filled(count)
            if reply is not None:
                return reply
        return None


def link_to(
    channel: Channel,
    limit: int,
    clock: Callable[[], float],
    *,
    pickle: bool = False,
    busy_poll_us: float = 0.0,
    ear: Ear | None = None,
) -> FdLink | SubmitLink:
    """The driver that fits a channel.

    Args:
        ear: Hears what goes over it, if it has descriptors.
    """
    fds = channel.fileno()
    if fds is None:
        return SubmitLink(channel, clock)
    link = FdLink(fds, channel.sentinel(), limit, channel.info.pid, clock, CODEC_PICKLE if pickle else CODEC_JSON)
    if busy_poll_us:
        link.poll_busily(busy_poll_us)
    if ear is not None:  # what lay in shared memory would be gone before it is heard
        link.connection = HeardConnection(limit, ear)
    elif (arena := getattr(channel, "arena", -1)) >= 0:  # of a SharingChannel
        link.arena = Arena(arena, limit)
    return link
