"""Every kind of value, to a worker of another Python and back, under both codecs, short and long.

The suite runs on each Python from 3.10 on (`.ci/run versions`), so the oldest and the newest meet both ways: a caller
of 3.13 with a worker of 3.8, and one of 3.10 with a worker of 3.13.
"""

from __future__ import annotations

import sys
import warnings
from array import array
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from fractions import Fraction
from importlib import import_module
from math import copysign, inf, isnan, nan
from types import MappingProxyType
from typing import Any, Final

import pytest

import bridge
from bridge import Bridge, RemoteError
from tests.house import interpreters

HANDLER: Final = '''\
from dataclasses import dataclass


@dataclass
class Point:
    x: int
    name: str


class Refused(ValueError):
    def __init__(self, what, code):
        super().__init__(what, code)
        self.code = code


class Shapes:
    def same(self, value):
        return value

    def shown(self, value):
        """What it is there: buffers are copied, since a view shows only that it is one."""
        if isinstance(value, memoryview):
            return [value.format, list(value.shape), value.tolist()]
        return repr(value)

    def moved(self, point, by):
        return Point(point.x + by, point.name)

    def fail(self, what):
        raise Refused(what, 7)
'''
LONG: Final = 100_000
"""Numbers; in bytes above what travels in shared memory."""

PLAIN: Final = MappingProxyType(
    {
        "none": None,
        "true": True,
        "false": False,
        "small": -17,
        "no_c_long": 2**63,
        "big": -(2**4000),
        "float": 0.1,
        "subnormal": 5e-324,
        "largest": sys.float_info.max,
        "infinite": [inf, -inf],
        "empty": ["", b"", [], {}],
        "text": "né \u4e2d\u6587",
        "beyond_the_plane": "\U0001f4a9\U0010ffff",
        "surrogates": "\ud800 \udfff alone",
        "control": '\0\x01\n\u2028"\\/\x7f',
        "bytes": bytes(range(256)),
        "nested": {"a": [{"b": {"": [None, [[[1.5, "x"]]]]}}, []], "\ud800": {"\0": b"deep"}},
        "long_text": "\U0001f4a9n" * LONG,
        "long_list": [*range(LONG)],
        "long_bytes": b"\0\xff" * LONG * 4,
    }
)
"""What comes back as what it was, under either codec."""

CODES: Final = "bBhHiIlLqQfd"
"""Of array.array; "u" holds characters, which no buffer carries."""


def buffers() -> Iterator[tuple[str, Any, Any]]:
    """What arrives as a memoryview, and one that is equal to it."""
    for size in (0, 3, LONG):
        yield f"bytearray {size}", bytearray(b"\xfe" * size), memoryview(b"\xfe" * size)
        for code in CODES:
            numbers = array(code, [each % 100 for each in range(size)])
            yield f"array {code} {size}", numbers, memoryview(numbers)
    for code in CODES:
        most = array(code, [1.5, -0.0, inf] if code in "fd" else [0, (1 << 8 * array(code).itemsize - 1) - 1])
        yield f"limits of {code}", most, memoryview(most)
    grid = memoryview(bytes(range(24))).cast("B", (2, 3, 4))
    yield "three dimensions", grid, grid
    yield "of booleans", memoryview(b"\0\1").cast("?"), memoryview(b"\0\1").cast("?")
    yield "of bytes, each one", memoryview(b"ab").cast("c"), memoryview(b"ab").cast("c")


@pytest.fixture(scope="module", params=[pytest.param(None, id="own"), *interpreters.EACH])
def python(request: pytest.FixtureRequest) -> str:
    """Each in turn, the caller's own first."""
    return sys.executable if request.param is None else interpreters.need(request.param)


@pytest.fixture(scope="module")
def handler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The handler's file, whose module both sides can import: pickle names classes by it."""
    folder = tmp_path_factory.mktemp("shapes")
    (folder / "carried_shapes.py").write_text(HANDLER)
    sys.path.insert(0, str(folder))
    yield str(folder)
    sys.path.remove(str(folder))
    sys.modules.pop("carried_shapes", None)


@pytest.fixture
def json(python: str, handler: str) -> Iterator[Bridge]:
    """A worker there, under the codec that every bridge has."""
    yield from connected(python, handler, "json")


