"""Who hears of which call: `on_call`, around every verb, whatever becomes of it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, Final

import pytest

import bridge
from bridge import Bridge, BridgeMockAdapter, Call, MockAdapter
from bridge.runtime.follow import follow_call
from bridge.runtime.watching import Watch
from bridge.testing import CRASH, ScriptedAdapter
from tests.facade.conftest import MakeContainer
from tests.named import Maker

SPAN: Final[ContextVar[str]] = ContextVar("span", default="none")
PATH: Final = f"{__name__}.SPAN"


class Desk:
    """A handler that says in which span it is called."""

    def span(self, n: int = 0, *, context: Any = None) -> Any:
        """As it travelled."""
        return context.get(PATH)

    def fail(self) -> None:
        """An error of its own."""
        raise ValueError("no")


class Heard:
    """An `on_call`: keeps what each call was at its beginning and at its end, and makes a span of it."""

    def __init__(self) -> None:
        self.begun: list[Call] = []
        self.ended: list[Call] = []
        self.inside: list[str] = []
        self.errors: list[BaseException] = []

    @contextmanager
    def __call__(self, call: Call) -> Iterator[None]:
        self.begun.append(replace(call))
        self.inside.append(SPAN.get())
        token = SPAN.set(f"{SPAN.get()}/{call.command}")
        try:
            yield
        except BaseException as error:
            self.errors.append(error)
            raise
        finally:
            SPAN.reset(token)
            self.ended.append(call)


def opened(heard: Any, adapter: Any = None, **settings: Any) -> Bridge:
    """A bridge whose calls are heard of."""
    adapter = BridgeMockAdapter(Desk) if adapter is None else adapter
    return bridge.connect("x", adapter=adapter, name="desk", on_call=heard, **{"size": 1, **settings})


def leased(b: Bridge) -> Any:
    """A call on a lease."""
    with b.lease() as lease:
        return lease.call("span")


async def leased_by_a_task(b: Bridge) -> Any:
    """A task's call on a lease."""
    async with await b.aio.lease() as lease:
        return await lease.call("span")


async def mapped_by_a_task(b: Bridge) -> Any:
    """A task's map."""
    first, _ = [each async for each in b.aio.map("span", [1, 2], arg="n")]
    return first


VERBS: Final[dict[str, Callable[[Bridge], Any]]] = {
    "call": lambda b: b.call("span"),
    "call with progress": lambda b: b.call("span", on_progress=print),
    "map": lambda b: list(b.map("span", [1, 2], arg="n", chunksize=2)).pop(),
    "map one by one": lambda b: list(b.map("span", [1, 2], arg="n", chunksize=1)).pop(),
    "session": lambda b: b.session("ada").call("span"),
    "lease": leased,
    "proxy": lambda b: b.proxy(Desk).span(),
    "a task's call": lambda b: asyncio.run(b.aio.call("span")),
    "a task's map": lambda b: asyncio.run(mapped_by_a_task(b)),
    "a task's session": lambda b: asyncio.run(b.aio.session("ada").call("span")),
    "a task's lease": lambda b: asyncio.run(leased_by_a_task(b)),
}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_heard_of_and_its_span_travels(verb: str) -> None:
    """Begun and ended where it is called, in the context of its caller; what it sets is what `worker.propagate` takes
    along. Fails when a verb goes around it, a thread has no context, or the head was encoded before."""
    heard = Heard()
    token = SPAN.set("request")
    try:
        with opened(heard, propagate=[PATH]) as b:
            seen = VERBS[verb](b)
    finally:
        SPAN.reset(token)
    call = heard.ended[0]

    assert seen == "request/span"
    assert set(heard.inside) == {"request"}
    assert len(heard.begun) == len(heard.ended)
    assert (call.bridge, call.adapter, call.command, call.sent, call.error) == ("desk", "bridge_mock", "span", 1, None)
    assert call.session == ("ada" if "session" in verb else None)
    assert call.ran is not None
    assert call.ran >= 0
    assert call.waited >= 0


def test_a_task_without_anything_to_carry_is_heard_of_too() -> None:
    """Its call is made by the loop's callbacks, which give the worker back before it goes on. Fails when that is the
    time at which somebody looks."""
    heard = Heard()
    with opened(heard) as b:
        assert asyncio.run(b.aio.call("span")) is None

    assert [(call.command, call.sent) for call in heard.ended] == [("span", 1)]


def test_a_submitted_call_is_in_the_context_of_whoever_submitted_it() -> None:
    """Fails when it is in that of the thread that makes it."""
    heard = Heard()
    token = SPAN.set("request")
    with opened(heard) as b:
        b.submit("span").result(30)
    SPAN.reset(token)

    assert (heard.inside, heard.ended[0].sent) == (["request"], 1)


def test_what_is_known_when_it_begins_is_little() -> None:
    """Neither a worker nor an outcome; the same object has them at the end."""
    heard = Heard()
    with opened(heard, ScriptedAdapter([("a", 1)])) as b:
        b.call("a")

    begun = heard.begun[0]
    assert (begun.command, begun.sent, begun.pid, begun.ran, begun.error) == ("a", 0, None, None, None)


def test_its_error_is_the_callers() -> None:
    """The same object reaches the callback, the `Call` and the caller."""
    heard = Heard()
    with opened(heard) as b, pytest.raises(bridge.RemoteError) as caught:
        b.call("fail")

    assert heard.errors == [caught.value]
    assert heard.ended[0].error is caught.value


