"""The example applications that need packages of others, run as their readers run them.

Those that need none are in tests/facade/test_examples.py.
"""

from __future__ import annotations

import pytest

from tests.examples import MODES, check


@pytest.mark.parametrize("mode", MODES)
def test_the_fastapi_example_passes_its_tests_in_every_mode(mode: str) -> None:
    """Endpoints on a fake, on the protocol alone, and for real; in each, clients of a real server hang up on real
    workers. Fails when `while_connected` doesn't cancel."""
    check("fastapi", mode, passed=9)
