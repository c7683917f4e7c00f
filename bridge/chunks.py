"""Many calls of one command: which go together, and what becomes of each.

Rules: nothing here waits or calls; `steps` says what to call next and is told how that went, by whatever driver has
threads or tasks for it. What a chunk's worker has not said to be done may have run: it is called again only when that
does no harm. Apart from the two drivers, bulk.py and async_bulk.py.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from bridge.core.messages import error_of
from bridge.errors import BridgeError, CallCancelled, CallError, ProtocolError

AHEAD: Final = 2
"""Chunks per worker that are under way or fetched ahead: one runs, one is ready to follow."""
TARGET: Final = 0.004
"""Seconds that the calls of a chunk take together: a hundred times what sending one costs."""
PATIENCE: Final = 4 * TARGET
"""Seconds after which a worker leaves the rest of a chunk, of which each call took longer than those before it."""
BYTES: Final = 65536
"""Of a frame: what a pipe holds."""
MOST: Final = 4096
"""Items of a chunk: a caller who stops early has had so many made for nothing."""
GROWTH: Final = 8
"""From one chunk to the next, at the most: what was measured may have been luck."""


class Pace:
    """How many items go together, from how long their calls took.

    Args:
        fixed: Always so many; None: as measured.
    """

    def __init__(self, fixed: int | None) -> None:
        self._fixed, self._items = fixed, 1

    @property
    def patience(self) -> float | None:
        """Seconds after which the rest of a chunk is left."""
        return PATIENCE if self._fixed is None else None

    @property
    def items(self) -> int:
        """Of the next chunk."""
        return self._fixed or self._items

    def took(self, items: int, seconds: float, size: int) -> None:
        """So many calls took so long, and had so many bytes of arguments."""
        by_time = items * TARGET / max(seconds, 1e-9)
        by_size = items * BYTES / max(size, 1)
        self._items = max(1, int(min(by_time, by_size, self._items * GROWTH, MOST)))


class Outcomes(NamedTuple):
    """Of some items in a row."""

    values: list[Any]
    errors: Mapping[int, BaseException]
    """By place among the values; what stands there is nobody's."""


class Chunk:
    """Items that go to one worker together.

    Args:
        start: Which of all is its first, from 0.
        claim: Of whoever calls for them.
    """

    __slots__ = ("claim", "done", "ended", "items", "left", "outcomes", "seconds", "start")

    def __init__(self, start: int, items: list[Any], claim: Any) -> None:
        self.start, self.items, self.claim = start, items, claim
        self.outcomes: deque[Outcomes] = deque()  # that its consumer hasn't fetched
        self.done = 0  # items whose outcome is known
        self.seconds = 0.0  # that their calls took
        self.ended = False
        self.left: list[Any] = []  # items that the worker gave back

    def hear(self, values: list[Any], errors: Mapping[int, BaseException]) -> None:
        """The outcomes of the next few."""
        for place, error in errors.items():
            if isinstance(error, BridgeError):
                error.index = self.start + self.done + place
        self.done += len(values)
        self.outcomes.append(Outcomes(values, errors))

    def fail(self, error: BaseException) -> None:
        """Of all that are left: what only a defect of ours raises. Who waits for them must hear of it."""
        while self.done < len(self.items):
            self.hear_one(None, error)

    def hear_one(self, value: Any, error: BaseException | None = None) -> None:
        """The outcome of the next one."""
        self.hear([value], {} if error is None else {0: error})


@dataclass(frozen=True)
class Request:
    """What is to be called next."""

    args: Any
    """Of one call; of a chunk nothing."""
    body: bytes | None = None
    """Of a chunk: its items, encoded."""
    heard: Callable[[Any], None] | None = None
    """Of a chunk: told what the worker reports."""


@dataclass(frozen=True)
class Task:
    """What all items have in common.

    Args:
        column: The parameter that they are values of; None: each is the arguments of its call.
        together: Several may go in one frame.
        idempotent: Running one twice does no harm.
        encode: The body of a chunk; a CallError if it can't be sent.
    """

    command: str
    column: str | None
    idempotent: bool
    encode: Callable[[list[Any]], bytes]

    def args(self, item: Any) -> Any:
        """Of the call for one item."""
        return item if self.column is None else {self.column: item}


Steps = Generator[Request, Any, None]
"""Is sent what a call returned; what it raised is thrown in."""


def steps(task: Task, chunk: Chunk, pace: Pace, clock: Callable[[], float]) -> Steps:
    """The calls that a chunk takes: most often one."""
    if len(chunk.items) > 1:
        yield from _together(task, chunk, chunk.items, pace)
    else:
        began = clock()
        yield from _singly(task, chunk, chunk.items)
        pace.took(1, clock() - began, 1)


def _singly(task: Task, chunk: Chunk, items: list[Any]) -> Steps:
    for item in items:
        try:
            value = yield Request(task.args(item))
        except GeneratorExit:
            raise
        except BaseException as error:  # raised, or handed over, where the results are taken
            chunk.hear_one(None, error)
        else:
            chunk.hear_one(value)


