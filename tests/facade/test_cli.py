"""The command line's promises to shells and scripts: what goes where, and with which exit code."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import bridge
from bridge import errors
from bridge.cli import exits, main, output
from tests.facade.terminals import Terminal

ROOT = Path(__file__).parents[2]


def error_of(captured: pytest.CaptureFixture[str]) -> str:
    """What was said on stderr, when nothing was on stdout."""
    out, err = captured.readouterr()

    assert out == ""
    assert "bridge/cli" not in err  # no traceback of ours
    return err


@pytest.mark.parametrize(
    ("command", "printed"),
    [
        (command, after.splitlines())
        for command, after in re.findall(
            r"^\$ (scoped-bridge call .*|printf .*)\n((?:(?!```|\$ ).*\n)+)",
            (ROOT / "docs" / "reference" / "cli.md").read_text(),
            re.MULTILINE,
        )
    ],
)
def test_the_pages_calls_print_what_the_page_says(command: str, printed: list[str], tmp_path: Path) -> None:
    """In a shell, stderr and all. Fails when a command or an output on the page is altered."""
    ours = command.replace("scoped-bridge", f"{sys.executable} -m bridge")
    done = subprocess.run(
        ["bash", "-c", f"{{ {ours}; }} 2>&1"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.stdout.splitlines() == printed


@pytest.mark.parametrize(
    ("words", "result"),
    [
        (["echo"], None),
        (["echo", '{"value": {"a": [1, 2.5, "\\u00e4"]}}'], {"a": [1, 2.5, "ä"]}),
        (["add", "[1, 2]"], 3),
        (["add", '{"a": 1, "b": 4}'], 5),
        (["counted", "{}"], 1),
        (["counted", "[]"], 1),
    ],
)
def test_call_prints_the_result_as_json(
    handlers: str, capsys: pytest.CaptureFixture[str], words: list[str], result: object
) -> None:
    """An object goes by keyword, an array by position, nothing is no argument; stdout holds one JSON value."""
    assert main(["call", f"{handlers}:Echo", *words]) == 0

    out, err = capsys.readouterr()
    assert (json.loads(out), out.count("\n"), err) == (result, 1, "")


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["cal"],
        ["call"],
        ["call", "json"],
        ["call", "json", "dumps", "3"],
        ["call", "json", "dumps", "null"],
        ["call", "json", "dumps", '"text"'],
        ["call", "json", "dumps", "{"],
        ["call", "json", "dumps", "[" * 100_000],
        ["call", "json", "dumps", "[1]", "--timeout", "soon"],
        ["call", "json", "dumps", "[1]", "--timeout", "-1"],
        ["call", "json", "dumps", "[1]", "--timeout", "nan"],
        ["demo", "--size", "two"],
        ["top", "socket", "--interval", "0"],
        ["top", "socket", "--interval", "often"],
        ["bench", "speed"],
        ["bench", "--rounds", "0"],
        ["bench", "--rounds", "many"],
        ["bench", "--rounds", "3", "--quick"],
        ["bench", "--json"],
    ],
)
def test_a_command_line_that_makes_no_sense_ends_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is started; usage and reason are on stderr."""
    with pytest.raises(SystemExit) as exit_:
        main(words)

    assert exit_.value.code == 2
    assert "usage: scoped-bridge" in error_of(capsys)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["no/such/file.py:Class", "x"], 2, "ConfigurationError: handler .*there is no file"),
        (["{echo}", "nothing"], 3, "CallError: 'nothing': the handler has no such command"),
        (["{echo}", "add"], 3, "CallError: 'add': missing a required argument"),
        (["{echo}", "fail", '["because"]'], 4, "RemoteError: 'fail' raised ValueError: because\n\nIn the worker:\nTr"),
        (["{echo}", "spin", "--timeout", "0.05"], 5, "CallTimeout: 'spin' gave no answer"),
        (["{echo}", "leave"], 6, "WorkerCrashed: .*exit code 3.*\n\nThe last it wrote to stderr:\nlast words"),
        (["no_such_module_anywhere", "x"], 7, "WorkerStartError: .*ModuleNotFoundError"),
        (["{echo}", "pid", "--python", "/no/such/python"], 7, "WorkerStartError: .*No such file"),
    ],
)
def test_an_error_is_told_in_words_and_by_its_own_exit_code(
    handlers: str, capsys: pytest.CaptureFixture[str], words: list[str], code: int, told: str
) -> None:
    """One paragraph on stderr that names the class, without a traceback of ours; stdout stays empty."""
    handler = words[0].replace("{echo}", f"{handlers}:Echo")

    assert main(["call", handler, *words[1:]]) == code
    assert re.match(f"scoped-bridge: {told}", error_of(capsys))


