"""What a mock answers, to whom it refuses to, and what it remembers."""

from __future__ import annotations

import abc
import asyncio
import json
import logging
import threading
from contextvars import ContextVar, copy_context
from typing import Any

import pytest

import bridge
from bridge import CallError, ConfigurationError, MockAdapter, RemoteError, UnexpectedCall, WorkerStartError
from bridge.adapters.mock import MockCall
from bridge.testing import in_turn
from tests.contract import fakes
from tests.contract.conftest import OpenBridge

FAKE = "tests.contract.fakes:Fake"


def test_a_table_answers_with_values_functions_and_errors(open_bridge: OpenBridge) -> None:
    """A value as it is, a list too; a function by keyword or by position; an exception is raised."""
    table = {
        "value": {"label": "x"},
        "list": [1, 2],
        "function": lambda text, top=1: [text, top],
        "error": KeyError("gone"),
        "kind": LookupError,
    }
    b = open_bridge(MockAdapter(table))

    assert b.call("value", {"any": "thing"}) == {"label": "x"}
    assert [b.call("list"), b.call("list")] == [[1, 2]] * 2
    assert b.call("function", {"text": "a", "top": 2}) == ["a", 2]
    assert b.call("function", ["a"]) == ["a", 1]
    for command, kind in (("error", "KeyError"), ("kind", "LookupError")):
        with pytest.raises(RemoteError) as caught:
            b.call(command)
        assert caught.value.type == kind
        assert caught.value.remote_traceback.startswith(kind)


@pytest.mark.parametrize("answer", ["x" * 2000, "\N{GRINNING FACE}" * 90, 10**5000], ids=["long", "wide", "digits"])
def test_an_answer_that_could_not_travel_is_refused(open_bridge: OpenBridge, answer: object) -> None:
    """As a worker's would be: over the limit, or a number of too many digits. Fails when a text or an integer comes
    back as it is, whatever its length."""
    b = open_bridge(MockAdapter({"get": answer}), max_frame_bytes=1024)

    with pytest.raises(CallError) as refused:
        b.call("get")
    assert refused.value.side == "handler"


def test_in_turn_answers_differently_each_time(open_bridge: OpenBridge) -> None:
    """One for each call, across workers; used up, the call is unexpected, not a repetition."""
    b = open_bridge(MockAdapter({"go": in_turn(1, lambda: 2, ValueError("3"), [4])}), size=2)

    assert [b.call("go"), b.call("go")] == [1, 2]
    with pytest.raises(RemoteError, match="ValueError: 3"):
        b.call("go")
    assert b.call("go") == [4]
    with pytest.raises(UnexpectedCall):
        b.call("go")


def test_a_function_can_answer_every_command(open_bridge: OpenBridge) -> None:
    """It gets command and args; an answer for one command goes before it."""
    mock = MockAdapter(lambda command, args: [command, args])
    b = open_bridge(mock)
    mock.answer("other", "mine")

    assert b.call("go", {"a": 1}) == ["go", {"a": 1}]
    assert b.call("go") == ["go", None]
    assert b.call("other") == "mine"


def test_a_call_without_an_answer_is_refused(open_bridge: OpenBridge) -> None:
    """It never invents a value: UnexpectedCall names the three ways, and a later `answer` is one of them."""
    mock = MockAdapter({"known": 1})
    b = open_bridge(mock)

    with pytest.raises(UnexpectedCall, match="only for: known") as caught:
        b.call("go")
    assert (caught.value.command, caught.value.answered) == ("go", ("known",))
    mock.answer("go", 5)
    assert b.call("go") == 5


def test_an_error_of_ours_is_raised_as_it_is(open_bridge: OpenBridge) -> None:
    """From the table or from a function: same class, message and fields, a new object each time."""
    error = bridge.PoolOverloaded("n", queued=3, limit=2)

    def refuse() -> None:
        raise error

    b = open_bridge(MockAdapter({"table": error, "function": refuse}))

    for command in ("table", "function"):
        with pytest.raises(bridge.PoolOverloaded) as caught:
            b.call(command)
        assert caught.value is not error
        assert (str(caught.value), caught.value.queued) == (str(error), 3)


def test_an_interrupt_in_a_function_is_the_callers(open_bridge: OpenBridge) -> None:
    """Ctrl-C in the thread that calls isn't turned into an answer; the next call works. Fails when `reply_with` catches
    BaseException."""

    def interrupted() -> None:
        raise KeyboardInterrupt

    b = open_bridge(MockAdapter({"go": in_turn(interrupted, 2)}))

    with pytest.raises(KeyboardInterrupt):
        b.call("go")
    assert b.call("go") == 2


