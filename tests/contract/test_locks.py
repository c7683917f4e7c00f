"""A file that one program writes at a time, and what a program leaves of its lock that was killed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bridge import locks


class Pauses:
    """In place of sleep and clock: time passes in pauses alone.

    Args:
        act: Called in each of them, with its number.
    """

    def __init__(self, act: Callable[[int], object]) -> None:
        self.now, self.count, self._act = 0.0, 0, act

    def sleep(self, seconds: float) -> None:
        """One pause."""
        self.now += seconds
        self.count += 1
        self._act(self.count)

    def monotonic(self) -> float:
        """The time."""
        return self.now


@pytest.fixture
def held(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """A lock's holder, and another descriptor of that file."""
    fds = [os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT) for _ in range(2)]
    locks.lock_alone(fds[0])
    yield fds[0], fds[1]
    os.close(fds[1])


def paused(monkeypatch: pytest.MonkeyPatch, act: Callable[[int], object]) -> Pauses:
    """Its clock, in place of the real one."""
    pauses = Pauses(act)
    monkeypatch.setattr(locks, "sleep", pauses.sleep)
    monkeypatch.setattr(locks, "monotonic", pauses.monotonic)
    return pauses


def test_a_copy_that_a_dead_program_left_is_waited_for(held: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that it was about to start has it until it calls exec. Fails when who is refused doesn't ask again."""
    holder, other = held
    copy = os.dup(holder)  # as a child has it between fork and exec
    os.close(holder)
    pauses = paused(monkeypatch, lambda count: os.close(copy) if count == 3 else None)

    locks.lock_alone(other)

    assert pauses.count == 3


def test_who_goes_on_holding_it_is_not_waited_for_for_long(
    held: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused after a second, which is said to the user then. Fails when nobody looks at the time: it would hang."""
    holder, other = held
    pauses = paused(monkeypatch, lambda count: None if count < 1000 else pytest.fail("it asks for ever"))

    with pytest.raises(BlockingIOError):
        locks.lock_alone(other)

    assert pauses.now == pytest.approx(locks.PATIENCE, abs=2 * locks.PAUSE)
    os.close(holder)
