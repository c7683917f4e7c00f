"""Which items go together, and what becomes of each: without threads, workers or time."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

import bridge
from bridge import BridgeError, CallCancelled, CallError, CallTimeout, ProtocolError, WorkerCrashed
from bridge import RemoteError as Raised
from bridge.chunks import BYTES, GROWTH, MOST, PATIENCE, TARGET, Chunk, Pace, Request, Task, Window, chunk_size, steps

CRASH = WorkerCrashed(pid=1, exit_code=3, signal=None, command="c")


def encode(items: list[Any]) -> bytes:
    """As a task's; an object can't travel."""
    try:
        return json.dumps(items).encode()
    except TypeError as error:
        raise CallError("arguments", str(error), command="c", side="caller") from None


def task(*, column: str | None = "x", idempotent: bool = False) -> Task:
    """One whose command is `c`."""
    return Task("c", column, idempotent, encode)


def drive(
    chunk: Chunk, answer: Callable[[Request], Any], pace: Pace | None = None, **of_task: Any
) -> tuple[list[Any], dict[int, BaseException], list[Request]]:
    """Values, errors by place, and what was called for."""
    made: list[Request] = []
    calls = steps(task(**of_task), chunk, pace or Pace(None), lambda: 0.0)
    try:
        request = next(calls)
        while True:
            made.append(request)
            try:
                value = answer(request)
            except BridgeError as error:
                request = calls.throw(error)
            else:
                request = calls.send(value)
    except StopIteration:
        pass  # all its calls were made
    values: list[Any] = []
    errors: dict[int, BaseException] = {}
    for some in chunk.outcomes:
        errors.update({len(values) + place: error for place, error in some.errors.items()})
        values += some.values
    assert chunk.done == len(values)
    return values, errors, made


def whole(request: Request) -> int:
    """All went well, each alone and all together."""
    if request.heard is None:
        return int(request.args["x"])
    items = json.loads(request.body or b"")
    request.heard([0.001, items, {}])
    return len(items)


def test_one_item_is_one_call() -> None:
    """Not a chunk: it can be retried, measured and blamed exactly."""
    values, errors, made = drive(Chunk(5, [7], None), whole)

    assert (values, errors) == ([7], {})
    assert [(request.args, request.body) for request in made] == [({"x": 7}, None)]


def test_several_items_are_one_call() -> None:
    """And their results one report, or several."""

    def in_two(request: Request) -> int:
        assert request.heard is not None
        request.heard([0.001, [1, 2], {}])
        request.heard([0.001, [3], {}])
        return 3

    values, errors, made = drive(Chunk(0, [1, 2, 3], None), in_two)
    assert (values, errors, len(made)) == ([1, 2, 3], {}, 1)


def test_an_error_is_its_items() -> None:
    """With the item's index of all. Fails without `hear` counting from the chunk's start."""

    def answer(request: Request) -> int:
        assert request.heard is not None
        request.heard(
            [0.0, [1, None], {"1": {"kind": "raised", "type": "ValueError", "message": "m", "traceback": ""}}]
        )
        request.heard([0.0, [None], {"0": {"kind": "result", "message": "too long"}}])
        return 3

    _, errors, _ = drive(Chunk(10, [1, 2, 3], None), answer)
    kinds: list[Any] = [Raised, CallError]
    assert [type(error) for error in errors.values()] == kinds
    assert [getattr(error, "index", None) for error in errors.values()] == [11, 12]


@pytest.mark.parametrize("error", [CRASH, CallTimeout("c", 1.0, pid=1), ProtocolError("odd")])
def test_what_a_chunk_is_not_known_to_have_done_fails_by_name(error: BridgeError) -> None:
    """None of it is called again, none is lost. Fails when `_after` calls again, or forgets the rest."""

    def answer(request: Request) -> int:
        assert request.heard is not None
        request.heard([0.0, [1], {}])
        raise error

    values, errors, made = drive(Chunk(10, [1, 2, 3], None), answer)
    assert values == [1, None, None]
    assert len(made) == 1
    assert {place: (type(each), each.index) for place, each in errors.items()} == {  # type: ignore[attr-defined]
        1: (type(error), 11),
        2: (type(error), 12),
    }
    assert "item 12, sent together with the items 11 to 12" in str(errors[2])
    assert "isn't known which of them have run" in str(errors[2])


@pytest.mark.parametrize("error", [CRASH, CallTimeout("c", 1.0, pid=1), ProtocolError("odd")])
def test_what_may_run_twice_is_called_again_each_alone(error: BridgeError) -> None:
    """So that whoever is to blame is known. Fails when the rest is sent together again."""

    def answer(request: Request) -> int:
        if request.heard is None and request.args == {"x": 3}:
            raise error
        if request.heard is None:
            return int(request.args["x"])
        request.heard([0.0, [1], {}])
        raise error

    values, errors, made = drive(Chunk(0, [1, 2, 3, 4], None), answer, idempotent=True)
    assert values == [1, 2, None, 4]
    assert errors == {2: error}
    assert [request.args for request in made[1:]] == [{"x": 2}, {"x": 3}, {"x": 4}]


@pytest.mark.parametrize("error", [bridge.PoolClosed("p"), CallCancelled("c", pid=3)])
def test_what_says_all_about_each_item_is_not_called_again(error: BridgeError) -> None:
    """No worker came, or the map was closed. Fails when everything is called again that may be."""

    def answer(request: Request) -> int:
        raise error

    _, errors, made = drive(Chunk(0, [1, 2], None), answer, idempotent=True)
    assert [type(each) for each in errors.values()] == [type(error)] * 2
    assert len(made) == 1


def test_an_item_that_cannot_travel_fails_alone() -> None:
    """The others are called, each by itself. Fails when a chunk's error is everybody's."""
    odd = object()

    def answer(request: Request) -> Any:
        if request.args["x"] is odd:
            encode([odd])
        return request.args["x"]

    values, errors, _ = drive(Chunk(0, [1, odd, 3], None), answer)
    assert values == [1, None, 3]
    assert type(errors[1]) is CallError


def test_items_that_a_worker_cannot_read_together_are_called_alone() -> None:
    """As a call that is nested too deeply for another Python: only its own fails."""

    def answer(request: Request) -> Any:
        if request.heard is not None:
            raise CallError("arguments", "the worker can't read them", command="c", side="caller")
        return request.args["x"]

    assert drive(Chunk(0, [1, 2], None), answer)[0] == [1, 2]


def test_large_items_are_sent_in_several_frames() -> None:
    """What a chunk would have been too long for. Fails when the size isn't looked at."""
    items = ["y" * BYTES] * 10
    sizes = []

    def answer(request: Request) -> Any:
        if request.heard is None:
            return request.args["x"]
        sizes.append(len(request.body or b""))
        return whole(request)

    assert drive(Chunk(0, items, None), answer)[0] == items
    assert max(sizes) <= 4 * BYTES


