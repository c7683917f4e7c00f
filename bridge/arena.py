"""Memory that a worker shares with its caller, for what is long: the pipe then carries but its place.

Rules: the caller alone says what lies where; a worker writes only into the range that it was granted, and each place
that it names is checked. The memory is a file without a name that can't shrink, and that was filled before anything of
it is mapped, so that no access to it can fail; it is gone with the last process that has it. Whoever holds the lease
calls these methods, one at a time. Apart from the links because they know pipes alone.
"""

from __future__ import annotations

import errno
import fcntl
import os
from mmap import MAP_SHARED, PAGESIZE, PROT_READ, mmap
from typing import Any, Final
from weakref import ref

from bridge.buffers import Rope, stored
from bridge.core.protocol import Connection
from bridge.errors import ProtocolError
from bridge.wire import GRANT, LONG, PLACE, SHARED, room

Place = tuple[int, int]
"""Offset and length."""
NOWHERE: Final = (0, 0)
MOST: Final = 2**30
"""Bytes that one arena has at the most; what doesn't fit goes through the pipe."""
MAPPED: Final = 8
"""Results that are views at the same time: each has a descriptor of its own. Beyond, they are copied out."""


def make() -> int:
    """The descriptor of a new one; -1 where the system has none to give. Raises OSError when there are too many."""
    try:
        fd = os.memfd_create("scoped-bridge", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            raise
        return -1
    try:
        # A worker that made it smaller would end us with a SIGBUS. No other seal either: one against writing is ours.
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    except OSError:
        os.close(fd)
        return -1
    return fd


class Arena:
    """The caller's view of one: which ranges of it are in use, and by what.

    Args:
        fd: Whose it is: the channel's, which closes it.
        limit: Bytes that the body of one frame may have.
    """

    def __init__(self, fd: int, limit: int) -> None:
        self._fd, self._limit = fd, limit
        self._size = 0  # that is there: all of it may be touched
        self._most = MOST
        self._sent = self._granted = NOWHERE
        self._wanted = 0
        """Bytes that a result had which the worker had no place for."""
        self._results: dict[int, tuple[int, ref[mmap]]] = {}  # by offset; those that may be views still
        self._kept: list[Place] = []  # for ever: a forked child may have views there
        self.short = LONG  # a property would cost each call a step into it
        """Bytes below which the body of a call needs nothing of it: all are above while a place is to be granted."""

    def _changed(self) -> None:
        """What was granted, or is wanted, has changed."""
        self.short = LONG if self._granted[1] >= self._wanted else 0

    def compose(self, connection: Connection, kind: int, body: Any, flags: int, seconds: float) -> bytes:
        """The frame of a call, and before it a range for its result. A long body is stored here if there is room."""
        front = self._grant(connection)
        if len(body) >= LONG:
            self._sent = NOWHERE  # what was there is over
            place = self._find(len(body))
            if place is not None and self._store(body, place[0]):
                self._sent = place
                body, flags = PLACE.pack(place[0], len(body)), flags | SHARED
        return front + connection.send(kind, body, flags, seconds)

    def _grant(self, connection: Connection) -> bytes:
        if self.short:
            return b""
        before, self._granted = self._granted, NOWHERE
        place = self._find(min(self._wanted + self._wanted // 8, self._limit))
        if place is None:  # the worker has what it had
            self._granted, self._wanted = before, before[1]
        else:
            self._granted, connection.granted = place, True
        self._changed()
        return b"" if place is None else connection.send(GRANT, PLACE.pack(*place))

    def _store(self, body: Any, offset: int) -> bool:
        try:
            # Not through a mapping, at half the cost: that takes a descriptor more, and no thread runs meanwhile.
            stored(self._fd, body if type(body) is Rope else Rope([body], len(body)), offset)
        except OSError:
            return False
        return True

    def _find(self, length: int) -> Place | None:
        """The first range that is free, of so many bytes, made if need be."""
        length = -(-length // PAGESIZE) * PAGESIZE
        self._results = {offset: each for offset, each in self._results.items() if each[1]() is not None}
        views = [(offset, size) for offset, (size, _) in self._results.items()]
        at = 0
        for offset, size in sorted([*views, *self._kept, self._sent, self._granted]):
            if size and offset - at >= length:
                break
            at = max(at, offset + size)
        if at + length > self._size:
            if at + length > self._most:
                return None
            try:
                os.posix_fallocate(self._fd, self._size, at + length - self._size)
            except OSError:  # the system has no more memory for it
                self._most = self._size
                return None
            self._size = at + length
        return at, length

    def heard(self, length: int) -> None:
        """A long result came through the pipe: the next one is to have a place."""
        if length <= self._granted[1]:
            self._granted = NOWHERE  # the worker has used it for a result that nobody wanted any more
        self._wanted = max(self._wanted, length)
        self._changed()

    def taken(self, body: Any) -> memoryview:
        """The body of a result that came here: a view, whose range is free when nothing refers to it any more.

        Raises:
            ProtocolError: It isn't where the worker was to put it.
        """
        offset, length = PLACE.unpack(body) if len(body) == PLACE.size else (-1, 0)
        (start, most), self._granted = self._granted, NOWHERE
        self._changed()
        if offset != start or not 0 < length <= most:
            raise ProtocolError(f"a result of {length} bytes at {offset}, where it was granted {most} at {start}")
        if len(self._results) < MAPPED or self._living() < MAPPED:
            try:
                found = mmap(self._fd, length, MAP_SHARED, PROT_READ, offset=offset)
            except (OSError, ValueError):
                pass  # no descriptor or no addresses are left: a copy needs neither
            else:
                self._results[offset] = most, ref(found)
                return memoryview(found)
        copy = memoryview(room(length))
        done = 0
        while done < length:
            if not (count := os.preadv(self._fd, [copy[done:]], offset + done)):
                raise ProtocolError("its shared memory is shorter than it was")
            done += count
        return copy

    def keep(self) -> None:
        """A fork: what its child sees of results must stay as it is. From any thread."""
        for offset, (length, found) in list(self._results.items()):
            if found() is not None and (offset, length) not in self._kept:
                self._kept.append((offset, length))

    def _living(self) -> int:
        return sum(each[1]() is not None for each in self._results.values())
