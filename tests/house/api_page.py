"""docs/reference/api.md, made from the docstrings: `python -m tests.house.api_page > docs/reference/api.md`.

Rules: nothing is said here that the sources don't say, but in which order. They are read as text, so that the page is
the same on every Python; a test compares it with what this makes.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from inspect import cleandoc
from itertools import pairwise
from types import ModuleType
from typing import Final, TypeGuard

import bridge
from bridge import testing
from tests.house.sources import OURS, Source

HEAD: Final = """\
# API

This page is made from the docstrings (`python -m tests.house.api_page > docs/reference/api.md`); a test compares.

All of this is imported from `bridge`, what is under [Testing](#testing) from `bridge.testing`. The errors have
[a page of their own](errors.md), so have the [settings](settings.md) and the [command line](cli.md). What isn't listed
there may move. `timeout=DEFAULT` is the setting `call.timeout`, `None` no limit.
"""

CHAPTERS: Final = {
    "Opening": ("connect", "BridgeContainer", "check", "BridgeSettings", "TestMode", "DEFAULT"),
    "Calling": ("Bridge", "Lease", "Session", "Stream", "Affinity"),
    "Calling from asyncio": ("AsyncBridge", "AsyncLease", "AsyncSession", "AsyncStream"),
    "Executors": ("BridgeExecutor", "BridgeFuture"),
    "Scopes": (
        "with_adapter",
        "with_settings",
        "with_test_mode",
        "Scope",
        "current_scope",
        "ScopeInfo",
        "carry",
        "ScopedThread",
        "ScopedExecutor",
    ),
    "Adapters": ("MockAdapter", "BridgeMockAdapter", "RecordingAdapter", "ExecutorAdapter", "PythonPortAdapter"),
    "Looking at it": ("Stats", "WorkerStats", "HostStats", "Latencies", "Health", "Event", "Call", "metrics"),
    "For authors of adapters": (
        "Adapter",
        "Channel",
        "Capability",
        "WorkerSpec",
        "WorkerInfo",
        "Request",
        "Reply",
        "SessionEntry",
        "ExitStatus",
    ),
}
"""In which order the names come: those first that are needed first."""

MADE_FOR_YOU: Final = {
    *CHAPTERS["Calling"],
    *CHAPTERS["Calling from asyncio"],
    *CHAPTERS["Looking at it"],
    "BridgeContainer",
    "BridgeFuture",
    "Scope",
    "ScopeInfo",
}
"""Classes whose constructors aren't shown: nobody calls them by hand, or they are another library's."""

ELSEWHERE: Final = {"BridgeSettings", "BridgeContainer"}
"""Classes whose attributes have a table on another page."""

WIDTH: Final = 100
"""Longer signatures have a line for each parameter."""

Function = ast.FunctionDef | ast.AsyncFunctionDef
Node = Function | ast.ClassDef | ast.Assign | ast.AnnAssign

SECTION: Final = re.compile(r"^(Args|Returns|Raises):$")
ENTRY: Final = re.compile(r"^    (\*{0,2}\w[\w, .*]*): (.*)$")


def name_of(statement: ast.stmt) -> str:
    """What a statement defines; nothing if it doesn't."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return statement.name
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return targets[0].id if isinstance(targets[0], ast.Name) else ""


def home_of(name: str, of: object) -> Source:
    """The file that defines a public name."""
    made = getattr(of, name)
    module = made.__module__ if callable(made) else type(made).__module__
    return next(each for each in OURS if each.name == ("bridge.errors" if module == "bridge" else module))


def definition(source: Source, name: str) -> Node:
    """Where a name is defined: the last one, behind its overloads."""
    found = [each for each in source.tree.body if name_of(each) == name]
    assert isinstance(found[-1], Node), name
    return found[-1]


def signature(node: Function, name: str) -> str:
    """A function as it is called, without `self`."""
    arguments = node.args
    given = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(given) - len(arguments.defaults)) + arguments.defaults
    parts = [shown(each, value) for each, value in zip(given, defaults, strict=True)]
    if arguments.posonlyargs:
        parts.insert(len(arguments.posonlyargs), "/")
    if given and given[0].arg in ("self", "cls"):
        parts.pop(0)
        parts = parts[1:] if parts[:1] == ["/"] else parts
    if arguments.vararg or arguments.kwonlyargs:
        parts.append("*" + (shown(arguments.vararg, None) if arguments.vararg else ""))
    parts += [shown(each, value) for each, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    if arguments.kwarg:
        parts.append("**" + shown(arguments.kwarg, None))
    result = f" -> {ast.unparse(node.returns)}" if node.returns and node.name != "__init__" else ""
    before = "async " if isinstance(node, ast.AsyncFunctionDef) else ""
    line = f"{before}{name}({', '.join(parts)}){result}"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"{before}{name}(", *(f"    {part}," for part in parts), f"){result}"])


def shown(argument: ast.arg, default: ast.expr | None) -> str:
    """One parameter."""
    typed = f": {ast.unparse(argument.annotation)}" if argument.annotation else ""
    if default is None:
        return argument.arg + typed
    return f"{argument.arg}{typed} = {ast.unparse(default)}" if typed else f"{argument.arg}={ast.unparse(default)}"


