"""returns=: results that arrive as what their reader expects, or not at all."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ValidationError

import bridge
from bridge.returns import MOST_KEPT, Returns, apply


class Mood(Enum):
    """A value of one of two."""

    GOOD = "good"
    BAD = "bad"


@dataclass
class Visit:
    """As the standard library has it."""

    when: datetime
    mood: Mood = Mood.GOOD


class Report(BaseModel):
    """As pydantic has it."""

    visits: list[Visit]
    count: int


VISIT = {"when": "2026-01-02T03:04:05Z", "mood": "bad"}
WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


@pytest.fixture(params=["mock", "bridge_mock"])
def b(request: pytest.FixtureRequest, handlers: str) -> Iterator[bridge.Bridge]:
    """A bridge to Echo, on both mocks."""
    handler = f"{handlers}:Echo"
    adapter = bridge.MockAdapter({"echo": lambda value: value}) if request.param == "mock" else "bridge_mock"
    with bridge.connect(handler, adapter=adapter, size=1) as made:
        yield made


def test_a_result_is_converted(b: bridge.Bridge) -> None:
    """Dataclasses, models, enums and times come from their JSON. Fails without `apply` in `Bridge.call`."""
    report = b.call("echo", [{"visits": [VISIT], "count": 1}], returns=Report)

    assert report == Report(visits=[Visit(WHEN, Mood.BAD)], count=1)
    assert b.call("echo", [VISIT], returns=Visit) == Visit(WHEN, Mood.BAD)
    assert b.call("echo", ["good"], returns=Mood) is Mood.GOOD
    assert b.call("echo", [[1, 2]], returns=tuple[int, int]) == (1, 2)
    assert b.call("echo", [None], returns=int | None) is None


def test_a_lease_converts_too(b: bridge.Bridge) -> None:
    """The verbs of a lease have the same types. Fails without `apply` in `Lease.call`."""
    with b.lease() as lease:
        assert lease.call("echo", [VISIT], returns=Visit) == Visit(WHEN, Mood.BAD)
        with pytest.raises(bridge.CallError):
            lease.call("echo", ["x"], returns=int)
        assert lease.call("echo", [1]) == 1


def test_a_mismatch_names_the_field(b: bridge.Bridge) -> None:
    """The path, the reason and the type that came; no error of pydantic's. Fails when _path or `from None` goes."""
    with pytest.raises(bridge.CallError) as caught:
        b.call("echo", [{"visits": [VISIT, {"when": "noon"}], "count": 1}], returns=Report)
    error = caught.value

    assert (error.kind, error.side, error.command, error.retryable) == ("result", "caller", "echo", False)
    assert "result.visits[1].when: Input should be a valid datetime" in error.detail
    assert "(it is of type str)" in error.detail
    assert error.__cause__ is None
    assert not isinstance(error.__context__, ValidationError)


def test_a_mismatch_names_three_places_at_most(b: bridge.Bridge) -> None:
    """A long list of wrong items makes no long error. Fails without MOST_TOLD."""
    with pytest.raises(bridge.CallError, match=r"result\[2\].*; and 97 more$") as caught:
        b.call("echo", [["x"] * 100], returns=list[int])
    assert "result[3]" not in caught.value.detail


class Opaque:
    """Nothing that JSON makes is one."""


class Unfinished(BaseModel):
    """Names a class that doesn't exist."""

    other: Missing  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize("returns", [5, "int", Opaque, list["Missing"], Unfinished, list[Opaque]])  # type: ignore[name-defined]  # noqa: F821
def test_what_is_no_type_is_refused_before_anything_is_sent(returns: Any) -> None:
    """A ConfigurationError at the door, and nothing was started. Fails when the check is made after the call."""
    mock = bridge.MockAdapter({"echo": 1})
    b = bridge.connect("x", adapter=mock, size=1)

    with pytest.raises(bridge.ConfigurationError, match="returns="):
        b.call("echo", returns=returns)
    assert mock.calls == []
    assert b.stats().state == "new"
    b.close()


def test_buffers_are_left_alone() -> None:
    """A memoryview, or an array, is checked by its class and not copied. Fails without _is_buffer."""
    view = memoryview(b"abc")

    class Array:
        __array_interface__ = None

    array = Array()
    returns = Returns()

    assert apply(returns.convert(memoryview), view, "c") is view
    assert apply(returns.convert(Array), array, "c") is array
    with pytest.raises(bridge.CallError, match="instance of memoryview"):
        apply(returns.convert(memoryview), "abc", "c")


def test_a_check_is_made_once_and_few_are_kept() -> None:
    """The same type gives the same check; those of types made on the fly don't pile up. Fails without MOST_KEPT."""
    returns = Returns()

    assert returns.convert(list[int]) is returns.convert(list[int])
    for number in range(MOST_KEPT + 10):
        returns.convert(type(f"Made{number}", (Report,), {"__module__": __name__}))
    assert len(returns._known) <= MOST_KEPT


def test_a_type_that_has_no_hash_is_no_obstacle() -> None:
    """It is made anew each time. Fails without the `except TypeError`."""
    returns = Returns()

    assert apply(returns.convert(Annotated[int, []]), "5", "c") == 5
    assert returns.convert(Any) is None


def test_pydantic_is_imported_when_the_first_type_is_given() -> None:
    """The file costs nothing by itself. Fails when the import moves to its top."""
    code = "import sys, bridge.client; print('pydantic' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_type_checkers_know_what_comes_back(b: bridge.Bridge) -> None:
    """mypy, which checks this file, finds the wrong type in the lines that are to be ignored. Fails, there, without the
    overloads: an ignore that isn't needed is an error."""
    visit = b.call("echo", [VISIT], returns=Visit)
    numbers = b.call("echo", [[1]], returns=list[int])

    assert visit.mood is Mood.BAD
    assert numbers[0].bit_length() == 1
    with pytest.raises(AttributeError):
        visit.moood  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(AttributeError):
        numbers.moood  # type: ignore[attr-defined]  # noqa: B018


def test_tasks_and_sessions_get_the_type_too(b: bridge.Bridge) -> None:
    """On a bridge, a lease and a session; what doesn't fit is an error, and a lease and a session go on. Fails where
    one of them doesn't convert; for mypy without their overloads."""

    async def main() -> None:
        ab = b.aio
        assert (await ab.call("echo", [VISIT], returns=Visit)).mood is Mood.BAD
        assert (await ab.call("echo", [VISIT], returns=Visit, session="a")).mood is Mood.BAD
        async with ab.session("a") as session:
            assert (await session.call("echo", [VISIT], returns=Visit)).mood is Mood.BAD
            with pytest.raises(bridge.CallError, match="result"):
                await session.call("echo", [5], returns=Visit)
            assert (await session.call("echo", [[1]], returns=list[int]))[0].bit_length() == 1
        async with await ab.lease() as lease:
            with pytest.raises(bridge.CallError, match="result"):
                await lease.call("echo", [5], returns=Visit)
            assert (await lease.call("echo", [VISIT], returns=Visit)).mood is Mood.BAD

    asyncio.run(main())
    with b.session("b") as plain:
        assert plain.call("echo", [VISIT], returns=Visit).mood is Mood.BAD
