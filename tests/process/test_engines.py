"""An engine in a process that forks, and in one that ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

COMMON = """
import json, os, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import bridge
from tests.contract import engines

def show(**values):
    print(json.dumps(values), flush=True)
"""


def run(program: str, *arguments: str) -> list[Any]:
    """What a program prints; it must end well, and say nothing else."""
    argv = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", COMMON + program, *arguments]
    environment = {"PYTHONPATH": str(ROOT), "PATH": os.defpath}
    done = subprocess.run(
        argv, env=environment, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL
    )
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


FORK = """
made = bridge.connect(engines.HANDLER, adapter="executor", executor=ThreadPoolExecutor, size=1)
mine = ThreadPoolExecutor(1)
given = bridge.connect(engines.HANDLER, adapter=bridge.ExecutorAdapter(mine), size=1, options={"name": "mine"})
before = [made.call("keep"), given.call("keep")]
pid = os.fork()
if pid == 0:
    after = made.call("keep", timeout=20)
    try:
        given.call("keep", timeout=20)
    except bridge.BridgeError as error:
        refused = "it stayed in the process" in str(error)
    made.close()
    given.close()
    show(before=before, after=after, refused=refused)
    os._exit(0)
os.waitpid(pid, 0)
show(parent=[made.call("keep"), given.call("keep")])
made.close()
given.close()
mine.shutdown()
"""


def test_a_forked_child_makes_an_engine_of_its_own() -> None:
    """Where it can; one that was handed in stayed in the parent, and is an error at once. Fails when the child waits
    for threads that it doesn't have, or calls a handler that its parent had made."""
    child, parent = run(FORK)

    assert child == {"before": [1, 1], "after": 1, "refused": True}
    assert parent == {"parent": [2, 2]}


EXIT = """
b = bridge.connect(engines.HANDLER, adapter="executor", executor=engines.processes, arguments={"workers": 2},
                   options={"diary": sys.argv[1]})
show(pids=list(b.map("pid", [0.05] * 8, arg="seconds")))
"""


def test_an_interpreter_ends_with_its_engine(tmp_path: Path) -> None:
    """Without `close`: its processes end, each with the `on_close` of its handler. Fails when the exit hangs, or when a
    process leaves its handler as it is."""
    diary = tmp_path / "diary"
    (shown,) = run(EXIT, str(diary))
    lines = [line.split() for line in diary.read_text().splitlines()]
    started, closed = (sorted(pid for hook, pid in lines if hook == name) for name in ("on_start", "on_close"))

    assert started == closed
    assert set(started) >= set(map(str, shown["pids"]))
