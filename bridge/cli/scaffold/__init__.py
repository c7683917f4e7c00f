"""`new-handler` and `new-adapter`: files to begin with, whose tests pass.

Rules: nothing is overwritten, and either all files are written or none; a name is refused that would make a module or a
class which can't be imported, or hides another one. Apart from the texts, which are what a user reads.
"""

from __future__ import annotations

import keyword
import os
import shlex
import sys
import unicodedata
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from string import Template
from typing import Final

from bridge.cli import exits
from bridge.cli.output import UnwritableError, put
from bridge.cli.scaffold import adapter, handler
from bridge.errors import ConfigurationError
from bridge.registry import BUILT_IN

TAKEN: Final = frozenset({"bridge", "conftest", "pytest"})
"""Modules that the files themselves, or pytest, import by these names."""


def new_handler(name: str, directory: str) -> int:
    """Write a handler and its tests; answers the exit code.

    Raises:
        ConfigurationError: The name or the directory can't be used, or a file exists; nothing was written.
        UnwritableError: The disk is full, for instance; no file is left there.
    """
    return _write(name, directory, handler.FILES, handler.NEXT)


def new_adapter(name: str, directory: str) -> int:
    """Write an adapter and its tests; answers the exit code. Raises what `new_handler` does."""
    if name in BUILT_IN:
        raise ConfigurationError(
            f"there is an adapter {name!r} already, which would be found in its place; take another name"
        )
    return _write(name, directory, adapter.FILES, adapter.NEXT)


def _write(name: str, directory: str, files: Mapping[str, str], what_next: str) -> int:
    module = checked(name)
    package = package_of(Path(directory))
    words = {
        "module": module,
        "path": shlex.quote(os.path.normpath(os.path.join(directory, f"{module}.py"))),
        "tests": shlex.quote(os.path.normpath(os.path.join(directory, f"test_{module}.py"))),
        "dotted": ".".join([*package, module]),
        "Class": class_name(module),
        "CAPITALS": module.upper(),
    }
    texts = {Template(file).substitute(words): Template(text).substitute(words) for file, text in files.items()}
    create({Path(directory, file): text for file, text in texts.items()})
    put(Template(what_next).substitute(words), sys.stdout)
    return exits.OK


def checked(name: str) -> str:
    """A name as a module's.

    Raises:
        ConfigurationError: It can't be one.
    """
    module = unicodedata.normalize("NFKC", name)  # as Python reads it
    if not module.isidentifier() or keyword.iskeyword(module):
        raise ConfigurationError(
            f"{name!r:.60} is no name in Python: take letters, digits and underscores, as in 'prices'"
        )
    if not class_name(module):
        raise ConfigurationError(
            f"{name!r:.60} has no letter to begin the name of a class with: take one such as 'prices'"
        )
    if module in TAKEN or module in sys.stdlib_module_names or module.startswith("test_"):
        raise ConfigurationError(
            f"{module}.py would hide the module {module!r}, or be taken for tests; take another name"
        )
    return module


def class_name(module: str) -> str:
    """`price_list` as PriceList; nothing if that is no name."""
    found = "".join(part[:1].upper() + part[1:] for part in module.split("_"))
    return found if found.isidentifier() else ""


def package_of(directory: Path) -> list[str]:
    """The package that a directory is, from the outermost on: by its __init__.py, as pytest and an import see it."""
    found: list[str] = []
    folder = directory.absolute()
    while (folder / "__init__.py").is_file():
        found.insert(0, folder.name)
        folder = folder.parent
    return found


def create(texts: Mapping[Path, str]) -> None:
    """Write new files, all or none.

    Raises:
        ConfigurationError: One exists, or can't be made. Directories that were made stay.
        UnwritableError: The disk is full, for instance.
    """
    with ExitStack() as undo:
        for path, text in texts.items():
            undo.callback(_begin(path))
            try:
                path.write_text(text, encoding="utf-8")
            except OSError as error:
                raise UnwritableError(f"{path} can't be written: {error.strerror or error}") from error
        undo.pop_all()


def _begin(path: Path) -> Callable[[], None]:
    """Make a file that wasn't there; how to take it back."""
    folder = path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{folder} is no directory, and can't be made: {error.strerror or error}") from error
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        raise ConfigurationError(f"{path} exists already; nothing was written. Take another name, or --dir") from None
    except OSError as error:
        raise ConfigurationError(f"{path} can't be written: {error.strerror or error}") from error
    return path.unlink
