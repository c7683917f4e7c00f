"""Looking for what is to come before going to sleep: how long, and how often."""

from __future__ import annotations

import os

import pytest

from bridge import busy
from bridge.busy import RAREST, BusyPoll, busy_poll_of, worker_side


class Ends:
    """A clock that goes on by 10 us a look, and what is there after so many looks; None: never."""

    def __init__(self, after: int | None) -> None:
        self.now, self.looks, self.after = 0.0, 0, after

    def clock(self) -> float:
        self.now += 1e-5
        return self.now

    def poll(self, milliseconds: int) -> bool:
        assert milliseconds == 0
        self.looks += 1
        return self.after is not None and self.looks >= self.after


def test_what_comes_soon_is_seen_at_once() -> None:
    """Fails when a look ends before something is there, or goes on behind it."""
    ends = Ends(after=3)
    BusyPoll(ends.poll, 100, ends.clock).look()

    assert ends.looks == 3


def test_it_looks_no_longer_than_it_was_told() -> None:
    """100 us of 10. Fails without the bound: whoever waits for seconds would burn a core."""
    ends = Ends(after=None)
    BusyPoll(ends.poll, 100, ends.clock).look()

    assert 8 <= ends.looks <= 11


def test_it_backs_off_when_it_does_not_pay() -> None:
    """Of 5,000 waits that were long, few were looked for; and it still tries. Fails when `_pause` doesn't grow, or
    grows for ever."""
    ends = Ends(after=None)
    polling = BusyPoll(ends.poll, 100, ends.clock)
    for _ in range(5000):
        polling.look()
    assert ends.looks < 250

    tries = 0
    for _ in range(3 * RAREST):
        before = ends.looks
        polling.look()
        tries += ends.looks > before
    assert tries >= 2


def test_it_looks_each_time_again_once_that_pays() -> None:
    """Fails when a success doesn't end the pause."""
    ends = Ends(after=None)
    polling = BusyPoll(ends.poll, 100, ends.clock)
    for _ in range(100):
        polling.look()
    ends.after = 0
    for _ in range(RAREST + 1):
        polling.look()
    before = ends.looks
    for _ in range(50):
        polling.look()

    assert ends.looks == before + 50


def test_on_one_core_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who looks there keeps the other one from answering. Fails without the look at the cores."""
    ends = Ends(after=None)
    monkeypatch.setattr(busy, "sched_getaffinity", lambda _: {0})
    assert busy_poll_of(ends.poll, 100) is None
    monkeypatch.setattr(busy, "sched_getaffinity", lambda _: {0, 1})
    assert busy_poll_of(ends.poll, 100) is not None
    assert busy_poll_of(ends.poll, 0) is None, "it is asked for"


def test_a_worker_looks_at_its_request_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """And sees the end of it, too: else it would look at a dead caller's pipe for ever."""
    monkeypatch.setattr(busy, "sched_getaffinity", lambda _: {0, 1})
    read, write = os.pipe()
    try:
        polling = worker_side(read, 10_000)
        assert polling is not None
        os.close(write)
        polling.look()
        assert polling._pause == 0, "it saw it"
    finally:
        os.close(read)
