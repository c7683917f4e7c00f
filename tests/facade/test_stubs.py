"""proxy: stubs that look like the handler, and call it in a worker."""

from __future__ import annotations

import copy
import inspect
import statistics
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Protocol

import pytest

import bridge
from tests.facade.clerks import Clerk, Order

HANDLER = "tests.facade.clerks:Clerk"
AT = datetime(2026, 1, 2, 3, 4, 5)


@pytest.fixture(params=["mock", "bridge_mock"])
def b(request: pytest.FixtureRequest) -> Iterator[bridge.Bridge]:
    """A bridge to Clerk, on both mocks."""
    adapter = bridge.MockAdapter(Clerk) if request.param == "mock" else "bridge_mock"
    with bridge.connect(HANDLER, adapter=adapter, size=1) as made:
        yield made


@pytest.fixture
def clerk(b: bridge.Bridge) -> Clerk:
    """Its stub."""
    return b.proxy(Clerk)


@pytest.fixture
def mock() -> bridge.MockAdapter:
    """An adapter that answers whatever is sent with nothing, and keeps it."""
    return bridge.MockAdapter(lambda command, args: None)


@pytest.fixture
def sent_by(mock: bridge.MockAdapter) -> Iterator[Any]:
    """A stub of Clerk on that adapter; untyped, since what it is given is wrong now and then."""
    with bridge.connect(HANDLER, adapter=mock, size=1) as made:
        yield made.proxy(Clerk)


def test_a_stub_calls_its_command(clerk: Clerk) -> None:
    """By place or by name, with the defaults of the handler; the result is what the method says it returns. Fails when
    the result isn't converted by the annotation."""
    assert clerk.order(5) == Order(5, AT)
    assert clerk.order(number=6, at="2027-01-01T00:00:00").at.year == 2027
    assert clerk.anything() == [1, "a"]  # type: ignore[no-untyped-call]
    clerk.nothing()


def test_methods_of_all_kinds_are_called(clerk: Clerk) -> None:
    """Static, of the class, cached ones, with *args and with **keywords. Fails without the look at what binds self."""
    assert (clerk.static(1), clerk.by_class(2), clerk.cached(3)) == (1, 2, 3)
    assert clerk.all_of(1, 2, 3) == 6
    assert clerk.by_place(1) == [1, 2]
    assert clerk.by_place(1, second=5) == [1, 5]
    assert clerk.given(1, third=3) == [1, "default", {"third": 3}]
    assert clerk.counts([1, 2]) == 2


def test_an_async_method_gives_what_is_awaited(clerk: Any) -> None:
    """The worker awaits it; the caller gets the value. Fails when the annotation of a coroutine is taken for one."""
    assert clerk.later(4) == 4


def test_what_is_sent_is_what_was_given(sent_by: Any, mock: bridge.MockAdapter) -> None:
    """By keyword where that can be, without defaults and without what the worker fills. Fails with apply_defaults."""
    sent_by.given(1)
    sent_by.given(1, other=2)
    with pytest.raises(bridge.CallError, match="result"):
        sent_by.all_of(1, 2)
    sent_by.wants_context()
    sent_by.sessions(1)
    sent_by.sessions(1, session="mine")

    assert [(call.command, call.args) for call in mock.calls] == [
        ("given", {"first": 1}),
        ("given", {"first": 1, "other": 2}),
        ("all_of", [1, 2]),
        ("wants_context", None),
        ("sessions", {"value": 1}),
        ("sessions", {"value": 1, "session": "mine"}),
    ]


@pytest.mark.parametrize(
    ("command", "args", "keywords", "message"),
    [
        ("order", (), {}, r"missing a required argument: 'number'; it takes \(number: "),
        ("order", (1, "x", 2), {}, "too many positional arguments; it takes"),
        ("order", (1,), {"when": 2}, "got an unexpected keyword argument 'when'; it takes"),
        ("mixed", (1,), {"second": 2}, "1 arguments go by position only and second by keyword only"),
    ],
)
def test_wrong_arguments_are_refused_before_they_are_sent(
    sent_by: Any, mock: bridge.MockAdapter, command: str, args: tuple[Any, ...], keywords: dict[str, Any], message: str
) -> None:
    """The worker's own words, with the signature, and no call. Fails when `bind` goes."""
    with pytest.raises(bridge.CallError, match=message) as caught:
        getattr(sent_by, command)(*args, **keywords)
    assert (caught.value.kind, caught.value.side, caught.value.command) == ("arguments", "caller", command)
    assert mock.calls == []


