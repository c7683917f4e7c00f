"""A call that another thread hands to a link, and its reply, on pipes whose other end is the test."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bridge import channel
from bridge.channel import FdLink
from bridge.contract import WorkerGone
from bridge.core.protocol import State
from bridge.errors import ProtocolError, RemoteError
from bridge.link import DeadlinePassed
from bridge.wire import CALL, CODEC_JSON, ERROR, HEADER, RESULT, TIMED, TIMED_HEADER, encode_json

BODY = encode_json(["c", None], "call")
WHOLE = HEADER.pack(RESULT, CODEC_JSON, 0, 5, 1) + b"[1,2]"


class Ends:
    """What the other end of a link reads and writes."""

    def __init__(self) -> None:
        self.reply_read, self.reply, self.request, self.request_written = fds = [*os.pipe(), *os.pipe()]
        for fd in fds:
            os.set_blocking(fd, False)
        self.link = FdLink((self.reply_read, self.request_written), None, 1000, 7, time.monotonic)
        self.link.connection.state = State.IDLE
        self._open = set(fds)

    def close(self, fd: int) -> None:
        """One of them."""
        self._open.remove(fd)
        os.close(fd)

    def end(self) -> None:
        """All of them."""
        self.link.close()
        for fd in [*self._open]:
            self.close(fd)


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Of a link whose worker waits for a call."""
    made = Ends()
    yield made
    made.end()


def test_what_is_handed_is_the_frame_of_a_call(ends: Ends) -> None:
    """Whoever it is for can be asked whether he has cancelled it. Fails when `hand` leaves out a part of it."""
    claim: Any = lambda: None  # noqa: E731
    ends.link._heard = True

    assert ends.link.hand(BODY, 5.0, claim) is True
    assert os.read(ends.request, 1000) == TIMED_HEADER.pack(CALL, CODEC_JSON, TIMED, len(BODY) + 8, 1, 5.0) + BODY
    assert (ends.link._claim, ends.link._heard, ends.link.clean, ends.link.cancellable) == (claim, False, False, True)


def test_where_a_place_is_to_be_granted_it_is(ends: Ends) -> None:
    """For the result, in memory that both share. Fails when `hand` doesn't ask whether one is."""
    composed: list[bytes] = []

    def compose(connection: Any, kind: int, body: bytes, flags: int, seconds: float) -> bytes:
        composed.append(body)
        return cast(bytes, connection.send(kind, body, flags, seconds))

    arena: Any = type("Arena", (), {"short": 0, "compose": staticmethod(compose)})
    ends.link.arena = arena
    assert ends.link.hand(BODY, 5.0, None)
    assert composed == [BODY]


@pytest.mark.parametrize("full", [True, False], ids=["nothing", "a part"])
def test_what_was_not_written_whole_is_not_out(ends: Ends, full: bool) -> None:
    """Nor can anything follow it. Fails, each, when `hand` says that it was written."""
    if full:
        while True:
            try:
                os.write(ends.request_written, bytes(4096))
            except BlockingIOError:
                break
    else:
        ends.link._write = lambda fd, frame: os.write(fd, frame[:5])

    assert ends.link.hand(BODY, 5.0, None) is False
    assert not ends.link.cancellable


def test_a_worker_that_is_gone_is_handed_nothing(ends: Ends) -> None:
    """It certainly hasn't begun it. Fails when `hand` raises an error of the system's."""
    ends.close(ends.request)
    with pytest.raises(WorkerGone) as gone:
        ends.link.hand(BODY, 5.0, None)

    assert not gone.value.started


@pytest.mark.parametrize("cut", [0, 1, 15, 16, 20, 21])
def test_the_reply_is_waited_for_and_comes_in_pieces(ends: Ends, cut: int) -> None:
    """Or is there, whole. Fails when `reply` forgets what it has read, or doesn't go on."""
    ends.link.hand(BODY, 20.0, None)
    os.write(ends.reply, WHOLE[:cut])
    poll = ends.link._poll

    class Poll:
        """The rest comes while it sleeps."""

        def poll(self, milliseconds: int) -> Any:
            os.write(ends.reply, WHOLE[cut:])
            return poll.poll(milliseconds)

    ends.link._poll = cast(Any, Poll())
    assert ends.link.reply("c", time.monotonic() + 20) == [1, 2]
    assert ends.link.clean


@pytest.mark.parametrize("handed", [True, False], ids=["handed", "its own"])
def test_who_has_found_nothing_sleeps_before_it_looks_again(
    ends: Ends, monkeypatch: pytest.MonkeyPatch, handed: bool
) -> None:
    """It would be in vain: each look gives up the GIL. Fails when `reply` or `plain` has `finish` look at once, or when
    `_pause` doesn't look busily where it was asked to."""
    looks: list[str] = []
    busily: list[int] = []

    def look(fd: int, size: int) -> bytes:
        looks.append("read")
        return os.read(fd, size)

    class Poll:
        """The reply comes while it sleeps, the second time."""

        def poll(self, _milliseconds: int) -> list[tuple[int, int]]:
            looks.append("poll")
            if len(looks) < 4:
                return []
            os.write(ends.reply, WHOLE)
            return [(ends.reply_read, 1)]

    monkeypatch.setattr(channel, "read", look)
    ends.link._poll = cast(Any, Poll())
    ends.link._busy = cast(Any, SimpleNamespace(look=lambda: busily.append(len(looks))))
    now = time.monotonic()
    if handed:
        ends.link.hand(BODY, 20.0, None)
        assert ends.link.reply("c", now + 20) == [1, 2]
    else:
        assert ends.link.plain("c", BODY, now + 20, now) == [1, 2]
    assert looks == ["read", "poll", "read", "poll", "read"]
    assert busily == [1, 3]


def test_an_error_of_the_handlers_is_raised(ends: Ends) -> None:
    """Fails when `reply` takes whatever comes for a result."""
    ends.link.hand(BODY, 20.0, None)
    body = encode_json({"kind": "raised", "type": "m.E", "message": "no", "traceback": ""}, "error")
    os.write(ends.reply, HEADER.pack(ERROR, CODEC_JSON, 0, len(body), 1) + body)
    with pytest.raises(RemoteError, match="no"):
        ends.link.reply("c", time.monotonic() + 20)

    assert ends.link.clean


@pytest.mark.parametrize("body", [b"odd", b"1 2", b'"\xff"', b""])
def test_a_reply_that_can_not_be_read_ends_the_conversation(ends: Ends, body: bytes) -> None:
    """Fails when `reply` raises what decoding does, or takes the first value of several."""
    ends.link.hand(BODY, 20.0, None)
    os.write(ends.reply, HEADER.pack(RESULT, CODEC_JSON, 0, len(body), 1) + body)
    with pytest.raises(ProtocolError, match="isn't JSON") as broken:
        ends.link.reply("c", time.monotonic() + 20)

    assert (broken.value.pid, ends.link.clean) == (7, False)


def test_who_waits_for_a_reply_sees_its_worker_die(ends: Ends) -> None:
    """Fails when `reply` reads on at the end of the stream."""
    ends.link.hand(BODY, 20.0, None)
    os.read(ends.request, 1000)
    ends.close(ends.reply)
    with pytest.raises(WorkerGone) as gone:
        ends.link.reply("c", time.monotonic() + 20)

    assert gone.value.started


def test_a_reply_that_does_not_come_in_time_is_still_due(ends: Ends) -> None:
    """Fails when `reply` waits for longer."""
    ends.link.hand(BODY, 20.0, None)
    with pytest.raises(DeadlinePassed):
        ends.link.reply("c", time.monotonic())

    assert not ends.link.clean
