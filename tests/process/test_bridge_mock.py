"""bridge_mock in a process that forks, or in which a broken pipe is deadly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "PATH": os.defpath}

COMMON = """
import json, os, signal, sys, threading, time
import bridge
from bridge.testing import contract_handler

handler = contract_handler.__file__ + ":ContractHandler"

def show(**values):
    print(json.dumps(values), flush=True)

def pipes():
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            what = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:
            continue
        if what.startswith("pipe:") or "null" in what or "anon" in what:
            found.add(number + what)
    return found
"""


def run(program: str, *arguments: str) -> list[Any]:
    """What a program prints; it must end well, and say nothing else."""
    argv = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", COMMON + program, *arguments]
    done = subprocess.run(
        argv, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL
    )
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


FORK = """
before = pipes()
b = bridge.connect(handler, adapter="bridge_mock", size=2).__enter__()
lease = b.lease()
pid = os.fork()
if pid == 0:
    inherited = sorted(pipes() - before)
    answer = b.call("echo", [1], timeout=20)
    b.close()
    show(inherited=inherited, answer=answer, left=sorted(pipes() - before))
    os._exit(0)
status = os.waitpid(pid, 0)[1]
on_lease = lease.call("echo", [2])
lease.close()
stats = b.stats()
show(status=status, on_lease=on_lease, losses=[stats.retries, stats.crashes, stats.restarts])
b.close()
"""


def test_a_forked_child_gets_its_own_threads_and_keeps_nothing_of_its_parents() -> None:
    """It holds no end of its parent's pipes, and its first call starts threads of its own; the parent notices nothing.
    Fails when `forget` leaves the threads' ends."""
    child, parent = run(FORK)

    assert child == {"inherited": [], "answer": 1, "left": []}
    assert parent == {"status": 0, "on_lease": 2, "losses": [0, 0, 0]}


CANCELLED = """
handler, fifo = sys.argv[1:]
b = bridge.connect(handler, adapter="bridge_mock", size=1).__enter__()
lease = b.lease()
errors = []
def call():
    try:
        lease.call("read_fifo", [fifo], timeout=None)
    except bridge.BridgeError as error:
        errors.append(type(error).__name__)
caller = threading.Thread(target=call)
caller.start()
while not b.stats().workers[0].calls:
    os.sched_yield()
reading, writing = os.pipe()
pid = os.fork()
if pid == 0:
    os.close(writing)
    os.read(reading, 1)  # it lives on
    os._exit(0)
lease.cancel()
caller.join(20)
show(errors=errors, answer=b.call("echo", [1]))
os.close(writing)
os.waitpid(pid, 0)
os.close(os.open(fifo, os.O_RDWR))  # lets the killed thread go
b.close(0)
"""


def test_a_forked_child_that_lives_on_does_not_hide_the_end_of_a_worker(rough: str, tmp_path: Path) -> None:
    """The caller whose worker is killed sees the end, though a child was forked in the middle of the call. Fails when
    the child keeps the thread's ends."""
    os.mkfifo(tmp_path / "fifo")
    (found,) = run(CANCELLED, f"{rough}:Rough", str(tmp_path / "fifo"))

    assert found == {"errors": ["CallCancelled"], "answer": 1}


RETURNS_TWICE = """
b = bridge.connect(sys.argv[1], adapter="bridge_mock", size=1).__enter__()
children = [b.call("fork") for _ in range(5)]
show(children=all(children), echo=[b.call("echo", [i]) for i in range(5)], restarts=b.stats().restarts)
b.close()
"""


def test_a_child_that_the_handler_forked_does_not_answer() -> None:
    """It ends where it would answer, as the one of a process does. Fails when `forget` leaves the thread its pipe."""
    (found,) = run(RETURNS_TWICE, f"{ROOT}/tests/process/rough_handlers.py:Rough")

    assert found == {"children": True, "echo": [0, 1, 2, 3, 4], "restarts": 0}


NOBODY_READS = """
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
from tests.contract.conversation import Conversation
conversation = Conversation(contract_handler.ContractHandler)
if sys.argv[1] == "full":
    os.write(conversation.ends.reply, bytes(65536))
conversation.call("letters", [2**20])
conversation.await_blocked_answer()
conversation.end()
conversation.thread.join(20)
show(alive=conversation.thread.is_alive())
"""


@pytest.mark.parametrize("pipe", ["empty", "full"])
def test_a_killed_thread_that_writes_does_not_kill_its_process(pipe: str) -> None:
    """SIGPIPE with its default action would. Fails when the thread writes with plain os.write, or (empty) when a write
    that ended short isn't suspected."""
    assert run(NOBODY_READS, pipe) == [{"alive": False}]