def test_a_demo_of_nothing_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A directory without a .py file ends with 2, before any worker is started."""
    assert main(["demo", "--path", str(tmp_path)]) == 2
    assert f"no .py file below {tmp_path}" in error_of(capsys)


def test_a_pool_without_workers_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    """A size out of its range is told as any other setting is."""
    assert main(["demo", "--size", "0"]) == 2
    assert "pool.size" in error_of(capsys)


def test_every_error_has_an_exit_code_with_a_meaning() -> None:
    """No error of ours can leave the command line without a code that is in the table."""
    kinds = [getattr(errors, name) for name in errors.__all__]
    codes = {kind.__name__: exits.code_of(kind.__new__(kind)) for kind in kinds}

    assert set(codes.values()) <= set(exits.MEANINGS)
    assert {name for name, code in codes.items() if code == 8} == {
        "PoolError",
        "PoolTimeout",
        "PoolOverloaded",
        "CircuitOpen",
        "PoolClosed",
    }
    assert {name for name, code in codes.items() if code == 10} == {
        "BridgeError",
        "CallCancelled",
        "CapabilityError",
        "PoisonCall",
        "ScopeClosedError",
        "ScopeError",
        "SessionLost",
        "UnscopedAccessError",
        "WorkerError",
    }
    assert codes["ProtocolError"] == 9


def test_the_page_has_the_same_exit_codes_as_the_code() -> None:
    """docs/reference/cli.md lists every code, with the very words of exits.MEANINGS."""
    page = (ROOT / "docs/reference/cli.md").read_text()
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", page, re.MULTILINE)

    assert {int(code): meaning for code, meaning in rows} == exits.MEANINGS


def test_help_imports_neither_the_pool_nor_pydantic() -> None:
    """--help answers at once, since a subcommand is imported when it runs."""
    program = (
        "import sys\n"
        "from bridge.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "print(*sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)

    assert "exit codes:" in done.stdout
    loaded = set(done.stderr.split())
    assert not loaded & {
        "pydantic",
        "dependency_injector",
        "logging",
        "bridge.runtime",
        "bridge.cli.demo",
        "bridge.bench",
    }


def test_a_handler_in_the_current_directory_is_found_by_the_installed_script(tmp_path: Path) -> None:
    """The script's own directory is on sys.path, not the current one; the handler is found all the same."""
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "handler_right_here.py").write_text("def hello(): return 'hi'\n")
    script = tmp_path / "script.py"
    script.write_text("import sys\nfrom bridge.cli import main\nsys.exit(main())\n")
    done = subprocess.run(
        [sys.executable, str(script), "call", "handler_right_here", "hello"],
        capture_output=True,
        text=True,
        cwd=tmp_path / "work",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, '"hi"\n', "")


@pytest.mark.parametrize("words", [["--help"], ["call", "json", "dumps", "[1]"]])
def test_a_reader_that_went_away_causes_no_traceback(words: list[str]) -> None:
    """As in `scoped-bridge ... | true`: it ends with 141, and silently."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "bridge", *words],
            stdout=writer,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env=environment,  # argparse ignores an error of its own write, which is then the first one
        )
    finally:
        os.close(writer)

    assert (done.returncode, done.stderr) == (exits.UNREAD, b"")


@pytest.mark.parametrize("unbuffered", ["", pytest.param("1", marks=pytest.mark.deep)])
@pytest.mark.parametrize("words", [["--help"], ["call", "--help"], ["call", "json", "dumps", "[1]"]])
def test_an_output_that_cannot_be_written_is_one_line_and_a_code_of_its_own(words: list[str], unbuffered: str) -> None:
    """A full disk, for instance; help is no exception. Fails when only BrokenPipeError is expected of a stream."""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "bridge", *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )

    told = "scoped-bridge: <stdout> can't be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (exits.UNWRITABLE, told)


@pytest.mark.parametrize(("words", "code"), [(["call", "no/such/file.py:Class", "x"], 2), (["call", "math", "pi"], 3)])
def test_an_error_that_cannot_be_told_keeps_its_code(words: list[str], code: int) -> None:
    """Where stderr can't be written, the exit code is all that is left. Fails when that failure counts for more."""
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "bridge", *words], stderr=full, stdout=-1, cwd=ROOT)

    assert (done.returncode, done.stdout) == (code, b"")


