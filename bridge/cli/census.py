"""Count what is in a Python file: the handler of the demo.

Rules: plain code as a user would write it, nothing from this package, since that is what a handler is. Apart from
demo.py because it runs in the workers; the demo also calls it in its own process, to compare.
"""

from __future__ import annotations

import ast
import warnings
from collections import Counter
from typing import Any

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
BRANCHES = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.comprehension, ast.match_case)


def measure(path: str) -> dict[str, Any]:
    """Lines, functions, classes and branches of one file; `error` is None, or says why it can't be parsed."""
    source, nodes, reason = b"", Counter[type](), None
    try:
        with open(path, "rb") as file:
            source = file.read()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an invalid escape in somebody's text is not our business
            nodes.update(map(type, ast.walk(ast.parse(source))))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:  # the parser raises any of these
        reason = f"{type(error).__name__}: {error}"
    return {
        "path": path,
        "error": reason,
        "bytes": len(source),
        "lines": len(source.splitlines()),
        "functions": sum(nodes[kind] for kind in FUNCTIONS),
        "classes": nodes[ast.ClassDef],
        "branches": sum(nodes[kind] for kind in BRANCHES),
    }
