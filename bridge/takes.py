"""What is said in a call becomes an exchange: heard as frames, or as a request and its reply.

Rules: what the handler answered is recorded, and what its caller answered when it was asked; a call that ended without
an answer isn't, but of a stream that its caller left what he had taken. Nothing here raises into a call: what can't be
recorded is told when the recording ends. Apart from cassette.py, which knows files and not calls.
"""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import count
from typing import Any, Final

from bridge.cassette import Exchange, Take, plain_of, sorted_keys, text_of
from bridge.core.messages import decode_item, decode_reply, error_of, split_state
from bridge.dialogue import nothing_exposed
from bridge.errors import BridgeError, CallError, RemoteError
from bridge.redaction import Redact
from bridge.wire import ANSWER, ASK, CALL, CANCEL, ERROR, EXTRAS, ITEM, RESULT, STATE, decode_json

STEPS: Final = 3
"""Of a traceback, the last ones: what raised, and not what led there."""
SIDES: Final = ("command", "arguments", "result")
"""Kinds of CallError that a worker answers with."""


class Recorder:
    """Collects the exchanges of one recording.

    Args:
        redact: Makes an exchange fit to be seen; before anything else sees it.
        write: Told each exchange as it ends, as a line, in whatever thread; may raise OSError. None: nobody is.
    """

    def __init__(self, redact: Redact, write: Callable[[str], None] | None) -> None:
        self.takes: list[Take] = []
        self.faults: list[str] = []
        """What kept exchanges from being recorded, with the traceback: text, since that has the frames of a call."""
        self.unanswered: list[Exchange] = []
        """Calls that ended without an answer, some of which were sent again."""
        self._redact, self._write = redact, write
        self._clock = count(1)
        self._open: dict[int, Talk] = {}
        # Re-entrant: a signal's handler or a finaliser may call, and be heard, in the middle of a step.
        self._lock = threading.RLock()

    def begin(self, command: str, args: Any, *, session: str | None = None, streams: bool = False) -> Talk:
        """A call begins."""
        talk = Talk(self, next(self._clock), command, args, session, streams)
        self._open[talk.begun] = talk
        return talk

    def end(self, talk: Talk, exchange: Exchange | None) -> None:
        """It has ended; None: without an answer."""
        with self._lock:
            if self._open.pop(talk.begun, None) is None:
                return
            try:
                seen = self._redact(talk.head if exchange is None else exchange)
                seen = {**seen, "args": sorted_keys(seen.get("args"))}
                if exchange is None:
                    self.unanswered.append(seen)
                    return
                line = text_of(seen)  # first of all: what can't be written mustn't keep the others from being so
                self.takes.append(Take(talk.begun, next(self._clock), seen))
                if self._write is not None:
                    with suppress(OSError):  # it is kept, and written at the end; if that fails too, it is told
                        self._write(line)
            except Exception as error:
                self.fail(error)

    def fail(self, error: Exception) -> None:
        """Something of a call can't be recorded. That goes on; whoever ends the recording hears of it."""
        self.faults.append(_told(error))

    def drop(self, talk: Talk) -> None:
        """Of that call it was something."""
        self._open.pop(talk.begun, None)

    def leave_all(self) -> None:
        """Nothing more will be heard."""
        for talk in list(self._open.values()):
            talk.leave()


class Talk:
    """One call, while it goes on."""

    def __init__(
        self, recorder: Recorder, begun: int, command: str, args: Any, session: str | None, streams: bool
    ) -> None:
        self.begun = begun
        self._recorder = recorder
        self._items: list[Any] = []
        self._said: list[dict[str, Any]] = []
        self._broken = False
        self.head: Exchange = {"command": command, "args": self._plain(args)}
        if session is not None:
            self.head["session"] = session
        if streams:
            self.head["stream"] = True

    def item(self, value: Any) -> None:
        """Of its stream; of a plain call, what the handler reports."""
        if "stream" in self.head:
            self._items.append(self._plain(value))
        else:
            self._say({"report": self._plain(value)})

    def ask(self, asked: Any) -> None:
        """The handler asks its caller: [name, args]."""
        self._say({"ask": self._plain(asked)})

    def answer(self, answered: Any) -> None:
        """What its caller said: [error, value]."""
        self._said[-1]["answer"] = self._plain(answered, answer_of)

    def _say(self, what: dict[str, Any]) -> None:
        self._said.append({**what, **({"after": len(self._items)} if self._items else {})})

    def result(self, value: Any) -> None:
        """It has returned."""
        self._end({"result": self._plain(value)})

    def fail(self, error: BaseException | None) -> None:
        """It has failed. What isn't the handler's answer ends it without one."""
        fields = fields_of(error)
        if fields is None:
            self.leave()
        else:
            self._end({"error": fields})

    def leave(self) -> None:
        """Its caller has left, or its worker is gone."""
        if self._items:
            self._end({"left": True})
        else:
            self._recorder.end(self, None)

    def _plain(self, value: Any, plain: Callable[[Any], Any] = plain_of) -> Any:
        try:
            return plain(value)
        except Exception as error:  # it is nested more deeply than Python's own steps may be
            if not self._broken:
                self._recorder.fail(error)
            self._broken = True
            return None

    def _end(self, end: Mapping[str, Any]) -> None:
        if self._broken:
            self._recorder.drop(self)
            return
        said = {"said": self._said} if self._said else {}
        items = {"items": self._items} if "stream" in self.head else {}
        self._recorder.end(self, {**self.head, **said, **items, **end})


