"""A parent whose SIGPIPE has its default action, as in many command-line programs."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import os, signal, sys, bridge
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
with bridge.connect(sys.argv[1], adapter="python_port", size=1) as b:
    for _ in range(15):
        for worker in b.stats().workers:
            os.kill(worker.pid, signal.SIGKILL)
        try:
            b.call("echo", ["x" * 200_000], timeout=20)
        except bridge.BridgeError:
            pass
print("alive")
"""


@pytest.mark.deep
def test_a_write_to_a_dead_worker_does_not_kill_the_parent(handlers: str) -> None:
    """It is a retry or a WorkerCrashed. Fails when the link writes with plain os.write then."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, f"{handlers}:Echo"], capture_output=True, text=True, timeout=120, check=False
    )

    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr
