"""What errors say, where they are raised: what happened, and what would be right.

The errors that make their messages themselves are looked at in tests/core/test_errors.py, and on the page of the errors
by tests/house/test_errors_page.py; here are those whose text stands at the `raise`. Apart from test_prose.py because
these texts are read by users.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final

from tests.house.sources import OURS, Source

FREE: Final = {"CapabilityError", "ConfigurationError", "PoolError", "ScopeError", "WorkerError"}
"""Errors whose text is the whole of their message."""

HELP: Final = re.compile(r"[;:] |\. |, not | (?:takes?|needs?|is one of|is an?|only) ")
"""A second clause, or a verb that says what would be right."""
FEWEST: Final = 5
"""Words. A text with less of its own is put together elsewhere."""


def text_of(node: ast.expr | None) -> str:
    """A text as it is written, with … for what is filled in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    return ""


def messages(source: Source) -> Iterator[tuple[ast.Call, str]]:
    """The texts of the errors that a file makes; what was put together elsewhere isn't seen."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in FREE and node.args:
            text = text_of(node.args[0])
            if text.strip("…"):
                yield node, text


ALL: Final = [(source.at(node), text) for source in OURS for node, text in messages(source)]


def test_there_are_messages_to_look_at() -> None:
    """An empty list would make the next tests vacuous."""
    assert len(ALL) > 60


def test_a_message_says_more_than_that_it_failed() -> None:
    """What was given, and what it takes, or what to do. Fails when one says only what happened."""
    bare = [
        f"{where} {text}"
        for where, text in ALL
        if not text.endswith("…")  # with a hint, made from what is there
        and len(text.replace("…", "").split()) >= FEWEST
        and not HELP.search(text.replace("…", "x"))
    ]

    assert bare == []


def test_messages_are_written_alike() -> None:
    """They begin small, since they stand behind the name of the error, and end without a full stop if they are one
    sentence.
    """
    odd = [
        f"{where} {text}"
        for where, text in ALL
        if re.match(r"[A-Z][a-z]", text) or (text.endswith(".") and ". " not in text) or text != text.strip()
    ]

    assert odd == []