def prose(docstring: str) -> Iterator[str]:
    """A docstring of Google's style as Markdown: its sections become lists."""
    inside = False
    for line in cleandoc(docstring).splitlines():
        if SECTION.match(line):
            inside = True
            yield from (f"**{line[:-1]}**", "")
        elif not inside:
            yield line
        elif entry := ENTRY.match(line):
            yield f"- `{entry[1].replace(', ', '`, `')}`: {entry[2]}"
        else:
            yield "  " + line.strip() if line.startswith("        ") else line.strip()
            inside = bool(not line or line.startswith(" "))


def text_of(statement: ast.stmt | None) -> str:
    """What a statement says that is only a text; nothing if it is another."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return " ".join(str(statement.value.value).split())
    return ""


def docstring_of(node: Node) -> str:
    """Of a class or a function."""
    return "" if isinstance(node, (ast.Assign, ast.AnnAssign)) else ast.get_docstring(node) or ""


def words_below(source: Source, node: ast.stmt) -> Iterator[str]:
    """What is said of a constant, or else of its kind."""
    kind = next(each for each in source.tree.body if isinstance(each, ast.ClassDef) and each.name in ast.unparse(node))
    for body in (source.tree.body, kind.body):
        for statement, after in pairwise(body):
            if name_of(statement) == name_of(node) and text_of(after):
                yield text_of(after)
                return
    yield from prose(ast.get_docstring(kind) or "")


def is_shown(node: ast.stmt) -> TypeGuard[Function]:
    """A public method or property, but for what is said of it a second time."""
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or node.name.startswith("_"):
        return False
    marks = [ast.unparse(each) for each in node.decorator_list]
    return bool(ast.get_docstring(node)) and not any(each.endswith(("overload", ".setter")) for each in marks)


def fields(node: ast.ClassDef) -> Iterator[str]:
    """What a class has as attributes, with what is said below each."""
    below = [*node.body[1:], None]
    for statement, after in zip(node.body, below, strict=True):
        name = name_of(statement) if isinstance(statement, (ast.Assign, ast.AnnAssign)) else ""
        if not name or name.startswith("_"):
            continue
        words = text_of(after)
        typed = f": {ast.unparse(statement.annotation)}" if isinstance(statement, ast.AnnAssign) else ""
        value = getattr(statement, "value", None)
        made = isinstance(value, ast.Call) and ast.unparse(value.func) == "field"
        default = " = ..." if made else f" = {ast.unparse(value)}" if value is not None else ""
        yield f"- `{name}{typed}{default}`" + (f": {words}" if words else "")


def bases(source: Source, node: ast.ClassDef) -> Iterator[tuple[Source, ast.ClassDef]]:
    """The class, and those of ours that it is made of and that aren't public themselves."""
    yield source, node
    for base in node.bases:
        for other in OURS:
            for each in other.tree.body:
                if isinstance(each, ast.ClassDef) and each.name == ast.unparse(base) not in bridge.__all__:
                    yield from bases(other, each)


def of_class(source: Source, name: str, node: ast.ClassDef) -> Iterator[str]:
    """A class: how it is made, its attributes, its methods."""
    yield from prose(ast.get_docstring(node) or "")
    family = [*bases(source, node)]
    listed = [] if name in ELSEWHERE else [line for _, each in family for line in fields(each)]
    if listed:
        yield from ("", *listed)
    seen: set[str] = set()
    for _, each in family:
        for member in each.body:
            if isinstance(member, ast.FunctionDef) and member.name == "__init__":
                if seen or name in MADE_FOR_YOU:
                    continue
                yield from ("", "```text", signature(member, name), "```")
                seen.add("__init__")
            elif is_shown(member) and member.name.startswith("test_"):  # of the suite: what it asks is what counts
                yield from (() if name in seen else ("", "It asks:", ""))
                words = " ".join(str(ast.get_docstring(member)).split())
                yield f"- {member.name.removeprefix('test_').replace('_', ' ')}: {words}"
                seen.add(name)
            elif is_shown(member) and member.name not in seen:
                seen.add(member.name)
                yield from ("", f"#### `{name}.{member.name}`", "")
                if "property" not in map(ast.unparse, member.decorator_list):
                    yield from ("```text", signature(member, member.name), "```", "")
                yield from prose(ast.get_docstring(member) or "")


def of_module(name: str, module: ModuleType) -> Iterator[str]:
    """A public module: what it is for, and its functions."""
    source = next(each for each in OURS if each.name == module.__name__)
    yield from ("", f"### `{name}`", "", (ast.get_docstring(source.tree) or "").partition("\n")[0])
    for each in module.__all__:
        node = definition(home_of(each, module), each)
        yield from ("", f"#### `{name}.{each}`", "")
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from ("```text", signature(node, each), "```", "")
        yield from prose(docstring_of(node))


def entry(name: str, of: object) -> Iterator[str]:
    """One public name."""
    if isinstance(module := getattr(of, name), ModuleType):
        yield from of_module(name, module)
        return
    source = home_of(name, of)
    node = definition(source, name)
    yield from ("", f"### `{name}`", "")
    if isinstance(node, ast.ClassDef):
        yield from of_class(source, name, node)
    elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        yield from ("```text", signature(node, name), "```", "")
        yield from prose(ast.get_docstring(node) or "")
    else:
        yield from words_below(source, node)


def page() -> str:
    """The whole page."""
    lines = [HEAD.rstrip("\n")]
    for title, names in CHAPTERS.items():
        lines += ["", f"## {title}"]
        for name in names:
            lines += entry(name, bridge)
    lines += ["", "## Testing"]
    for name in testing.__all__:
        lines += entry(name, testing)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
