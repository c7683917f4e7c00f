"""The sans-IO connection: every split of the byte stream, every pair of its two tables."""

from __future__ import annotations

import pytest

from bridge.core.protocol import HEADER_SIZE, KINDS, Connection, State
from bridge.errors import ProtocolError
from bridge.wire import (
    ANSWER,
    ASK,
    CALL,
    CANCEL,
    CODEC_JSON,
    CREDIT,
    ERROR,
    EXTRAS,
    FAILED,
    GRANT,
    HEADER,
    HELLO,
    HOOK,
    ITEM,
    READY,
    RESULT,
    START,
    STOP,
    pack,
)

LIMIT = 1000
HELLO_FRAME = pack(HELLO, 0, b'{"protocol":1}', CODEC_JSON)
READY_FRAME = pack(READY, 0, b'{"hooks":[]}', CODEC_JSON)
FAILED_FRAME = pack(FAILED, 0, b'{"type":"E"}', CODEC_JSON)

SENDABLE = {
    (State.CONNECTING, START): State.CONNECTING,
    (State.IDLE, CALL): State.BUSY,
    (State.IDLE, HOOK): State.BUSY,
    (State.IDLE, GRANT): State.IDLE,
    (State.IDLE, STOP): State.CLOSED,
    (State.BUSY, CANCEL): State.BUSY,
    (State.FOLLOWED, CANCEL): State.FOLLOWED,
    (State.FOLLOWED, CREDIT): State.FOLLOWED,
    (State.FOLLOWED, ANSWER): State.FOLLOWED,
}
RECEIVABLE = {
    (State.CONNECTING, HELLO): State.STARTING,
    (State.STARTING, READY): State.IDLE,
    (State.STARTING, FAILED): State.CLOSED,
    (State.BUSY, RESULT): State.IDLE,
    (State.BUSY, ERROR): State.IDLE,
    (State.FOLLOWED, ITEM): State.FOLLOWED,
    (State.FOLLOWED, ASK): State.FOLLOWED,
    (State.FOLLOWED, RESULT): State.IDLE,
    (State.FOLLOWED, ERROR): State.IDLE,
}


def hear(connection: Connection, *chunks: bytes) -> list[tuple[int, bytes]]:
    """All whole frames that these reads complete."""
    frames = []
    for chunk in chunks:
        frame = connection.receive(chunk)
        while frame is not None:
            frames.append((frame[0], bytes(frame[1])))
            frame = connection.receive(b"")
    return frames


def connection_in(state: State, limit: int = LIMIT) -> Connection:
    """A connection that came to this state in the ordinary way."""
    connection = Connection(limit)
    if state is not State.CONNECTING:
        hear(connection, HELLO_FRAME)
    if state not in (State.CONNECTING, State.STARTING):
        hear(connection, READY_FRAME)
    if state is State.BUSY:
        connection.send(CALL, b"null")
    elif state is State.FOLLOWED:
        connection.send(CALL, bytes(4) + b"null", EXTRAS)
    elif state is State.CLOSED:
        connection.send(STOP)
    assert connection.state is state
    return connection


def frame_of(kind: int, connection: Connection, body: bytes = b"{}") -> bytes:
    """A frame as the worker would answer what is out now."""
    return pack(kind, connection.call_id, body, CODEC_JSON)


# -- Splits ------------------------------------------------------------------------------------------------


def test_a_conversation_arrives_whole_one_byte_at_a_time() -> None:
    """Frames don't depend on how the bytes were cut: here after each byte."""
    connection = Connection(LIMIT)
    greeting = HELLO_FRAME + READY_FRAME
    first, second = pack(RESULT, 1, b'"one"', CODEC_JSON), pack(ERROR, 2, b'{"kind":"raised"}', CODEC_JSON)

    heard = hear(connection, *(greeting[i : i + 1] for i in range(len(greeting))))
    connection.send(CALL, b"null")
    heard += hear(connection, *(first[i : i + 1] for i in range(len(first))))
    connection.send(HOOK, b"null")
    heard += hear(connection, *(second[i : i + 1] for i in range(len(second))))

    assert heard == [
        (HELLO, b'{"protocol":1}'),
        (READY, b'{"hooks":[]}'),
        (RESULT, b'"one"'),
        (ERROR, b'{"kind":"raised"}'),
    ]
    assert connection.state is State.IDLE


