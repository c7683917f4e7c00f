"""The state of each session in its worker: what is kept, what is dropped, and what the handler hears of it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from bridge.handler import Cancelled
from bridge.states import States


class Hooks:
    """Of a handler; what each was called with, and what it is to raise."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str, dict[str, Any]]] = []
        self.at_start: Callable[[str], object] = str
        self.at_end: Callable[[str], object] = str
        self.states = States({"on_session_start": self._start, "on_session_end": self._end})

    def _start(self, key: str, session: dict[str, Any]) -> None:
        self.heard.append(("start", key, session))
        session["started"] = True
        self.at_start(key)

    def _end(self, key: str, session: dict[str, Any]) -> None:
        self.heard.append(("end", key, dict(session)))
        self.at_end(key)

    @property
    def ended(self) -> list[str]:
        return [key for what, key, _ in self.heard if what == "end"]


def test_a_state_is_the_same_dict_in_each_call() -> None:
    """Of the same epoch. Fails when `enter` makes a new one, or takes a kept one's beginning."""
    states = States({})
    session = states.enter("a", 1, None)
    session["x"] = 1

    assert states.enter("a", 1, {"x": 9}) is session
    assert session == {"x": 1}
    assert states.enter("b", 2, None) == {}


def test_a_state_begins_with_a_copy_of_what_is_given() -> None:
    """Fails when it is that very dict, or nothing."""
    given = {"x": 1}
    session = States({}).enter("a", 1, given)
    session["y"] = 2

    assert given == {"x": 1}
    assert session == {"x": 1, "y": 2}


def test_another_epoch_is_another_session() -> None:
    """The one that is here ends before the new one starts. Fails when `enter` doesn't compare epochs, or doesn't end
    the old one."""
    hooks = Hooks()
    old = hooks.states.enter("a", 1, None)

    new = hooks.states.enter("a", 2, {"x": 1})

    assert new is not old
    assert new == {"x": 1, "started": True}
    assert [what for what, _, _ in hooks.heard] == ["start", "end", "start"]
    assert hooks.states.enter("a", 2, None) is new


def test_the_handler_hears_of_a_beginning_once_with_what_it_begins_with() -> None:
    """Fails when `on_session_start` runs for a kept one, or before the state is there."""
    hooks = Hooks()
    hooks.at_start = lambda key: hooks.heard[-1][2].update(seen=dict(hooks.heard[-1][2]))
    session = hooks.states.enter("a", 1, {"x": 1})
    hooks.states.enter("a", 1, None)

    assert len(hooks.heard) == 1
    assert hooks.heard[0] == ("start", "a", session)
    assert session["seen"] == {"x": 1, "started": True}


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), Cancelled()])
def test_what_a_beginning_raises_leaves_nothing(error: BaseException) -> None:
    """It is the call's outcome; the next call begins anew, and no end is heard of. Fails when the state is kept before
    the hook ran."""
    hooks = Hooks()

    def refuse(key: str) -> None:
        raise error

    hooks.at_start = refuse
    with pytest.raises(type(error)):
        hooks.states.enter("a", 1, None)
    hooks.states.end([["a", 1]])
    assert hooks.ended == []

    hooks.at_start = str
    assert hooks.states.enter("a", 1, {"x": 1}) == {"x": 1, "started": True}


def test_the_handler_hears_of_an_end_once_with_the_state() -> None:
    """Fails when the state isn't dropped, or isn't given."""
    hooks = Hooks()
    hooks.states.enter("a", 1, None)["x"] = 1

    hooks.states.end([["a", 1]])
    hooks.states.end([["a", 1]])
    hooks.states.end_all()

    assert hooks.heard[1:] == [("end", "a", {"started": True, "x": 1})]


def test_a_state_is_dropped_before_its_hook_runs() -> None:
    """So that one that is cut short isn't run twice. Fails when it is dropped afterwards."""
    hooks = Hooks()
    old = hooks.states.enter("a", 1, None)
    found: list[dict[str, Any]] = []
    hooks.at_end = lambda key: found.append(hooks.states.enter("a", 1, None))

    hooks.states.end([["a", 1]])

    assert hooks.ended == ["a"]
    assert found[0] is not old


@pytest.mark.parametrize("how", ["raises", "exits"])
def test_a_hook_that_fails_is_printed_and_the_others_still_run(how: str, capfd: pytest.CaptureFixture[str]) -> None:
    """It is nobody's outcome. Fails when what it raises goes out, or ends the loop, or `sys.exit` isn't caught."""
    hooks = Hooks()
    for number, key in enumerate("abc"):
        hooks.states.enter(key, number, None)

    def fail(key: str) -> None:
        if key == "b":
            if how == "exits":
                sys.exit("enough of it")
            raise ValueError("enough of it")

    hooks.at_end = fail
    hooks.states.end([["a", 0], ["b", 1], ["c", 2]])

    assert hooks.ended == ["a", "b", "c"]
    out, err = capfd.readouterr()
    assert (out, err.count("Traceback"), err.count(": enough of it")) == ("", 1, 1)


def test_a_cancel_in_a_hook_goes_out_and_the_rest_is_run_next() -> None:
    """Each once, in order, whatever else ends then. Fails when the rest is forgotten, or begun anew."""
    hooks = Hooks()
    for number, key in enumerate("abcd"):
        hooks.states.enter(key, number, None)

    def cancel(key: str) -> None:
        if key == "a":
            raise Cancelled

    hooks.at_end = cancel
    with pytest.raises(Cancelled):
        hooks.states.end([["a", 0], ["b", 1], ["c", 2]])
    assert hooks.ended == ["a"]

    hooks.states.end([["d", 3]])
    assert hooks.ended == ["a", "b", "c", "d"]


def test_a_cancel_between_two_epochs_leaves_nothing_of_either() -> None:
    """The old one is dropped, the new one isn't begun. Fails when the old state stays where it was."""
    hooks = Hooks()
    hooks.states.enter("a", 1, None)

    def cancel(key: str) -> None:
        raise Cancelled

    hooks.at_end = cancel
    with pytest.raises(Cancelled):
        hooks.states.enter("a", 2, None)
    hooks.at_end = str

    assert hooks.states.enter("a", 2, None) == {"started": True}
    assert hooks.ended == ["a"]


def test_what_is_not_here_is_passed_over() -> None:
    """Another key, or an older epoch. Fails when `end` doesn't look, or doesn't compare the epoch."""
    hooks = Hooks()
    session = hooks.states.enter("a", 2, None)

    hooks.states.end([["b", 2], ["a", 1]])

    assert hooks.ended == []
    assert hooks.states.enter("a", 2, None) is session


def test_the_end_of_a_newer_one_is_that_of_an_older_one_too() -> None:
    """The call that was to begin the newer one was never sent. Fails when `end` takes no epoch but its own: the state
    stayed, and its hook was never called."""
    hooks = Hooks()
    hooks.states.enter("a", 1, None)

    hooks.states.end([["a", 2]])

    assert hooks.ended == ["a"]


def test_without_a_hook_the_states_are_dropped_all_the_same(capfd: pytest.CaptureFixture[str]) -> None:
    """And nothing is kept of them, nor printed. Fails when they wait for a hook that will never be."""
    states = States({})
    session = states.enter("a", 1, None)

    states.end([["a", 1]])

    assert states._ending == []
    assert capfd.readouterr() == ("", "")
    assert states.enter("a", 1, None) is not session


def test_all_end_with_the_worker() -> None:
    """Each once. Fails when `end_all` forgets one."""
    hooks = Hooks()
    for number, key in enumerate("abc"):
        hooks.states.enter(key, number, None)

    hooks.states.end_all()
    hooks.states.end_all()

    assert hooks.ended == ["a", "b", "c"]


def test_hooks_are_run_by_whoever_is_asked_to() -> None:
    """As coroutines have to be. Fails when a hook is called directly."""
    hooks, asked = Hooks(), []

    def run(hook: Callable[..., object], args: list[Any]) -> None:
        asked.append((hook.__name__, args[0]))
        hook(*args)

    hooks.states.enter("a", 1, None, run)
    hooks.states.enter("a", 2, None, run)
    hooks.states.end([["a", 2]], run)
    hooks.states.enter("b", 3, None, run)
    hooks.states.end_all(run)

    assert asked == [("_start", "a"), ("_end", "a"), ("_start", "a"), ("_end", "a"), ("_start", "b"), ("_end", "b")]


# -- What goes back of a durable one -------------------------------------------------------------------------


def test_a_snapshot_is_the_states_bytes() -> None:
    """Fails when a limit is read as less than it is."""
    assert States.snapshot_of({"x": 1}, 7) == (None, b'{"x":1}')


def test_a_state_that_can_not_travel_is_named_by_its_place() -> None:
    """In the session, not in the result. Fails when the text isn't rewritten."""
    fault, body = States.snapshot_of({"x": object()}, 1000)

    assert body == b""
    assert fault is not None
    assert fault["kind"] == "result"
    assert fault["message"].startswith("the session is durable, and session.x is ")
    assert "result" not in fault["message"]


def test_a_state_that_is_too_long_names_its_own_limit() -> None:
    """And the cure. Fails when the text speaks of the frame."""
    fault, body = States.snapshot_of({"x": "y" * 100}, 50)

    assert body == b""
    assert fault is not None
    text = fault["message"]
    assert text.startswith("the session is durable, and its state ")
    assert "max_snapshot_bytes=50" in text
    assert "keep less" in text
    assert "frame" not in text
    assert "result" not in text


def test_an_end_that_was_cut_short_goes_on_with_the_next_call() -> None:
    """A cancel in the first one's hook: the second one is told though nothing more ends then. Fails when `end` looks at
    what is ended now alone."""
    hooks = Hooks()
    for number, key in enumerate("ab", 1):
        hooks.states.enter(key, number, None)

    def cut(_key: str) -> None:
        raise Cancelled

    hooks.at_end = cut
    with pytest.raises(Cancelled):
        hooks.states.end([("a", 1), ("b", 2)])
    assert hooks.ended == ["a"]
    hooks.at_end = str

    hooks.states.end([])
    assert hooks.ended == ["a", "b"]
