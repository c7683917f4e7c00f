"""Whoever gives a worker back begins the next caller's call: whose frame it is, whatever happens meanwhile."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from bridge import Bridge
from bridge.channel import FdLink
from bridge.runtime import calls
from bridge.runtime.claims import Claim
from bridge.runtime.pool import Pool
from tests.process.conftest import Connect
from tests.process.waiting import wait_until

pytestmark = [
    pytest.mark.usefixtures("note_children"),
    pytest.mark.thread_unsafe,  # signal handlers, and what is patched, belong to the process
]


class Watched:
    """Stands in for `hand`, and can be held in it."""

    def __init__(self) -> None:
        self.by: list[int] = []
        self.reached, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()

    def __call__(self, hand: Callable[..., bool], *call: Any) -> bool:
        self.by.append(threading.get_ident())
        self.reached.set()
        assert self.go_on.wait(20)
        return hand(*call)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    """Each call that is begun by another passes it."""
    found = Watched()
    hand = FdLink.hand
    monkeypatch.setattr(FdLink, "hand", lambda *call: found(hand, *call))
    yield found
    found.go_on.set()


@pytest.fixture
def single(connect: Connect, handlers: str) -> Bridge:
    """One warm worker."""
    b = connect(f"{handlers}:Echo", size=1)
    b.call("echo", [0])
    return b


class Caller(threading.Thread):
    """Calls once, and keeps what came of it."""

    def __init__(self, b: Bridge, command: str, args: list[Any]) -> None:
        super().__init__()
        self._call: Callable[[], Any] = lambda: b.call(command, args, timeout=30)
        self.outcome: Any = None
        self.start()

    def run(self) -> None:
        try:
            self.outcome = self._call()
        except BaseException as error:
            self.outcome = error


def release(b: Bridge, seconds: float = 0.3) -> Caller:
    """A call of another thread, which gives the worker back when those behind it wait."""
    caller = Caller(b, "sleep", [seconds])
    wait_until(lambda: b.stats().busy == 1, what="the first call")
    return caller


def test_the_thread_that_gives_a_worker_back_begins_the_next_call(single: Bridge, watched: Watched) -> None:
    """The reply is the next one's all the same. Fails when `hand_over` begins nothing."""
    first = release(single)
    others = [Caller(single, "echo", [n]) for n in range(5)]
    for caller in [first, *others]:
        caller.join(20)

    assert [caller.outcome for caller in others] == list(range(5))
    assert first.ident in watched.by
    assert len(watched.by) == 5
    assert single.stats().calls == 7


def test_in_a_crowd_nobody_asks_and_nobody_puts_back(
    single: Bridge, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But the last one, and whoever came before the crowd. Fails when the supervisor doesn't say that it hears its
    workers itself, or when a call that another began isn't ended by `hand_over`."""
    seen: list[str] = []

    def noting(name: str) -> Callable[..., Any]:
        does = getattr(Pool, name)

        def noted(*of: Any) -> Any:
            seen.append(name)
            return does(*of)

        return noted

    for name in ("ask", "take_back"):
        monkeypatch.setattr(Pool, name, noting(name))
    first = release(single)
    others = [Caller(single, "echo", [n]) for n in range(5)]
    for caller in [first, *others]:
        caller.join(20)

    assert [caller.outcome for caller in others] == list(range(5))
    assert (seen, len(watched.by)) == (["take_back"] * 2, 5)


def test_the_main_thread_begins_nobodys_call(single: Bridge, watched: Watched) -> None:
    """A Ctrl-C there could leave another's call half begun. Fails when `hand_over` doesn't ask which thread it is."""
    with single.lease():
        waiting = Caller(single, "echo", [1])
        wait_until(lambda: single.stats().waiting == 1, what="the other one")
    waiting.join(20)

    assert waiting.outcome == 1
    assert watched.by == []


def test_a_long_call_is_begun_by_its_own_thread(single: Bridge, watched: Watched) -> None:
    """It would take longer than a pipe holds. Fails without the look at its size."""
    first = release(single)
    long = Caller(single, "echo", ["x" * 10_000])
    for caller in (first, long):
        caller.join(20)

    assert long.outcome == "x" * 10_000
    assert watched.by == []


def test_who_looks_while_his_call_is_being_begun_waits_for_that(single: Bridge, watched: Watched) -> None:
    """It isn't sent twice. Fails when `turn` doesn't await the giver."""
    watched.go_on.clear()
    first = release(single)
    second = Caller(single, "echo", [2])
    assert watched.reached.wait(20)
    second.join(0.2)  # it looks now and then
    assert second.is_alive()
    watched.go_on.set()
    for caller in (first, second):
        caller.join(20)

    assert second.outcome == 2
    assert single.call("echo", [3]) == 3


def test_who_was_handed_a_call_makes_its_next_one_itself(single: Bridge, watched: Watched) -> None:
    """A map's thread has one claim for many calls, of which some find an idle worker. Fails when `call` takes what was
    begun for the one before for its own: it would wait for an answer to what nobody sent."""
    runtime, claim = single._source.runtime(), Claim()
    first = release(single)
    with ThreadPoolExecutor(1) as threads:
        handed = threads.submit(calls.call, runtime, "echo", [1], 20, claim)
        assert handed.result(20) == 1
    first.join(20)

    assert watched.by == [first.ident]
    assert calls.call(runtime, "echo", [2], 5, claim) == 2


class Interrupted(Exception):
    """What the signal raises."""


def interrupt(*_: object) -> None:
    raise Interrupted


@pytest.mark.parametrize("early", [True, False], ids=["while it is being begun", "when it is out"])
def test_who_is_interrupted_leaves_a_call_that_another_began(
    single: Bridge, watched: Watched, monkeypatch: pytest.MonkeyPatch, *, early: bool
) -> None:
    """Its worker isn't lent before that call has ended. Fails when `leave` puts it among the idle ones: the next call
    would get the reply of this one, or break the protocol."""
    if early:
        watched.go_on.clear()
    first = release(single)

    def strike() -> None:
        watched.reached.wait(20)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        watched.go_on.set()

    before = signal.signal(signal.SIGUSR1, interrupt)
    striker = threading.Thread(target=strike)
    striker.start()
    try:
        with pytest.raises(Interrupted):
            single.call("sleep", [20], timeout=60)
    finally:
        striker.join()
        first.join(20)
        signal.signal(signal.SIGUSR1, before)

    assert [single.call("echo", [n]) for n in range(5)] == list(range(5))


def test_a_worker_that_dies_at_that_moment_costs_another_try(single: Bridge, watched: Watched) -> None:
    """As if its own thread had begun it. Fails when the error is the giver's, or is lost."""
    watched.go_on.clear()
    first = release(single)
    second = Caller(single, "echo", [2])
    assert watched.reached.wait(20)
    pid = single.stats().workers[0].pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: single.stats().restarts == 1, what="its replacement")
    watched.go_on.set()
    for caller in (first, second):
        caller.join(20)

    assert first.outcome == 0.3
    assert second.outcome == 2, "it was certainly not begun"
    assert single.call("echo", [3]) == 3
