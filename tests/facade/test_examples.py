"""The example applications, run as their readers run them: the program, and its tests in every mode."""

from __future__ import annotations

import pytest

from tests.examples import MODES, check, run
from tests.house import interpreters


@pytest.mark.deep
@pytest.mark.parametrize("mode", MODES)
def test_the_wiring_example_passes_its_tests_in_every_mode(mode: str) -> None:
    """On the fake, on the protocol alone, and for real; tests that say themselves what they run on get it in each."""
    check("wiring", mode, passed=5)


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


@pytest.mark.parametrize("mode", MODES)
def test_the_program_server_passes_its_tests_in_every_mode(mode: str) -> None:
    """On a fake, on the protocol alone, and for real; what dies in it are real workers in each. Fails when its sessions
    aren't durable, or its calls not idempotent."""
    check("programs", mode, passed=9)


def test_the_program_server_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its programs and their counts are there after the death of all workers."""
    monkeypatch.delenv("TEST_MODE", raising=False)
    done = run("programs", "main")

    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "Rome is the capital of Italy.",
        "Paris is the capital of France.",
        "['facts: 2 runs']",
        "[] []",
    ]


@pytest.mark.parametrize("mode", [MODES[0], *(pytest.param(mode, marks=pytest.mark.deep) for mode in MODES[1:])])
def test_the_crashing_library_passes_its_tests_in_every_mode(mode: str) -> None:
    """Real segmentation faults, aborts and leaks, whatever the run is told to fake. Fails when an idempotent call isn't
    made again, when what kills isn't refused, or when memory isn't looked at."""
    check("crashy", mode, passed=6)


def test_the_crashing_library_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture that kills its worker is given up after two of them; the others are decoded."""
    monkeypatch.delenv("TEST_MODE", raising=False)
    done = run("crashy", "main")

    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines.pop(3) == "picture 3: given up, 2 workers died of it: killed by SIGSEGV"
    assert lines == [f"picture {number}: 9 pixels" for number in (0, 1, 2, 4, 5, 6, 7)]


def old_python() -> str:
    """One that runs the old code; the test is skipped where there is none."""
    return interpreters.find(9) or interpreters.need(8)


@pytest.mark.parametrize("mode", MODES)
def test_the_old_code_passes_its_tests_in_every_mode(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Called from here, it runs on an interpreter that has what it imports; and not here."""
    monkeypatch.setenv("BRIDGE_WORKER__PYTHON", old_python())
    check("legacy", mode, passed=5)


def test_the_old_code_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sum with its taxes, computed by another Python."""
    monkeypatch.delenv("TEST_MODE", raising=False)
    monkeypatch.setenv("BRIDGE_WORKER__PYTHON", old_python())
    done = run("legacy", "main")

    assert (done.stdout, done.stderr) == ("3566 cents\ncomputed on an older Python: True\n", "")


def test_without_an_old_python_the_tests_of_old_code_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """By name of what is missing; the others run, on the fake. Fails when `WorkerStartError.reason` doesn't tell."""
    monkeypatch.setenv("BRIDGE_WORKER__PYTHON", "/no/python3.9")
    done = run("legacy", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "--bridge-test-mode=mock_adapter")

    assert "2 passed, 3 skipped in " in done.stdout, done.stdout + done.stderr
    assert "/no/python3.9" in done.stdout
