"""Workers that break the protocol: each breach is a typed error of that one call, and the pool works on."""

from __future__ import annotations

import time
from functools import partial

import pytest

from bridge import BridgeError, CallTimeout, ProtocolError, WorkerCrashed, WorkerStartError
from tests.process.conftest import Connect
from tests.process.rogue import Rogue

ASKED = "get_ready(); id = read(); "
ANSWER = "os.write(reply, wire.pack(wire.RESULT, id, {body}, 1){cut}); "
HANG = "signal.pause()"
TEN = "b'1234567890'"

GARBAGE = ASKED + "os.write(reply, b'Hello, is this the prediction you wanted?'); " + HANG
HALF_AND_HANG = ASKED + ANSWER.format(body=TEN, cut="[:20]") + HANG
HALF_A_HEADER_AND_HANG = ASKED + ANSWER.format(body=TEN, cut="[:5]") + HANG
HALF_AND_DIE = ASKED + ANSWER.format(body=TEN, cut="[:20]") + "os._exit(9)"
WRONG_ID = ASKED + "send(wire.RESULT, id + 1); " + HANG
EARLIER_ID = ASKED + "send(wire.RESULT, id - 1); " + HANG
OVERSIZED = ASKED + "os.write(reply, wire.HEADER.pack(wire.RESULT, 1, 0, 2**32 - 1, id)); " + HANG
TWO_ANSWERS = ASKED + ANSWER.format(body=TEN, cut=" * 2") + HANG
NOT_JSON = ASKED + ANSWER.format(body="b'{1: 2}'", cut="") + HANG
NO_BUFFERS = ASKED + ANSWER.format(body="b'\\xff' * 50", cut="") + HANG
JOIN = "from bridge.buffers import joined; "
NO_PLACE = JOIN + ASKED + ANSWER.format(body="""joined(b'[7, [[[1], "B", [1]]]]', [memoryview(b'x')])""", cut="") + HANG
ODD_ERROR = ASKED + "send(wire.ERROR, id, kind='raised', message=7); " + HANG
UNASKED_READY = ASKED + "send(wire.READY, hooks=[]); " + HANG
HALF_A_HELLO = "os.write(reply, wire.pack(wire.HELLO, 0)[:7]); "
ODD_FAILED = "hello(); os.write(reply, wire.pack(wire.FAILED, 0, b'[]')); "
deep = partial(pytest.param, marks=pytest.mark.deep)
"""Breaches that tests/core shows on the same code without a process; here they are seen once more by CI."""
CLOSES_ITS_END = ASKED + "os.close(reply); " + HANG


@pytest.mark.parametrize(
    ("program", "error", "says"),
    [
        pytest.param(GARBAGE, ProtocolError, "is no frame", id="garbage"),
        pytest.param(HALF_AND_HANG, CallTimeout, "gave no answer", id="half-a-frame-and-hang"),
        deep(HALF_A_HEADER_AND_HANG, CallTimeout, "gave no answer", id="half-a-header-and-hang"),
        pytest.param(HALF_AND_DIE, WorkerCrashed, "exit code 9", id="half-a-frame-and-die"),
        pytest.param(WRONG_ID, ProtocolError, "a result for call 2 came while call 1 was out", id="wrong-id"),
        deep(EARLIER_ID, ProtocolError, "a result for call 0 came while call 1 was out", id="earlier-id"),
        pytest.param(OVERSIZED, ProtocolError, "announced a frame of 4294967295 bytes", id="oversized"),
        deep(TWO_ANSWERS, ProtocolError, "an unexpected frame", id="two-answers"),
        pytest.param(NOT_JSON, ProtocolError, "a body that isn't JSON", id="not-json"),
        pytest.param(NO_BUFFERS, ProtocolError, "a body of 50 bytes whose parts have", id="no-buffers"),
        pytest.param(NO_PLACE, ProtocolError, "a buffer without a place", id="no-place"),
        deep(ODD_ERROR, ProtocolError, "an error frame of kind 'raised'", id="odd-error"),
        deep(UNASKED_READY, ProtocolError, "an unexpected frame (ready)", id="frame-out-of-place"),
        pytest.param(CLOSES_ITS_END, WorkerCrashed, "closed its end of the conversation", id="closes-its-end"),
    ],
)
def test_a_breach_in_a_call_fails_that_call_alone(
    connect: Connect, handlers: str, rogue: Rogue, program: str, error: type[BridgeError], says: str
) -> None:
    """The worker is replaced, and the next call is answered by an honest one. Fails when a check of
    `Connection.receive`, `_finish` or `messages` is left out, or when a link that broke is lent again."""
    b = connect(f"{handlers}:Echo", python=rogue.once(program), cancel_grace=0.2)
    with b:
        (broken,) = (worker.pid for worker in b.stats().workers)
        with pytest.raises(error) as caught:
            b.call("echo", [1], timeout=0.2 if error is CallTimeout else 20)

        assert says in str(caught.value)
        assert getattr(caught.value, "pid", None) == broken
        assert [b.call("echo", [i]) for i in range(3)] == [0, 1, 2]
        assert [worker.pid for worker in b.stats().workers] != [broken]
        assert b.health().breaker == "closed"


@pytest.mark.parametrize(
    ("program", "reason", "says"),
    [
        pytest.param("os.write(reply, b'Welcome!'); " + HANG, "protocol", "is no frame", id="garbage"),
        pytest.param(HALF_A_HELLO + "os._exit(4)", "crashed", "exit code 4", id="half-a-frame-and-die"),
        deep(HALF_A_HELLO + HANG, "timeout", "after 2 s", id="half-a-frame-and-hang"),
        pytest.param("send(wire.HELLO, protocol=99); " + HANG, "protocol", "speaks protocol 99", id="other-version"),
        deep("send(wire.HELLO, protocol=wire.PROTOCOL, pid='x'); " + HANG, "protocol", "lacks pid", id="odd-hello"),
        deep("hello(); hello(); " + HANG, "protocol", "unexpected frame (hello)", id="two-hellos"),
        deep("hello(); send(wire.READY, hooks=3); " + HANG, "protocol", "list of hooks", id="odd-ready"),
        pytest.param(ODD_FAILED + HANG, "protocol", "its failed frame", id="odd-failed"),
        pytest.param("hello(); os.close(reply); os.close(request); " + HANG, "crashed", "died", id="hangs-up"),
    ],
)
def test_a_breach_in_the_handshake_fails_that_start_alone(
    connect: Connect, handlers: str, rogue: Rogue, program: str, reason: str, says: str
) -> None:
    """It is a start error with its reason, and the next start is honest. Fails when a ProtocolError of the handshake
    escapes into the supervisor, or a check of `decode_hello`, `decode_ready` or `decode_failed` is left out."""
    b = connect(f"{handlers}:Echo", python=rogue.once(program), startup_timeout=2 if reason == "timeout" else 30)
    began = time.monotonic()
    with pytest.raises(WorkerStartError) as caught:
        b.call("echo", [1], timeout=20)

    assert time.monotonic() - began < 19
    assert (caught.value.reason, says in caught.value.detail) == (reason, True), str(caught.value)
    assert b.call("echo", [2]) == 2
    assert b.health().breaker == "closed"
