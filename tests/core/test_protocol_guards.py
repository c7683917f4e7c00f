"""The sans-IO connection against a worker that isn't to be trusted: each guard, alone."""

from __future__ import annotations

import tracemalloc

import pytest

from bridge.core.protocol import HEADER_SIZE, Connection, State
from bridge.errors import ProtocolError
from bridge.wire import (
    ASK,
    CALL,
    CODEC_JSON,
    CODEC_PICKLE,
    ERROR,
    EXTRAS,
    FAILED,
    HEADER,
    HELLO,
    ITEM,
    READY,
    RESULT,
    STATE,
    pack,
)
from tests.core.test_protocol import HELLO_FRAME, LIMIT, READY_FRAME, RECEIVABLE, connection_in, frame_of, hear


def test_a_frame_over_the_limit_is_refused_at_its_header() -> None:
    """Nothing is set aside for a body that is too long. Fails when the limit is looked at after the allocation."""
    connection = connection_in(State.BUSY)
    header = HEADER.pack(RESULT, CODEC_JSON, 0, 2**31, 1)
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError, match=f"{2**31} bytes, over max_frame_bytes={LIMIT}"):
            connection.receive(header)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 100_000
    assert connection.space() is None
    assert connection.state is State.CLOSED


def test_the_limit_itself_is_allowed() -> None:
    """The limit is inclusive; one byte more is refused. Fails when `>` becomes `>=` or the check goes."""
    connection = connection_in(State.BUSY)
    assert hear(connection, frame_of(RESULT, connection, b"7" * LIMIT)) == [(RESULT, b"7" * LIMIT)]

    connection.send(CALL)
    with pytest.raises(ProtocolError, match="over max_frame_bytes"):
        connection.receive(frame_of(RESULT, connection, b"7" * (LIMIT + 1)))


@pytest.mark.parametrize("call_id", [0, 1, 3, 2**64 - 1])
def test_an_answer_to_another_call_is_refused(call_id: int) -> None:
    """Also a late one, to the call before: a reply never reaches a stranger. Fails when the id isn't compared."""
    for kind in (RESULT, ERROR):
        connection = connection_in(State.BUSY)
        hear(connection, frame_of(RESULT, connection))
        connection.send(CALL, b"null")

        with pytest.raises(ProtocolError, match=f"for call {call_id} came while call 2 was out"):
            connection.receive(pack(kind, call_id, b"null", CODEC_JSON))
        assert connection.state is State.CLOSED


@pytest.mark.parametrize(
    ("state", "last"), [(State.STARTING, READY), (State.STARTING, FAILED), (State.BUSY, RESULT), (State.BUSY, ERROR)]
)
def test_nothing_may_follow_a_terminal_frame(state: State, last: int) -> None:
    """Bytes that come with an answer would answer the next call: not even the answer is handed out.

    Fails when `_finish` forgets to look.
    """
    for behind in (b"x", HELLO_FRAME, pack(RESULT, 1, b"2", CODEC_JSON)):
        for cut in (0, 5, HEADER_SIZE + 1):
            connection = connection_in(state)
            data = frame_of(last, connection) + behind

            assert cut == 0 or connection.receive(data[:cut]) is None
            with pytest.raises(ProtocolError):
                connection.receive(data[cut:])
            assert connection.state is State.CLOSED


@pytest.mark.parametrize("text", [b"H", b"Traceback (most recent call last):\n  File ...", b"\x00" * 20, b"\xff\xfe"])
def test_garbage_is_shown(text: bytes) -> None:
    """A stray print is seen for what it is, at its first byte, and quoted; the pid is for the driver to add."""
    for state in (State.CONNECTING, State.STARTING, State.IDLE, State.BUSY):
        connection = connection_in(state)

        with pytest.raises(ProtocolError) as caught:
            connection.receive(text)

        assert repr(text[:60]) in caught.value.detail
        assert connection.state is State.CLOSED


def test_half_a_header_is_waited_for() -> None:
    """Fifteen bytes of a legal frame are no frame and no fault."""
    connection = connection_in(State.BUSY)
    data = frame_of(RESULT, connection)

    assert [connection.receive(data[i : i + 1]) for i in range(HEADER_SIZE - 1)] == [None] * (HEADER_SIZE - 1)
    assert connection.space() is None
    assert hear(connection, data[HEADER_SIZE - 1 :]) == [(RESULT, b"{}")]


@pytest.mark.parametrize(("state", "kind"), RECEIVABLE)
def test_flags_are_refused(state: State, kind: int) -> None:
    """A worker that sets one that has no meaning speaks another protocol. Fails when flags aren't looked at."""
    connection = connection_in(state)

    with pytest.raises(ProtocolError, match="flags 0x8001"):
        connection.receive(HEADER.pack(kind, CODEC_JSON, 0x8001, 0, connection.call_id))
    assert connection.state is State.CLOSED


