"""`FdLink.plain`: what leaves the way of most calls, and where."""

from __future__ import annotations

import os
import time
from types import SimpleNamespace
from typing import Any
from weakref import ref

import pytest

from bridge.buffers import Rope
from bridge.channel import FdLink
from bridge.contract import WorkerGone
from bridge.core.protocol import State
from bridge.link import SMALL
from bridge.runtime.claims import Claim
from bridge.wire import CALL, CODEC_JSON, HEADER, RESULT, TIMED, TIMED_HEADER

BODY = b'["c",null]'


class Noting(FdLink):
    """A link whose `call` only says that it was asked."""

    __slots__ = ()

    def call(self, *_: Any, **__: Any) -> Any:
        """Nothing is sent."""
        return "called"


def linked(pipes: list[int], kind: type[FdLink] = FdLink) -> FdLink:
    """A link whose worker is idle."""
    link = kind((pipes[0], pipes[3]), None, 1_000_000, None, time.monotonic)
    link.connection.state = State.IDLE
    return link


def plain(link: FdLink, body: Any = BODY) -> Any:
    """One call."""
    now = time.monotonic()
    return link.plain("c", body, now + 20, now)


def answer(pipes: list[int], call_id: int = 1) -> None:
    """What a worker would."""
    os.write(pipes[1], HEADER.pack(RESULT, CODEC_JSON, 0, 1, call_id) + b"7")


@pytest.mark.parametrize(
    "body", [b"x" * (SMALL + 1), Rope([b"in ", memoryview(b"pieces" * SMALL)], 3 + 6 * SMALL)], ids=["long", "rope"]
)
def test_what_is_long_is_for_call_to_send(pipes: list[int], body: Any) -> None:
    """It may go through shared memory, or be in pieces. Fails when `plain` doesn't look how long it is."""
    link = linked(pipes, Noting)
    assert plain(link, body) == "called"
    link.close()


def test_a_place_is_granted_by_call(pipes: list[int]) -> None:
    """Any call may take one along. Fails when `plain` doesn't ask whether one is to be granted."""
    link = linked(pipes, Noting)
    granting: Any = SimpleNamespace(short=0)
    link.arena = granting
    assert plain(link) == "called"
    link.arena = None
    link.close()


@pytest.mark.parametrize("some", [5, 0])
def test_a_request_that_was_taken_in_part_is_written_to_its_end(pipes: list[int], some: int) -> None:
    """As a socket may, or not at all when it is full. Fails when `plain` takes for written what wasn't, or begins
    anew."""
    link, parts = linked(pipes), [some]
    now = float(int(time.monotonic()))  # so that what is left is a round number again

    def write(fd: int, data: Any) -> int:
        if parts and not parts[0]:
            parts.pop()
            raise BlockingIOError
        return os.write(fd, data[: parts.pop()] if parts else data)

    link._write = write
    answer(pipes)
    assert link.plain("c", BODY, now + 20, now) == 7
    assert os.read(pipes[2], 1000) == TIMED_HEADER.pack(CALL, CODEC_JSON, TIMED, len(BODY) + 8, 1, 20.0) + BODY
    link.close()


def test_a_worker_that_is_gone_before_the_write_saw_nothing() -> None:
    """So the call may be sent to another. Fails when what was known of the call before is still believed."""
    reply, answers, requests, request = (*os.pipe(), *os.pipe())
    pipes = [reply, answers, requests, request]
    for fd in pipes:
        os.set_blocking(fd, False)
    link = linked(pipes)
    answer(pipes)
    assert plain(link) == 7

    os.close(requests)
    with pytest.raises(WorkerGone) as gone:
        plain(link)
    link.close()
    for fd in (reply, answers, request):
        os.close(fd)
    assert not gone.value.started


def test_a_cancel_of_the_call_before_is_not_of_this_one(pipes: list[int]) -> None:
    """It rang when that was over. Fails when `plain` keeps whose call it was."""

    class Answering(FdLink):
        __slots__ = ()

        def _look_at_claim(self) -> None:
            super()._look_at_claim()
            answer(pipes, 2)

    link, before = linked(pipes, Answering), Claim()
    assert not link.begin("c", BODY, 60.0, claim=ref(before))
    answer(pipes)
    assert link.finish("c", time.monotonic() + 20) == 7
    before.cancelled = True
    link.interrupt()

    assert plain(link) == 7
    link.close()
