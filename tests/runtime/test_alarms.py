"""One timer for all the calls of a loop: each rings at its time, and what is over is found."""

from __future__ import annotations

import asyncio
import gc
import random
import weakref
from collections.abc import Callable
from math import inf
from typing import Any, cast

import pytest

from bridge.runtime.alarms import FEW, Alarms


class Loop:
    """A loop of which only the timers are, and the clock that they go by."""

    def __init__(self) -> None:
        self.now, self.rings, self.timers = 0.0, 0, list[tuple[float, Callable[..., object], tuple[Any, ...]]]()

    def call_later(self, delay: float, act: Callable[..., object], *args: Any) -> None:
        self.timers.append((self.now + delay, act, args))

    def run_until(self, when: float) -> None:
        while due := [timer for timer in self.timers if timer[0] <= when]:
            first, act, args = min(due, key=lambda timer: timer[0])
            self.timers.remove((first, act, args))
            self.now = max(self.now, first)
            self.rings += 1
            act(*args)
        self.now = when


class Who:
    """One that notes when it was rung for."""

    def __init__(self, loop: Loop, then: Callable[[], object] | None = None) -> None:
        self.due, self.rung = inf, list[float]()
        self._loop, self._then = loop, then

    def alarm(self) -> None:
        assert self.due == inf  # it may say anew when it is to look, though that is later
        self.rung.append(self._loop.now)
        if self._then is not None:
            self._then()


def made() -> tuple[Loop, Alarms, Callable[[Who, float], None]]:
    loop = Loop()
    alarms = Alarms(lambda: loop.now)

    def due(who: Who, when: float) -> None:
        who.due = when
        alarms.set(who, cast("asyncio.AbstractEventLoop", loop))

    return loop, alarms, due


def test_each_rings_once_at_its_time_by_one_timer() -> None:
    """In any order of setting, also when some are set anew or are over before. Fails when an earlier time doesn't move
    the timer, when an entry for another time rings, when the timer isn't set anew, or when one that was set for later
    is."""
    loop, _alarms, due = made()
    dice = random.Random(7)
    all_of_them = [Who(loop) for _ in range(200)]
    expected = {}
    for who in all_of_them:
        for _ in range(dice.choice((1, 1, 2, 3))):
            due(who, float(dice.randrange(1, 1000)))
        expected[who] = [who.due]
    assert len(loop.timers) < 20  # of which all but one were set for later times than came afterwards
    for who in all_of_them[::7]:
        who.due, expected[who] = inf, []
    most = len(loop.timers) + len({who.due for who in all_of_them})

    loop.run_until(1000.0)

    assert loop.rings <= most
    assert {who: who.rung for who in all_of_them} == expected
    assert loop.timers == []


def test_an_alarm_may_set_others_and_itself() -> None:
    """Fails when what is set while it rings, or after the last one has rung, waits for a timer that
    is over."""
    loop, _alarms, due = made()
    other = Who(loop)
    again = Who(loop, lambda: (due(again, loop.now + 1), due(other, loop.now + 0.5)))
    due(again, 1.0)

    loop.run_until(3.0)

    assert again.rung == [1.0, 2.0, 3.0]
    assert other.rung == [1.5, 2.5]
    again.due = other.due = inf
    loop.run_until(10.0)
    due(other, 11.0)
    loop.run_until(11.0)
    assert other.rung == [1.5, 2.5, 11.0]


def test_what_one_raises_takes_no_other_its_time() -> None:
    """Fails without the `finally`: nobody's deadline would ever come in that loop."""
    loop, _alarms, due = made()

    def interrupt() -> None:
        raise KeyboardInterrupt

    first, second = Who(loop, interrupt), Who(loop)
    due(first, 1.0)
    due(second, 1.0)
    with pytest.raises(KeyboardInterrupt):
        loop.run_until(1.0)
    loop.run_until(1.0)

    assert second.rung == [1.0]


def test_what_is_over_is_neither_held_nor_kept() -> None:
    """A million calls with a minute's timeout each. Fails when the heap holds them, or isn't looked through."""
    loop, alarms, due = made()
    waiting = [Who(loop) for _ in range(10)]
    for who in waiting:
        due(who, 60.0)
    gone = Who(loop)
    due(gone, 60.0)
    seen = weakref.ref(gone)
    del gone
    gc.collect()
    assert seen() is None
    for step in range(10_000):
        one: Any = Who(loop)
        due(one, 60.0 + step)
        one.due = inf
        assert len(alarms._heap) <= 2 * (len(waiting) + 1) + FEW

    loop.run_until(60.0)
    assert [who.rung for who in waiting] == [[60.0]] * 10