def answer_of(answered: Any) -> dict[str, Any]:
    """The body of an ANSWER, decoded, as it stands in a cassette."""
    error, value = answered
    return {"value": plain_of(value)} if error is None else {"error": {"type": error[0], "message": error[1]}}


def answered_by(ask: Callable[[Any], bytes] | None, asked: Any) -> dict[str, Any]:
    """What a caller says when he is asked, as it stands in a cassette.

    Args:
        ask: As of a Request; None: he exposes nothing.
        asked: [name, args].
    """
    body = nothing_exposed(asked[0]) if ask is None else ask(asked)
    return answer_of(decode_json(bytes(body)))


def fields_of(error: BaseException | None) -> dict[str, str] | None:
    """An error as a cassette has it; None for what no handler says."""
    if isinstance(error, RemoteError):
        here = f'File "{os.getcwd()}{os.sep}'  # another machine has the same files somewhere else
        trace = error.remote_traceback.replace(here, 'File "')
        return {"kind": "raised", "type": error.type, "message": error.message, "traceback": trace}
    if isinstance(error, CallError) and error.kind in SIDES:
        return {"kind": error.kind, "message": error.detail}
    return None


def error_from(fields: Any, command: str) -> BridgeError:
    """The error that `fields_of` was given."""
    return error_of(fields, command, None)


class FrameEar:
    """Hears one channel with descriptors."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._talk: Talk | Chunk | None = None
        self._command = ""

    def said(self, kind: int, flags: int, body: Any) -> None:
        """A frame is on its way to the worker."""
        self._guarded(self._said, kind, flags, body)

    def heard(self, kind: int, flags: int, body: Any) -> None:
        """A frame has come from there."""
        self._guarded(self._heard, kind, flags, body)

    def _guarded(self, step: Callable[[int, int, Any], None], kind: int, flags: int, body: Any) -> None:
        try:
            step(kind, flags, body)
        except Exception as error:  # what comes from a worker needn't be what we expect; its caller is told
            self._talk = None
            self._recorder.fail(error)

    def _said(self, kind: int, flags: int, body: Any) -> None:
        if kind == CALL:
            self._begin(flags, bytes(body))
        elif self._talk is not None and kind == ANSWER:
            self._talk.answer(decode_json(bytes(body)))
        elif self._talk is not None and kind == CANCEL:
            self._talk.leave()
            self._talk = None

    def _begin(self, flags: int, body: bytes) -> None:
        extras: dict[str, Any] = {}
        if flags & EXTRAS:
            end = 4 + int.from_bytes(body[:4], "little")
            extras, body = decode_json(body[4:end]), body[end:]
        self._command, args = decode_json(body)
        if "chunk" in extras:
            self._talk = Chunk(self._recorder, self._command, args, extras["chunk"][0])
        else:
            session = extras["session"][0] if "session" in extras else None
            self._talk = self._recorder.begin(self._command, args, session=session, streams="window" in extras)

    def _heard(self, kind: int, flags: int, body: Any) -> None:
        talk = self._talk
        if talk is None:
            return
        if kind == ITEM:
            talk.item(decode_item(body, None))
        elif kind == ASK:
            talk.ask(decode_item(body, None))
        elif kind in (RESULT, ERROR):
            self._talk = None
            if flags & STATE:
                body = split_state(body, None)[1]
            try:
                talk.result(decode_reply(kind, body, self._command, None))
            except BridgeError as error:
                talk.fail(error)


class Chunk:
    """Many calls of a `map` in one frame: as many exchanges, since how many go together is a matter of time.

    Args:
        items: What each is called with.
        column: The one parameter that they are values of; None: they are the arguments.
    """

    def __init__(self, recorder: Recorder, command: str, items: Any, column: str | None) -> None:
        values = items.tolist() if isinstance(items, memoryview) else items
        self._command = command
        self._talks = [recorder.begin(command, item if column is None else {column: item}) for item in values]
        self._talks.reverse()

    def item(self, said: Any) -> None:
        """The results of the next few calls: seconds, values, and faults by their places among the values."""
        _seconds, values, faults = said
        for place, value in enumerate(values.tolist() if isinstance(values, memoryview) else values):
            talk = self._talks.pop()
            if str(place) in faults:
                talk.fail(error_from(faults[str(place)], self._command))
            else:
                talk.result(value)

    def result(self, _done: Any) -> None:
        """The calls that are left are sent again."""
        self.leave()

    def fail(self, _error: BaseException) -> None:
        """So they are, or nobody knows what became of them."""
        self.leave()

    def leave(self) -> None:
        """As above."""
        while self._talks:
            self._talks.pop().leave()

    def ask(self, asked: Any) -> None:
        """Never: a chunk asks nothing."""

    def answer(self, answered: Any) -> None:
        """Never."""


def _told(error: Exception) -> str:
    return "".join(traceback.format_exception(error, limit=-STEPS))