@pytest.mark.parametrize("answer", [{1, 2}, lambda: {1, 2}, object()])
def test_a_mock_cannot_return_what_the_wire_could_not(open_bridge: OpenBridge, answer: Any) -> None:
    """A CallError of kind result, the handler's fault. Fails when results skip the codec."""
    b = open_bridge(MockAdapter({"go": answer}))

    with pytest.raises(CallError) as caught:
        b.call("go")
    assert (caught.value.kind, caught.value.side) == ("result", "handler")


def test_a_result_shares_nothing_with_the_table(open_bridge: OpenBridge) -> None:
    """A caller that changes its result doesn't change the next one's; tuples come back as lists."""
    b = open_bridge(MockAdapter({"go": {"items": (1, [2])}}))

    b.call("go")["items"].append("mine")

    assert b.call("go") == {"items": [1, [2]]}


def test_calls_are_recorded_with_what_the_handler_would_have_got(open_bridge: OpenBridge) -> None:
    """Of all workers, in their order, refused ones too; a tuple has become a list."""
    mock = MockAdapter({"go": 1})
    b = open_bridge(mock, size=2)

    b.call("go", {"a": (1, 2)})
    b.call("go", (3,))
    with pytest.raises(UnexpectedCall):
        b.call("other")

    assert mock.calls == [MockCall("go", {"a": [1, 2]}), MockCall("go", [3]), MockCall("other", None)]


