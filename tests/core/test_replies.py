"""The bodies of the frames that a worker sends: untrusted, so each field is looked at."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from bridge.core.messages import Hello, decode_failed, decode_hello, decode_ready, decode_reply, split_state
from bridge.errors import CallError, ProtocolError, RemoteError
from bridge.wire import ERROR, PROTOCOL, RESULT


def reply(value: Any, kind: int = ERROR) -> Any:
    return decode_reply(kind, json.dumps(value).encode(), "run", 42)


def test_a_result_is_its_value() -> None:
    """Whatever JSON holds, from bytes or a bytearray."""
    assert reply({"a": [1, None]}, RESULT) == {"a": [1, None]}
    assert decode_reply(RESULT, bytearray(b"[1]"), "run", None) == [1]


def test_a_handlers_exception_is_a_remote_error() -> None:
    """Type, message and traceback are text."""
    with pytest.raises(RemoteError) as caught:
        reply({"kind": "raised", "type": "m.E", "message": "no", "traceback": "Traceback: here\n"})

    error = caught.value
    assert (error.type, error.message, error.command) == ("m.E", "no", "run")
    assert str(error) == "'run' raised m.E: no\n\nIn the worker:\nTraceback: here"


@pytest.mark.parametrize(("kind", "side"), [("command", "caller"), ("arguments", "caller"), ("result", "handler")])
def test_a_call_that_cannot_be_made_is_a_call_error(kind: str, side: str) -> None:
    """It says who must mend it."""
    with pytest.raises(CallError) as caught:
        reply({"kind": kind, "message": "why"})

    assert (caught.value.kind, caught.value.detail, caught.value.side) == (kind, "why", side)


def broken(good: dict[str, Any]) -> Iterator[Any]:
    """The same fields with one of them missing or of a wrong type, and other things altogether."""
    for name in good:
        yield {key: value for key, value in good.items() if key != name}
        for wrong in (None, 7, ["x"], {"a": 1}):
            yield {**good, name: wrong}
    yield from (None, 7, "text", [], [good], {}, {"kind": "unheard of", "message": "m"})


@pytest.mark.parametrize(
    "good",
    [
        {"kind": "raised", "type": "m.E", "message": "no", "traceback": ""},
        {"kind": "command", "message": "why"},
        {"kind": "arguments", "message": "why"},
        {"kind": "result", "message": "why"},
    ],
    ids=lambda good: str(good["kind"]),
)
def test_a_malformed_error_frame_is_a_protocol_error(good: dict[str, Any]) -> None:
    """Worker output is untrusted: each field is looked at. Fails when any isinstance in `_error_of` goes."""
    for value in broken(good):
        with pytest.raises(ProtocolError) as caught:
            reply(value)
        assert caught.value.pid == 42
        assert len(str(caught.value)) < 400


BEYOND_THIS_PYTHON = (b"[" * 100_000, b"9" * 5000)
"""What it can't read for its own limits, whether it is JSON or not."""


@pytest.mark.parametrize("body", [b"", b"{", b"nope", b"1 2", b" 1", b'"\xff"', *BEYOND_THIS_PYTHON])
def test_a_body_that_is_not_json_is_a_protocol_error(body: bytes) -> None:
    """Neither ValueError, UnicodeDecodeError nor RecursionError gets out. Fails when `_decode` catches less."""
    for decode in (
        lambda: decode_reply(ERROR if body in BEYOND_THIS_PYTHON else RESULT, body, "run", 42),
        lambda: decode_reply(ERROR, body, "run", 42),
        lambda: decode_hello(body),
        lambda: decode_ready(body, 42),
        lambda: decode_failed(body, "m:H", 42),
    ):
        with pytest.raises(ProtocolError, match="isn't JSON"):
            decode()


# -- How a worker introduces itself ------------------------------------------------------------------------

HELLO_FIELDS = {"protocol": PROTOCOL, "pid": 7, "python": "3.8.1", "executable": "/x/python"}