def test_a_conversation_arrives_whole_at_every_cut_in_two() -> None:
    """Each turn of the worker may come as any two reads; both frames of the greeting may share one."""
    greeting, answer = HELLO_FRAME + READY_FRAME, pack(RESULT, 1, b"[1,2,3]", CODEC_JSON)
    for here in range(len(greeting) + 1):
        for there in range(len(answer) + 1):
            connection = Connection(LIMIT)

            heard = hear(connection, greeting[:here], greeting[here:])
            connection.send(CALL, b"null")
            heard += hear(connection, answer[:there], answer[there:])

            assert heard == [(HELLO, b'{"protocol":1}'), (READY, b'{"hooks":[]}'), (RESULT, b"[1,2,3]")], (here, there)


@pytest.mark.parametrize("piece", [1, 7, 400, 4999])
def test_a_large_body_arrives_in_pieces(piece: int) -> None:
    """A body that takes many reads is put together in its order; an empty read changes nothing."""
    body = bytes(range(250)) * 20
    connection = connection_in(State.BUSY, limit=5000)
    stream = frame_of(RESULT, connection, body)
    reads = [stream[i : i + piece] for i in range(0, len(stream), piece)]

    assert hear(connection, *reads[:-1]) == []
    assert connection.receive(b"") is None
    assert hear(connection, reads[-1]) == [(RESULT, body)]


@pytest.mark.parametrize("piece", [1, 7, 4999])
def test_a_large_body_is_read_straight_into_its_place(piece: int) -> None:
    """`space` is exactly the room that is left; `filled` gives the frame once there is none."""
    body = bytes(range(250)) * 20
    connection = connection_in(State.BUSY, limit=5000)
    assert connection.space() is None
    assert connection.receive(frame_of(RESULT, connection, body)[: HEADER_SIZE + 1]) is None

    done, frame = 1, None
    while (space := connection.space()) is not None:
        assert frame is None
        assert len(space) == len(body) - done
        part = body[done : done + piece]
        space[: len(part)] = part
        done += len(part)
        frame = connection.filled(len(part))

    assert frame == (RESULT, body)
    assert connection.state is State.IDLE


def test_ready_may_come_with_the_last_piece_of_hello() -> None:
    """What stands behind a body that came in pieces isn't lost."""
    connection = Connection(5000)
    hello = pack(HELLO, 0, b"7" * 4000, CODEC_JSON)

    assert hear(connection, hello[:3000], hello[3000:] + READY_FRAME) == [
        (HELLO, b"7" * 4000),
        (READY, b'{"hooks":[]}'),
    ]


def test_a_cancel_has_the_id_of_the_call_that_is_out() -> None:
    """It is no call of its own: the terminal frame of that one is still due. Fails when `send` counts it."""
    connection = connection_in(State.BUSY)
    out = connection.call_id

    kind, _, _, length, call_id = HEADER.unpack_from(connection.send(CANCEL))
    assert (kind, length, call_id) == (CANCEL, 0, out)
    assert hear(connection, frame_of(ERROR, connection, b"{}")) == [(ERROR, b"{}")]


# -- The two tables ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", State)
def test_only_what_the_table_allows_can_be_sent(state: State) -> None:
    """A frame that isn't due is refused and changes nothing. Fails when `send` stops asking its table."""
    for kind, name in KINDS.items():
        connection = connection_in(state)
        following = SENDABLE.get((state, kind))

        if following is None:
            with pytest.raises(ProtocolError, match=f"{name} can't be sent while {state.name}"):
                connection.send(kind, b"{}")
        else:
            assert HEADER.unpack_from(connection.send(kind, b"{}"))[0] == kind

        assert connection.state is (state if following is None else following)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("read", [1, HEADER_SIZE - 1, HEADER_SIZE + 2])
def test_only_what_the_table_allows_can_be_received(state: State, read: int) -> None:
    """What isn't due closes the connection, at its first byte. Fails when either look at the table goes."""
    for kind, name in KINDS.items():
        connection = connection_in(state)
        data = frame_of(kind, connection)
        following = RECEIVABLE.get((state, kind))

        if following is None:
            with pytest.raises(ProtocolError, match=f"an unexpected frame \\({name}\\) came while {state.name}"):
                connection.receive(data[:read])
            assert connection.state is State.CLOSED
        else:
            assert hear(connection, data[:read], data[read:]) == [(kind, b"{}")]
            assert connection.state is following


def test_ids_never_repeat() -> None:
    """Each call and hook has the next id; the frames around them have none."""
    connection = Connection(LIMIT)
    assert HEADER.unpack_from(connection.send(START))[4] == 0
    hear(connection, HELLO_FRAME, READY_FRAME)

    ids = []
    for turn in range(300):
        ids.append(HEADER.unpack_from(connection.send(HOOK if turn % 3 else CALL, b"null"))[4])
        hear(connection, frame_of(ERROR if turn % 2 else RESULT, connection))

    assert ids == list(range(1, 301))
    assert HEADER.unpack_from(connection.send(STOP))[4] == 0