@pytest.mark.parametrize("kind", [HELLO, RESULT, ERROR])
def test_a_closed_connection_stays_closed(kind: int) -> None:
    """After one ProtocolError nothing is believed and nothing is sent."""
    connection = connection_in(State.BUSY)
    with pytest.raises(ProtocolError):
        connection.receive(b"garbage, at some length")

    with pytest.raises(ProtocolError):
        connection.receive(frame_of(kind, connection))
    with pytest.raises(ProtocolError):
        connection.send(CALL)


def test_nothing_can_be_filled_into_no_frame() -> None:
    """A driver that reads into a frame that isn't open is told so. Fails when `filled` doesn't look."""
    with pytest.raises(ProtocolError, match="isn't open"):
        connection_in(State.BUSY).filled(3)


@pytest.mark.parametrize(("asked", "found"), [(CODEC_JSON, False), (CODEC_PICKLE, True)])
def test_a_pickle_is_one_only_where_it_was_asked_for(asked: int, found: bool) -> None:
    """To unpickle is to run what the worker says. Fails when the worker decides."""
    connection = Connection(LIMIT, asked)
    hear(connection, HELLO_FRAME)
    hear(connection, READY_FRAME)
    connection.send(CALL, b"null")
    hear(connection, HEADER.pack(RESULT, CODEC_PICKLE, 0, 2, connection.call_id) + b"{}")

    assert connection.pickled is found


@pytest.mark.parametrize(("extras", "kind"), [(0, RESULT), (EXTRAS, ITEM), (EXTRAS, ERROR), (EXTRAS, ASK)])
def test_a_state_comes_with_the_result_of_a_followed_call_alone(extras: int, kind: int) -> None:
    """Anywhere else nobody would take it off. Fails when `_may_have` looks at the flag alone."""
    connection = connection_in(State.IDLE)
    connection.send(CALL, b"", extras)
    frame = HEADER.pack(kind, CODEC_JSON, STATE, 2, connection.call_id) + b"{}"
    with pytest.raises(ProtocolError):
        connection.receive(frame)
    assert connection.state is State.CLOSED


@pytest.mark.parametrize("size", [16, 1000])
def test_the_flags_of_the_last_frame_are_known(size: int) -> None:
    """Of a frame that came in pieces too; the next frame has its own. Fails when `flags` isn't kept."""
    connection = connection_in(State.IDLE)
    for flags in (STATE, 0):
        connection.send(CALL, b"", EXTRAS)
        frame = HEADER.pack(RESULT, CODEC_JSON, flags, 100, connection.call_id) + b"x" * 100
        assert hear(connection, frame[:size]) == ([] if size < len(frame) else [(RESULT, b"x" * 100)])
        hear(connection, frame[size:])
        assert (connection.flags, connection.state) == (flags, State.IDLE)


# -- The result of a plain call, read at once --------------------------------------------------------------


def waiting() -> Connection:
    """One whose first call is out."""
    connection = Connection(LIMIT)
    connection.state = State.IDLE
    connection.send(CALL, b"[]", 0, 5.0)
    return connection


def test_a_result_that_was_read_whole_ends_its_call() -> None:
    """As `receive` would take it. Fails when `result` leaves the call out."""
    connection = waiting()
    assert connection.result(pack(RESULT, 1, b"[1,2]", CODEC_JSON)) == b"[1,2]"
    assert connection.state is State.IDLE


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(pack(RESULT, 1, b"[1,2]", CODEC_JSON)[:-1], id="in part"),
        pytest.param(pack(RESULT, 1, b"[1,2]", CODEC_JSON)[:9], id="half a header"),
        pytest.param(pack(RESULT, 1, b"[1,2]", CODEC_JSON) * 2, id="twice"),
        pytest.param(pack(RESULT, 2, b"[1,2]", CODEC_JSON), id="of another call"),
        pytest.param(pack(RESULT, 1, b"[1,2]", CODEC_PICKLE), id="pickled"),
        pytest.param(pack(ERROR, 1, b"{}", CODEC_JSON), id="an error"),
        pytest.param(HEADER.pack(RESULT, CODEC_JSON, STATE, 5, 1) + b"[1,2]", id="with a state"),
        pytest.param(pack(RESULT, 1, b" " * (LIMIT + 1), CODEC_JSON), id="too long"),
    ],
)
def test_whatever_else_was_read_is_not_taken(data: bytes) -> None:
    """It is for `receive`, which answers or refuses it as ever. Fails when a part of the header isn't compared, or the
    limit isn't."""
    connection = waiting()
    assert connection.result(data) is None
    assert connection.state is State.BUSY


def test_a_result_behind_half_a_header_is_not_taken() -> None:
    """What looks like one is the rest of what came before. Fails when what is pending isn't looked at."""
    connection = waiting()
    assert connection.receive(pack(RESULT, 1, b"[1,2]", CODEC_JSON)[:9]) is None
    assert connection.result(pack(RESULT, 1, b"[1,2]", CODEC_JSON)) is None
    assert connection.state is State.BUSY


def test_a_result_that_nobody_waits_for_is_not_taken() -> None:
    """Fails when the state isn't looked at: one call would have had two results."""
    connection = waiting()
    frame = pack(RESULT, 1, b"1", CODEC_JSON)
    assert connection.result(frame) == b"1"
    assert connection.result(frame) is None
