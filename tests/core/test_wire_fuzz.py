"""Both ends of the wire against what a worker, or a caller, never sends: from seeds, in both directions.

The worker's output goes into a Connection and the decoders of messages.py, the caller's into `converse` through a real
pipe. Whatever comes: a typed error on our side, an answer or a clean end on the worker's, never more memory than the
limit, and an end after a number of steps that the length of the stream gives.
"""

from __future__ import annotations

import os
import tracemalloc
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any, Final

import pytest

import bridge.buffers  # noqa: F401  a rich body has it imported, which would count as memory
from bridge import wire, worker
from bridge.core import protocol
from bridge.core.messages import decode_failed, decode_hello, decode_ready, decode_reply, encode_call, encode_start
from bridge.core.protocol import Connection, Frame
from bridge.errors import BridgeError, ProtocolError
from bridge.wire import (
    CALL,
    CANCEL,
    CODEC_JSON,
    ERROR,
    FAILED,
    HEADER,
    HELLO,
    HOOK,
    PROTOCOL,
    READY,
    RESULT,
    START,
    STOP,
    encode_json,
    pack,
)
from bridge.worker import Pipes, converse
from tests.core.damage import damaged, frames_of

LIMIT: Final = 2048
MOST_MEMORY: Final = 400_000
"""Bytes for all of a run: the stream, some frames of LIMIT, and what Python keeps of its own."""
MOST_FRAMES: Final = 40
MOST_LENGTH: Final = 10_000
"""Bytes of a body: the damage may raise the limit that START says."""
SAMPLE: Final = 300
ALL: Final = 100_000
"""Mutations in each direction."""
BLOCK: Final = 1000


def room(length: int) -> bytearray:
    """What both ends make when they are told how long a body is; a bytearray of 4 GiB would not even be noticed."""
    assert length <= MOST_LENGTH, "room is made for more than the limit"
    return bytearray(length)


def traced(run: Callable[[range], Counter[str]], seeds: range) -> Counter[str]:
    """Run it, and look at how much memory it took at the most."""
    run(seeds[:10])  # what is imported and cached at first isn't the stream's
    tracemalloc.start()
    try:
        seen = run(seeds)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MOST_MEMORY
    return seen


# -- What a worker writes, read by its caller --------------------------------------------------------------

RAISED = {"kind": "raised", "type": "ValueError", "message": "no", "traceback": "Traceback: no\n"}
TURNS: Final = (
    pack(
        HELLO, 0, encode_json({"protocol": PROTOCOL, "pid": 7, "python": "3.11.0", "executable": "/p"}, ""), CODEC_JSON
    ),
    pack(READY, 0, encode_json({"hooks": ["on_health"]}, ""), CODEC_JSON),
    pack(RESULT, 1, encode_json({"a": [1, 2.5, None, "x" * 50]}, ""), CODEC_JSON),
    pack(ERROR, 2, encode_json(RAISED, ""), CODEC_JSON),
    pack(ERROR, 3, encode_json({"kind": "command", "message": "none"}, ""), CODEC_JSON),
    pack(RESULT, 4, encode_json("y" * 1500, ""), CODEC_JSON),
)
FAILED_TURNS: Final = (TURNS[0], pack(FAILED, 0, encode_json(RAISED, ""), CODEC_JSON))


def understand(frame: Frame) -> None:
    """Decode it as whoever awaits it does."""
    kind, body = frame
    match kind:
        case wire.HELLO:
            decode_hello(body)
        case wire.READY:
            decode_ready(body, 7)
        case wire.FAILED:
            raise decode_failed(body, "m:H", 7)
        case _:
            decode_reply(kind, body, "run", 7)


def read_as_a_caller(turns: list[bytes], random: Random) -> str:
    """Take it all as a driver would, calling whenever that is allowed; what it ends with."""
    connection, pace = Connection(LIMIT), random.choice((1, 7, 16, 17, 300, 4000))
    for frame in frames_of(connection, turns, random, pace, LIMIT):
        try:
            understand(frame)
        except ProtocolError:
            raise
        except BridgeError:
            pass  # what the worker says of its handler is an answer
    return connection.state.name


def fuzz_the_caller(seeds: range) -> Counter[str]:
    """What became of each stream."""
    seen: Counter[str] = Counter()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol, "bytearray", room, raising=False)
        for seed in seeds:
            random = Random(seed)
            turns = damaged(random.choice((TURNS, TURNS, FAILED_TURNS)), random)
            try:
                seen[read_as_a_caller(turns, random)] += 1
            except ProtocolError:
                seen["ProtocolError"] += 1
    return seen


# -- What a caller writes, read by its worker --------------------------------------------------------------

REQUESTS: Final = (
    pack(
        START,
        0,
        encode_start(handler="m:H", options={}, path=(), replace_path=True, max_frame_bytes=LIMIT),
        CODEC_JSON,
    ),
    pack(CALL, 1, encode_call("echo", {"value": [1, "x" * 60]}, LIMIT), CODEC_JSON),
    pack(HOOK, 2, b'["on_health",null]', CODEC_JSON),
    pack(CALL, 3, encode_call("nudged", None, LIMIT), CODEC_JSON),
    pack(CANCEL, 3),
    pack(CALL, 4, encode_call("echo", ["y" * 1500], LIMIT), CODEC_JSON),
    pack(CALL, 5, encode_call("fail", None, LIMIT), CODEC_JSON),
    pack(STOP, 0),
)


