"""The example applications that need packages of others, run as their readers run them.

Those that need none are in tests/facade/test_examples.py.
"""

from __future__ import annotations

import pytest

from tests.examples import MODES, check, run


@pytest.mark.parametrize("mode", MODES)
def test_the_fastapi_example_passes_its_tests_in_every_mode(mode: str) -> None:
    """Endpoints on a fake, on the protocol alone, and for real; in each, clients of a real server hang up on real
    workers. Fails when `while_connected` doesn't cancel."""
    check("fastapi", mode, passed=9)


@pytest.mark.parametrize("mode", MODES)
def test_the_numpy_example_passes_its_tests_in_every_mode(mode: str) -> None:
    """Shapes on a fake and on the protocol alone; in each, real workers give views of shared memory. Fails when long
    results go through the pipe, or when each worker imports numpy."""
    check("numpy_pipeline", mode, passed=5)


def test_the_numpy_example_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """One `map` feeds another, and no result is a copy; with a single worker, too, which both have to share."""
    monkeypatch.delenv("TEST_MODE", raising=False)
    monkeypatch.setenv("BRIDGE_POOL__SIZE", "1")
    done = run("numpy_pipeline", "main")

    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "6 frames of (512, 512)",
        "own their memory: False",
        "noise is less: True",
    ]


@pytest.mark.parametrize("mode", MODES)
def test_the_flask_example_passes_its_tests_in_every_mode(mode: str) -> None:
    """Pages on a fake, on the protocol alone, and for real, also behind a server that has a thread for each request."""
    check("flask", mode, passed=7)
