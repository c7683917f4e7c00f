"""CPython's own tests of executors, on BridgeExecutor (cpython_executor.py)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.house import interpreters
from tests.process import cpython_executor

ROOT: Final = Path(__file__).parents[2]
MINOR: Final = 13
"""The Python whose tests are run: they move from one to the next."""
LEAST: Final = 44
PAGE: Final = ROOT / "docs" / "design" / "reliability.md"


@pytest.mark.deep
def test_cpythons_own_tests_pass() -> None:
    """In an interpreter that has nothing installed. Fails when ours is no executor, or few tests are found."""
    python = interpreters.need(MINOR)
    if subprocess.run([python, "-c", f"import {cpython_executor.PACKAGE}"], capture_output=True).returncode:
        pytest.skip("this Python was installed without its tests")
    done = subprocess.run(
        [python, cpython_executor.__file__],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )

    assert done.returncode == 0, done.stderr
    assert done.stderr.count(" ok\n") >= LEAST, done.stderr


def test_the_page_lists_those_that_are_not_run() -> None:
    """With the same reason. Fails when one is left out without a word."""
    rows = [f"| `{name}` | {why} |" for name, why in cpython_executor.NOT_RUN.items()]

    assert "\n".join(rows) in PAGE.read_text()
