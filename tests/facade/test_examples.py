"""The example applications, run as their readers run them: the program, and its tests in every mode."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

EXAMPLES: Final = Path(__file__).parents[2] / "docs" / "examples"


def run(example: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a module of Python's in an example's folder."""
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=EXAMPLES / example, capture_output=True, text=True, timeout=60
    )


@pytest.mark.deep
@pytest.mark.parametrize("mode", ["mock_adapter", "bridge_mock", "full_integration"])
def test_the_wiring_example_passes_its_tests_in_every_mode(mode: str) -> None:
    """On the fake, on the protocol alone, and for real; tests that say themselves what they run on get it in each."""
    done = run("wiring", "pytest", "-q", "-p", "no:cacheprovider", f"--bridge-test-mode={mode}")

    assert "5 passed" in done.stdout, done.stdout + done.stderr


def test_the_wiring_example_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program does its work in worker processes, and leaves quietly."""
    monkeypatch.delenv("TEST_MODE", raising=False)
    done = run("wiring", "shop.main")

    assert (done.stdout, done.stderr) == ("2 complaints\n", "")


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"BRIDGE_WORKER__LAUNCHER": "nice env -C /", "BRIDGE_WORKER__SHIP": '["pricing"]'},
        {
            "BRIDGE_ADAPTER": "executor",
            "BRIDGE_ADAPTER_OPTIONS": '{"executor": "concurrent.futures:ThreadPoolExecutor"}',
        },
    ],
)
def test_the_placement_example_runs_wherever_settings_say(
    settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same program in processes here, behind a launcher in another directory, and on an executor. Fails when `ship`
    doesn't look on the caller's own path."""
    monkeypatch.delenv("TEST_MODE", raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    done = run("placement", "main")

    assert (done.stdout, done.stderr) == ("8 EUR\n", "")
