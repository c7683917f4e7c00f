"""`worker.python`: each other CPython with a handler that only it can run, a virtualenv of its own, and what is none.

That the worker's own file runs there is tests/house/test_worker_file.py; values have test_interpreter_values.py.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Final

import pytest

from bridge import RemoteError, WorkerStartError
from tests.house import interpreters
from tests.process.conftest import Connect
from tests.process.rogue import Rogue

ONLY_THERE: Final = MappingProxyType(
    {
        # The first line is new in that version, the second was removed in the next one.
        8: """
            from threading import Thread
            text = (alive := Thread.isAlive) and "only 3.8"
            return text
        """,
        9: """
            from collections import Mapping
            return ({"text": "only 3.9"} | {})["text"]
        """,
        10: """
            from asyncio import coroutine
            match {"text": ["only 3.10"]}:
                case {"text": [text]}:
                    return text
        """,
        11: """
            import imp, tomllib
            try:
                raise ExceptionGroup("several", [KeyError("only 3.11"), ValueError()])
            except* KeyError as group:
                text = group.exceptions[0].args[0]
            except* ValueError:
                pass
            return tomllib.loads(f"text = '{text}'")["text"]
        """,
        12: """
            import cgi
            def first[T](items: list[T]) -> T:
                return items[0]
            type Texts = list[str]
            return first(["only 3.12"])
        """,
        13: """
            from copy import replace
            class Box[T = str]:
                def __replace__(self, *, text: T) -> T:
                    return text
            return replace(Box(), text="only 3.13")
        """,
    }
)
"""By minor version: the body of a handler's method that no other of these versions can run. 3.13 is the newest."""


def written(folder: Path, minor: int) -> str:
    """That handler, in a file."""
    file = folder / f"only_there_{minor}.py"
    file.write_text(f"class Only:\n    def text(self):{ONLY_THERE[minor]}")
    return f"{file}:Only"


@pytest.mark.parametrize("minor", interpreters.EACH)
def test_each_version_runs_what_it_alone_can_run(connect: Connect, tmp_path: Path, minor: int) -> None:
    """A handler may use all of its own Python, whatever the caller's is; stats() say which that is. Fails when a worker
    runs in the caller's interpreter, or when the caller parses the handler's file."""
    python = interpreters.need(minor)
    b = connect(written(tmp_path, minor), python=python)

    assert b.call("text") == f"only 3.{minor}"
    (worker,) = b.stats().workers
    assert worker.python is not None
    assert worker.python.startswith(f"3.{minor}.")
    assert worker.path is not None
    assert os.path.samefile(worker.path, python)


@pytest.mark.deep
@pytest.mark.parametrize("minor", interpreters.MINORS)
def test_no_other_version_runs_it(connect: Connect, tmp_path: Path, minor: int) -> None:
    """Else the test above would say nothing. To each it is an error of the handler, told with its reason."""
    handler = written(tmp_path, minor)
    others = [other for other in interpreters.MINORS if other != minor and interpreters.find(other) is not None]
    for other in others:
        b = connect(handler, python=interpreters.find(other))
        with pytest.raises(
            (WorkerStartError, RemoteError), match=r"(Syntax|Import|ModuleNotFound|Attribute|Type)Error"
        ):
            b.call("text")
        b.close(0)


def virtualenv(folder: Path, python: str) -> Path:
    """One that has a package which nobody else has."""
    subprocess.run([python, "-m", "venv", "--without-pip", folder], check=True, timeout=120)
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    found = subprocess.run(
        [folder / "bin" / "python", "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    package = Path(found.stdout.strip()) / "only_in_that_venv"
    package.mkdir()
    package.joinpath("__init__.py").write_text(
        "import sys\n\n\nclass Model:\n    def prefix(self):\n        return sys.prefix\n"
    )
    return folder


@pytest.mark.parametrize("minor", [pytest.param(None, id="own"), *interpreters.EACH])
def test_a_virtualenv_has_packages_that_the_caller_does_not_have(
    connect: Connect, tmp_path: Path, minor: int | None
) -> None:
    """`venv:PATH` is all that names it. Fails when its python is resolved to what it links to, or when the caller's
    search path replaces its own."""
    venv = virtualenv(tmp_path / "models", sys.executable if minor is None else interpreters.need(minor))
    b = connect("only_in_that_venv:Model", python=f"venv:{venv}")

    assert importlib.util.find_spec("only_in_that_venv") is None
    assert b.call("prefix") == str(venv)
    (worker,) = b.stats().workers
    assert worker.path == str(venv / "bin" / "python")


def python_two(rogue: Rogue) -> str:
    """It reads nothing newer than its own syntax."""
    return rogue.script("echo '  File \"worker.py\", line 40' >&2; echo 'SyntaxError: invalid syntax' >&2; exit 1")


@pytest.mark.parametrize("start_method", ["spawn", pytest.param("zygote", marks=pytest.mark.deep)])
@pytest.mark.parametrize(
    ("make", "says"),
    [
        pytest.param(lambda rogue: rogue.script("exit 0"), "exit code 0", id="ends at once"),
        pytest.param(lambda rogue: rogue.script("exit 3"), "exit code 3", id="fails at once"),
        pytest.param(
            lambda rogue: rogue.script("echo hello, world; echo garbage >&2; exit 4"), "garbage", id="chatters"
        ),
        pytest.param(python_two, "SyntaxError: invalid syntax", id="too old"),
        pytest.param(lambda rogue: rogue.script("exec sleep 600"), "startup_timeout", id="hangs"),
    ],
)
def test_what_is_no_interpreter_is_named_with_what_to_do(
    connect: Connect, rogue: Rogue, start_method: str, make: Callable[[Rogue], str], says: str
) -> None:
    """The setting, the program, what it said, and a command that shows it. Fails when `_stranger` says nothing."""
    python = make(rogue)
    b = connect("json:loads", python=python, startup_timeout=1.0, start_method=start_method)
    with pytest.raises(WorkerStartError) as caught:
        b.call("anything", timeout=20)

    assert caught.value.reason == ("timeout" if says == "startup_timeout" else "crashed")
    assert says in str(caught.value)
    assert f"worker.python {python!r} a CPython from 3.8 on? Try: {python} -V" in caught.value.detail


def test_a_virtualenv_without_its_prefix_is_told_how_it_is_named(connect: Connect, tmp_path: Path) -> None:
    """The likeliest mistake of all. Fails when a directory is only a permission that is denied."""
    b = connect("json:loads", python=str(tmp_path))
    with pytest.raises(WorkerStartError, match=f"is a directory; a virtualenv is named as 'venv:{tmp_path}'") as caught:
        b.call("anything", timeout=20)

    assert caught.value.reason == "interpreter"


def test_an_interpreter_that_may_not_be_executed_is_named(connect: Connect, tmp_path: Path) -> None:
    """Fails when the OSError of its spawn isn't turned into an error that names the setting."""
    (plain := tmp_path / "python").write_text("#!/bin/sh\n")
    with pytest.raises(WorkerStartError, match=f"worker.python '{plain}': Permission denied. Name one") as caught:
        connect("json:loads", python=str(plain)).call("anything", timeout=20)

    assert caught.value.reason == "interpreter"


def test_one_that_got_up_and_fails_is_no_stranger(connect: Connect, rough: str) -> None:
    """Who said HELLO is a CPython: its error is about its handler alone. Fails when `_stranger` doesn't look."""
    with pytest.raises(WorkerStartError) as caught:
        connect(f"{rough}:NeverReady", python=sys.executable, startup_timeout=1.0).call("anything", timeout=20)

    assert "worker.python" not in str(caught.value)
