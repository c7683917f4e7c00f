"""A cassette: a file with what calls were answered, one line of JSON for each, behind a line that says what it is.

Rules: nothing in it changes from one recording to the next unless an answer does: no time, no number of a process, and
calls that ran at the same time keep their places. A recording is written beside the cassette as it goes, and takes its
place at its end, so that whatever ends it too early costs neither. Apart from takes.py, which hears the calls.
"""

from __future__ import annotations

import heapq
import json
import os
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any, Final

from bridge.buffers import format_of, shaped
from bridge.errors import ConfigurationError
from bridge.locks import lock_alone

VERSION: Final = 1
UNFINISHED: Final = ".recording"
"""Behind a cassette's name: what was recorded so far, or by a recording that didn't come to its end."""
ENDS: Final = frozenset({"result", "error", "left"})
"""How an exchange ends: one of these."""

Exchange = dict[str, Any]
"""`command` and `args`, with `session` and `stream` what it is found by; `said`, `items` and one of ENDS. All as it
stands in the file."""
Match = Callable[[str, Any], Any]


# -- Values ------------------------------------------------------------------------------------------------


def plain_of(value: Any) -> Any:
    """A value as plain JSON: what that can't say stands in a dict of one key that begins with $."""
    if isinstance(value, dict):
        made = {key: plain_of(item) for key, item in value.items()}
        return {"$dict": made} if len(made) == 1 and next(iter(made)).startswith("$") else made
    if isinstance(value, (list, tuple)):
        return [plain_of(item) for item in value]
    if isinstance(value, float) and not isfinite(value):
        return {"$float": str(value)}
    if isinstance(value, bytes):
        readable = value.isascii() and value.decode("ascii").isprintable()
        return {"$bytes": value.decode("ascii")} if readable else {"$base64": b64encode(value).decode()}
    if isinstance(value, memoryview):
        kind, shape = format_of(value), list(value.shape or ())
        return {"$buffer": {"format": kind, "shape": shape, "base64": b64encode(value.tobytes()).decode()}}
    return value


def value_of(plain: Any) -> Any:
    """The value that `plain_of` was given, a new one. Raises ValueError and the like."""
    mark: str
    inner: Any
    if isinstance(plain, list):
        return [value_of(item) for item in plain]
    if not isinstance(plain, dict):
        return plain
    mark, inner = next(iter(plain.items())) if len(plain) == 1 else ("", plain)
    if mark == "$bytes":
        return str(inner).encode("ascii")
    if mark == "$base64":
        return b64decode(inner, validate=True)
    if mark == "$float":
        return float(inner)
    if mark == "$buffer":
        body = memoryview(b64decode(inner["base64"], validate=True))
        return shaped(body, inner["format"], tuple(inner["shape"]))
    return {key: value_of(item) for key, item in (inner if mark == "$dict" else plain).items()}


