"""A process that ends, or forks, while a bridge of its is alive."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.process.waiting import wait_until_gone

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "PATH": os.defpath}
SLACK = 15.0
"""Seconds; tells an end from a hang: the imports, 2 s for killed workers to be gone, and a busy machine."""

COMMON = """
import contextlib, glob, json, os, sys, threading
import bridge

handlers, rough = sys.argv[1:]

def show(**values):
    print(json.dumps(values), flush=True)
"""

AT_EXIT = {
    "idle": """
b = bridge.connect(f"{rough}:Rough", adapter="python_port", size=2, shutdown_timeout=0.5)
show(pids=[b.call("pid")])
""",
    "busy": """
b = bridge.connect(f"{handlers}:Echo", adapter="python_port", size=2, shutdown_timeout=0.2)
show(pids=[b.call("pid")])
started = threading.Event()
def call():
    started.set()
    with contextlib.suppress(bridge.BridgeError):
        b.call("spin", timeout=None)
for _ in range(3):  # one of them waits for a worker
    threading.Thread(target=call, daemon=True).start()
started.wait()
""",
    "starting": """
b = bridge.connect(f"{rough}:NeverReady", adapter="python_port", size=2, shutdown_timeout=0.5)
def call():
    with contextlib.suppress(bridge.PoolClosed):
        b.call("pid")
threading.Thread(target=call, daemon=True).start()
while len(b.stats().workers) < 2:
    os.sched_yield()
show(pids=[worker.pid for worker in b.stats().workers])
""",
    "first used at exit": """
import atexit
b = bridge.connect(f"{rough}:Rough", adapter="python_port", shutdown_timeout=0.5)
def use():
    try:
        show(pids=[b.call("pid", timeout=2)])
    except bridge.BridgeError as error:
        show(pids=[], error=type(error).__name__)
atexit.register(use)
""",
    "closed by an exit hook": """
import atexit
b = bridge.connect(f"{handlers}:Echo", adapter="python_port", size=1)
show(pids=[b.call("pid")])
def call():
    with contextlib.suppress(bridge.BridgeError):
        b.call("spin", timeout=None)
threading.Thread(target=call, daemon=True).start()
atexit.register(b.close, 0.2)
""",
    "leaked into a cycle": """
class Cycle: pass
cycle = Cycle()
cycle.self, cycle.bridge = cycle, bridge.connect(f"{rough}:Rough", adapter="python_port", shutdown_timeout=0.5)
show(pids=[cycle.bridge.call("pid")])
del cycle
""",
}


def run(program: str, handlers: str, rough: str, *flags: str, seconds: float = 60) -> list[Any]:
    """What a program prints; it must end well, within so many seconds, and say nothing else."""
    argv = [sys.executable, *flags, "-c", COMMON + program, handlers, rough]
    done = subprocess.run(argv, env=ENVIRONMENT, capture_output=True, text=True, timeout=seconds)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    "state",
    [
        "idle",
        "busy",
        pytest.param("starting", marks=pytest.mark.deep),
        pytest.param("first used at exit", marks=pytest.mark.deep),
        pytest.param("closed by an exit hook", marks=pytest.mark.deep),
        pytest.param("leaked into a cycle", marks=pytest.mark.deep),
    ],
)
def test_interpreter_exit_is_bounded(handlers: str, rough: str, state: str) -> None:
    """With calls in flight, with workers that start, with one that is opened that late: the process ends, without a
    word on stderr, and so do its workers. Fails when the supervisor isn't a daemon."""
    began = time.monotonic()
    (found,) = run(AT_EXIT[state], handlers, rough)

    assert time.monotonic() - began < 0.5 + SLACK
    wait_until_gone(found["pids"])


def test_idle_workers_are_asked_to_end_at_exit(handlers: str, rough: str, tmp_path: Path) -> None:
    """The handler's `on_close` runs, though nobody closed the bridge. Fails without the exit hook: then the lifeline
    kills."""
    farewell = tmp_path / "farewell"
    (tmp_path / "polite.py").write_text(
        "import select\n"
        "class Polite:\n"
        "    def ping(self): return 1\n"
        "    def on_close(self):\n"
        "        select.select([], [], [], 0.2)  # longer than a parent that doesn't wait is there\n"
        f"        open({str(farewell)!r}, 'w').close()\n"
    )
    run(
        f"b = bridge.connect({str(tmp_path / 'polite.py')!r} + ':Polite', adapter='python_port', size=1, "
        "shutdown_timeout=240)\nb.call('ping')",
        handlers,
        rough,
    )

    assert farewell.exists()


