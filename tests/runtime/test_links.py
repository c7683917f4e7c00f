"""What a link keeps of its worker's answers, on pipes whose other end is the test."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from math import inf

import pytest

from bridge.channel import FdLink
from bridge.core.protocol import State
from bridge.runtime.follow import Depths, Follow
from bridge.wire import CODEC_JSON, HEADER, RESULT, STATE, encode_json


@pytest.fixture
def pipes() -> Iterator[list[int]]:
    """Read and write ends: of the replies, then of the requests."""
    fds = [*os.pipe(), *os.pipe()]
    for fd in fds:
        os.set_blocking(fd, False)
    yield fds
    for fd in fds:
        os.close(fd)


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