@pytest.mark.parametrize("by", ["thread", "task"])
def test_a_call_that_is_sent_again_is_one(by: str) -> None:
    """With how often it was sent. Fails when each attempt is told apart, or the last one alone counts."""
    heard = Heard()
    with opened(heard, ScriptedAdapter([("a", CRASH)], [("a", 1)])) as b:
        result = b.call("a", idempotent=True) if by == "thread" else asyncio.run(b.aio.call("a", idempotent=True))

    assert result == 1
    assert [(call.sent, call.error) for call in heard.ended] == [(2, None)]


def test_a_call_that_was_never_sent_says_so() -> None:
    """It waited, and didn't run. Fails when the worker of another call is taken for its own."""
    heard = Heard()
    with opened(heard, ScriptedAdapter([]), max_waiting=0) as b, b.lease(), pytest.raises(bridge.PoolOverloaded):
        b.call("a")
    call = heard.ended[0]

    assert (call.sent, call.ran, call.pid) == (0, None, None)
    assert isinstance(call.error, bridge.PoolOverloaded)


class Swallows:
    """A context manager that swallows errors, or raises one."""

    def __init__(self, error: Exception | None = None, *, early: bool = False) -> None:
        self._error, self._early = error, early

    def __enter__(self) -> None:
        if self._error is not None and self._early:
            raise self._error

    def __exit__(self, *_: object) -> bool:
        if self._error is not None:
            raise self._error
        return True


def test_it_can_swallow_nothing() -> None:
    """Else a call would return None that has failed. Fails when `__exit__` is believed."""
    with opened(lambda _: Swallows()) as b, pytest.raises(bridge.RemoteError):
        b.call("fail")


@pytest.mark.parametrize(
    "broken",
    [
        lambda _: Swallows(KeyError("late")),
        lambda _: Swallows(KeyError("early"), early=True),
        lambda call: call.nothing,
        lambda _: None,
    ],
)
def test_what_it_raises_is_logged_once_and_does_no_harm(broken: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The call has its own outcome, also when that is an error. Fails when the callback's takes its place."""
    with caplog.at_level(logging.ERROR, "bridge.events"), opened(broken) as b:
        assert b.call("span") is None
        with pytest.raises(bridge.RemoteError):
            b.call("fail")
    records = [record for record in caplog.records if record.name == "bridge.events"]

    assert [record.getMessage()[:22] for record in records] == ["on_call of desk raised"]


def test_the_callback_that_raises_what_it_was_told_is_no_defect(caplog: pytest.LogCaptureFixture) -> None:
    """A generator under contextmanager does so. Fails when that is logged."""

    class Raises(Swallows):
        def __exit__(self, *told: object) -> bool:
            raise told[1]  # type: ignore[misc]

    b = opened(lambda _: Raises())
    with caplog.at_level(logging.ERROR, "bridge.events"), b, pytest.raises(bridge.RemoteError):
        b.call("fail")

    assert [record for record in caplog.records if record.name == "bridge.events"] == []


@pytest.mark.parametrize("adapter", [MockAdapter({"who": 1}), Maker("inner")])
def test_a_scope_in_its_place_is_heard_of(adapter: Any) -> None:
    """Whether the scope is handed an adapter or makes one. Fails when a runtime is built without the callback."""
    heard = Heard()
    b = bridge.connect("x", size=1, name="desk", on_call=heard)
    with bridge.with_adapter(adapter):
        b.call("who")
    b.close()

    assert [call.command for call in heard.ended] == ["who"]


def test_a_chunk_ran_for_as_long_as_its_items() -> None:
    """And not for the time of one. Fails when it is looked at after its items were counted."""
    times: list[float] = []

    class Clock:
        def look(self, n: int) -> None:
            sum(range(50_000))  # so that one of them is as long as what is around all
            times.append(time.monotonic())

    heard = Heard()
    with opened(heard, BridgeMockAdapter(Clock)) as b:
        assert len(list(b.map("look", range(20), arg="n", chunksize=20))) == 20
    (call,) = heard.ended

    assert call.ran is not None
    assert call.ran >= times[-1] - times[0]


def test_a_worker_that_was_lent_and_sent_nothing_does_not_count() -> None:
    """A call that was cancelled just then. Fails when being lent one is taken for being sent to it."""
    with opened(Heard(), ScriptedAdapter([])) as b, b.lease() as lease:
        watch = Watch(lease._runtime, "a", None)
        watch.sent_to(lease._claim.worker, 0.0)
        watch.ended(None)

    assert (watch.call.sent, watch.call.ran) == (0, None)


def test_what_several_calls_are_followed_by_is_not_changed() -> None:
    """The single items of a map share it, and run at once. Fails when it isn't copied."""
    with opened(Heard(), propagate=[PATH]) as b:
        runtime = b._source.runtime()
        shared = follow_call(runtime, {}, None)
        assert shared is not None
        before = shared.head
        assert runtime.watcher is not None
        with runtime.watcher.watch(runtime, "span", shared) as (_, follow):
            assert follow is not None
            assert follow.head != before

    assert shared.head == before


def test_a_container_takes_it(make_container: MakeContainer) -> None:
    """As it takes `on_event`."""
    heard = Heard()
    container = make_container(adapter=MockAdapter({"span": 1}), on_call=lambda call: heard(call))
    container.bridge().call("span")

    assert [call.command for call in heard.ended] == ["span"]


@pytest.mark.parametrize("given", [3, "span", asyncio.sleep])
def test_what_cannot_be_called_is_refused(given: Any) -> None:
    """Before anything is opened, with what it is to be."""
    with pytest.raises(bridge.ConfigurationError, match=r"on_call takes a function of one bridge\.Call"):
        bridge.connect("x", adapter="mock", on_call=given)