@pytest.fixture
def pickled(python: str, handler: str) -> Iterator[Bridge]:
    """A worker there that is sent pickles."""
    yield from connected(python, handler, "pickle")


def connected(python: str, handler: str, codec: str) -> Iterator[Bridge]:
    """A bridge with one worker in that Python."""
    settings: dict[str, Any] = {
        "adapter": "python_port",
        "size": 1,
        "python": python,
        "path": [handler],
        "codec": codec,
    }
    with closing(bridge.connect("carried_shapes:Shapes", **settings)) as b:
        yield b


def carries(b: Bridge) -> None:
    """Whether it carries all that is plain."""
    for name, value in PLAIN.items():
        found = b.call("same", [value])
        assert found == value, name
        assert type(found) is type(value), name
        assert name.startswith(("big", "long")) or b.call("shown", [value]) == repr(value), name
    assert isnan(b.call("same", [nan]))
    assert copysign(1, b.call("same", [-0.0])) == -1
    assert list(b.call("same", [{"b": 1, "a": 2}])) == ["b", "a"]


def test_plain_values_come_back_as_what_they_were(json: Bridge) -> None:
    """Numbers of any size, any text, bytes, and whatever lists and dicts are made of them. Fails when an end rounds,
    normalises or trims."""
    carries(json)


def test_plain_values_come_back_from_a_pickle_too(pickled: Bridge) -> None:
    """The same ones. Fails when a pickle that is long isn't put together again."""
    carries(pickled)


def test_buffers_come_back_with_their_format_and_shape(json: Bridge) -> None:
    """As views of the same numbers, and the handler has the same ones. Fails when a format is one byte's, or when what
    is long is cut."""
    for name, value, view in buffers():
        found = json.call("same", [value])
        assert isinstance(found, memoryview), name
        assert (found.format, found.shape) == (view.format, view.shape), name
        assert found.tobytes() == view.tobytes(), name
        if view.nbytes < 200 and view.format != "c":
            assert json.call("shown", [value]) == [view.format, list(view.shape or ()), view.tolist()], name


def test_an_array_of_characters_is_refused_here(json: Bridge) -> None:
    """And nothing is sent. Fails when it arrives as something else."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from 3.13 on it is deprecated
        characters = array("u", "ab")
    with pytest.raises(bridge.CallError, match="can't travel") as caught:
        json.call("same", [characters])
    assert caught.value.side == "caller"


def test_a_pickle_carries_more_kinds_of_values(pickled: Bridge) -> None:
    """All that both interpreters know. Fails when either end writes a protocol that the other one doesn't read."""
    values: list[Any] = [
        (1, ("a", ())),
        {1, 2},
        frozenset({"a"}),
        {1: "one", (1, 2): None, None: ()},
        1j,
        range(3),
        Decimal("0.1"),
        Fraction(1, 3),
        bytearray(b"ab"),
        *(array(code, [1, 2]) for code in CODES),
        array("d", [0.5] * LONG),
        ValueError("one", 2).args,
    ]
    for value in values:
        found = pickled.call("same", [value])
        assert found == value
        assert type(found) is type(value)


def test_a_class_of_the_handlers_module_travels_where_both_have_it(pickled: Bridge) -> None:
    """A dataclass there and back, and an exception with what it holds. Fails when either end has a module of another
    name for it."""
    carried_shapes = import_module("carried_shapes")

    assert pickled.call("moved", [carried_shapes.Point(1, "né"), 2]) == carried_shapes.Point(3, "né")
    with pytest.raises(RemoteError, match="Refused") as caught:
        pickled.call("fail", ["no"])
    original: Any = caught.value.original
    assert type(original) is carried_shapes.Refused
    assert (original.args, original.code) == (("no", 7), 7)


def test_an_exception_is_told_in_words_under_json(json: Bridge) -> None:
    """Its type, its message, and where. Fails when an older traceback module says less."""
    with pytest.raises(RemoteError, match="Refused") as caught:
        json.call("fail", ["n\ud800o"])

    assert "in fail" in caught.value.remote_traceback
    assert caught.value.original is None
