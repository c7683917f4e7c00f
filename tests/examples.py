"""How the example applications are run: as their readers run them, in their own folders.

Apart from the tests, which are in two places: those of examples that need a framework are in tests/interop.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

EXAMPLES: Final = Path(__file__).parents[1] / "docs" / "examples"
MODES: Final = ("mock_adapter", "bridge_mock", "full_integration")


def run(example: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a module of Python's in an example's folder."""
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=EXAMPLES / example, capture_output=True, text=True, timeout=120
    )


def check(example: str, mode: str, passed: int) -> None:
    """Run an example's own tests in a TEST_MODE: so many pass, and none does anything else."""
    done = run(example, "pytest", "-q", "-p", "no:cacheprovider", f"--bridge-test-mode={mode}")

    assert f"{passed} passed in " in done.stdout, done.stdout + done.stderr