def test_a_handler_that_breaks_its_word_must_mend_it(clerk: Clerk) -> None:
    """A result that isn't what the method says has the side "handler". Fails when it is blamed on the caller."""
    with pytest.raises(bridge.CallError, match="result: Input should be a valid integer") as caught:
        clerk.wrong()
    assert (caught.value.kind, caught.value.side) == ("result", "handler")


def test_what_a_stub_cannot_do_is_said_before_the_call(sent_by: Any, mock: bridge.MockAdapter) -> None:
    """An annotation that nobody can resolve: nothing is sent. Fails when it is looked at later."""
    with pytest.raises(bridge.ConfigurationError, match=r"Clerk\.unknown returns can't be told \(NameError: .*Unknown"):
        sent_by.unknown()
    assert mock.calls == []


def test_a_generator_method_of_a_stub_streams(sent_by: Any, mock: bridge.MockAdapter) -> None:
    """It yields what the worker's does, one after the other. Fails when it is called as another method is."""
    mock.answer("numbers", [1, 2, 3])
    stream = sent_by.numbers()

    assert (next(stream), list(stream)) == (1, [2, 3])


def test_a_name_that_is_no_command_is_an_attribute_error(clerk: Any) -> None:
    """With the closest one, or all; hooks and private names are none. Fails without get_close_matches or HOOKS."""
    with pytest.raises(AttributeError, match="Clerk has no command 'oder'; did you mean 'order'"):
        clerk.oder  # noqa: B018
    with pytest.raises(AttributeError, match="'zzz'; it has all_of, anything, "):
        clerk.zzz  # noqa: B018
    assert not hasattr(clerk, "on_reset")
    assert not hasattr(clerk, "_hidden")


def test_a_stub_can_be_looked_at(clerk: Clerk) -> None:
    """dir, repr, help and inspect show the methods; a copy is whole. Fails without __signature__ or __dir__."""
    shown = repr(clerk)

    assert "order" in dir(clerk)
    assert shown.startswith("<stub of Clerk: all_of, anything, ")
    assert [*inspect.signature(clerk.order).parameters] == ["number", "at"]
    assert clerk.order.__doc__ == "Take an order."
    assert repr(clerk.order).startswith("<stub of Clerk.order(number: ")
    assert copy.copy(clerk).static(3) == 3


class Taker(Protocol):
    """What a caller needs of a handler that it can't import."""

    def order(self, number: int) -> Order:
        """Take an order."""


def test_a_protocol_will_do(b: bridge.Bridge) -> None:
    """The handler's class needn't be at hand, and mypy, which checks this file, knows the types: an ignore that isn't
    needed is an error there. Fails when `proxy` isn't generic."""
    taker = b.proxy(Taker)

    assert taker.order(5).at == AT
    with pytest.raises(AttributeError):
        taker.oder  # type: ignore[attr-defined]  # noqa: B018


def test_a_module_will_do() -> None:
    """Its public functions are the methods. Fails without ModuleType."""
    with bridge.connect("statistics", adapter="bridge_mock", size=1) as made:
        assert made.proxy(statistics).mean([1, 2, 6]) == 3


@pytest.mark.parametrize(
    ("handler", "message"),
    [("pkg:Handler", "not 'pkg:Handler'"), (Clerk(), "proxy takes the handler's class"), (object, "no public methods")],
)
def test_what_is_no_handler_is_refused(handler: Any, message: str) -> None:
    """A text, an object, a class without methods: told at once. Fails without the checks of Stub."""
    made = bridge.connect(HANDLER, adapter="mock")

    with pytest.raises(bridge.ConfigurationError, match=message):
        made.proxy(handler)
    made.close()


def test_each_call_of_a_stub_has_its_timeout() -> None:
    """As given to `proxy`. Fails when it isn't handed on."""
    mock = bridge.MockAdapter({"nothing": None})
    mock.delay("nothing", 60)
    with bridge.connect(HANDLER, adapter=mock, size=1) as made, pytest.raises(bridge.CallTimeout):
        made.proxy(Clerk, timeout=0.01).nothing()
