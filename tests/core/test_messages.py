"""The bodies of the frames that a caller sends: what may travel, and what is said of the rest."""

from __future__ import annotations

import ctypes
import json
from collections import UserDict, namedtuple
from datetime import date, datetime, timezone
from enum import Enum, IntEnum
from math import inf, isnan, nan
from resource import RLIMIT_CORE
from types import MappingProxyType
from typing import Any

import pytest

from bridge.core.messages import decode_failed, encode_call, encode_hook, encode_start
from bridge.errors import CallError
from bridge.wire import SHORT_TEXT

LIMIT = 10_000


class Colour(str, Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 7


class Array:
    """Looks like a numpy array, to the eye that seeks a cure."""

    def tolist(self) -> list[int]:
        return [1]


Point = namedtuple("Point", "x y")  # noqa: PYI024


def sent(args: Any) -> Any:
    """The arguments as the worker gets them."""
    command, received = json.loads(encode_call("run", args, LIMIT))
    assert command == "run"
    return received


def refusal(args: Any, limit: int = LIMIT) -> str:
    """Why these arguments can't be sent."""
    with pytest.raises(CallError) as caught:
        encode_call("run", args, limit)
    error = caught.value
    assert (error.kind, error.side, error.command, error.retryable) == ("arguments", "caller", "run", False)
    assert error.__suppress_context__  # the encoder's own troubles are nobody's business
    return error.detail


def test_a_mapping_goes_by_keyword_a_sequence_by_position_and_none_is_no_argument() -> None:
    """The shapes of JSON-RPC; any Mapping will do. Fails when a Mapping isn't copied into a dict."""
    assert sent({"a": 1}) == {"a": 1}
    assert sent(UserDict(a=1)) == {"a": 1}
    assert sent(MappingProxyType({"a": 1})) == {"a": 1}
    assert sent([1, "b"]) == [1, "b"]
    assert sent((1, "b")) == [1, "b"]
    assert sent(Point(1, 2)) == [1, 2]
    assert sent(None) is None


@pytest.mark.parametrize("args", ["text", 7, 1.5, True, {1, 2}, b"bytes", iter([1]), object()])
def test_other_shapes_of_arguments_are_refused(args: Any) -> None:
    """One string is not a list of characters, nor is a set in any order. Fails when the shape isn't looked at."""
    assert refusal(args) == f"args must be a mapping, a list, a tuple or None, not {type(args).__name__}"


def test_tuples_and_subclasses_arrive_as_what_json_has() -> None:
    """Tuples arrive as lists; str, int and float subclasses as what they are."""
    assert sent({"t": (1, (2, 3)), Colour.RED: Colour.RED, "level": Level.HIGH, "p": Point(1, 2)}) == {
        "t": [1, [2, 3]],
        "red": "red",
        "level": 7,
        "p": [1, 2],
    }


def test_not_a_number_and_infinities_pass() -> None:
    """They are floats like any other, although JSON's letter has no word for them."""
    received = sent([nan, inf, -inf])

    assert isnan(received[0])
    assert received[1:] == [inf, -inf]


def test_odd_text_and_long_numbers_pass() -> None:
    """Lone surrogates, NUL, emoji, and integers of 4,000 digits survive."""
    values = ["\ud800", "\0", "\N{PILE OF POO}", "é" * 50, 10**4000, -(2**63) - 1]

    assert sent(values) == values


WHEN = datetime(2020, 1, 1, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("args", "path", "cure"),
    [
        ({"items": [0, 1, 2, {"when": WHEN}]}, "args.items[3].when is of type datetime.datetime", ".isoformat()"),
        ([date(2020, 1, 1)], "args[0] is of type datetime.date", ".isoformat()"),
        ({"a b": {"c": {1, 2}}}, "args['a b'].c is of type set", "sorted(...) or list(...)"),
        (((0, frozenset()),), "args[0][1] is of type frozenset", "list(...)"),
        ([b"x", {1}], "args[1] is of type set", "sorted(...)"),
        ([memoryview(b"abcd")[::2]], "args[0] is a buffer that isn't C-contiguous", "bytes(...)"),
        ([(ctypes.c_wchar * 2)("a", "b")], "args[0] is a buffer of the format", ".view('u1')"),
        ([b"x", {"a": {1: b"x"}}], "args[1].a has the key 1 of type int", "str(key)"),
        ([iter([])], "args[0] is of type list_iterator", "list(...)"),
        ([Array()], "Array", ".tolist()"),
        ([1j], "args[0] is of type complex", "send its fields as a dict"),
        ({"x": {"y": {1: 2}}}, "args.x.y has the key 1 of type int", "str(key), or send a list of pairs"),
        ({None: 0}, "args has the key None of type NoneType", "str(key)"),
        ([{"a": 1}, {("a", "b"): 1}], "args[1] has the key ('a', 'b') of type tuple", "list of pairs"),
        ([[[{"ok": 1, True: 0}]]], "args[0][0][0] has the key True of type bool", "str(key)"),
        (Point({2.5: 1}, 0), "args[0] has the key 2.5 of type float", "str(key)"),
    ],
)
def test_what_cannot_travel_is_refused_with_its_place_and_a_cure(args: Any, path: str, cure: str) -> None:
    """The path leads to the value. Fails when the key walk goes: the encoder would turn 1 into "1" silently."""
    reason = refusal(args)

    assert path in reason
    assert cure in reason


@pytest.mark.parametrize("key", [0, -7, 10**30, 0.5, -0.5, 1e300, nan, inf, -inf, True, False, None])
def test_no_key_becomes_text_by_itself(key: Any) -> None:
    """First or not, in a short call and in a long one. Fails when a form of ODD_KEY is missing, or the walk."""
    for args in ({key: 0}, {"a": [{"b": 1, key: {}}]}, ["x" * SHORT_TEXT, {key: 0}]):
        assert "str(key)" in refusal(args)


def test_text_that_looks_like_such_a_key_passes() -> None:
    """As a key and as a value. Fails when what may be odd is refused unlooked at."""
    args = {"1": "2", "-7": {"true": "false"}, "null": ["None", "NaN", "-Infinity", ',"1":']}

    assert sent(args) == args


def test_a_coroutine_is_refused_with_its_cure() -> None:
    """Whoever forgot an `await` is told so."""

    async def answer() -> int:
        return 1

    coroutine = answer()
    assert "await it" in refusal([coroutine])
    coroutine.close()


def test_a_circle_and_a_bottomless_value_are_refused() -> None:
    """Neither hangs nor ends as RecursionError, also when what can't travel lies at the bottom."""
    circle: list[Any] = []
    circle.append(circle)
    loop: dict[str, Any] = {}
    loop["loop"] = [loop]
    deep: Any = object()
    for _ in range(100_000):
        deep = [deep]

    assert "contains itself, or is nested too deeply" in refusal(circle)
    assert "contains itself, or is nested too deeply" in refusal(loop)
    assert "contains itself, or is nested too deeply" in refusal(deep)


def test_an_integer_beyond_the_interpreters_limit_is_refused() -> None:
    """Python refuses to write more than 4,300 digits; so do we, as a CallError."""
    assert "args" in refusal([10**5000])


@pytest.mark.parametrize(
    "args", [["7" * 500], {"a": "7" * 500}, {"a": "7" * SHORT_TEXT}], ids=["list", "short", "long"]
)
def test_arguments_over_the_limit_are_refused(args: Any) -> None:
    """The limit is inclusive, and both figures are named. Fails when the length isn't compared, short or not."""
    size = len(encode_call("run", args, LIMIT))

    assert encode_call("run", args, size)
    assert f"have {size} bytes, over max_frame_bytes={size - 1}" in refusal(args, limit=size - 1)


@pytest.mark.parametrize("command", [None, 5, ["a"], {"a": 1}, b"run", object()])
def test_a_command_that_is_no_text_is_refused(command: Any) -> None:
    """It would reach the worker, where a list as a name ends the process. Fails when the type isn't looked at."""
    with pytest.raises(CallError, match=f"a command is a str, not {type(command).__name__}") as caught:
        encode_call(command, None, LIMIT)

    assert caught.value.side == "caller"


def test_a_str_subclass_is_a_command() -> None:
    """The members of a str enum name commands; what is wrong is then said of the arguments."""
    assert json.loads(encode_call(Colour.RED, None, LIMIT)) == ["red", None]
    with pytest.raises(CallError, match=r"args\[0\] is of type set"):
        encode_call(Colour.RED, [set()], LIMIT)


def test_a_hook_is_a_call_without_arguments() -> None:
    """So the worker reads both alike."""
    assert json.loads(encode_hook("on_reset")) == ["on_reset", None]


def test_start_carries_what_the_worker_needs() -> None:
    """All of it, as JSON that any worker reads."""
    body = encode_start(
        handler="m:H",
        options=MappingProxyType({"a": 1}),
        path=("/x",),
        replace_path=True,
        max_frame_bytes=9,
        umask=0o27,
        limits={"niceness": 3, "core": False},
    )

    assert json.loads(body) == {
        "handler": "m:H",
        "options": {"a": 1},
        "path": ["/x"],
        "replace_path": True,
        "max_frame_bytes": 9,
        "umask": 0o27,
        "niceness": 3,
        "rlimits": [[RLIMIT_CORE, 0, 0]],
        "pickle": None,
        "busy_poll_us": 0.0,
    }


def test_start_sets_nothing_that_nobody_asked_for() -> None:
    """A worker is then as its caller. Fails when a default becomes a limit."""
    start = json.loads(encode_start(handler="", options={}, path=(), replace_path=True, max_frame_bytes=9))

    assert (start["umask"], start["niceness"], start["rlimits"]) == (None, 0, [])


@pytest.mark.parametrize(
    ("kind", "message", "hinted"),
    [
        ("MemoryError", "", True),
        ("numpy.core._exceptions._ArrayMemoryError", "Unable to allocate 1 GiB", True),
        ("ImportError", "libblas.so: failed to map segment from shared object", True),
        ("OSError", "[Errno 12] Cannot allocate memory", True),
        ("SystemError", "<built-in function compile> returned NULL without setting an exception", True),
        ("ModuleNotFoundError", "No module named 'x'", False),
    ],
)
def test_a_start_without_memory_is_told_its_limit(kind: str, message: str, hinted: bool) -> None:
    """Under a limit it has many names. Fails when only MemoryError itself is known."""
    body = json.dumps({"type": kind, "message": message, "traceback": "T"}).encode()

    assert decode_failed(body, "m:H", 7, {"memory": " (HINT)"}).detail.endswith(" (HINT)") is hinted
