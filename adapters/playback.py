"""A cassette that answers: channels without a worker, as the mock has them.

Rules: an answer is given once, in the order in which it was recorded, and none is ever invented: what isn't there, what
is used up, and what depends on an answer that the caller now gives differently is an UnexpectedCall. No bytes, no
thread; no lock, since what is taken is taken from deques in single steps. Apart from recording.py, which records.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Mapping
from difflib import get_close_matches
from typing import Any, Final

from bridge.cassette import Cassette, Exchange, Line, Match, key_of, plain_of, shown, sorted_keys, text_of, value_of
from bridge.contract import Reply, Request, WorkerInfo, WorkerSpec
from bridge.errors import CapabilityError, ConfigurationError, UnexpectedCall
from bridge.redaction import Redact
from bridge.settle import settled
from bridge.takes import answered_by, error_from

__scoped_bridge__: Final = True

NEAREST: Final = 3
"""Recorded calls that are named when there is no equal one."""
SHOWN: Final = 200
"""Characters of a call in an error."""
AGAIN: Final = 'Record it: with_adapter("recording", cassette=..., mode="record")'


class Player:
    """What a cassette answers, to all channels of an adapter.

    Args:
        path: As errors name it.
    """

    def __init__(self, path: str, cassette: Cassette, redact: Redact, match: Match | None) -> None:
        self._path, self._lines, self._redact, self._match = path, cassette.lines, redact, match
        self._known: dict[str, list[Line]] = {}
        for line in cassette.lines:
            self._known.setdefault(key_of(line.exchange, match), []).append(line)
        self._left = {key: deque(lines) for key, lines in self._known.items()}

    @property
    def left(self) -> list[Line]:
        """What nobody has asked for yet."""
        return sorted((line for lines in self._left.values() for line in lines), key=lambda line: line.number)

    def take(self, request: Request) -> Line:
        """What a call is answered with, which is used up then. Raises UnexpectedCall, ConfigurationError."""
        try:
            called = self._redact(_head(request))
            key = key_of({**called, "args": sorted_keys(called.get("args"))}, self._match)
        except Exception as error:
            raise ConfigurationError(
                f"redact= or match= raised {type(error).__name__}: {error}, asked about {request.command!r}. They get "
                "the command, the args as they stand in the cassette and, of a session, its key; nothing else is known"
            ) from error
        try:
            return self._left[key].popleft()
        except (KeyError, IndexError):
            raise self.unexpected(request.command, self._why(called, self._known.get(key, []))) from None

    def seen(self, request: Request, said: Mapping[str, Any]) -> Any:
        """What of an answer of the caller's would stand in the cassette."""
        return self._redact({**_head(request), "said": [dict(said)]})["said"][0]["answer"]

    def unexpected(self, command: str, why: str) -> UnexpectedCall:
        """The error that says so, and what to do."""
        answered = tuple(sorted({line.exchange["command"] for line in self._lines}))
        return UnexpectedCall(command, answered=answered, why=f"the cassette {self._path} {why}")

    def _why(self, called: Exchange, equal: list[Line]) -> str:
        if equal:
            where = ", ".join(str(line.number) for line in equal)
            lines = "line" if len(equal) == 1 else "lines"
            return f"has this call on {lines} {where}, and it was made once more than that. {AGAIN}"
        nearest = self._nearest(called)
        hint = f" Nearest to it: {'; '.join(nearest)}." if nearest else ""
        return f"has no call like {shown(called):.{SHOWN}}.{hint} {AGAIN}"

    def _nearest(self, called: Exchange) -> list[str]:
        lines = [line for line in self._lines if line.exchange["command"] == called["command"]] or self._lines
        texts = {shown(line.exchange): line.number for line in reversed(lines)}
        close = get_close_matches(shown(called), texts, NEAREST, 0.0) if len(texts) > NEAREST else [*texts][::-1]
        return [f"line {texts[text]}, {text:.{SHOWN}}" for text in close]


class PlayedChannel:
    """One worker that was there once."""

    def __init__(self, player: Player, spec: WorkerSpec) -> None:
        self.info = WorkerInfo(spec.generation)
        self._player = player

    def fileno(self) -> None:
        """None: calls go through `submit`."""

    def submit(self, request: Request, done: Callable[[Reply], None]) -> None:
        """Answer now, from the cassette. Hooks aren't in it: nothing is there that could need them."""
        if request.hook:
            done(Reply(request.call_id))
            return
        try:
            line = self._player.take(request)
            if not request.streams:
                self._talk(request, line.exchange, 0)
        except (UnexpectedCall, ConfigurationError) as error:
            done(Reply(request.call_id, error=error))
            return
        exchange = line.exchange
        if request.streams:
            done(Reply(request.call_id, items=self._items(request, line)))
        elif "error" in exchange:
            done(Reply(request.call_id, error=error_from(exchange["error"], request.command)))
        else:
            done(Reply(request.call_id, value_of(exchange.get("result")), snapshot=_snapshot(request)))

    def _items(self, request: Request, line: Line) -> Generator[Any, None, bytes | None]:
        exchange = line.exchange
        items = exchange.get("items", [])
        for number, item in enumerate(items):
            self._talk(request, exchange, number)
            yield value_of(item)
        self._talk(request, exchange, len(items))
        if "error" in exchange:
            raise error_from(exchange["error"], request.command)
        if "left" in exchange:
            why = f"knows {len(items)} items of this stream (line {line.number}): then its caller left it. {AGAIN}"
            raise self._player.unexpected(request.command, why)
        return _snapshot(request)

    def _talk(self, request: Request, exchange: Exchange, after: int) -> None:
        """What was reported and asked when so many items were there."""
        for said in exchange.get("said", []):
            if said.get("after", 0) != after:
                continue
            if "report" in said and request.progress is not None:
                settled(request.progress(value_of(said["report"])))
            if "ask" in said:
                self._ask(request, said)

    def _ask(self, request: Request, said: Mapping[str, Any]) -> None:
        """A function of the caller's has to say what it said then: what follows is the handler's answer to that."""
        answered = answered_by(request.ask, value_of(said["ask"]))
        if (seen := self._player.seen(request, {**said, "answer": answered})) != said.get("answer"):
            why = (
                f"was recorded when the caller's {said['ask'][0]}, asked with {text_of(said['ask'][1])}, answered "
                f"{text_of(said.get('answer')):.{SHOWN}}; now it answers {text_of(seen):.{SHOWN}}. {AGAIN}"
            )
            raise self._player.unexpected(request.command, why)

    def cancel(self, call_id: int) -> None:
        """Never: CapabilityError."""
        raise CapabilityError(f"a cassette can't cancel call {call_id} softly; kill the worker")

    def kill(self) -> None:
        """Nothing runs that could be ended."""

    def sentinel(self) -> None:
        """None: there is no process."""

    def stderr_tail(self) -> str:
        """Nothing: it isn't recorded."""
        return ""


def _head(request: Request) -> Exchange:
    """What a call is found by, before anything is redacted."""
    session = {} if request.session is None else {"session": request.session.key}
    stream = {"stream": True} if request.streams else {}
    return {"command": request.command, "args": plain_of(request.args), **session, **stream}


def _snapshot(request: Request) -> bytes | None:
    """Of a durable session: its state is in the answers that follow."""
    return None if request.session is None or request.session.snapshot is None else b"{}"
