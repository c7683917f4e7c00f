"""A handler in the caller's own process: how the mocks find it, and make it.

Rules: as the worker does it, but nothing stays in sys.path: what is imported only when a command runs has to be
importable in this process anyway. Two threads never run a handler's file at the same time; the lock for that is the
import system's own, so that no module of ours holds one. Apart from handler.py, which has a process to itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import _bootstrap
from inspect import signature
from typing import Any, Final

from bridge.handler import find

__scoped_bridge__: Final = True


def find_here(target: Any, path: tuple[str, ...] = ()) -> Any:
    """What a text such as `pkg.mod:Class` names; what isn't a text is itself.

    Args:
        path: Searched too, while it is imported.
    """
    if not isinstance(target, str):
        return target
    file, _, attribute = target.partition(":")
    if not file.endswith(".py"):
        with _importable(path):
            return find(target)
    file = os.path.abspath(file)
    # The name by which a worker knows its module has no folder in it.
    lock = _bootstrap._ModuleLockManager(os.path.basename(file))  # type: ignore[attr-defined]  # noqa: SLF001
    with lock, _importable((os.path.dirname(file), *path)):
        return find(f"{file}:{attribute}")


@contextmanager
def _importable(folders: tuple[str, ...]) -> Iterator[None]:
    """Have folders searched first. Each entry comes and goes by itself: other threads may change the list too."""
    added = [folder for folder in folders if folder not in sys.path]
    sys.path[:0] = added
    try:
        yield
    finally:
        for folder in added:
            if folder in sys.path:
                sys.path.remove(folder)


def make_here(found: Any, options: Mapping[str, Any], *, fake: bool, named: bool) -> Any:
    """A handler of what was found: a class is called with the worker's options, anything else is used as it is.

    Args:
        fake: It stands for another handler, so it is given those options alone that it takes.
        named: By a text; a function is called then, too.
    """
    if not (isinstance(found, type) or (named and callable(found))):
        if options and not fake:
            raise TypeError(f"worker.options {sorted(options)} were given, but {found!r:.99} can't be called")
        return found
    return found(**(_accepted(found, options) if fake else options))


def _accepted(factory: Any, options: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        parameters = signature(factory).parameters.values()
    except ValueError:  # some classes of C code have no signature
        return {}
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return options
    by_name = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    return {name: value for name, value in options.items() if name in by_name}
