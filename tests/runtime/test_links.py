"""What a link keeps of its worker's answers, on pipes whose other end is the test."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from math import inf
from types import SimpleNamespace
from typing import Any

import pytest

from bridge.buffers import Rope
from bridge.channel import FdLink
from bridge.core.protocol import State
from bridge.errors import ProtocolError
from bridge.link import SMALL
from bridge.runtime.follow import Depths, Follow
from bridge.wire import CALL, CODEC_JSON, HEADER, HOOK, LONG, RESULT, STATE, TIMED, TIMED_HEADER, encode_json


@pytest.mark.parametrize("in_steps", [False, True])
def test_a_snapshot_belongs_to_one_answer(pipes: list[int], in_steps: bool) -> None:
    """A result that comes without a state has none: the one before is another call's. Fails when `_said` leaves it."""
    link = FdLink((pipes[0], pipes[3]), None, 1000, None, time.monotonic)
    link.connection.state = State.IDLE
    follow = Follow(1000, Depths())
    found = []
    for flags, body in ((STATE, b"\2\0\0\0{}1"), (0, b"2")):
        if in_steps:
            link.begin("c", encode_json(["c", None], "call"), inf, follow=follow)
        else:
            link.open("c", encode_json(["c", None], "call"), inf, inf, None, follow)
        os.write(pipes[1], HEADER.pack(RESULT, CODEC_JSON, flags, len(body), link.call_id) + body)
        found.append((link.poll("c") if in_steps else link.hear("c", inf), link.snapshot))
    link.close()

    assert found == [((RESULT, 1), b"{}"), ((RESULT, 2), None)]


def called(link: FdLink, plain: bool, body: bytes = b'["c",null]', seconds: float = 20) -> Any:
    """A call, in one of the two ways."""
    now = time.monotonic()
    return link.plain("c", body, now + seconds, now) if plain else link.call("c", body, now + seconds)


@pytest.mark.parametrize("plain", [True, False])
def test_a_result_that_can_not_be_read_ends_the_conversation(pipes: list[int], plain: bool) -> None:
    """Also one that had come before anybody waited for it: lent again, that worker could leave its next caller without
    an answer. Fails when `call` raises what `decode_reply` does as it is."""
    link = FdLink((pipes[0], pipes[3]), None, 1000, 7, time.monotonic)
    link.connection.state = State.IDLE
    os.write(pipes[1], HEADER.pack(RESULT, CODEC_JSON, 0, 3, 1) + b"odd")
    with pytest.raises(ProtocolError, match="isn't JSON") as broken:
        called(link, plain)
    link.close()

    assert (broken.value.pid, link.clean) == (7, False)


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("cut", [1, 15, 16, 20])
def test_a_result_that_comes_in_pieces_is_one(pipes: list[int], cut: int, plain: bool) -> None:
    """Its beginning had come before anybody waited for it, the rest comes when it is waited for. Fails when `finish`
    forgets what `plain` has read, or doesn't go on with it."""
    link = FdLink((pipes[0], pipes[3]), None, 1000, None, time.monotonic)
    link.connection.state = State.IDLE
    frame = HEADER.pack(RESULT, CODEC_JSON, 0, 5, 1) + b"[1,2]"
    os.write(pipes[1], frame[:cut])

    def answer() -> None:
        os.set_blocking(pipes[2], True)
        os.read(pipes[2], 1000)  # the call is out
        os.write(pipes[1], frame[cut:])

    with ThreadPoolExecutor(1) as pool:
        answered = pool.submit(answer)
        assert called(link, plain) == [1, 2]
        answered.result(20)
    assert link.clean
    link.close()