def test_what_a_worker_left_is_given_back_in_its_place() -> None:
    """In smaller chunks, before those behind it. Fails when it is put at the end."""
    pace = Pace(None)
    window = Window(2, pace, lambda: None)
    slow, behind = window.add(list(range(100))), window.add([100])

    def answer(request: Request) -> int:
        assert request.heard is not None
        request.heard([10.0, [0, 1], {}])
        return 2

    assert drive(slow, answer, pace)[0] == [0, 1]
    assert pace.items == 1
    fresh = window.take(slow)
    assert [chunk.items for chunk in fresh] == [[n] for n in range(2, 100)]
    assert [chunk.start for chunk in fresh] == list(range(2, 100))
    assert list(window.under_way) == [*fresh, behind]


LIES: dict[str, Callable[[Request], Any]] = {
    "a report of another form": lambda r: r.heard and r.heard({"values": []}),
    "no list of values": lambda r: r.heard and r.heard([0.0, 5, {}]),
    "a fault where no value is": lambda r: r.heard and r.heard([0.0, [1], {"1": {}}]),
    "a fault with a strange place": lambda r: r.heard and r.heard([0.0, [1], {"x": {}}]),
    "more results than items": lambda r: r.heard and r.heard([0.0, [1, 2, 3, 4], {}]),
    "more done than answered": lambda r: 2,
    "an end that is no number": lambda r: "all",
    "nothing done": lambda r: 0,
}


@pytest.mark.parametrize("lie", LIES)
def test_a_worker_that_reports_nonsense_is_not_believed(lie: str) -> None:
    """Every item has an outcome all the same. Fails when a field isn't looked at."""
    values, errors, _ = drive(Chunk(0, [1, 2, 3], None), LIES[lie])

    assert len(values) == 3
    assert {type(error) for error in errors.values()} == {ProtocolError}


def test_a_chunk_takes_some_milliseconds() -> None:
    """By what calls took, not growing too fast, never too much. Fails when one of the bounds is left out."""
    pace = Pace(None)
    sizes = []
    for _ in range(8):
        sizes.append(pace.items)
        pace.took(pace.items, pace.items * 1e-4, pace.items)
    assert sizes[:3] == [1, GROWTH, round(TARGET / 1e-4)]
    assert set(sizes[3:]) == {round(TARGET / 1e-4)}

    for _ in range(8):
        pace.took(pace.items, 0.0, pace.items)
    assert pace.items == MOST
    pace.took(10, 1e-6, 10 * BYTES // 5)
    assert pace.items == 5
    pace.took(5, 60.0, 5)
    assert pace.items == 1
    assert pace.patience == PATIENCE


def test_a_chunk_of_a_fixed_size_stays_so() -> None:
    """And isn't left by its worker."""
    pace = Pace(7)
    pace.took(7, 60.0, 7)

    assert (pace.items, pace.patience) == (7, None)


@pytest.mark.parametrize("odd", [0, -1, True, 2.0, "many", None])
def test_a_chunksize_is_a_number_or_auto(odd: Any) -> None:
    """What else it is, is said. Fails when True counts as 1."""
    with pytest.raises(CallError, match='chunksize is a number of items or "auto"'):
        chunk_size(odd, "c", together=True)


def test_where_a_frame_has_one_call_a_chunk_has_one_item() -> None:
    """On a mock, say."""
    assert [chunk_size(size, "c", together=False) for size in (9, "auto")] == [1, 1]
    assert [chunk_size(size, "c", together=True) for size in (9, "auto")] == [9, None]
