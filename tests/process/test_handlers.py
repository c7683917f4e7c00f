"""What can be a handler, and what a handler may do without harm to the protocol."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from bridge import Bridge, CallError, RemoteError, WorkerCrashed, WorkerStartError
from tests.process.conftest import Connect

ROOT = Path(__file__).parents[2]


@pytest.fixture
def b(shared_rough: Bridge) -> Bridge:
    """One worker of the handler Rough, which the test leaves as it was."""
    return shared_rough


@pytest.mark.parametrize(
    ("command", "args", "kind", "message"),
    [
        ("leave", [5], "SystemExit", "5"),
        ("interrupt", None, "KeyboardInterrupt", ""),
        ("mute", None, "bridge_handler_rough_handlers.MuteError", "(its __str__ raised RuntimeError)"),
    ],
)
def test_whatever_a_handler_raises_is_an_answer(
    b: Bridge, command: str, args: list[int] | None, kind: str, message: str
) -> None:
    """sys.exit(), KeyboardInterrupt and an exception that can't be printed don't end the worker. Fails when
    `answer_plain` catches Exception only, or when `describe` trusts `str`."""
    pid = b.call("pid")
    with pytest.raises(RemoteError) as caught:
        b.call(command, args)

    assert (caught.value.type, caught.value.message) == (kind, message)
    assert b.call("pid") == pid


def test_a_forked_child_that_returns_from_the_call_does_not_answer_it(b: Bridge) -> None:
    """Exactly one answer comes, the parent's. Fails without `Pipes.forget`: the child's answer is taken for it."""
    parent = b.call("pid")
    children = [b.call("fork") for _ in range(5)]

    assert all(children)
    assert [b.call("echo", [i]) for i in range(5)] == [0, 1, 2, 3, 4]
    assert b.call("pid") == parent


def test_a_handler_that_closes_all_descriptors_is_a_crash(connect: Connect, rough: str) -> None:
    """The caller gets an error, not silence. Fails when only the death of a process counts as its end."""
    b = connect(f"{rough}:Rough")
    with pytest.raises(WorkerCrashed):
        b.call("close_descriptors", timeout=10)

    assert b.call("echo", [1]) == 1


def test_a_worker_that_hangs_up_and_lives_on_is_told_apart_from_one_that_died(connect: Connect, rough: str) -> None:
    """It became another program, and was ended by us: nobody shall look for a lack of memory. Fails when `_lost`
    doesn't ask who ended it."""
    b = connect(f"{rough}:Rough")
    with pytest.raises(WorkerCrashed, match="closed its end of the conversation") as caught:
        b.call("exec_a_program", timeout=10)

    assert caught.value.hung_up
    assert "memory" not in str(caught.value)
    assert b.call("echo", [1]) == 1


def test_a_result_too_deep_for_the_caller_is_the_handlers_error(b: Bridge) -> None:
    """A worker that raised its own limit sends what the caller can't read: its model isn't lost for that. Fails when
    it is called a breach of the protocol, which kills."""
    pid = b.call("pid")
    with pytest.raises(CallError, match="nested too deeply") as caught:
        b.call("deep", [2000 if sys.version_info < (3, 13) else 20_000])  # 3.13 can read the first

    assert (caught.value.kind, caught.value.side) == ("result", "handler")
    assert b.call("pid") == pid


def test_a_method_named_close_is_a_command(b: Bridge) -> None:
    """Only the hooks' names are taken. Fails when `close` is called at the end, or withheld."""
    assert b.call("close") == "closed by name"
    assert b.call("echo", [1]) == 1


@pytest.mark.parametrize("name", ["on_start", "_private", "data", "__init__"])
def test_hooks_private_names_and_data_are_no_commands(b: Bridge, name: str) -> None:
    """The start hook ran, once, and can't be called. Fails when `commands_of` offers HOOKS."""
    with pytest.raises(CallError, match="no such command"):
        b.call(name)

    assert b.call("note") == "none, started"


def test_options_go_to_the_constructor_by_keyword(connect: Connect, rough: str, handlers: str) -> None:
    """Each bridge has its own. Fails when `load` calls the class without them."""
    assert connect(f"{rough}:Rough", options={"note": "mine"}).call("note") == "mine, started"
    assert connect(f"{handlers}:Echo", options={"greeting": "ciao"}).call("greet", ["Ada"]) == "ciao, Ada"


def test_a_module_is_a_handler(connect: Connect) -> None:
    """Of Python or of C: its own public functions are commands. Fails when `commands_of` looks at classes only."""
    statistics, math = connect("statistics"), connect("math")

    assert statistics.call("mean", [[1, 2, 6]]) == 3
    assert statistics.call("quantiles", {"data": [1, 2, 3], "n": 2}) == [2]
    assert math.call("sqrt", [16]) == 4
    assert math.call("hypot", [3, 4]) == 5
    with pytest.raises(CallError, match="must be real number"):
        math.call("sqrt", ["x"])
    with pytest.raises(RemoteError, match="math domain error"):
        math.call("sqrt", [-1])


def test_a_modules_imports_and_classes_are_no_commands(connect: Connect, tmp_path: Path) -> None:
    """Without `__all__` only what is its own and callable by intent. Fails when `dir()` alone decides."""
    (tmp_path / "tools.py").write_text(
        "from os.path import join\nclass Kind: ...\nCONST = 1\ndef own(): return 'own'\n"
    )
    b = connect(f"{tmp_path / 'tools.py'}")

    assert b.call("own") == "own"
    with pytest.raises(CallError, match=r"it has: own$"):
        b.call("join", ["a", "b"])