def test_what_looks_like_a_result_inside_of_one_is_a_part_of_it(pipes: list[int]) -> None:
    """One began while its request was still being written; the rest of it is read later, as what it is. Fails when
    `finish` doesn't ask whether a frame is open."""
    link = FdLink((pipes[0], pipes[3]), None, 1000, None, time.monotonic)
    link.connection.state = State.IDLE
    assert not link.begin("c", encode_json(["c", None], "call"), 60.0)
    within = HEADER.pack(RESULT, CODEC_JSON, 0, 1, 1) + b"7"
    assert link.connection.receive(HEADER.pack(RESULT, CODEC_JSON, 0, len(within), 1)) is None
    os.write(pipes[1], within)
    with pytest.raises(ProtocolError, match="isn't JSON"):
        link.finish("c", time.monotonic() + 20)
    link.close()

    assert not link.clean


def test_what_looks_like_a_result_inside_of_one_is_a_part_of_it_in_steps_too(pipes: list[int]) -> None:
    """The rest of a long one comes alone. Fails when `poll` compares what comes with a whole result though a part of it
    has come."""
    link = FdLink((pipes[0], pipes[3]), None, 1000, None, time.monotonic)
    link.connection.state = State.IDLE
    assert not link.begin("c", encode_json(["c", None], "call"), 60.0)
    within = HEADER.pack(RESULT, CODEC_JSON, 0, 1, 1) + b"7"
    os.write(pipes[1], HEADER.pack(RESULT, CODEC_JSON, 0, len(within), 1))
    assert link.poll("c") is None
    os.write(pipes[1], within)
    with pytest.raises(ProtocolError, match="isn't JSON"):
        link.poll("c")
    link.close()

    assert not link.clean


@pytest.mark.parametrize("body", [b"1 2", b"", b"no", b"\xff"])
def test_what_comes_whole_and_is_no_value_breaks_the_protocol(pipes: list[int], body: bytes) -> None:
    """Fails, each, when `poll` takes it for one, or says what Python does."""
    link = FdLink((pipes[0], pipes[3]), None, 1000, None, time.monotonic)
    link.connection.state = State.IDLE
    link.begin("c", b"{}", 60.0)
    os.write(pipes[1], HEADER.pack(RESULT, CODEC_JSON, 0, len(body), link.call_id) + body)
    with pytest.raises(ProtocolError, match="isn't JSON"):
        link.poll("c")
    link.close()


@pytest.mark.parametrize("size", [10, SMALL, SMALL + 1, 200_000])
def test_a_call_that_is_begun_is_written_to_its_end(pipes: list[int], size: int) -> None:
    """At once if it is small, else as there is room. Fails when `begin` or `push_on` loses what a full pipe didn't
    take."""
    link = FdLink((pipes[0], pipes[3]), None, 1_000_000, None, time.monotonic)
    link.connection.state = State.IDLE
    filled = os.write(pipes[3], b"x" * 65536)  # there is no room at all
    body = b"y" * size
    rest = link.begin("c", body, 60.0)
    assert not link.cancellable
    came = os.read(pipes[2], filled)
    while rest:
        rest = link.push_on(rest)
        came += os.read(pipes[2], 1_000_000)
    link.connection.state = State.CLOSED
    link.close()

    assert came[filled:] == TIMED_HEADER.pack(CALL, CODEC_JSON, TIMED, size + 8, 1, 60.0) + body


def test_what_is_begun_goes_the_way_that_it_needs(pipes: list[int]) -> None:
    """A hook is no call, a value with buffers isn't joined, what is long goes through shared memory, and any call may
    grant a place there. Fails, each, when `begin` takes it for a plain one."""
    link = FdLink((pipes[0], pipes[3]), None, 1_000_000, None, time.monotonic)

    def begun(body: Any, kind: int = CALL) -> bytes:
        link.connection.state = State.IDLE
        assert not link.begin("c", body, 60.0, kind)
        return os.read(pipes[2], 1_000_000)

    assert begun(b"{}", HOOK)[0] == HOOK
    long = b"pieces" * SMALL  # as one of them always is
    assert begun(Rope([b"in ", memoryview(long)], 3 + len(long))).endswith(b"in " + long)
    granting: Any = SimpleNamespace(short=0, compose=lambda *_: b"with a place")
    link.arena = granting
    assert begun(b"{}") == b"with a place"
    granting.short = LONG
    assert begun(b"x" * LONG) == b"with a place"
    link.arena = None
    link.close()
