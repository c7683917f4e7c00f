"""What was found, and how it is told.

Rules: a finding that isn't ok says what to do about it; nothing is looked at here. What others named (a program, a
file, an error) is shown without characters that a terminal would obey. Apart from those who look, so that a script
reads the same that a person does.
"""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from types import MappingProxyType
from typing import Final

from bridge.cli import exits
from bridge.cli.output import Colour, harmless, painted, print_json, put


class Outcome(Enum):
    """How serious it is."""

    OK = "ok"
    WARN = "warn"
    """Works, but not as somebody may expect."""
    FAIL = "fail"
    """Calls will fail, or what guards them doesn't work."""


COLOURS: Final[Mapping[Outcome, Colour]] = MappingProxyType(
    {Outcome.OK: Colour.GREEN, Outcome.WARN: Colour.YELLOW, Outcome.FAIL: Colour.RED}
)
INDENT: Final = " " * 18
"""Where texts begin."""
NARROWEST: Final = 60
"""Columns below which a text isn't folded: a terminal that narrow does it itself."""


@dataclass(frozen=True)
class Finding:
    """One line of a doctor's report."""

    check: str
    """What was looked at: a name that doesn't change."""
    outcome: Outcome
    text: str
    remedy: str = ""
    detail: str = ""
    """What somebody else said of it, in lines: a traceback, or what went to stderr."""
    host: str | None = None
    """Where, by the names of `pool.hosts`; None is here, or wherever `worker.launcher` leads."""


def ok(check: str, text: str, *, remedy: str = "", detail: str = "", host: str | None = None) -> Finding:
    """All is as it should be."""
    return Finding(check, Outcome.OK, text, remedy, detail, host)


def warn(check: str, text: str, remedy: str, *, host: str | None = None) -> Finding:
    """It works, but somebody should know."""
    return Finding(check, Outcome.WARN, text, remedy, host=host)


def fail(check: str, text: str, remedy: str, *, detail: str = "", host: str | None = None) -> Finding:
    """It doesn't work."""
    return Finding(check, Outcome.FAIL, text, remedy, detail, host)


class Report:
    """Tells findings as they are added, or all of them as one JSON object at the end."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._found: list[Finding] = []

    def add(self, finding: Finding) -> None:
        """Take note of one, and tell it; details that were told already, of another host, aren't told again."""
        known = any(each.detail == finding.detail for each in self._found)
        self._found.append(finding)
        if not self._as_json:
            shown = replace(finding, detail="") if known else finding
            put("\n".join([*lines_of(shown, _columns()), ""]), sys.stdout)

    def end(self) -> int:
        """Sum up; answers the exit code."""
        good, doubtful, bad = (sum(each.outcome is outcome for each in self._found) for outcome in Outcome)
        if self._as_json:
            head = {"ok": not bad, "warnings": doubtful, "failures": bad}
            print_json({**head, "findings": [_plain(each) for each in self._found]})
        else:
            put(painted(f"{good} ok, {doubtful} warn, {bad} fail", Colour.BOLD, sys.stdout) + "\n", sys.stdout)
        return exits.FAULT if bad else exits.OK


def lines_of(finding: Finding, columns: int) -> list[str]:
    """A finding as lines of text.

    Args:
        columns: Where to fold; 0 is nowhere.
    """
    where = "" if finding.host is None else f"{finding.host}: "
    label = painted(finding.outcome.value.ljust(5), COLOURS[finding.outcome], sys.stdout)
    first, *more = _folded(harmless(where + finding.text), columns)
    lines = [f"{label} {finding.check:<12}{first}", *(INDENT + line for line in more)]
    for number, line in enumerate(_folded(harmless(finding.remedy), columns - 3) if finding.remedy else ()):
        lines.append(f"{INDENT}{'   ' if number else '-> '}{line}")
    lines += [f"{INDENT}| {harmless(line)}" for line in finding.detail.splitlines()]
    return lines


def _folded(text: str, columns: int) -> list[str]:
    width = columns - len(INDENT)
    if columns < NARROWEST:
        return [text]
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]


def _columns() -> int:
    """Of the terminal; 0 where there is none, so that each text stays one line for programs that search."""
    if sys.stdout is None or not sys.stdout.isatty():
        return 0
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except OSError:
        return 80


def _plain(finding: Finding) -> dict[str, str | None]:
    return {**vars(finding), "outcome": finding.outcome.value}
