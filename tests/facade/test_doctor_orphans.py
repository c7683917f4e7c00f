"""Whom `doctor` takes for an orphan, by what /proc says of processes. Real ones are in tests/process/test_doctor.py."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.cli.doctor import orphans
from bridge.cli.doctor.findings import Outcome
from bridge.cli.doctor.orphans import Process


def reaper_of(owner: int, token: str, *, pid: int = 90, parent: int | None = None, tokens: Any = ()) -> Process:
    command = ("python", "-I", "-S", "/site/bridge/reaper.py", str(owner), token)
    return Process(pid, owner if parent is None else parent, command, tokens)


OWNER = Process(10, 1, ("python", "app.py"), pipes=frozenset({"pipe:[1]"}))
WORKER = Process(11, 10, ("python", "-c", "..."), ("t",), frozenset({"pipe:[1]"}))
STRAY = Process(12, 1, ("tool",), ("t",))


def pids(found: list[Process]) -> list[int]:
    return [each.pid for each in found]


def test_nobody_of_a_run_whose_reaper_has_its_parent_is_an_orphan() -> None:
    """Neither a worker nor what it started in a session of its own, whose parent is init. Fails when parents alone
    are looked at."""
    assert orphans.orphans_of([OWNER, WORKER, STRAY, reaper_of(10, "t")]) == []


def test_a_parent_that_is_about_to_start_its_reaper_lives() -> None:
    """It shares a pipe with its worker; what that started is of the same run. Fails without the look at pipes."""
    assert orphans.orphans_of([OWNER, WORKER, STRAY]) == []


def test_what_a_dead_parent_left_is_found() -> None:
    """Whoever took them in isn't their parent; a reaper that lost its parent guards nobody any more. Fails when any
    living parent, or any reaper, will do."""
    init = Process(1, 0, ("init",), pipes=frozenset({"pipe:[7]"}))
    left = Process(11, 1, ("python",), ("t",), frozenset({"pipe:[1]"}))

    assert pids(orphans.orphans_of([init, left, STRAY])) == [11, 12]
    assert pids(orphans.orphans_of([init, left, reaper_of(10, "t", parent=1)])) == [11]
    assert pids(orphans.orphans_of([init, left, reaper_of(10, "another", parent=10)])) == [11]


def test_workers_of_workers_belong_to_the_inner_run() -> None:
    """A worker with a bridge of its own that died leaves orphans, though the outer run lives. Fails when any mark will
    do, or the outer one is looked at."""
    outer, guard = Process(11, 10, ("python",), ("a",)), reaper_of(10, "a")
    inner = Process(13, 11, ("python",), ("a", "b"))
    guard_of_inner = reaper_of(11, "b", pid=91, tokens=("a",))

    assert orphans.orphans_of([OWNER, outer, guard, inner, guard_of_inner]) == []
    assert pids(orphans.orphans_of([OWNER, outer, guard, inner])) == [13]


def test_tokens_are_read_as_the_kernel_shows_an_environment() -> None:
    """The innermost is the last; another variable that ends alike isn't ours. Fails when the start of the name isn't
    looked at."""
    environ = b"A=b\0X_SCOPED_BRIDGE_RUN=no:1\0_SCOPED_BRIDGE_RUN=a:0000000001 b:0000000002\0"

    assert orphans.tokens_of(environ) == ("a", "b")
    assert orphans.tokens_of(b"A=b\0") == ()


def test_only_who_stays_is_an_orphan(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reaper at work ends the rest within milliseconds. Fails when the first look decides."""
    looks = iter([[WORKER, STRAY], [STRAY], [STRAY, WORKER], [STRAY]])
    clock = iter([0.0, 0.1, 0.2, 0.3, 9.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    monkeypatch.setattr("time.sleep", lambda _: None)

    assert orphans.lasting(lambda: next(looks), 1.0) == [STRAY]


def test_orphans_are_a_warning_with_what_ends_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """By pid, of which a person can look first. Fails when one is left out of the remedy."""
    many = [Process(number, 1, ("python", "-c", "x" * 99), ("t",)) for number in range(101, 108)]
    monkeypatch.setattr(orphans, "lasting", lambda _: many)
    found = orphans.look()

    assert found.outcome is Outcome.WARN
    assert "7 processes" in found.text
    assert "and 2 more" in found.text
    assert "kill -9 101 102 103 104 105 106 107." in found.remedy
