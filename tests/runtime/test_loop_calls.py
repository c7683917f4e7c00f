"""What a loop's callback does with what comes for a call, and with whoever is next."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from bridge.contract import WorkerGone
from bridge.errors import RemoteError
from bridge.runtime.loop_calls import LoopCall, Registration, WatchedLoopCall
from bridge.runtime.loop_claims import Home
from bridge.testing import FakeClock
from bridge.wire import RESULT
from tests.runtime.test_crowds import Worker, in_a_crowd

Act = Callable[[list[LoopCall], Worker, Registration], None]


@pytest.fixture
def clock() -> FakeClock:
    """Stands still."""
    return FakeClock()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A worker's descriptors: nothing comes, and there is room."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


@pytest.fixture
def with_two(clock: FakeClock, pipe: tuple[int, int]) -> Callable[[Act], None]:
    """A call that is out, on descriptors that are registered, and one that waits behind it."""

    def having(act: Act) -> None:
        def acting(_home: Home, calls: list[LoopCall], worker: Worker) -> None:
            assert calls[0].registration is not None
            act(calls, worker, calls[0].registration)

        in_a_crowd(clock, acting, [60, 60], pipe)

    return having


def answering(worker: Worker, done: list[str], answer: Any = (RESULT, 7)) -> None:
    """Have it note what is done with it, and answer; None: not yet."""

    def poll(_command: str) -> Any:
        done.append("poll")
        if isinstance(answer, Exception):
            raise answer
        return answer

    def push_on(_rest: bytes) -> bytes:
        done.append("push")
        return b""

    worker.link.poll, worker.link.push_on = poll, push_on


@pytest.mark.parametrize("why", ["ended", "passed on", "cancelled"])
def test_what_comes_for_a_call_that_is_over_is_left(with_two: Callable[[Act], None], why: str) -> None:
    """For whoever ends that to see. Fails, each, when the callback doesn't look at it."""

    def act(calls: list[LoopCall], worker: Worker, registration: Registration) -> None:
        done: list[str] = []
        answering(worker, done)
        future: Any = calls[0].future
        if why == "ended":
            registration.call = None
        elif why == "passed on":
            calls[0].future = None
        else:
            future.cancel()
        registration._hear()
        assert done == []
        calls[0].future = future

    with_two(act)


def test_what_is_left_of_a_call_is_written_before_its_answer_is_read(with_two: Callable[[Act], None]) -> None:
    """Also where something has come. Fails when the callback doesn't look whether something is left."""

    def act(calls: list[LoopCall], worker: Worker, registration: Registration) -> None:
        done: list[str] = []
        answering(worker, done)
        calls[0].rest = b"rest"
        future: Any = calls[0].future
        registration._hear()
        assert (done, future.result(), calls[1].taken) == (["push", "poll"], 7, True)

    with_two(act)


def test_where_nothing_has_come_a_call_waits_on(with_two: Callable[[Act], None]) -> None:
    """Fails when the callback takes nothing for an answer."""

    def act(calls: list[LoopCall], worker: Worker, registration: Registration) -> None:
        answering(worker, [], None)
        registration._hear()
        assert not cast(Any, calls[0].future).done()
        assert calls[0].worker is cast(Any, worker)

    with_two(act)


@pytest.mark.parametrize("clean", [True, False], ids=["answered", "died"])
def test_a_worker_goes_on_after_an_error_that_was_an_answer(with_two: Callable[[Act], None], clean: bool) -> None:
    """And no other, which is for the task to see to. Fails when a call that failed keeps a worker that is clean, or
    gives back another."""

    def act(calls: list[LoopCall], worker: Worker, registration: Registration) -> None:
        error = RemoteError("ValueError", "no", command="go") if clean else WorkerGone(started=True)
        answering(worker, [], error)
        worker.link.clean = clean
        future: Any = calls[0].future
        registration._hear()
        assert future.exception() is error
        assert (calls[1].taken, calls[0].worker is None) == (clean, clean)
        worker.link.clean = True

    with_two(act)


@pytest.mark.parametrize("passed_on", [True, False], ids=["passed-on", "offered"])
def test_what_does_not_fit_is_written_when_there_is_room(
    with_two: Callable[[Act], None], monkeypatch: pytest.MonkeyPatch, passed_on: bool
) -> None:
    """Of a call that is begun in another's callback, or in its own. Fails, each, when what is left is forgotten, or the
    loop isn't told that there is something to write."""
    wants: list[bool] = []

    def act(calls: list[LoopCall], worker: Worker, registration: Registration) -> None:
        monkeypatch.setattr(Registration, "writes", lambda _, wanted: wants.append(wanted))
        worker.link.begin = lambda *_, **__: b"rest"
        if passed_on:
            answering(worker, [])
            registration._hear()
        else:
            calls[0].end()
            calls[1].step()
        assert (calls[1].taken, calls[1].rest, wants) == (True, b"rest", [True])

    with_two(act)


def test_who_watches_a_call_sees_that_it_was_begun_by_another(with_two: Callable[[Act], None]) -> None:
    """Fails when one that is begun in another's callback isn't seen."""

    def act(calls: list[LoopCall], worker: Worker, registration: Registration) -> None:
        seen: list[Any] = []
        watched = WatchedLoopCall(calls[1].home, calls[1].loop, "go", b"", calls[1].deadline)
        watched.watch = cast(Any, type("Watch", (), {"saw": lambda _, claim: seen.append(claim.worker)})())
        future = watched.begin()
        calls[1].end()
        answering(worker, [])
        registration._hear()
        assert seen == [worker]
        future.cancel()
        watched.end()

    with_two(act)
