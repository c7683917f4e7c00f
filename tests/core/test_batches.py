"""The calls of one chunk, in the worker: their outcomes, and how they are sent."""

from __future__ import annotations

from typing import Any

import pytest

from bridge import batches
from bridge.batches import Batches
from bridge.handler import Cancelled
from bridge.wire import HEADER, ITEM, decode_json


class Pipes:
    """What Batches needs of a worker's pipes; the frames stay here."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.left = False
        self.armed = True
        self.spare = b"x"

    def disarm(self) -> bool:
        was, self.armed = self.armed, False
        return was

    def rearm(self, was: bool) -> None:
        self.armed = was

    def write(self, frame: bytes) -> None:
        assert not self.armed, "a cancel could cut this frame"
        self.frames.append(frame)


class Dialogue:
    """And of the call that brought the chunk."""

    call_id = 7

    def __init__(self) -> None:
        self.renewed = 0

    def renew(self, now: float) -> None:
        self.renewed += 1


def serve(function: Any, items: Any, column: str | None = "x", seconds: float | None = None, limit: int = 2**20) -> Any:
    """Values, faults by index, and the sizes of the frames' bodies."""
    pipes = Pipes()
    done = Batches(Dialogue(), pipes, column, seconds, limit).serve(function, items)
    values: list[Any] = []
    faults: dict[int, Any] = {}
    sizes = []
    for frame in pipes.frames:
        kind, _codec, _flags, length, call_id = HEADER.unpack_from(frame)
        assert (kind, call_id, length) == (ITEM, 7, len(frame) - 16)
        took, some, errors = decode_json(frame[16:])
        some = some.tolist() if isinstance(some, memoryview) else some
        assert isinstance(took, float)
        faults.update({len(values) + int(place): fault for place, fault in errors.items()})
        values += some
        sizes.append(length)
    assert done == len(values)
    return values, faults, sizes


class Handler:
    """Its parameter stands first, second, and behind a decorator."""

    def __init__(self) -> None:
        self.kept: list[int] = []

    def first(self, x: Any) -> Any:
        return x

    def second(self, y: int = 0, x: int = 0) -> int:
        return x - y

    def keep(self, x: int) -> list[int]:
        """The same list each time."""
        self.kept.append(x)
        return self.kept

    def fails(self, x: int) -> int:
        if x % 2:
            raise ValueError(x)
        return x


@pytest.mark.parametrize("name", ["first", "second"])
def test_an_item_is_the_value_of_the_parameter_that_was_named(name: str) -> None:
    """Wherever that stands. Fails when an item is always passed by position."""
    assert serve(getattr(Handler(), name), [1, 2, 3])[:2] == ([1, 2, 3], {})


def test_an_item_is_the_arguments_of_its_call() -> None:
    """By keyword or by position, as for a call."""
    assert serve(Handler().second, [{"x": 5}, [1, 3], None], column=None)[0] == [5, 2, 0]


def test_what_a_call_returned_is_what_is_sent_though_it_changes_later() -> None:
    """Fails when what can change is encoded with those that come after it."""
    assert serve(Handler().keep, [1, 2, 3])[0] == [[1], [1, 2], [1, 2, 3]]


def test_each_item_has_its_own_error() -> None:
    """And the others their results, in their order. Fails when a run isn't encoded before the fault behind it."""
    values, faults, _ = serve(Handler().fails, range(6))

    assert values == [0, None, 2, None, 4, None]
    assert {place: (fault["type"], fault["message"]) for place, fault in faults.items()} == {
        1: ("ValueError", "1"),
        3: ("ValueError", "3"),
        5: ("ValueError", "5"),
    }


def test_a_result_that_cannot_travel_is_a_fault_of_its_item_alone() -> None:
    """An integer of too many digits, an object, what is too long."""
    odd = [1, 10**5000, 2, object(), 3, "x" * 5000, 4]
    values, faults, _ = serve(Handler().first, odd, limit=4096)

    assert values == [1, None, 2, None, 3, None, 4]
    assert {place: fault["kind"] for place, fault in faults.items()} == {1: "result", 3: "result", 5: "result"}


def test_no_frame_is_longer_than_the_limit() -> None:
    """However the results add up, faults too. Fails without the look before one is added."""
    texts = ["x" * n for n in range(0, 3000, 100)]
    values, _, sizes = serve(Handler().first, texts + list(range(2000)), limit=4096)
    assert values == texts + list(range(2000))
    assert max(sizes) <= 4096

    values, _, sizes = serve(Handler().first, list(range(2000)), limit=1024)
    assert values == list(range(2000))
    assert max(sizes) <= 1024

    _, faults, sizes = serve(Handler().fails, [1] * 200, limit=4096)
    assert len(faults) == 200
    assert max(sizes) <= 4096


def test_much_is_sent_when_there_is_enough() -> None:
    """Fails when only time has results sent."""
    values, _, sizes = serve(Handler().first, [["x" * 1000]] * 100, limit=2**24)

    assert len(values) == 100
    assert max(sizes) < 2 * batches.ENOUGH


class Ticks:
    """A clock that goes on by so many seconds at each look."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 100.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def test_slow_results_are_sent_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the next call begins. Fails when results wait for the end of their chunk."""
    monkeypatch.setattr(batches, "monotonic", Ticks(1.0))

    assert len(serve(Handler().first, range(5))[2]) == 5


def test_a_chunk_that_takes_too_long_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its caller learns how far it came. Fails when the calls' time isn't looked at."""
    monkeypatch.setattr(batches, "monotonic", Ticks(1.0))

    values, _, _ = serve(Handler().first, range(50), seconds=5.0)
    assert 1 <= len(values) < 10


def test_a_cancel_that_the_handler_swallowed_ends_the_chunk() -> None:
    """Fails when `left` isn't looked at where results are sent."""
    pipes = Pipes()
    pipes.left = True

    with pytest.raises(Cancelled):
        Batches(Dialogue(), pipes, "x", None, 2**20).serve(Handler().first, range(9))


def test_a_cancel_ends_the_chunk_not_the_item() -> None:
    """Fails when it is taken for an error of the handler's."""

    def cancelled(x: int) -> int:
        raise Cancelled

    with pytest.raises(Cancelled):
        serve(cancelled, [1, 2])
