"""How the worker reads a handler: where it finds it, and what of it can be called."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.core.messages import encode_start
from bridge.handler import commands_of, hooks_of, load
from bridge.wire import decode_json


class Handler:
    """Everything that a class can hold."""

    answer = 42
    Inner = dict

    def __init__(self, scale: int = 1) -> None:
        self.scale = scale
        self.assigned = lambda: 1

    def run(self, x: int) -> int:
        return self.scale * x

    @staticmethod
    def fixed() -> int:
        return 1

    @classmethod
    def made(cls) -> str:
        return cls.__name__

    @property
    def broken(self) -> int:
        raise RuntimeError("a property must not be read to list the commands")

    def close(self) -> None:
        """A command like any other."""

    def on_start(self) -> None: ...

    def on_close(self) -> None: ...

    def _hidden(self) -> None: ...

    def __call__(self) -> None: ...


def test_commands_are_the_public_methods() -> None:
    """No hook, no property, no class, nothing hidden or assigned. Fails when any of these filters goes."""
    commands = commands_of(Handler(scale=3))

    assert sorted(commands) == ["close", "fixed", "made", "run"]
    assert [commands["run"](2), commands["fixed"](), commands["made"]()] == [6, 1, "Handler"]


def test_hooks_are_found_by_their_names() -> None:
    """On an object; a module has none."""
    assert sorted(hooks_of(Handler())) == ["on_close", "on_start"]
    assert hooks_of(types.ModuleType("m")) == {}


def module_of(source: str) -> types.ModuleType:
    module = types.ModuleType("made_up")
    exec(source, module.__dict__)
    return module


def test_commands_of_a_module_are_its_own_public_functions() -> None:
    """What it imported is nobody's command. Fails when the function's module isn't compared."""
    module = module_of("from os.path import join\nclass C: pass\ndef run(): pass\ndef _no(): pass\nx = 1")

    assert sorted(commands_of(module)) == ["run"]


def test_commands_of_a_module_are_what_it_lists() -> None:
    """`__all__` decides, imported or not; what is listed but missing, hidden or no function is left out."""
    module = module_of(
        "from os.path import join\ndef run(): pass\n_no = run\nx = 1\n__all__ = ['join', '_no', 'x', 'y']"
    )

    assert sorted(commands_of(module)) == ["join"]


@pytest.fixture
def importable(tmp_path: Path) -> Iterator[Path]:
    """A folder of modules; what is imported from it is forgotten again."""
    path, modules = list(sys.path), set(sys.modules)
    sys.path.insert(0, str(tmp_path))
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def loaded(target: str, **options: object) -> Any:
    """As for a START that gives this process's own path."""
    path = tuple(sys.path)
    start = encode_start(handler=target, options=options, path=path, replace_path=True, max_frame_bytes=65536)
    return load(decode_json(start))


def test_a_handler_is_loaded_by_name(importable: Path) -> None:
    """A class is called with the options, also one inside another; an object or a module is itself."""
    (importable / "wire_example.py").write_text(
        "class Outer:\n    class Inner:\n        def __init__(self, a=0): self.a = a\nthing = [1]\n"
    )

    assert loaded("wire_example:Outer.Inner", a=7).a == 7
    assert loaded("wire_example:thing") == [1]
    assert loaded("wire_example") is sys.modules["wire_example"]
    with pytest.raises(TypeError, match=r"worker.options \['a'\] were given, but wire_example can't be called"):
        loaded("wire_example", a=7)
    with pytest.raises(AttributeError):
        loaded("wire_example:Missing")
    with pytest.raises(ModuleNotFoundError):
        loaded("wire_missing:Handler")


@pytest.mark.thread_unsafe
def test_a_handler_is_loaded_from_a_file(importable: Path) -> None:
    """As a script: its neighbours can be imported, and it can be found by its own name."""
    folder = importable / "deep"
    folder.mkdir()
    (folder / "wire_neighbour.py").write_text("name = 'neighbour'\n")
    (folder / "wire_main.py").write_text(
        "import wire_neighbour\nclass H:\n    seen = wire_neighbour.name, __name__, __file__\n"
    )

    handler = loaded(f"{folder}/wire_main.py:H")

    assert handler.seen == ("neighbour", "bridge_handler_wire_main", f"{folder}/wire_main.py")
    assert sys.modules[type(handler).__module__].H is type(handler)
