"""What a handler answers now, beside what a cassette says.

Rules: a call is compared with the one that it would be answered by, the n-th of equal ones with the n-th; of an error
its type and its words count, not its traceback, which says where lines stand. Apart from cassette.py, which knows
nothing of what is the same.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from difflib import unified_diff
from typing import Any, Final

from bridge.cassette import Exchange, Line, Match, Take, key_of, shown, text_of
from bridge.errors import BridgeError

SHORT: Final = 100
"""Characters that are shown whole, on one line."""
CONTEXT: Final = 2
"""Lines around a difference in what is longer."""


class CassetteDrift(BridgeError, AssertionError):
    """What the handler answers isn't what the cassette says. `drifts` has a text for each call that differs.

    `cassette` is the file's path.
    """

    __module__ = "bridge"

    def __init__(self, cassette: str, drifts: Sequence[str], *, calls: int) -> None:
        super().__init__(
            f"{len(drifts)} of {calls} calls aren't what {cassette} says:\n\n"
            + "\n\n".join(drifts)
            + '\n\nIf what they are now is right, record it again: mode="record"'
        )
        self.cassette, self.drifts, self.calls = cassette, tuple(drifts), calls


def drifts_of(
    lines: Sequence[Line], takes: Sequence[Take], unanswered: Sequence[Exchange], match: Match | None
) -> list[str]:
    """A text for each call that differs, in the order of the calls.

    Args:
        lines: What was recorded.
        takes: What was answered now.
        unanswered: Calls that got no answer now.
    """
    recorded: defaultdict[str, list[Line]] = defaultdict(list)
    for line in lines:
        recorded[key_of(line.exchange, match)].append(line)
    for equal in recorded.values():
        equal.reverse()
    found = []
    for take in sorted(takes, key=lambda take: take.begun):
        equal = recorded[key_of(take.exchange, match)]
        if not equal:
            found.append(f"not recorded: {shown(take.exchange)}\n    now:      {_text(_ending(take.exchange))}")
        elif difference := _difference(equal.pop(), take.exchange):
            found.append(difference)
    for exchange in unanswered:
        if equal := recorded[key_of(exchange, match)]:  # else it was called again, and answered
            line = equal.pop()
            was = _text(_ending(line.exchange))
            found.append(f"line {line.number}: {shown(exchange)}\n    recorded: {was}\n    now:      no answer")
    return found


def _difference(line: Line, now: Exchange) -> str:
    """The text for one call, or nothing."""
    was, then = _ending(line.exchange), _ending(now)
    if "left" in was or "left" in then:  # how far a stream was taken is its caller's to say
        both = min(len(was["items"]), len(then["items"]))
        was, then = ({"items": each["items"][:both]} for each in (was, then))
    if was == then:
        return ""
    head = f"line {line.number}: {shown(now)}"
    if max(len(text_of(was)), len(text_of(then))) <= SHORT:
        return f"{head}\n    recorded: {_text(was)}\n    now:      {_text(then)}"
    return "\n    ".join([head, *unified_diff(_page(was), _page(then), "recorded", "now", n=CONTEXT, lineterm="")])


def _page(ending: Mapping[str, Any]) -> list[str]:
    """As lines, of which few differ."""
    return json.dumps(ending, indent=2, ensure_ascii=False).splitlines()


def _ending(exchange: Mapping[str, Any]) -> dict[str, Any]:
    """What is compared of an exchange."""
    kept = {key: exchange[key] for key in ("said", "items", "result", "left") if key in exchange}
    if "error" in exchange:
        kept["error"] = {key: value for key, value in exchange["error"].items() if key != "traceback"}
    return kept


def _text(ending: Mapping[str, Any]) -> str:
    """As a person reads it."""
    return ", ".join(f"{key} {text_of(value)}" for key, value in ending.items())