def test_hello_says_who_is_there() -> None:
    """Pid, version, interpreter; what else it says is for later releases."""
    assert decode_hello(json.dumps({**HELLO_FIELDS, "new": 1}).encode()) == Hello(7, "3.8.1", "/x/python")


@pytest.mark.parametrize("value", [None, 1, "2", [1]])
def test_another_protocol_is_refused(value: Any) -> None:
    """The version is named, and cut. Fails when the version isn't compared."""
    with pytest.raises(ProtocolError, match="another release"):
        decode_hello(json.dumps({**HELLO_FIELDS, "protocol": value}).encode())
    with pytest.raises(ProtocolError, match="another release"):
        decode_hello(json.dumps(value).encode())


@pytest.mark.parametrize("field", ["pid", "python", "executable"])
@pytest.mark.parametrize("value", [None, 1.5, [], {}])
def test_a_malformed_hello_is_refused(field: str, value: Any) -> None:
    """Each field is looked at. Fails when any isinstance in `decode_hello` goes."""
    without = {key: kept for key, kept in HELLO_FIELDS.items() if key != field}
    for fields in (without, {**HELLO_FIELDS, field: value}):
        with pytest.raises(ProtocolError, match="lacks pid, python or executable"):
            decode_hello(json.dumps(fields).encode())


def test_ready_lists_the_hooks() -> None:
    """Names only."""
    assert decode_ready(b'{"hooks":["on_start","on_reset"]}', 7) == {"on_start", "on_reset"}


@pytest.mark.parametrize("value", [None, [], {}, {"hooks": None}, {"hooks": "on_start"}, {"hooks": [1]}, {"hooks": {}}])
def test_a_malformed_ready_is_refused(value: Any) -> None:
    """A list of names and nothing else. Fails when either look in `decode_ready` goes."""
    with pytest.raises(ProtocolError, match="lacks the list of hooks"):
        decode_ready(json.dumps(value).encode(), 7)


FAILED_FIELDS = {"type": "ImportError", "message": "no module", "traceback": "Traceback: there"}


def test_failed_says_why_the_handler_could_not_be_made() -> None:
    """It is final, not to be tried again, and brings its own traceback."""
    error = decode_failed(json.dumps(FAILED_FIELDS).encode(), "m:H", 7)

    assert (error.reason, error.detail, error.handler) == ("handler", "ImportError: no module", "m:H")
    assert error.remote_traceback == "Traceback: there"
    assert error.final
    assert error.retryable


def test_a_malformed_failed_is_a_protocol_error() -> None:
    """It must not be mistaken for a final verdict on the handler. Fails when any isinstance in it goes."""
    for value in broken(FAILED_FIELDS):
        with pytest.raises(ProtocolError):
            decode_failed(json.dumps(value).encode(), "m:H", 7)


@pytest.mark.parametrize("body", BEYOND_THIS_PYTHON)
def test_a_result_beyond_the_limits_of_this_python_is_the_handlers_error(body: bytes) -> None:
    """The worker kept the protocol; what it sent is too deep, or too long a number, to be read here. Fails when it is
    called a ProtocolError: an honest worker, and its loaded model, would be killed for it."""
    with pytest.raises(CallError, match=r"the result .* for this Python; return") as caught:
        decode_reply(RESULT, body, "run", 42)

    assert (caught.value.kind, caught.value.side) == ("result", "handler")


def test_a_snapshot_is_taken_off_its_result() -> None:
    """Its length says where the value begins."""
    assert split_state(b"\3\0\0\0{ }[1]", 7) == (b"{ }", b"[1]")
    assert split_state(b"\0\0\0\0", 7) == (b"", b"")


@pytest.mark.parametrize("body", [b"", b"\1\0\0", b"\4\0\0\0{ }", b"\xff\xff\xff\xff"])
def test_a_snapshot_longer_than_its_frame_is_a_protocol_error(body: bytes) -> None:
    """Fails when its length isn't compared."""
    with pytest.raises(ProtocolError, match=r"pid 7.*longer than its frame"):
        split_state(body, 7)
