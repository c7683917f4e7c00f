"""The sans-IO connection against streams that were damaged on their way, from fixed seeds."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from random import Random

from bridge.core.protocol import Connection
from bridge.errors import ProtocolError
from bridge.wire import CODEC_JSON, ERROR, HELLO, READY, RESULT, pack
from tests.core.damage import frames_of

LIMIT = 256
TURNS = (
    pack(HELLO, 0, b'{"protocol":1}', CODEC_JSON) + pack(READY, 0, b'{"hooks":[]}', CODEC_JSON),
    pack(RESULT, 1, b"[1,2,3]", CODEC_JSON),
    pack(ERROR, 2, b"x" * 200, CODEC_JSON),
    pack(RESULT, 3, b"", CODEC_JSON),
)
"""What a worker writes each time that it is its turn."""


def damage(random: Random) -> list[bytes]:
    """The turns, with one to three things wrong with them."""
    turns = [bytearray(turn) for turn in TURNS]
    for _ in range(random.randint(1, 3)):
        data = random.choice(turns)
        at = random.randrange(len(data) + 1)
        match random.randrange(7):
            case 0:
                del data[at : at + random.randint(1, 40)]
            case 1:
                del data[at:]
            case 2:
                data[at:at] = random.randbytes(random.randint(1, 40))
            case 3:
                random.shuffle(turns)
            case 4:
                turns.insert(random.randrange(len(turns)), bytearray(random.choice(TURNS)))
            case 5:
                data[at:at] = random.choice(TURNS)
            case _:
                if at < min(len(data), 16):  # of a body any byte may change
                    data[at] ^= 1 << random.randrange(8)
    return [bytes(turn) for turn in turns]


def drive(random: Random, turns: Sequence[bytes]) -> list[int]:
    """Read it all as a driver would, calling whenever that is allowed; the kinds of the frames that came."""
    connection = Connection(LIMIT)
    pace = random.choice((1, 5, 16, 17, 100, 400))
    kinds = []
    for frame in frames_of(connection, turns, random, pace, LIMIT):
        kinds.append(frame[0])
        assert len(frame[1]) <= LIMIT
    return kinds


def test_an_undamaged_stream_is_read_at_any_pace() -> None:
    """The harness itself, without damage, hears all five frames."""
    for seed in range(30):
        assert drive(Random(seed), TURNS) == [HELLO, READY, RESULT, ERROR, RESULT]


def test_damage_is_a_protocol_error_and_nothing_else() -> None:
    """Cut, flipped, lengthened, doubled or out of order: never another exception, never memory beyond the limit.

    Fails when the limit isn't looked at (a flipped length announces up to 4 GiB).
    """
    refused = 0
    tracemalloc.start()
    try:
        for seed in range(1500):
            random = Random(seed)
            try:
                drive(random, damage(random))
            except ProtocolError:
                refused += 1
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert refused > 750
    assert peak < 200_000
