"""How the files are written: sizes, docstrings, what is swallowed, what is left lying about.

Each test answers with the list of places, so that a failure is a list of things to do.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from statistics import median
from typing import Final

from tests.house.sources import OURS, TESTS, Source, functions

MEDIAN_LINES: Final = 150
MOST_LINES: Final = 400
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef

IN_THE_WORKER: Final = "tests/handlers.py"
"""Runs in another process: a handler that takes its time is what some tests are about."""


def public(body: list[ast.stmt], owner: str) -> Iterator[tuple[str, Definition]]:
    """Public classes, functions and methods, also those under an `if` or a `try`."""
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            if not node.name.startswith("_"):
                yield f"{owner}.{node.name}", node
                if isinstance(node, ast.ClassDef):
                    yield from public(node.body, f"{owner}.{node.name}")
        else:
            for block in ("body", "orelse", "finalbody"):
                yield from public(getattr(node, block, []), owner)


def shares_a_docstring(node: ast.AST) -> bool:
    """Setters have that of their property, overloads that of what they are overloads of."""
    return any(
        ast.unparse(decorator).endswith((".setter", "overload")) for decorator in getattr(node, "decorator_list", [])
    )


def called(node: ast.AST) -> str:
    """`time.sleep` of `time.sleep(1)`; nothing for what is no call."""
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


def calls(source: Source, *names: str) -> Iterator[tuple[ast.AST, str]]:
    """Calls of these, with the name of the function that they stand in."""

    def visit(node: ast.AST, inside: str) -> Iterator[tuple[ast.AST, str]]:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            inside = node.name
        if called(node) in names:
            yield node, inside
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inside)

    return visit(source.tree, "")


def test_files_are_short() -> None:
    """Half of all files have at most 150 lines, and none more than 400."""
    lines = {source.shown: source.text.count("\n") for source in (*OURS, *TESTS) if source.text}

    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}
    assert median(lines.values()) <= MEDIAN_LINES


def test_every_file_says_what_it_is_for() -> None:
    """A header of two sentences at least: the purpose, and a rule or the reason for being separate."""
    short = [
        source.shown for source in OURS if len(re.findall(r"[.:)](?:\s|$)", ast.get_docstring(source.tree) or "")) < 2
    ]

    assert short == []


def test_every_test_file_has_a_header() -> None:
    """Who opens a test file reads first what it is about."""
    assert [source.shown for source in TESTS if source.text.strip() and not ast.get_docstring(source.tree)] == []


def test_everything_public_has_a_docstring() -> None:
    """help() answers for every public class, function and method."""
    silent = [
        f"{source.at(node)} {name}"
        for source in OURS
        for name, node in public(source.tree.body, source.name)
        if not ast.get_docstring(node) and not shares_a_docstring(node)
    ]

    assert silent == []


def test_every_test_states_its_promise() -> None:
    """The docstrings of the tests read as the specification."""
    silent = [
        f"{source.at(function)} {function.name}"
        for source in TESTS
        for function in functions(source)
        if function.name.startswith("test_") and not ast.get_docstring(function)
    ]

    assert silent == []


def test_tests_wait_for_events_and_not_for_time() -> None:
    """No test sleeps; those of real processes poll in the one helper that gives up with a reason."""
    naps = [
        f"{source.at(node)} in {inside or 'the module'}"
        for source in TESTS
        if source.shown != IN_THE_WORKER and not source.shown.startswith("tests/benchmarks/")
        for node, inside in calls(source, "time.sleep", "asyncio.sleep", "sleep")
        if (source.shown, inside) != ("tests/process/waiting.py", "wait_until")
    ]

    assert naps == []


def test_no_exception_is_swallowed_without_a_reason() -> None:
    """Every `except` names what it expects; one that does nothing says why in a comment."""
    broken = []
    for source in (*OURS, *TESTS):
        lines = source.text.splitlines()
        for node in ast.walk(source.tree):
            if not isinstance(node, ast.ExceptHandler):
                continue
            if node.type is None:
                broken.append(f"{source.at(node)} catches everything without saying so")
            quiet = all(isinstance(step, ast.Pass) for step in node.body)
            if quiet and not any("#" in line for line in lines[node.lineno - 1 : node.end_lineno]):
                broken.append(f"{source.at(node)} passes without a reason")

    assert broken == []


def test_nothing_is_left_to_be_done() -> None:
    """What isn't done is an issue, not a note in the code."""
    notes = [
        f"{source.shown}:{number}"
        for source in OURS
        for number, line in enumerate(source.text.splitlines(), 1)
        if re.search(r"\b(TODO|FIXME|XXX)\b", line)
    ]

    assert notes == []


def test_only_the_command_line_prints() -> None:
    """A library that prints speaks to the wrong person."""
    prints = [
        source.at(node)
        for source in OURS
        if not source.name.startswith("bridge.cli")
        for node, _ in calls(source, "print")
    ]

    assert prints == []