def _together(task: Task, chunk: Chunk, items: list[Any], pace: Pace) -> Steps:
    try:
        body = task.encode(items)
    except CallError:  # of one of them
        yield from _singly(task, chunk, items)
        return
    if len(body) > 4 * BYTES:
        middle = (len(items) + 1) // 2
        for half in (items[:middle], items[middle:]):
            if not chunk.left:
                yield from _together(task, chunk, half, pace) if len(half) > 1 else _singly(task, chunk, half)
            else:
                chunk.left += half
        return
    begun, before = chunk.done, chunk.seconds
    try:
        done = yield Request(None, body, lambda said: _hear(task, chunk, said, begun + len(items)))
        if done != chunk.done - begun or not 0 < done <= len(items):
            raise ProtocolError(f"{done!r:.60} calls of a chunk in which it answered {chunk.done - begun}")
    except GeneratorExit:
        raise
    except BaseException as error:
        yield from _after(task, chunk, items[chunk.done - begun :], error)
        return
    pace.took(done, chunk.seconds - before, len(body) * done // len(items))
    chunk.left += items[done:]


def _after(task: Task, chunk: Chunk, rest: list[Any], error: BaseException) -> Steps:
    """A chunk ended before its end: what becomes of the items that aren't known to be done."""
    unreadable = isinstance(error, CallError) and error.kind == "arguments"
    again = task.idempotent and not isinstance(error, CallCancelled) and not getattr(error, "retryable", False)
    if unreadable or (again and isinstance(error, BridgeError) and not isinstance(error, CallError)):
        yield from _singly(task, chunk, rest)
        return
    first = chunk.start + chunk.done
    for index in range(first, first + len(rest)):
        chunk.hear_one(None, _named(error, index, first, first + len(rest) - 1))


def _named(error: BaseException, index: int, first: int, last: int) -> BaseException:
    """The same error, of one of the items that it may belong to."""
    if not isinstance(error, BridgeError) or first == last:
        return error
    known = "none was begun" if error.retryable else "it isn't known which of them have run"
    found = copy.copy(error).with_traceback(error.__traceback__)
    found.args = (
        f"item {index}, sent together with the items {first} to {last}, of which {known} (chunksize=1 sends each "
        f"alone, idempotent=True lets them be called again): {error}",
    )
    return found


def _hear(task: Task, chunk: Chunk, said: Any, most: int) -> None:
    """What a worker reports: seconds, values, and faults by their places among the values. It is untrusted."""
    seconds, values, faults = said if isinstance(said, list) and len(said) == 3 else (None, None, None)
    if isinstance(values, memoryview) and values.ndim == 1 and values.format in ("q", "d"):
        values = values.tolist()
    if not (isinstance(seconds, float) and isinstance(values, list) and isinstance(faults, dict)):
        raise ProtocolError("a report of a chunk that has no values")
    if chunk.done + len(values) > most:
        raise ProtocolError("more results than the chunk has items")
    errors: dict[int, BaseException] = {}
    for place, fields in faults.items():
        if not (place.isdecimal() and int(place) < len(values)):
            raise ProtocolError(f"a fault at the place {place!r:.60} of {len(values)} results")
        errors[int(place)] = error_of(fields, task.command, None)
    chunk.seconds += seconds
    chunk.hear(values, errors)


class Window:
    """The chunks of a map that are under way, in the order of their items.

    Args:
        width: So many at a time.
        claim: Makes one.
    """

    def __init__(self, width: int, pace: Pace, claim: Callable[[], Any]) -> None:
        self.under_way: deque[Chunk] = deque()
        self._width, self._pace, self._claim = width, pace, claim
        self._taken = 0

    @property
    def wants(self) -> int:
        """Items for another chunk; 0: not now."""
        return self._pace.items if len(self.under_way) < self._width else 0

    def add(self, items: list[Any]) -> Chunk:
        """One more, behind the others."""
        chunk = Chunk(self._taken, items, self._claim())
        self._taken += len(items)
        self.under_way.append(chunk)
        return chunk

    def take(self, chunk: Chunk) -> list[Chunk]:
        """A chunk has ended and its outcomes are fetched; those that what it left has become, to be called for."""
        place = self.under_way.index(chunk)
        del self.under_way[place]
        fresh, at = [], chunk.start + chunk.done
        while chunk.left:
            items, chunk.left = chunk.left[: self._pace.items], chunk.left[self._pace.items :]
            fresh.append(Chunk(at, items, self._claim()))
            at += len(items)
        for offset, each in enumerate(fresh):
            self.under_way.insert(place + offset, each)
        return fresh


def chunk_size(value: Any, command: str, *, together: bool) -> int | None:
    """What `chunksize` means: a fixed number of items, or None. Raises CallError.

    Args:
        together: The adapter can have several items in a frame; where it can't, each goes alone.
    """
    if value == "auto":
        return None if together else 1
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        detail = f'chunksize is a number of items or "auto", not {value!r:.60}'
        raise CallError("arguments", detail, command=command, side="caller")
    return value if together else 1