def text_of(value: Any) -> str:
    """Of plain JSON, on one line."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair is no text of its own
        text = json.dumps(value)
    return text


def sorted_keys(value: Any) -> Any:
    """Plain JSON with the keys of all dicts in order."""
    if isinstance(value, dict):
        return {key: sorted_keys(value[key]) for key in sorted(value)}
    return [sorted_keys(item) for item in value] if isinstance(value, list) else value


def key_of(exchange: Mapping[str, Any], match: Match | None = None) -> str:
    """What a call is found by: equal for calls that count as the same.

    Args:
        match: What of command and args has to be equal, if not both.
    """
    command, args = exchange["command"], exchange["args"]
    what = [command, args] if match is None else match(command, args)
    return json.dumps([exchange.get("session"), exchange.get("stream", False), what], sort_keys=True, default=repr)


def shown(exchange: Mapping[str, Any]) -> str:
    """A call as a person reads it."""
    stream = "stream " if exchange.get("stream") else ""
    session = f" in session {exchange['session']!r}" if "session" in exchange else ""
    return f"{stream}{exchange['command']} {text_of(exchange.get('args'))}{session}"


# -- Reading -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """An exchange, and where it stands."""

    number: int
    exchange: Exchange


@dataclass(frozen=True)
class Cassette:
    """What was read from a file."""

    header: Mapping[str, Any]
    lines: Sequence[Line]


def read(path: str) -> Cassette:
    """A whole cassette.

    Raises:
        ConfigurationError: There is none, or it isn't one; with the line.
    """
    try:
        with open(path, "rb") as file:
            raw = file.read().split(b"\n")
    except OSError as error:
        unfinished = path + UNFINISHED
        hint = 'Record one: with_adapter("recording", cassette=..., mode="record")'
        if os.path.exists(unfinished):
            hint = f"A recording that didn't end left {unfinished}: rename it, or record again"
        raise ConfigurationError(f"the cassette {path} can't be read: {error.strerror}. {hint}") from error
    whole = raw.pop() == b""  # each line has its end
    if not whole:
        raise ConfigurationError(
            f"{path}:{len(raw) + 1}: the last line is cut short, as a recording leaves it that didn't end. Delete that "
            "line, or record again"
        )
    found = [(number, _parsed(path, number, line)) for number, line in enumerate(raw, 1) if line.strip()]
    header = found[0][1] if found else {}
    if header.get("cassette") != VERSION:
        said = f"its first line says {header['cassette']!r}" if "cassette" in header else "its first line says nothing"
        raise ConfigurationError(f"{path} is no cassette of version {VERSION}: {said}. Record it again")
    for number, exchange in found[1:]:
        fault = _fault(exchange)
        if fault:
            raise ConfigurationError(f"{path}:{number}: {fault}")
    return Cassette(header, [Line(number, exchange) for number, exchange in found[1:]])


def _parsed(path: str, number: int, line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path}:{number}: this line is no JSON ({error})") from None
    if not isinstance(value, dict):
        raise ConfigurationError(f"{path}:{number}: this line is no JSON object")
    return value


def _fault(exchange: Exchange) -> str:
    """What is wrong with a line, or nothing."""
    if not isinstance(exchange.get("command"), str) or "args" not in exchange:
        return "an exchange has a command, which is a text, and args"
    if len(ENDS & exchange.keys()) != 1:
        return f"an exchange has one of {', '.join(sorted(ENDS))}"
    lists = [exchange.get("items", []), exchange.get("said", [])]
    if not all(isinstance(each, list) for each in lists) or not all(isinstance(each, dict) for each in lists[1]):
        return "items and said are lists, and what was said are objects"
    asked = [each["ask"] for each in lists[1] if "ask" in each]
    if not all(isinstance(each, list) and len(each) == 2 and isinstance(each[0], str) for each in asked):
        return "what was asked is [name, args]"
    if not isinstance(exchange.get("error", {}), dict):
        return "an error has fields"
    try:
        value_of(exchange)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        return f"a value can't be read ({error})"
    return ""


# -- Writing -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Take:
    """An exchange that has ended."""

    begun: int
    ended: int
    exchange: Exchange


def in_order(takes: Sequence[Take], places: Sequence[float]) -> list[Take]:
    """As they began; of those that ran at the same time the one first whose place is lower. What had ended before
    another one began stays before it.

    Args:
        places: Of each take.
    """
    waiting = sorted(zip(takes, places, strict=True), key=lambda pair: -pair[0].begun)
    ends = sorted((take.ended for take in takes), reverse=True)
    ready: list[tuple[float, int, Take]] = []
    ordered: list[Take] = []
    placed: set[int] = set()
    while waiting or ready:
        while ends and ends[-1] in placed:
            ends.pop()
        while waiting and waiting[-1][0].begun < ends[-1]:
            take, place = waiting.pop()
            heapq.heappush(ready, (place, take.begun, take))
        take = heapq.heappop(ready)[2]
        placed.add(take.ended)
        ordered.append(take)
    return ordered


def places_of(takes: Sequence[Take], before: Sequence[Line], match: Match | None) -> list[float]:
    """Where each stood in the recording before, the n-th of equal calls where the n-th was; a new one comes behind the
    one that began before it."""
    known: dict[tuple[str, int], int] = {}
    counts: Counter[str] = Counter()
    for line in before:
        key = key_of(line.exchange, match)
        known[key, counts[key]] = line.number
        counts[key] += 1
    counts.clear()
    found: dict[int, float] = {}
    last = -inf
    for take in sorted(takes, key=lambda take: take.begun):
        key = key_of(take.exchange, match)
        last = found[take.begun] = known.get((key, counts[key]), last)
        counts[key] += 1
    return [found[take.begun] for take in takes]


class Tape:
    """A recording that goes on: the file beside the cassette.

    Args:
        header: What stands in the first line.

    Raises:
        ConfigurationError: Another recording of the same cassette goes on, or the file can't be written.
    """

    def __init__(self, path: str, header: Mapping[str, Any]) -> None:
        self._path, self._first, self._fd = path, text_of({"cassette": VERSION, **header}), -1
        if os.path.exists(path) and not os.path.isfile(path):  # said now, and not when all was recorded
            raise ConfigurationError(
                f"the cassette {path} can't be written: that is no regular file; name another path"
            )
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            self._fd = _locked(path + UNFINISHED)
            self.add(self._first)
        except BlockingIOError:
            raise ConfigurationError(
                f"another recording of {path} goes on: one bridge at a time, in one process, records a cassette"
            ) from None
        except OSError as error:
            self.forget()
            raise ConfigurationError(f"the cassette {path} can't be written: {error.strerror}") from error

    def add(self, line: str) -> None:
        """One more exchange, as it ends. Raises OSError."""
        data = memoryview(line.encode() + b"\n")
        while data:
            data = data[os.write(self._fd, data) :]

    def finish(self, takes: Sequence[Take], match: Match | None) -> None:
        """Put a whole recording in the cassette's place; without any take that stays as it is.

        Raises:
            ConfigurationError: It can't be written. What was recorded is left beside it.
        """
        try:
            if takes or not os.path.exists(self._path):
                self._replace(takes, match)
            os.unlink(self._path + UNFINISHED)
        except OSError as error:
            raise ConfigurationError(
                f"the cassette {self._path} can't be written: {error.strerror}. What was recorded is in "
                f"{self._path + UNFINISHED}, in the order in which it ended"
            ) from error
        finally:
            self.forget()

    def _replace(self, takes: Sequence[Take], match: Match | None) -> None:
        try:
            before = read(self._path).lines
        except ConfigurationError:  # there is none, or it is of no use
            before = []
        ordered = in_order(takes, places_of(takes, before, match))
        lines = [self._first, *(text_of(take.exchange) for take in ordered)]
        with open(self._path + UNFINISHED + ".whole", "wb") as file:
            file.write("".join(line + "\n" for line in lines).encode())
        os.replace(self._path + UNFINISHED + ".whole", self._path)

    def forget(self) -> None:
        """Close the file as it is, also in a forked child: the lock is the parent's. Idempotent."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _locked(path: str) -> int:
    """A file that nobody else writes, emptied. Raises BlockingIOError when somebody does."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            lock_alone(fd)
            if os.path.exists(path) and os.stat(path).st_ino == os.fstat(fd).st_ino:
                os.truncate(fd, 0)
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # whoever had it has removed it meanwhile
