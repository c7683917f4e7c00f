"""The memory that a worker shares, without a worker: what lies where, what is granted, and what may come back."""

from __future__ import annotations

import gc
import os
import random
from collections.abc import Iterator
from math import inf
from mmap import PAGESIZE
from types import SimpleNamespace
from typing import Any, Final

import pytest

from bridge import ProtocolError
from bridge.arena import MAPPED, Arena, make
from bridge.buffers import Shared, encode, fetched, placed
from bridge.core.protocol import Connection, State
from bridge.wire import CALL, CODEC_JSON, ERROR, GRANT, HEADER, LONG, PLACE, RESULT, SHARED, HungUp, pack

LIMIT: Final = 2**24
SIZE: Final = 200_000


@pytest.fixture
def fd() -> Iterator[int]:
    """A memory file."""
    made = make()
    yield made
    os.close(made)


def idle() -> Connection:
    """A conversation with a worker that is ready."""
    connection = Connection(LIMIT)
    connection.state = State.IDLE
    return connection


def place_of(frame: bytes) -> tuple[int, int]:
    """That a frame names."""
    kind, _codec, flags, length, _id = HEADER.unpack_from(frame)
    assert (kind, flags & SHARED, length) == (CALL, SHARED, PLACE.size)
    return PLACE.unpack_from(frame, HEADER.size)


def granted(arena: Arena, connection: Connection, length: int) -> tuple[int, int]:
    """The range that a worker is granted before a call, once a result of that length came through the pipe."""
    arena.heard(length)
    frame = arena.compose(connection, CALL, b"[]", 0, inf)
    connection.state = State.IDLE
    assert frame[0] == GRANT
    return PLACE.unpack_from(frame, HEADER.size)


def taken(arena: Arena, fd: int, place: tuple[int, int], text: bytes) -> memoryview:
    """What a worker puts into its place."""
    os.pwrite(fd, text, place[0])
    return arena.taken(PLACE.pack(place[0], len(text)))


def test_it_can_not_be_made_smaller(fd: int) -> None:
    """A worker that did would end its caller. Fails when a seal is left out."""
    os.posix_fallocate(fd, 0, PAGESIZE)

    with pytest.raises(PermissionError):
        os.ftruncate(fd, 0)


def test_a_long_body_is_stored_and_its_frame_says_where(fd: int) -> None:
    """Bytes and ropes alike; short ones stay in the frame. Fails when the wrong range is named."""
    arena, connection = Arena(fd, LIMIT), idle()
    for body in (b"x" * SIZE, encode([b"y" * SIZE], "x"), b"z" * LONG):
        offset, length = place_of(arena.compose(connection, CALL, body, 0, inf))
        connection.state = State.IDLE

        assert os.pread(fd, length, offset) == bytes(body)
    assert arena.compose(connection, CALL, b"[]", 0, inf)[16:] == b"[]"


def test_without_room_a_body_stays_in_its_frame(fd: int) -> None:
    """Beyond what one arena may have, and where the system gives nothing. Fails when that error gets out."""
    small = Arena(fd, LIMIT)
    small._most = SIZE
    null = os.open(os.devnull, os.O_RDWR)
    for arena in (small, Arena(null, LIMIT)):
        connection = idle()
        arena.heard(SIZE * 2)
        frame = arena.compose(connection, CALL, b"x" * SIZE * 2, 0, inf)
        assert (frame[0], len(frame), arena.short) == (CALL, 16 + SIZE * 2, LONG)
    os.close(null)
    sealed = Arena(os.open(f"/proc/self/fd/{fd}", os.O_RDONLY), LIMIT)
    os.posix_fallocate(fd, 0, SIZE * 2)
    sealed._size = SIZE * 2
    assert len(sealed.compose(idle(), CALL, b"x" * SIZE, 0, inf)) == 16 + SIZE
    os.close(sealed._fd)