def test_calls_of_many_threads_are_all_recorded(open_bridge: OpenBridge) -> None:
    """Eight threads on four workers: nothing is lost, and an answer in turn is given once."""
    mock = MockAdapter({"go": in_turn(*range(400))})
    b = open_bridge(mock, size=4)
    got: list[int] = []
    threads = [threading.Thread(target=lambda: got.extend(b.call("go") for _ in range(50))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(got) == list(range(400))
    assert len(mock.calls) == 400


# -- Fake handlers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("answers", [None, FAKE, fakes.Fake])
def test_a_fake_handler_answers_as_a_worker_would(open_bridge: OpenBridge, answers: Any) -> None:
    """Named by the spec or handed in; it gets the options it takes, keeps state within a lease, and is reset."""
    mock = MockAdapter(answers)
    b = open_bridge(mock, fake=FAKE if answers is None else None, options={"model": "big", "unknown": 1})

    with b.lease() as lease:
        lease.call("predict", ["a"])
        assert lease.call("predict", {"text": "b", "top": 3}) == {"model": "big", "seen": ["a", "b"], "top": 3}
    assert b.call("predict", ["c"])["seen"] == ["c"]
    with pytest.raises(RemoteError, match="LookupError: nothing there") as caught:
        b.call("broken")
    assert "in broken" in caught.value.remote_traceback
    with pytest.raises(CallError, match="it takes"):
        b.call("predict", {"txt": "a"})
    with pytest.raises(UnexpectedCall, match="broken, predict"):
        b.call("on_reset")


def test_a_table_goes_before_the_fake_handler(open_bridge: OpenBridge) -> None:
    """`answer` replaces one command of it."""
    mock = MockAdapter({"broken": "mended"})
    b = open_bridge(mock, fake=FAKE)

    assert b.call("broken") == "mended"
    assert b.call("predict", ["a"])["model"] == "none"


def test_each_worker_has_a_fake_handler_of_its_own(open_bridge: OpenBridge) -> None:
    """As processes have; an object that is handed in is the one that all share."""
    shared = fakes.Fake()
    for answers, seen in ((fakes.Fake, [["a"], ["a"]]), (shared, [["a"], ["a", "a"]])):
        b = open_bridge(MockAdapter(answers), size=2)
        with b.lease() as one, b.lease() as two:
            assert [lease.call("predict", ["a"])["seen"] for lease in (one, two)] == seen


@pytest.mark.parametrize("fake", ["tests.contract.fakes:Unmakeable", "tests.contract.fakes:Missing"])
def test_a_fake_handler_that_cannot_start_is_a_failed_start(open_bridge: OpenBridge, fake: str) -> None:
    """Its traceback is in the error, as of a worker."""
    with pytest.raises(WorkerStartError) as caught:
        open_bridge(MockAdapter(), fake=fake)

    assert (caught.value.reason, caught.value.handler) == ("handler", fake)
    assert "Error: " in caught.value.remote_traceback


def test_a_goodbye_of_a_fake_handler_that_fails_is_logged(
    open_bridge: OpenBridge, caplog: pytest.LogCaptureFixture
) -> None:
    """As what a worker writes to its stderr; closing goes on."""

    class Rude:
        def on_close(self) -> None:
            raise LookupError("never")

    with caplog.at_level(logging.INFO, "bridge.worker"):
        open_bridge(MockAdapter(Rude), size=2).close()

    assert caplog.text.count("LookupError: never") >= 2


@pytest.mark.parametrize("looping", [False, True])
def test_an_async_fake_answers_in_its_callers_context(open_bridge: OpenBridge, looping: bool) -> None:
    """Also where the caller is in an event loop; its hooks may be `async def` too, an error has its own lines alone.
    Fails when `on_start` isn't awaited, when the thread of the second case has a context of its own, and by asyncio's
    lines when the loop is asyncio.run's."""
    place: ContextVar[str] = ContextVar("place", default="nowhere")
    seen = []

    class Fake:
        async def on_start(self) -> None:
            seen.append("started")

        async def where(self) -> str:
            return place.get()

        async def fail(self) -> None:
            raise LookupError("no")

    def call() -> RemoteError:
        place.set("here")
        assert b.call("where") == "here"
        with pytest.raises(RemoteError, match="LookupError: no") as caught:
            b.call("fail")
        return caught.value

    async def call_in_loop() -> RemoteError:
        return call()

    b = open_bridge(MockAdapter(Fake))
    error = asyncio.run(call_in_loop()) if looping else copy_context().run(call)

    assert error.remote_traceback.count("  File ") == 1
    assert seen == ["started"]


# -- spec --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [fakes.Real, "tests.contract.fakes:Real"])
def test_a_mock_with_a_spec_refuses_what_the_real_handler_would(open_bridge: OpenBridge, spec: Any) -> None:
    """Commands and arguments that it doesn't have, in its worker's own words; it is never made. Fails when the
    shape isn't asked."""
    mock = MockAdapter(lambda command, args: "answered", spec=spec)
    b = open_bridge(mock)

    assert b.call("predict", {"text": "a", "top": 2}) == "answered"
    assert b.call("version") == "answered"
    for args, message in (
        ({"txt": "a"}, "missing a required argument: 'text'; it takes (text: 'str', *, top: 'int' = 1)"),
        (["a", 2], "too many positional arguments; it takes"),
    ):
        with pytest.raises(CallError) as caught:
            b.call("predict", args)
        assert (caught.value.kind, caught.value.side) == ("arguments", "caller")
        assert caught.value.detail.startswith(message)
    with pytest.raises(CallError, match="the handler has no such command; it has: predict, version") as caught:
        b.call("on_close")
    assert caught.value.kind == "command"


def test_a_table_cannot_answer_what_the_spec_lacks() -> None:
    """A misspelt command is found when the table is made, with the closest name."""
    with pytest.raises(ConfigurationError, match="'predikt' is no command of the mock's spec; did you mean 'predict'"):
        MockAdapter({"predikt": 1}, spec=fakes.Real)
    mock = MockAdapter(spec=fakes.Real)
    with pytest.raises(ConfigurationError, match="which has predict, version"):
        mock.answer("xyz", 1)
    with pytest.raises(ConfigurationError):
        mock.crash("xyz")


def test_a_spec_is_read_without_being_made() -> None:
    """An abstract class, one of a built-in type and a module have commands; an empty one is refused."""

    class Abstract(abc.ABC):
        @abc.abstractmethod
        def run(self) -> int: ...

    class Derived(dict[str, int]):
        def run(self) -> int:
            raise AssertionError

    for spec in (Abstract, Derived):
        MockAdapter({"run": 1}, spec=spec)
    MockAdapter({"dumps": "x"}, spec=json)
    with pytest.raises(ConfigurationError, match="has no commands"):
        MockAdapter(spec=object)


def test_an_exception_class_that_needs_arguments_is_refused_at_once() -> None:
    """An instance is asked for where the mistake is made, not where it would be raised."""
    with pytest.raises(ConfigurationError, match="CallTimeout can't be made without arguments"):
        MockAdapter({"go": bridge.CallTimeout})
