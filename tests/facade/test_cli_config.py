"""`config`: what is in force, and who said so."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bridge.cli import main
from bridge.groups import LimitSettings
from bridge.schema import LEAVES, BridgeSettings
from tests.facade.terminals import Terminal


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the tests are run with."""
    import os

    for name in [name for name in os.environ if name.upper().startswith("BRIDGE_")]:
        monkeypatch.delenv(name)


def config(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["config", "--json", *words]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def sources(found: dict[str, Any]) -> dict[str, tuple[Any, str, str | None]]:
    """Those that aren't defaults."""
    entries = {name: (each["value"], each["source"], each["variable"]) for name, each in found.items()}
    return {name: entry for name, entry in entries.items() if entry[1] != "default"}


def test_every_setting_is_listed_once_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    """Those of a group within a group by their own names. Fails when a field that is added isn't found by itself."""
    found = config(capsys)
    names = {".".join(path) for path in LEAVES.values()} - {"worker.limits"}

    assert found.keys() == names | {f"worker.limits.{name}" for name in LimitSettings.model_fields}
    assert found["pool.size"] == {"value": 4, "source": "default", "variable": None}
    assert sources(found) == {}


def test_the_variable_that_won_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A field's own, that of its group as JSON, or that of a group within one, as they are spelt; the innermost that
    says something of it wins. Fails when the nearest one is named whatever it says, or the outermost."""
    for name, value in {
        "BRIDGE_POOL": '{"size": 8, "max_waiting": 3}',
        "bridge_pool__size": "5",
        "BRIDGE_WORKER": '{"limits": {"open_files": 99, "niceness": 1}, "umask": "027"}',
        "BRIDGE_WORKER__LIMITS": '{"core": false, "niceness": 2}',
        "BRIDGE_WORKER__LIMITS__NICENESS": "3",
        "BRIDGE_CALL__TIMEOUT": "null",
        "BRIDGE_PORT": "tcp://10.0.0.1",
        "TEST_MODE": "bridge_mock",
    }.items():
        monkeypatch.setenv(name, value)

    assert sources(config(capsys)) == {
        "worker.umask": (0o27, "variable", "BRIDGE_WORKER"),
        "worker.limits.open_files": (99, "variable", "BRIDGE_WORKER"),
        "worker.limits.niceness": (3, "variable", "BRIDGE_WORKER__LIMITS__NICENESS"),
        "worker.limits.core": (False, "variable", "BRIDGE_WORKER__LIMITS"),
        "pool.size": (5, "variable", "bridge_pool__size"),
        "pool.max_waiting": (3, "variable", "BRIDGE_POOL"),
        "call.timeout": (None, "variable", "BRIDGE_CALL__TIMEOUT"),
        "test_mode": ("bridge_mock", "variable", "TEST_MODE"),
    }


def test_a_file_counts_when_it_is_named_and_less_than_variables(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of a mapping, each may have some keys. Fails when what the file says is taken for a variable's."""
    file = tmp_path / "prod.env"
    file.write_text('OCR_POOL__SIZE=2\nOCR_POOL__SPARE=1\nOCR_WORKER__OPTIONS={"a": 1}\nOTHER=x\n')
    monkeypatch.setenv("OCR_POOL__SIZE", "6")
    monkeypatch.setenv("OCR_WORKER__OPTIONS", '{"b": 2}')
    monkeypatch.setenv("BRIDGE_POOL__SIZE", "7")

    assert sources(config(capsys, "--prefix", "OCR_", "--env-file", str(file))) == {
        "worker.options": ({"a": 1, "b": 2}, "file and variable", "OCR_WORKER__OPTIONS"),
        "pool.size": (6, "variable", "OCR_POOL__SIZE"),
        "pool.spare": (1, "file", None),
    }
    assert main(["config", "--prefix", "OCR_", "--env-file", str(file)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["pool.spare", "1", "file", str(file)] in lines
    assert ["pool.size", "6", "OCR_POOL__SIZE"] in lines
    assert ["pool.max_overflow", "0", "default"] in lines


def test_what_is_shown_is_what_a_bridge_would_get(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not what the variable says: a launcher is split, an enum is its value. Fails when text is shown as it came."""
    monkeypatch.setenv("BRIDGE_WORKER__LAUNCHER", "ssh -q 'big host'")
    monkeypatch.setenv("BRIDGE_WORKER__CODEC", "pickle")
    found = config(capsys)

    assert found["worker.launcher"]["value"] == ["ssh", "-q", "big host"] == [*BridgeSettings.load().worker.launcher]
    assert found["worker.codec"]["value"] == "pickle"


@pytest.mark.parametrize("as_json", [True, False])
def test_values_of_the_workers_environment_are_shown_when_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *, as_json: bool
) -> None:
    """Their names always. Fails when they are passed on with every report."""
    monkeypatch.setenv("BRIDGE_WORKER__ENV", '{"TOKEN": "hunter2"}')
    words = ["config", *(["--json"] if as_json else [])]
    for more, shown in (((), False), (("--show-env",), True)):
        assert main([*words, *more]) == 0
        told = capsys.readouterr().out

        assert ("TOKEN" in told, "hunter2" in told) == (True, shown)


def test_a_terminal_shows_defaults_faint_and_no_escape_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what was set stands out; a pipe has neither. Fails when the value of a variable is written as it is."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("BRIDGE_NAME", "\x9b2J\x1b[2J")
    terminal = Terminal()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", terminal.stream)
        assert main(["config"]) == 0
    lines = terminal.shown().splitlines()

    assert lines[0].split()[1:] == [r'"\x9b2J\u001b[2J"', "BRIDGE_NAME"]
    assert lines[1].startswith("\x1b[2madapter ")
    assert lines[1].endswith("default\x1b[0m")


def test_settings_that_cannot_be_used_are_told_in_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As everywhere, with 2; nothing is on stdout."""
    monkeypatch.setenv("BRIDGE_POOL__SIZE", "none")
    assert main(["config"]) == 2
    out, err = capsys.readouterr()
    assert (out, "pool.size" in err) == ("", True)

    assert main(["config", "--env-file", "/no/such/file"]) == 2
    assert "/no/such/file" in capsys.readouterr().err
