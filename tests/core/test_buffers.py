"""Values with buffers as bytes and ropes: how they are laid out, and what becomes of those that nobody of ours made."""

from __future__ import annotations

import json
import os
import random
import struct
from array import array
from contextlib import suppress
from typing import Any, Final

import pytest

from bridge.buffers import ALIGNED, HEAD, SHORT, Rope, decode, encode, joined, shaped, split, view_of
from bridge.core.messages import encode_extras
from bridge.core.poison import _digest
from bridge.errors import CallError
from bridge.wire import RICH, NotEncodable, decode_json, encode_value, is_rich, room

LONG: Final = bytes(range(256)) * (SHORT // 256)


class Scalar:
    """What numpy's numbers are: memory without dimensions that nothing can be put into."""

    def __buffer__(self, _flags: int) -> memoryview:
        """Python 3.12."""
        return memoryview(bytes(8)).cast("q", ())


def rich(places: Any, *buffers: bytes, value: Any = None) -> bytes:
    """A body as anybody may make one."""
    return bytes(joined(json.dumps([value, places]).encode(), [memoryview(each) for each in buffers]))


def test_a_value_without_buffers_stays_text() -> None:
    """Fails when every value goes the long way."""
    assert encode_value({"a": [1, "\xff"]}, "x") == b'{"a":[1,"\\u00ff"]}'
    assert not is_rich(encode_value([1], "x"))
    assert is_rich(encode_value([b""], "x"))
    assert is_rich(encode_value([LONG], "x"))


def test_short_buffers_are_bytes_and_long_ones_a_rope() -> None:
    """What fits into one write is one; a long buffer is the caller's own memory until it is written. Fails when it is
    copied, or when short ones are pieces of their own."""
    mine = bytearray(LONG)
    rope = encode([b"a", mine, b"b", LONG], "x")

    assert type(encode([b"a", b"b" * (SHORT - 1)], "x")) is bytes
    assert type(rope) is Rope
    assert len(rope.pieces) == 4
    mine[0] = 77
    assert decode(bytes(rope))[1][0] == 77
    assert len(rope) == len(bytes(rope))


def test_buffers_are_aligned() -> None:
    """Elements of any size can be used where they lie. Fails when padding goes."""
    body = bytes(encode([b"a", array("d", [1.5]), b"bcd", array("d", [2.5])], "x"))

    for number in (1.5, 2.5):
        assert body.index(struct.pack("d", number)) % ALIGNED == 0


def test_a_rope_is_written_as_its_bytes_are() -> None:
    """However much of it is taken at once, by either way of writing, with something before and behind it. Fails when a
    rest begins at the wrong byte."""
    rng = random.Random(5)
    rope = b"head" + encode([LONG, b"", LONG[:40000], b"xy"], "x") + b"tail" + Rope([b"more", LONG], 4 + len(LONG))
    whole, rest, got = bytes(rope), rope, b""
    while rest:
        count = rng.randrange(1, 20_000)
        got += bytes(rest)[:count]
        rest = rest[min(count, len(rest)) :]
    ours, theirs = os.pipe()
    try:
        for options in ((), (lambda fd, data: os.write(fd, data[:999]),)):
            rest, through = rope[7:], b""
            os.set_blocking(theirs, False)
            while rest:
                with suppress(BlockingIOError):
                    rest = rest[rest.put(theirs, *options) :]
                through += os.read(ours, 10_000)
            while len(through) < len(whole) - 7:
                through += os.read(ours, 10_000)
            assert through == whole[7:]
    finally:
        os.close(ours)
        os.close(theirs)

    assert got == whole
    assert len(rope) == len(whole)


def test_a_rope_of_many_pieces_is_written_in_parts() -> None:
    """The system takes 1,024 at once. Fails when all are given to it."""
    rope = encode([LONG] * 600, "x")
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        while rope:
            rope = rope[rope.put(null) :]
    finally:
        os.close(null)


@pytest.mark.parametrize(
    "body",
    [
        b"\xff",
        bytes([RICH]) + b"\0" * 14,
        HEAD.pack(RICH, 2**32 - 1, 5),
        HEAD.pack(RICH, 0, 2**63),
        HEAD.pack(RICH, 1, 4) + struct.pack("<Q", 2**63) + b"null",
        HEAD.pack(RICH, 0, 4) + b"nul",
        HEAD.pack(RICH, 0, 4) + b"null",
        HEAD.pack(RICH, 0, 4) + b"nullx",
        bytes(joined(b"7", [])),
        bytes(joined(b"[1,2,3]", [])),
        rich([]) + b"x",
        rich([[[], None, [1]]]),
        rich([], b"x"),
        rich([7], b"x"),
        rich([[["a"], None, [1]]], b"x"),
        rich([[[0], None, [1]]], b"x", value=[]),
        rich([[[0], None, [1]]], b"x", value="text"),
        rich([[[{}], None, [1]]], b"x", value={}),
        rich([[[0, 0], None, [1]]], b"x", value=[7]),
        rich([[[], "i", [1]]], b"x"),
        rich([[[], "i", [-1]]], b"xxxx"),
        rich([[[], "B", [-1, -1]]], b"x"),
        rich([[[], "B", [True]]], b"x"),
        rich([[[], "B", [1.0]]], b"x"),
        rich([[[], "B", "1"]], b"x"),
        rich([[[], "B", [0, 10**30]]], b""),
        rich([[[], "B", [0] * 5000]], b""),
        rich([[[], "B", [1] * 100]], b"x"),
        rich([[[], "P", [1]]], b"x" * 8),
        rich([[[], "", [1]]], b"x"),
        rich([[[], ">", [1]]], b"x"),
        rich([[[], "O", [1]]], b"x" * 8),
        rich([[[], "2i", [1]]], b"x" * 8),
        rich([[[], ">c", [1]]], b"x"),
        rich([[[], 7, [1]]], b"x"),
        rich([[[], "B", 7]], b"x"),
    ],
)
def test_what_nobody_of_ours_made_is_a_value_error(body: bytes) -> None:
    """Whatever a worker sends. Fails when a check of lengths, places, formats or shapes goes."""
    with pytest.raises((ValueError, RecursionError)):
        decode_json(body)


def test_noise_in_a_body_is_a_value_or_a_value_error() -> None:
    """Fails when another error gets through."""
    rng = random.Random(7)
    good = bytes(encode({"a": [b"xy", array("d", [1.0])], "b": memoryview(bytes(24)).cast("i", (2, 3))}, "x"))
    for _ in range(3000):
        body = bytearray(good)
        for _ in range(rng.randrange(1, 4)):
            body[rng.randrange(len(body))] = rng.randrange(256)
        with suppress(ValueError, RecursionError):
            decode_json(bytes(body[: rng.randrange(len(body) + 1)] if rng.random() < 0.2 else body))


def test_a_body_holds_what_was_joined() -> None:
    """Views of the body, without a copy. Fails when they are copied."""
    main, buffers = split(bytearray(bytes(joined(b"main", [memoryview(b"a"), memoryview(b""), memoryview(LONG)]))))

    assert (bytes(main), list(map(bytes, buffers))) == (b"main", [b"a", b"", LONG])
    assert not buffers[2].readonly


@pytest.mark.parametrize("shape", [(3,), (), (2, 0), (0, 2), (0,), (1, 2, 3)])
@pytest.mark.parametrize("code", ["d", ">d", "<i", ">H", "?", "l"])
def test_every_shape_is_made_of_what_was_read(shape: tuple[int, ...], code: str) -> None:
    """Of memory that may be changed and of such that may not; what comes may not. Fails when `cast` is asked for what
    it can't make."""
    count = 1
    for each in shape:
        count *= each
    for piece in (bytearray(count * struct.calcsize(code)), bytes(count * struct.calcsize(code))):
        made = shaped(memoryview(piece), code, shape)

        assert (made.shape, made.readonly, made.nbytes) == (shape, True, len(piece))
        assert made.itemsize == struct.calcsize(code)


def test_a_number_is_no_buffer() -> None:
    """numpy's numbers export their memory, and would come back as views. Fails when anything without dimensions is
    taken for a buffer."""
    assert view_of(memoryview(bytes(8)).cast("q", ())) is not None
    assert view_of(Scalar()) is None
    assert view_of(7) is None


def test_where_only_text_can_stand_buffers_are_refused() -> None:
    """What travels before a call. Fails when it is encoded as values are."""
    with pytest.raises(CallError, match="propagated x is of type bytes, which JSON can't carry; only arguments"):
        encode_extras({"x": b"x"})


def test_a_circle_with_a_buffer_is_refused() -> None:
    """Fails when the walk isn't guarded."""
    circle: list[Any] = [b"x"]
    circle.append(circle)

    with pytest.raises(NotEncodable, match="contains itself"):
        encode_value(circle, "x")


def test_long_bodies_have_room_that_can_be_written_and_viewed() -> None:
    """Short and long. Fails when a body isn't as long as asked."""
    for length in (1, 2**20, 2**25 + 1):
        made = room(length)
        assert (len(made), made[0], made[length - 1]) == (length, 0, 0)
        made[length - 1] = 7
        assert made[length - 1] == 7


def test_the_same_call_has_the_same_digest_as_a_rope() -> None:
    """Fails when a rope is taken for something without bytes."""
    rope = encode([LONG, 1], "x")

    assert _digest(rope) == _digest(bytes(rope))
    assert _digest(rope) != _digest(bytes(rope) + b"x")