def test_nothing_but_the_paragraph_is_on_stderr_when_a_worker_dies(handlers: str) -> None:
    """The supervisor's warning about the same death isn't printed beside the error; crash and code are real."""
    words = [sys.executable, "-m", "bridge", "call", f"{handlers}:Echo", "crash"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)

    assert done.returncode == 6
    assert done.stderr.startswith("scoped-bridge: WorkerCrashed: ")
    assert done.stderr.count("\n") == 1


def test_a_call_from_a_shell_is_a_real_one(
    handlers: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """BRIDGE_ADAPTER, which tests of an application may set, doesn't turn it into a call of a mock."""
    monkeypatch.setenv("BRIDGE_ADAPTER", "no_such_adapter")
    monkeypatch.setenv("BRIDGE_ADAPTER_OPTIONS", '{"answers": 1}')

    assert main(["call", f"{handlers}:Echo", "echo", "[1]"]) == 0
    assert capsys.readouterr().out == "1\n"


def test_settings_of_the_environment_count_for_a_call(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """BRIDGE_WORKER__PATH is searched beside the current directory, and BRIDGE_CALL__TIMEOUT holds."""
    (tmp_path / "handler_elsewhere.py").write_text("import time\nfrom time import sleep\n__all__ = ['sleep']\n")
    monkeypatch.setenv("BRIDGE_WORKER__PATH", json.dumps([str(tmp_path)]))
    monkeypatch.setenv("BRIDGE_CALL__TIMEOUT", "0.05")

    assert main(["call", "handler_elsewhere", "sleep", "[30]"]) == 5
    assert "within its 0.050 s" in error_of(capsys)


def test_a_result_is_readable_where_the_stream_can_carry_it_and_escaped_where_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever a handler returns is printed as valid JSON, in any encoding; a lone surrogate too."""
    for encoding, value, printed in (
        ("utf-8", "ä", b'"\xc3\xa4"\n'),
        ("ascii", "ä", b'"\\u00e4"\n'),
        ("utf-8", "\udc80", b'"\\udc80"\n'),
    ):
        raw = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
        output.print_json(value)

        assert raw.getvalue() == printed


def test_colours_are_for_terminals_whose_user_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe never gets an escape sequence, nor a terminal with NO_COLOR set or of the kind dumb; an empty NO_COLOR
    says nothing. Fails without the look at the stream, or at either variable."""
    for name, value, shown in (
        ("TERM", "xterm", "\x1b[31mred\x1b[0m"),
        ("NO_COLOR", "", "\x1b[31mred\x1b[0m"),
        ("NO_COLOR", "1", "red"),
        ("TERM", "dumb", "red"),
    ):
        with monkeypatch.context() as patch:
            patch.delenv("NO_COLOR", raising=False)
            patch.setenv("TERM", "xterm")
            patch.setenv(name, value)
            terminal = Terminal()
            output.put(output.painted("red", output.Colour.RED, terminal.stream), terminal.stream)

            assert terminal.shown() == shown
            assert output.painted("red", output.Colour.RED, io.StringIO()) == "red"
            assert output.painted("red", output.Colour.RED, None) == "red"


def test_without_a_stderr_errors_do_not_go_to_stdout(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where stderr was closed only the exit code is left; stdout is for results."""
    monkeypatch.setattr(sys, "stderr", None)

    assert main(["call", "no/such/file.py:Class", "x"]) == 2
    assert capsys.readouterr().out == ""


def test_without_a_stdout_nothing_is_done() -> None:
    """Results have no place to go, as on a full disk. Fails when they get lost and the exit code is that of success."""
    closing = 'exec "$0" -m bridge call math isqrt "[16]" >&-'
    done = subprocess.run(["sh", "-c", closing, sys.executable], capture_output=True, text=True, timeout=60)

    assert done.returncode == 11
    assert done.stderr.startswith("scoped-bridge: stdout is closed")


def test_ctrl_c_anywhere_is_one_line_and_130(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it strikes, while importing as well, main answers it."""

    def interrupted(*_: object, **__: object) -> bridge.Bridge:
        raise KeyboardInterrupt

    monkeypatch.setattr("bridge.cli.call.connect", interrupted)

    assert main(["call", "json", "dumps"]) == 130
    assert error_of(capsys) == "scoped-bridge: interrupted\n"