class Handler:
    """What is served."""

    def __init__(self, pipes: Pipes) -> None:
        self._pipes = pipes

    def echo(self, value: Any) -> Any:
        """The value."""
        return value

    def fail(self) -> None:
        """Raise."""
        raise ValueError("no")

    def nudged(self) -> str:
        """As if the signal of a cancel came in the middle of this."""
        self._pipes.nudge(0, None)
        return "not cancelled"


class Slow:
    """The module os, whose reads bring few bytes at a time, and end the test when there are more than there may be."""

    def __init__(self, pace: int, most: int) -> None:
        self._pace, self.left = pace, most

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def read(self, fd: int, count: int) -> bytes:
        """At most so many."""
        self._count()
        return os.read(fd, min(count, self._pace))

    def readv(self, fd: int, buffers: list[memoryview]) -> int:
        """At most so many."""
        self._count()
        return os.readv(fd, [buffers[0][: self._pace]])

    def _count(self) -> None:
        self.left -= 1
        assert self.left >= 0, "it doesn't end"


def read_as_a_worker(stream: bytes, slow: Slow) -> bytes:
    """Serve it to its end; what was answered."""
    answers = bytearray()

    def put(_fd: int, data: bytes) -> int:
        answers.extend(data)
        return len(data)

    read_end, write_end = os.pipe()
    try:
        os.write(write_end, stream)
    finally:
        os.close(write_end)
    pipes = Pipes(read_end, -1, put)
    try:
        converse(pipes, lambda start: Handler(pipes))
    finally:
        os.close(read_end)
    return bytes(answers)


def check_answers(answers: bytes) -> list[int]:
    """Whole frames that a caller understands; their kinds."""
    kinds = []
    while answers:
        kind, _codec, flags, length, _call_id = HEADER.unpack_from(answers)
        assert kind in (HELLO, READY, FAILED, RESULT, ERROR)
        assert not flags
        assert length <= MOST_LENGTH
        try:
            understand((kind, answers[HEADER.size : HEADER.size + length]))
        except ProtocolError:
            raise
        except BridgeError:
            pass  # it says that the call failed
        answers = answers[HEADER.size + length :]
        kinds.append(kind)
    return kinds


def fuzz_the_worker(seeds: range) -> Counter[str]:
    """What became of each stream."""
    seen: Counter[str] = Counter()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "START_LIMIT", 2 * LIMIT)
        patch.setattr(worker, "bytearray", room, raising=False)
        for seed in seeds:
            random = Random(seed)
            stream = b"".join(damaged(REQUESTS, random))
            slow = Slow(random.choice((5, 16, 17, 300, 65536, 65536)), len(stream) + 2 * MOST_FRAMES)
            patch.setattr(worker, "os", slow)
            kinds = check_answers(read_as_a_worker(stream, slow))
            assert slow.left >= 0
            assert len(kinds) <= MOST_FRAMES
            seen["FAILED" if FAILED in kinds else f"{len(kinds)} answers"] += 1
    return seen


# -- The tests ---------------------------------------------------------------------------------------------

Fuzz = Callable[[range], "Counter[str]"]
BOTH: Final = pytest.mark.parametrize("fuzz", [fuzz_the_caller, fuzz_the_worker], ids=["caller", "worker"])


@pytest.mark.thread_unsafe  # `os` is replaced in the worker's module, here and below
def test_what_is_not_damaged_is_understood() -> None:
    """The harness itself: all that a worker writes is heard, and all that a caller writes is answered."""
    assert read_as_a_caller([*TURNS], Random(1)) == "BUSY"
    assert read_as_a_caller([*FAILED_TURNS], Random(1)) == "CLOSED"
    answers = read_as_a_worker(b"".join(REQUESTS), Slow(65536, 100))
    assert check_answers(answers) == [HELLO, READY, RESULT, RESULT, ERROR, RESULT, ERROR]


@pytest.mark.thread_unsafe
@pytest.mark.parametrize(("length", "kinds"), [(LIMIT, [HELLO, READY, RESULT]), (LIMIT + 1, [HELLO, READY])])
def test_a_worker_hangs_up_on_a_frame_over_the_limit(length: int, kinds: list[int]) -> None:
    """What its own caller would not have sent isn't its caller's. Fails when `converse` forgets what START says."""
    call = encode_call("echo", ["x" * (length - len(b'["echo",[""]]'))], LIMIT * 2)
    assert len(call) == length
    answers = read_as_a_worker(REQUESTS[0] + pack(CALL, 1, call, CODEC_JSON), Slow(65536, 100))

    assert check_answers(answers) == kinds


@pytest.mark.thread_unsafe
@BOTH
def test_damage_is_a_typed_error_or_an_answer(fuzz: Fuzz) -> None:
    """Never another exception, more memory, or no end.

    Fails when Connection or Pipes doesn't look at the length before it makes room, and when `answer` or `converse`
    decodes outside its guard, or survives less than all that comes of it.
    """
    seen = traced(fuzz, range(SAMPLE))

    assert max(seen.values()) < SAMPLE  # not all ended in the same way


@pytest.mark.deep
@pytest.mark.thread_unsafe
@BOTH
def test_damage_of_any_kind_is_a_typed_error_or_an_answer(fuzz: Fuzz) -> None:
    """A hundred thousand in each direction; memory is looked at in one block of twenty, since that takes its time."""
    for block in range(0, ALL, BLOCK):
        seeds = range(block, block + BLOCK)
        if block // BLOCK % 20:
            fuzz(seeds)
        else:
            traced(fuzz, seeds)
