"""What an ear makes of frames whose order no test can force: what follows a call that was left."""

from __future__ import annotations

from typing import Any

from bridge.core.messages import encode_call, encode_extras
from bridge.takes import FrameEar, Recorder
from bridge.wire import CALL, CANCEL, EXTRAS, HOOK, ITEM, RESULT, encode_json

LIMIT = 2**20


def heard(*frames: tuple[int, int, bytes]) -> Recorder:
    """What is recorded of a conversation; what the caller sends has kinds up to CANCEL, besides RESULT."""
    recorder = Recorder(lambda exchange: exchange, None)
    ear = FrameEar(recorder)
    for kind, flags, body in frames:
        (ear.said if kind in (CALL, HOOK, CANCEL) else ear.heard)(kind, flags, body)
    recorder.leave_all()
    return recorder


def call(command: str, args: Any = None) -> tuple[int, int, bytes]:
    """A plain call."""
    return CALL, 0, bytes(encode_call(command, args, LIMIT))


def stream(command: str) -> tuple[int, int, bytes]:
    """One whose caller takes items."""
    return CALL, EXTRAS, encode_extras({"window": 16}) + bytes(encode_call(command, None, LIMIT))


def said(kind: int, value: Any) -> tuple[int, int, bytes]:
    """By the worker."""
    return kind, 0, encode_json(value, "result")


def test_the_answer_to_a_call_that_was_left_is_nobodys() -> None:
    """It came too late, and its caller got a CallTimeout. Fails when it is recorded as if it had been in time."""
    recorder = heard(call("late"), (CANCEL, 0, b""), said(RESULT, 1), call("next"), said(RESULT, 2))

    assert [(take.exchange["command"], take.exchange["result"]) for take in recorder.takes] == [("next", 2)]
    assert [exchange["command"] for exchange in recorder.unanswered] == ["late"]


def test_what_was_made_ahead_of_a_stream_that_was_left_is_nobodys() -> None:
    """How far its worker had come is a matter of time. Fails when a cassette has items that nobody took."""
    recorder = heard(stream("count"), said(ITEM, 0), (CANCEL, 0, b""), said(ITEM, 1), said(RESULT, None))

    assert [(take.exchange["items"], take.exchange["left"]) for take in recorder.takes] == [([0], True)]


def test_hooks_are_no_calls() -> None:
    """What the pool asks of a handler is no traffic of the application's. Fails when `on_reset` gets in."""
    recorder = heard((HOOK, 0, bytes(encode_call("on_reset", None, LIMIT))), said(RESULT, None))

    assert (recorder.takes, recorder.unanswered, recorder.faults) == ([], [], [])


def test_what_is_no_answer_of_ours_is_a_fault() -> None:
    """A worker may say anything; its caller is told by the driver. Fails when it ends the call by an error of ours."""
    recorder = heard(call("a"), (ITEM, 0, b"\xfe no JSON"), call("b"), said(RESULT, 1))

    assert [take.exchange["command"] for take in recorder.takes] == ["b"]
    assert "ProtocolError" in recorder.faults[0]
