"""The project's own files, read once, for the tests that look at them.

Rules: nothing here is imported from the code that is looked at; it is read as text. Modules of the folder adapters/
go by the name under which they are imported, bridge.adapters.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]


@cache
def parsed(text: str) -> ast.Module:
    """The tree of a file."""
    return ast.parse(text)


@dataclass(frozen=True)
class Source:
    """One file."""

    name: str
    """Dotted, as it is imported."""
    path: Path
    text: str

    @property
    def tree(self) -> ast.Module:
        """Parsed once; conftest.py lets the trees go with the last test of this folder."""
        return parsed(self.text)

    @property
    def shown(self) -> str:
        """Its path as a person writes it."""
        return str(self.path.relative_to(ROOT))

    def at(self, node: ast.AST) -> str:
        """File and line of a node."""
        return f"{self.shown}:{getattr(node, 'lineno', 1)}"


@dataclass(frozen=True)
class Import:
    """One imported name, with the module that it stands for."""

    target: str
    where: str
    typing_only: bool
    """Under `if TYPE_CHECKING`: it isn't there when the code runs."""
    at_top: bool
    """Not inside a function."""


def _read(folder: str, name: str) -> Iterator[Source]:
    for path in sorted((ROOT / folder).rglob("*.py")):
        relative = path.relative_to(ROOT / folder)
        if folder == "bridge" and relative.parts[0] == "adapters":
            continue  # the symlink: these files are read from the folder that it points to
        parts = [name, *relative.with_suffix("").parts]
        if parts[-1] == "__init__":
            parts.pop()
        yield Source(".".join(parts), path, path.read_text())


OURS: Final = (*_read("bridge", "bridge"), *_read("adapters", "bridge.adapters"))
TESTS: Final = tuple(_read("tests", "tests"))
MODULES: Final = frozenset(source.name for source in (*OURS, *TESTS))


def imports(source: Source) -> list[Import]:
    """Everything that a file imports by statement, wherever the statement stands."""
    found: list[Import] = []

    def visit(node: ast.AST, typing_only: bool, at_top: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend(Import(alias.name, source.at(node), typing_only, at_top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{source.at(node)}: relative imports hide the floor that they reach"
            module = node.module or ""
            for alias in node.names:
                full = f"{module}.{alias.name}"
                found.append(Import(full if full in MODULES else module, source.at(node), typing_only, at_top))
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for step in node.body:
                visit(step, True, at_top)
            for step in node.orelse:
                visit(step, typing_only, at_top)
        else:
            inner = at_top and not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            for child in ast.iter_child_nodes(node):
                visit(child, typing_only, inner)

    visit(source.tree, False, True)
    return found


def functions(source: Source) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method of a file."""
    for node in ast.walk(source.tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node
