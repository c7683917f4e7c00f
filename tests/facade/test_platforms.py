"""Where the package can't run: each is an error that says where it can. All but the subinterpreter are acted."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SAY = """
import bridge
try:
    {use}
    print("it works")
except Exception as error:
    print(type(error).__name__ + ":", error)
"""

PORT, THREADS = (f"bridge.connect('math', adapter='{name}')" for name in ("python_port", "bridge_mock"))
WITHOUT_PIDFDS = "import os, signal; del os.pidfd_open, signal.pidfd_send_signal"
WITHOUT_EPOLL = "import os, select; del select.epoll, os.eventfd"
ON_WINDOWS = "import asyncio, os, sys; sys.modules['fcntl'] = None; os.name, sys.platform = 'nt', 'win32'"

SUBINTERPRETER = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
import sys
number = interpreters.create()
failed = interpreters.run_string(number, "import sys; sys.path[:] = " + repr(sys.path) + "\\n" + sys.argv[1])
print(failed or "")
"""


def said(program: str, *arguments: str) -> str:
    """What a program prints, in an interpreter of its own."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT), "PATH": os.defpath},
    )
    return done.stdout + done.stderr


deep = partial(pytest.param, marks=pytest.mark.deep)


@pytest.mark.parametrize(
    ("lacking", "use", "answer"),
    [
        (WITHOUT_PIDFDS, PORT, "ConfigurationError: python_port needs Linux 5.4"),
        deep(WITHOUT_EPOLL, PORT, "ConfigurationError: python_port needs Linux: it waits by epoll"),
        (WITHOUT_EPOLL, THREADS, "ConfigurationError: bridge_mock needs Linux: it waits by epoll"),
        (WITHOUT_EPOLL, "bridge.connect('x', adapter=bridge.MockAdapter({'a': 1})).call('a')", "it works"),
        (ON_WINDOWS, "bridge.connect('math')", "ConfigurationError: scoped-bridge runs on Linux, not on win32: use a"),
    ],
)
def test_a_platform_that_lacks_something_is_told_so(lacking: str, use: str, answer: str) -> None:
    """Before anything is started, and a mock needs none of it. Fails (with an ImportError or an AttributeError) without
    the adapters' looks, and without `explain`."""
    assert said(f"{lacking}\n{SAY.format(use=use)}").startswith(answer)


def test_a_subinterpreter_is_told_to_use_the_main_one() -> None:
    """Python 3.12 starts no daemon thread there, and a second pydantic can't be loaded. Fails without the look."""
    program = SAY.format(use=PORT)

    assert "can't be used in a subinterpreter" in said(SUBINTERPRETER, program)


def test_a_defect_of_ours_is_not_explained_away() -> None:
    """Where the platform isn't the reason, the error is what it is. Fails when `explain` doesn't look."""
    program = "import sys; sys.modules['pydantic'] = None\n" + SAY.format(use="bridge.connect")

    assert said(program).startswith("ModuleNotFoundError")