def test_a_modules_all_decides_what_its_commands_are(connect: Connect, tmp_path: Path) -> None:
    """What is listed is offered, also when it was imported. Fails when `__all__` isn't looked at."""
    (tmp_path / "tools.py").write_text("from os.path import join\n__all__ = ['join']\ndef own(): return 'own'\n")
    b = connect(f"{tmp_path / 'tools.py'}")

    assert b.call("join", ["a", "b"]) == "a/b"
    with pytest.raises(CallError, match=r"it has: join$"):
        b.call("own")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("__all__ = [1]\n", "attribute name must be string"),
        (
            "__all__ = ['lazy']\ndef __getattr__(name):\n    raise ImportError(f'no numpy for {name}')\n",
            "ImportError: no numpy for lazy",
        ),
        ("class Odd:\n    @property\n    def __class__(self): raise SystemExit(4)\n__all__ = [Odd()]\n", "TypeError"),
    ],
)
def test_a_module_whose_commands_cannot_be_listed_fails_to_start(
    connect: Connect, tmp_path: Path, source: str, says: str
) -> None:
    """At once and with the reason, not in its first call. Fails when READY is sent before `commands_of` ran."""
    (tmp_path / "tools.py").write_text(source)
    with pytest.raises(WorkerStartError, match=says) as caught:
        connect(f"{tmp_path / 'tools.py'}").call("own", timeout=20)

    assert caught.value.reason == "handler"


def test_a_module_in_the_working_directory_is_not_taken_for_the_standard_librarys(
    connect: Connect, tmp_path: Path
) -> None:
    """A project may have a struct.py. Fails when BOOT leaves '' on the path until the worker's own imports are made."""
    for name in ("struct", "fcntl", "_json", "os"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('the wrong one')\n")

    assert connect("math", cwd=str(tmp_path)).call("sqrt", [4]) == 2


def test_a_handler_file_can_import_its_neighbours(
    connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for a script, its folder is on the path; a relative name is taken from here. Fails when `load` doesn't
    extend sys.path, or when `_absolute` doesn't."""
    (tmp_path / "neighbour.py").write_text("WORD = 'hello from next door'\n")
    (tmp_path / "main_handler.py").write_text(
        "import neighbour\nclass Outer:\n    class Inner:\n        def word(self): return neighbour.WORD\n"
    )
    monkeypatch.chdir(tmp_path)

    b = connect("main_handler.py:Outer.Inner", cwd="/")
    assert b.call("word") == "hello from next door"


def test_the_same_interpreter_sees_the_callers_path(
    connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the caller can import its workers can import. Fails when START doesn't carry sys.path."""
    (tmp_path / "only_on_my_path.py").write_text("import sys\ndef path(): return sys.path\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    seen = connect("only_on_my_path").call("path")
    assert seen == [entry or str(Path.cwd()) for entry in sys.path]


def test_entries_of_the_callers_path_that_are_no_text_do_no_harm(
    connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pathlib.Path is what it says, anything else is passed over, as by the import system. Fails when `_spec` takes
    them as they are: START can't carry them."""
    (tmp_path / "by_path.py").write_text("def word(): return 'found'\n")
    monkeypatch.setattr(sys, "path", [tmp_path, None, 7, *sys.path])

    assert connect("by_path").call("word", timeout=20) == "found"


FINDER = """
import sys
from importlib.util import spec_from_file_location

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return spec_from_file_location(name, {file!r}) if name == "edited_here" else None

sys.meta_path.append(Finder)
"""
"""What `pip install -e` writes for a project that isn't simply a folder on the path."""


def test_an_editable_install_by_an_import_hook_works_in_a_worker(tmp_path: Path) -> None:
    """What the caller's environment can import by a hook of a .pth file, its workers can. Fails when workers are
    started without `site` (-S), or when only sys.path decides what they find."""
    venv.create(tmp_path / "venv", symlinks=True, with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    source = tmp_path / "somewhere_else.py"
    source.write_text("def word(): return 'edited'\n")
    (site / "_editable_finder.py").write_text(FINDER.format(file=str(source)))
    (site / "__editable__.edited.pth").write_text("import _editable_finder\n")
    program = (
        "import bridge\nwith bridge.connect('edited_here', adapter='python_port', size=1) as b: print(b.call('word'))"
    )
    done = subprocess.run(
        [python, "-c", program],
        env={"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (done.stdout, done.stderr) == ("edited\n", "")


def test_extra_path_entries_come_first(connect: Connect, tmp_path: Path) -> None:
    """`worker.path` is put in front. Fails when `_spec` leaves it out."""
    (tmp_path / "statistics.py").write_text("def mean(data): return 'not the real one'\n")

    assert connect("statistics", path=[str(tmp_path)]).call("mean", [[1]]) == "not the real one"


def test_the_callers_main_module_is_never_imported_again(tmp_path: Path, handlers: str) -> None:
    """A script without `if __name__ == "__main__"` runs once, and its worker's main module isn't it. Fails when a
    worker is started as multiprocessing does it."""
    script = tmp_path / "script.py"
    script.write_text(
        "import bridge, sys\n"
        "print('the script runs', flush=True)\n"
        f"with bridge.connect({handlers + ':Echo'!r}, adapter='python_port', size=2) as b:\n"
        "    print([b.call('add', [i, 1]) for i in range(4)])\n"
    )
    done = subprocess.run(
        [sys.executable, script], cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=30
    )

    assert (done.stdout, done.stderr) == ("the script runs\n[1, 2, 3, 4]\n", "")