def test_a_place_is_granted_once_and_when_it_is_needed(fd: int) -> None:
    """Fails when each call grants one, or when one that is too short isn't replaced."""
    arena, connection = Arena(fd, LIMIT), idle()
    assert arena.short == LONG
    arena.heard(SIZE)
    assert arena.short == 0

    frame = arena.compose(connection, CALL, b"[]", 0, inf)
    offset, length = PLACE.unpack_from(frame, 16)
    assert (frame[0], HEADER.unpack_from(frame, 32)[0], length >= SIZE, arena.short) == (GRANT, CALL, True, LONG)
    assert connection.granted
    connection.state = State.IDLE
    assert granted(arena, connection, SIZE * 3)[1] >= SIZE * 3
    arena.heard(SIZE)  # though there was a place: its worker has lost it
    assert arena.short == 0
    assert offset >= 0


def test_results_lie_apart_until_nothing_refers_to_them(fd: int) -> None:
    """From seeds: whatever is kept and dropped, in whatever order, none is written over by another or by a call. Fails
    when a range is used again too early."""
    rng, arena, connection = random.Random(11), Arena(fd, LIMIT), idle()
    kept: list[tuple[memoryview, bytes]] = []
    for number in range(400):
        size = rng.randrange(1, SIZE)
        arena._granted = (0, 0)
        place = granted(arena, connection, size)
        text = bytes([number % 251]) * size
        if rng.random() < 0.5:
            arena.compose(connection, CALL, bytes(LONG + rng.randrange(SIZE)), 0, inf)
            connection.state = State.IDLE
        kept.append((taken(arena, fd, place, text)[rng.randrange(size) :], text))
        rng.shuffle(kept)
        del kept[rng.randrange(1, 14) :]
        arena._wanted = 0
        assert all(view == whole[: len(view)] for view, whole in kept)
    kept.clear()
    gc.collect()
    assert arena._size < 12 * (SIZE * 2 + LONG)
    assert arena._living() == 0


def test_more_results_than_may_be_mapped_are_copies(fd: int) -> None:
    """Each mapping has a descriptor. Fails when there is no bound."""
    arena, connection = Arena(fd, LIMIT), idle()
    before = len(os.listdir("/proc/self/fd"))
    views = []
    for number in range(MAPPED + 5):
        place = granted(arena, connection, SIZE)
        views.append(taken(arena, fd, place, bytes([number]) * SIZE))

    assert len(os.listdir("/proc/self/fd")) <= before + MAPPED
    assert [view[0] for view in views] == list(range(MAPPED + 5))
    assert [view.readonly for view in views[:MAPPED]] == [True] * MAPPED


@pytest.mark.parametrize(
    "body",
    [
        PLACE.pack(0, 0),
        PLACE.pack(PAGESIZE, 5),
        PLACE.pack(2**63, 5),
        PLACE.pack(0, 2**63),
        PLACE.pack(0, SIZE * 2),
        b"",
        b"x" * 17,
    ],
)
def test_another_place_than_was_granted_is_a_breach(fd: int, body: bytes) -> None:
    """Fails when what a worker names is mapped unseen."""
    arena, connection = Arena(fd, LIMIT), idle()
    assert granted(arena, connection, SIZE)[0] == 0

    with pytest.raises(ProtocolError, match="where it was granted"):
        arena.taken(body)
    with pytest.raises(ProtocolError):  # nor twice
        arena.taken(PLACE.pack(0, 5))


def test_a_place_before_one_was_granted_is_a_breach() -> None:
    """The flag is unknown until then, and on all that isn't a result. Fails when it is taken for a body."""
    for kind, told in ((RESULT, False), (ERROR, True)):
        connection = idle()
        connection.send(CALL, b"[]")
        connection.granted = told
        with pytest.raises(ProtocolError, match="unknown flags 0x8"):
            connection.receive(HEADER.pack(kind, CODEC_JSON, SHARED, 16, 1) + PLACE.pack(0, 5))


def test_a_fork_keeps_what_is_in_use(fd: int) -> None:
    """The child sees it as long as it likes. Fails when the range is used again once its parent has dropped it."""
    arena, connection = Arena(fd, LIMIT), idle()
    view = taken(arena, fd, granted(arena, connection, SIZE), b"x" * SIZE)
    arena.keep()
    arena.keep()
    del view

    assert granted(arena, connection, SIZE)[0] >= SIZE
    assert len(arena._kept) == 1