FORK = """
def numbers():
    return {int(n) for n in os.listdir("/proc/self/fd")}

def open_files():
    found = {}
    for number in numbers():
        try:
            found[number] = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:
            pass
    return found

before = numbers()
b = bridge.connect(f"{rough}:Rough", adapter="python_port", size=2).__enter__()
lease = b.lease()
mine = sorted(worker.pid for worker in b.stats().workers)
while sum(len(open(file).read().split()) for file in glob.glob("/proc/self/task/*/children")) < 3:
    os.sched_yield()  # until the reaper is there
pid = os.fork()
if pid == 0:
    inherited = {number: what for number, what in open_files().items() if number not in before and "/proc" not in what}
    try:
        answer = lease.call("pid")
    except bridge.BridgeError as error:
        answer = type(error).__name__
    new = b.call("pid")
    show(who="child", inherited=inherited, lease=answer, new=new, calls=b.stats().calls)
    os._exit(0)
status = os.waitpid(pid, 0)[1]
on_lease = lease.call("pid")
lease.close()
stats = b.stats()
show(who="parent", status=status, on_lease=on_lease in mine, same=b.call("pid") in mine, mine=mine,
     same_workers=sorted(w.pid for w in stats.workers) == mine, losses=[stats.retries, stats.crashes, stats.restarts])
b.close()
"""


def test_a_forked_child_gets_its_own_workers_and_keeps_nothing_of_its_parents(handlers: str, rough: str) -> None:
    """The child holds no descriptor of its parent's bridge, can't use its lease, and its first call starts workers of
    its own, which end with it; the parent notices nothing. Fails without the fork hook."""
    child, parent = run(FORK, handlers, rough, "-W", "ignore::DeprecationWarning")

    assert child["inherited"] == {}
    assert child["lease"].endswith("Error")
    assert child["new"] not in parent["mine"]
    assert child["calls"] == 1
    assert parent == {
        "who": "parent",
        "status": 0,
        "on_lease": True,
        "same": True,
        "mine": parent["mine"],
        "same_workers": True,
        "losses": [0, 0, 0],
    }
    wait_until_gone([child["new"], *parent["mine"]])


FORKS_IN_TRAFFIC = """
b = bridge.connect(f"{rough}:Rough", adapter="python_port", size=2).__enter__()
over = threading.Event()
wrong = []
def work(number):
    while not over.is_set():
        if b.call("echo", [number]) != number:
            wrong.append(number)
threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
for thread in threads:
    thread.start()
statuses = []
for round_ in range(3):
    pid = os.fork()
    if pid == 0:
        # Whatever lock another thread held at the fork, ours are new.
        os._exit(0 if b.call("echo", [round_], timeout=20) == round_ and b.stats().crashes == 0 else 1)
    statuses.append(os.waitpid(pid, 0)[1])
over.set()
for thread in threads:
    thread.join(20)
stats = b.stats()
show(statuses=statuses, wrong=wrong, losses=[stats.retries, stats.crashes, stats.restarts])
b.close()
"""


@pytest.mark.deep
def test_a_fork_in_the_middle_of_traffic_leaves_no_lock_held(handlers: str, rough: str) -> None:
    """Forks at arbitrary moments of other threads: each child calls, the parent's calls go on. Fails when `forget`
    keeps a lock of the parent's."""
    (found,) = run(FORKS_IN_TRAFFIC, handlers, rough, "-W", "ignore::DeprecationWarning")

    assert found == {"statuses": [0] * 3, "wrong": [], "losses": [0, 0, 0]}


FORKS_AMONG_DEATHS = """
import signal, time
def numbers():
    return {int(n) for n in os.listdir("/proc/self/fd")}

def is_ours(number):
    try:
        return number not in before and "/proc" not in os.readlink(f"/proc/self/fd/{number}")
    except FileNotFoundError:
        return False  # the listing's own

before = numbers()
b = bridge.connect(f"{rough}:Rough", adapter="python_port", size=3, max_restarts=10_000).__enter__()
over = threading.Event()
def kill():
    while not over.is_set():
        with contextlib.suppress(bridge.BridgeError, ProcessLookupError):
            os.kill(b.call("pid", timeout=5), signal.SIGKILL)
threads = [threading.Thread(target=kill) for _ in range(3)]
for thread in threads:
    thread.start()
outcomes = {}
for round_ in range(200):
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        kept = sorted(filter(is_ours, numbers() - {reader, writer}))
        try:
            answer = b.call("echo", [round_], timeout=20) == round_
        except bridge.BridgeError as error:
            answer = repr(error)
        os.write(writer, json.dumps([answer, len(kept)]).encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as pipe:
        outcome = pipe.read()
    os.waitpid(pid, 0)
    outcomes[outcome] = outcomes.get(outcome, 0) + 1
over.set()
for thread in threads:
    thread.join(20)
def alive():
    while True:
        with contextlib.suppress(bridge.WorkerCrashed):  # the last kills may arrive only now
            return b.call("echo", [1], timeout=20)
show(outcomes=outcomes, alive=alive(), breaker=b.health().breaker)
b.close()
"""


@pytest.mark.deep
def test_a_fork_while_workers_are_replaced_keeps_no_descriptor_of_theirs(handlers: str, rough: str) -> None:
    """Whatever the supervisor is opening or closing at that moment: the child keeps none of it, and has a bridge of
    its own. Fails when a fork doesn't wait for the supervisor's step (`before_fork`)."""
    (found,) = run(FORKS_AMONG_DEATHS, handlers, rough, "-W", "ignore::DeprecationWarning", seconds=260)

    assert found == {"outcomes": {"[true, 0]": 200}, "alive": 1, "breaker": "closed"}
