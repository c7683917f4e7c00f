"""Streams that were damaged on their way: cut, flipped, lengthened, doubled, out of order; and how a caller reads them.

Rules: from a Random of the caller's alone. Apart from the tests, so that both directions get the same treatment.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Final

from bridge.core.protocol import Connection, Frame, State
from bridge.wire import CALL, CODEC_JSON, pack

ODD: Final = (b"", b"7", b"null", b"[]", b"[[],null]", b'{"a":1,"b":2}', b'"ab"', b"[1,2,3]", b"\xff", b"[" * 5000)
"""Bodies that nobody expects, most of them JSON."""


def damaged(frames: Sequence[bytes], random: Random) -> list[bytes]:
    """The frames with one to three things wrong; what lies between two is no longer what it was, either."""
    stream = [bytearray(frame) for frame in frames]
    for _ in range(random.choice((1, 1, 2, 3))):
        frame = random.choice(stream)
        at = random.randrange(len(frame) + 1)
        if random.random() < 0.5:
            at = min(at, random.randrange(17))  # the header decides
        match random.randrange(9):
            case 0:
                del frame[at:]
            case 1:
                del frame[at : at + random.randint(1, 40)]
            case 2 | 3:
                if at < len(frame):
                    frame[at] ^= 1 << random.randrange(8)
            case 4:
                frame[at:at] = random.randbytes(random.choice((1, 3, 40, 400)))
            case 5:
                stream.insert(random.randrange(len(stream) + 1), bytearray(random.choice(frames)))
            case 6:
                frame[at:at] = random.choice(frames)
            case 7:
                body = random.choice(ODD)
                frame[:] = pack(frame[0] if frame else CALL, random.randrange(4), body, CODEC_JSON)
            case _:
                random.shuffle(stream)
    return [bytes(frame) for frame in stream]


def frames_of(connection: Connection, turns: Sequence[bytes], random: Random, pace: int, limit: int) -> Iterator[Frame]:
    """Take it all as a driver would, at most `pace` bytes at once, calling whenever that is allowed."""
    steps = 4 * sum(map(len, turns)) + 10
    for turn in turns:
        data = turn
        while data:
            steps -= 1
            assert steps, "it doesn't end"
            space = connection.space()
            if space is not None and random.random() < 0.5:
                part = data[: min(pace, len(space))]
                space[: len(part)] = part
                frame = connection.filled(len(part))
            else:
                part = data[:pace]
                frame = connection.receive(part)
            data = data[len(part) :]
            while frame is not None:
                yield frame
                frame = connection.receive(b"")
            space = connection.space()
            assert space is None or len(space) <= limit
        if connection.state is State.IDLE:
            connection.send(CALL, b'["run",null]')
