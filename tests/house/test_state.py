"""Nothing global: who reads the environment, and what a module may hold.

Looked at twice, since neither look sees all: in the files, by what an expression says, and in the imported modules, by
what came out of it.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, MutableMapping, MutableSequence, MutableSet
from importlib import import_module
from typing import Final

from tests.house.sources import OURS, Source, functions

READERS: Final = {"bridge/settings.py", "bridge/zygote.py", "bridge/remote.py", "adapters/python_port.py"}
"""The others for the environment of the children that they start."""

MAKERS: Final = frozenset(
    {
        *("list", "dict", "set", "bytearray", "deque", "defaultdict", "OrderedDict", "Counter", "ChainMap"),
        *("WeakSet", "WeakKeyDictionary", "WeakValueDictionary", "local", "SimpleNamespace", "ContextVar", "count"),
        *("Lock", "RLock", "Event", "Condition", "Semaphore", "Barrier", "Queue", "SimpleQueue", "LifoQueue"),
    }
)
"""What makes an object that can be changed."""

ALLOWED: Final = {"bridge.runtime._live", "bridge.frames.CURRENT", "bridge.engine._idle"}
"""The live runtimes, which the exit and fork hooks walk, the scope's ContextVar, and the handlers in a process of an
engine's, where nothing else of ours outlives a job."""


def last_name(node: ast.expr) -> str:
    """`c` of `a.b.c`."""
    return ast.unparse(node).rpartition(".")[2]


def is_mutable(node: ast.expr | None) -> bool:
    """Whether an expression makes an object that can be changed. What wraps it in something frozen doesn't."""
    match node:
        case ast.List() | ast.Dict() | ast.Set() | ast.ListComp() | ast.DictComp() | ast.SetComp():
            return True
        case ast.GeneratorExp():
            return True
        case ast.Call(func=function):
            return last_name(function) in MAKERS
        case ast.Tuple(elts=items) | ast.BoolOp(values=items):
            return any(map(is_mutable, items))
        case ast.IfExp(body=yes, orelse=no):
            return is_mutable(yes) or is_mutable(no)
        case ast.BinOp(left=left, right=right):
            return is_mutable(left) or is_mutable(right)
        case ast.NamedExpr(value=value) | ast.Starred(value=value):
            return is_mutable(value)
    return False


def bindings(source: Source) -> Iterator[tuple[str, ast.expr | None]]:
    """What a module binds at its top, and its classes in their bodies; annotated fields of classes aside."""

    def visit(body: list[ast.stmt], owner: str) -> Iterator[tuple[str, ast.expr | None]]:
        for node in body:
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    yield f"{owner}.{ast.unparse(target)}", node.value
            elif isinstance(node, ast.AnnAssign) and owner == source.name:
                yield f"{owner}.{ast.unparse(node.target)}", node.value
            elif isinstance(node, ast.ClassDef):
                yield from visit(node.body, f"{owner}.{node.name}")
            elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                for block in ("body", "orelse", "finalbody"):
                    yield from visit(getattr(node, block, []), owner)
                for handler in getattr(node, "handlers", []):
                    yield from visit(handler.body, owner)

    return visit(source.tree.body, source.name)


def test_only_the_settings_read_the_environment() -> None:
    """A variable can't change anything behind the settings' back; a child's environment starts as its parent's."""
    readers = {
        source.shown
        for source in OURS
        for node in ast.walk(source.tree)
        if (isinstance(node, ast.Attribute) and node.attr in ("environ", "environb", "getenv", "getenvb"))
        or (isinstance(node, ast.ImportFrom) and any("env" in alias.name for alias in node.names))
    }

    assert readers <= READERS


def test_no_module_holds_what_can_be_changed() -> None:
    """By the files: no list, mapping, set, queue or lock lives in a module or a class but the set of live runtimes."""
    found = {
        name
        for source in OURS
        for name, value in bindings(source)
        if is_mutable(value) and not name.endswith(("__all__", ".model_config"))
    }

    assert found == ALLOWED


def test_no_imported_module_holds_what_can_be_changed() -> None:
    """By the objects: what a function returned to a module's name is looked at too."""
    found = {
        f"{source.name}.{name}"
        for source in OURS
        if not source.name.endswith("__main__")
        for name, value in vars(import_module(source.name)).items()
        if isinstance(value, (MutableMapping, MutableSequence, MutableSet))
        and not (name.startswith("__") and name.endswith("__"))
        and not inspect.ismodule(value)
    }

    assert found == ALLOWED - {"bridge.frames.CURRENT"}


def test_no_function_rebinds_a_name_of_its_module() -> None:
    """There is neither a `global` statement nor a cache that outlives its caller."""
    globals_ = [source.at(node) for source in OURS for node in ast.walk(source.tree) if isinstance(node, ast.Global)]
    caches = [
        source.at(function)
        for source in OURS
        for function in functions(source)
        for decorator in function.decorator_list
        if last_name(decorator.func if isinstance(decorator, ast.Call) else decorator) in ("cache", "lru_cache")
    ]

    assert globals_ + caches == []
