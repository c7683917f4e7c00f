"""The file that runs in the other interpreter: what it costs there, and which interpreters run it.

Through real bridges: what a test of the file alone would show isn't what a worker is.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from ctypes import c_int
from pathlib import Path
from typing import Final

import pytest

import bridge
from bridge.testing import contract_handler
from tests.house import interpreters
from tests.house.sources import OURS

HANDLER: Final = """\
import sys


class Visitor:
    def modules(self):
        return sorted(sys.modules)

    def version(self):
        return list(sys.version_info[:2])

    def double(self, value):
        return value * 2

    def same(self, value):
        return value

    def spare(self):
        import gc
        return [len(each.spare) for each in gc.get_objects() if type(each).__name__ == "Pipes"]
"""

SPACE: Final = 128 * 1024 * 1024
LIMITED: Final = Path(__file__).parents[1] / "process" / "limited_handlers.py"

AT_START: Final = {"_scoped_bridge_worker", "struct", "_struct", "fcntl", "_json"}
"""All that a worker may have imported beyond a bare interpreter."""


@pytest.fixture
def visitor(tmp_path: Path) -> str:
    """A handler in a file of its own that imports nothing but sys."""
    file = tmp_path / "visitor.py"
    file.write_text(HANDLER)
    return f"{file}:Visitor"


def bare_modules(python: str) -> set[str]:
    """What an interpreter has imported when it has done nothing."""
    code = "import sys; print(*sys.modules)"
    return set(subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_a_started_worker_has_imported_next_to_nothing(visitor: str) -> None:
    """The start of a worker isn't slowed down by imports that its handler doesn't need."""
    with bridge.connect(visitor, adapter="python_port", size=1) as b:
        loaded = set(b.call("modules"))

    assert loaded - bare_modules(sys.executable) <= AT_START | {"bridge_handler_visitor"}


def test_a_worker_has_addresses_in_reserve(visitor: str) -> None:
    """For the report of a MemoryError. Fails when `main` makes none."""
    with bridge.connect(visitor, adapter="python_port", size=1) as b:
        assert b.call("spare") == [2**22]


@pytest.mark.parametrize("minor", interpreters.EACH)
def test_the_worker_serves_on_every_other_python(minor: int, visitor: str) -> None:
    """A handler can live in any CPython from 3.8 on, with nothing installed there."""
    python = interpreters.need(minor)
    with bridge.connect(visitor, adapter="python_port", size=1, python=python) as b:
        version, doubled = b.call("version"), b.call("double", ["ab"])
        raw, long = b.call("double", [b"ab"]), b.call("double", [b"x" * 3_000_000])
        same, loaded = b.call("same", [memoryview((c_int.__ctype_be__ * 3)(1, 2, 3))]), b.call("modules")

    assert version == [3, minor]
    assert (doubled, raw, long == b"x" * 6_000_000) == ("abab", b"abab", True)
    assert (same.format, same.shape) == (">i", (3,))
    assert "bridge" not in loaded


@pytest.mark.deep
@pytest.mark.parametrize("minor", interpreters.MINORS)
def test_limits_are_set_by_every_other_python(minor: int) -> None:
    """The caller's numbers are theirs too. Fails, on 3.13, when nothing lets go of what the handler's frames hold
    before the report of a MemoryError is made: the worker dies of another one."""
    python = interpreters.need(minor)
    limits = {"open_files": 99, "address_space": SPACE, "core": False, "niceness": 1, "cpu_seconds": 50}
    handler = f"{LIMITED}:Limited"
    with bridge.connect(handler, adapter="python_port", size=1, python=python, limits=limits, umask="077") as b:
        assert b.call("limit", ["RLIMIT_NOFILE"]) == [99, 99]
        assert b.call("umask") == 0o77
        with pytest.raises(bridge.RemoteError, match="raised MemoryError"):
            b.call("hoard")
        assert b.call("limit", ["RLIMIT_AS"]) == [SPACE, SPACE]
    hungry = bridge.connect(f"{LIMITED}:Hungry", adapter="python_port", size=1, python=python, limits=limits)
    with pytest.raises(bridge.WorkerStartError, match="address_space") as caught, hungry:
        pytest.fail("it has a worker")
    assert caught.value.reason == "handler"


@pytest.mark.deep
@pytest.mark.parametrize("minor", interpreters.MINORS)
def test_the_contracts_handler_is_served_by_every_other_python(minor: int) -> None:
    """An adapter for another interpreter can be held to the contract."""
    python = interpreters.need(minor)
    handler = f"{contract_handler.__file__}:ContractHandler"
    with bridge.connect(handler, adapter="python_port", size=1, python=python) as b:
        assert b.call("keep", [1]) == [1]
        assert b.call("letters", [3]) == "xxx"


@pytest.mark.parametrize(
    "name",
    [
        "bridge.wire",
        "bridge.handler",
        "bridge.coroutines",
        "bridge.dialogue",
        "bridge.pickling",
        "bridge.states",
        "bridge.batches",
        "bridge.buffers",
        "bridge.busy",
        "bridge.worker",
        "bridge.remote",
        "bridge.zygote",
        "bridge.testing.contract_handler",
    ],
)
def test_what_runs_in_a_worker_is_python_3_8(name: str) -> None:
    """Newer syntax is noticed also where no old interpreter is installed."""
    source = next(source for source in OURS if source.name == name)

    ast.parse(source.text, feature_version=(3, 8))


@pytest.mark.parametrize("minor", interpreters.EACH)
def test_a_zygote_forks_on_every_other_python_from_3_9_on(minor: int, visitor: str) -> None:
    """And says so where it can't. Fails when `zygote.py` uses what is newer, or when 3.8 isn't refused."""
    python = interpreters.need(minor)
    b = bridge.connect(visitor, adapter="python_port", size=1, python=python, start_method="zygote")
    if minor == 8:
        with pytest.raises(bridge.WorkerStartError, match=r"needs Python 3\.9.*start_method"), b:
            pytest.fail("it has a worker")
        return
    with b:
        assert b.call("version") == [3, minor]
        assert "bridge" not in b.call("modules")