def worker(fd: int, grant: bytes = b"") -> Any:
    """What a worker's `Pipes` has of it."""
    return SimpleNamespace(arena=fd, granted=grant, shared=None, limit=LIMIT)


class Full(Shared):
    """A worker without addresses."""

    def at(self, offset: int, length: int) -> memoryview:
        """None."""
        raise OSError


@pytest.mark.parametrize("kind", [Shared, Full])
def test_a_worker_has_its_arguments_for_itself(fd: int, kind: type[Shared]) -> None:
    """What stands before the place stays before it. Fails when they are views of what the caller writes into next."""
    os.pwrite(fd, b"x" * SIZE, 4096)
    pipes = worker(fd)
    pipes.shared = kind(fd)
    body = fetched(pipes, b"seconds!" + PLACE.pack(4096 + 5, SIZE - 5))
    os.pwrite(fd, b"y" * SIZE, 4096)

    assert bytes(body) == b"seconds!" + b"x" * (SIZE - 5)
    assert fetched(pipes, PLACE.pack(4096, 10)) == b"y" * 10


def test_a_worker_uses_room_again_that_nobody_refers_to(fd: int) -> None:
    """And no other. Fails when arguments that a handler has kept are written over, or when none is used again."""
    size = 2**25
    shared = Shared(fd)
    first = shared.room(size)
    first[0] = 1
    part = first[5:10].cast("B").toreadonly()
    memory = first.obj
    del first
    second = shared.room(size)
    assert second.obj is not memory
    assert bytes(part) == bytes(5)
    again = second.obj
    del second, memory
    assert shared.room(size).obj is again
    assert shared.room(size // 4).obj is not again
    assert type(shared.room(10).obj) is bytearray


@pytest.mark.parametrize("place", [b"", b"x" * 15, PLACE.pack(0, 2**63), PLACE.pack(SIZE, 10), PLACE.pack(2**62, 10)])
def test_a_worker_hangs_up_on_a_place_that_is_not_there(fd: int, place: bytes) -> None:
    """What comes isn't its caller's. Fails when another error ends it."""
    os.posix_fallocate(fd, 0, SIZE)
    for pipes in (worker(fd), worker(-1)):
        with pytest.raises(HungUp):
            fetched(pipes, place)
    for odd in (place[1:], PLACE.pack(2**62, SIZE)):
        pipes = worker(fd, odd)
        frame = pack(RESULT, 7, b"x" * 10, CODEC_JSON)
        assert placed(pipes, frame) is frame


def test_a_worker_puts_one_result_where_it_may(fd: int) -> None:
    """And any other through the pipe: one that is too long, what is no result, and where it has no addresses. Fails
    when it writes beyond its range."""
    os.posix_fallocate(fd, 0, SIZE * 3)
    grant = PLACE.pack(PAGESIZE, SIZE)
    result, longer = pack(RESULT, 7, b"x" * SIZE, CODEC_JSON), pack(RESULT, 7, b"x" * (SIZE + 1), CODEC_JSON)
    for frame in (longer, pack(ERROR, 7, b"x" * SIZE, CODEC_JSON)):
        pipes = worker(fd, grant)
        assert placed(pipes, frame) is frame
        assert pipes.granted == grant
    full = worker(fd, grant)
    full.shared = Full(fd)
    assert placed(full, result) is result
    assert os.pread(fd, 10, PAGESIZE) == bytes(10)

    rope = HEADER.pack(RESULT, CODEC_JSON, 0, SIZE, 7) + encode([b"y" * 150_000], "x")
    for frame in (result, rope):
        pipes = worker(fd, grant)
        found = placed(pipes, frame)
        assert HEADER.unpack_from(found)[:4] == (RESULT, CODEC_JSON, SHARED, 16)
        assert pipes.granted == b""
        assert os.pread(fd, len(frame) - 16, PAGESIZE) == bytes(frame)[16:]
