"""The parent is killed without warning: no worker outlives it, and nothing that a worker has started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.adapters.python_port import PythonPortAdapter
from bridge.contract import WorkerSpec
from bridge.core.messages import encode_start
from bridge.wire import CODEC_JSON, START, pack
from tests.process.conftest import Connect
from tests.process.waiting import children_of, is_gone, read_pid, wait_until, wait_until_gone

ROOT = Path(__file__).parents[2]
NEST = f"{Path(__file__).parent / 'nest_handlers.py'}:Nest"
GONE_WITHIN = 2.0
"""Seconds from the parent's death, which is the promise. It takes 10 ms (docs/design/benchmarks.md)."""
PATIENCE = 10.0
"""Seconds after which a test stops looking; without their guard they would live for ever."""

METHOD = "BRIDGE_WORKER__START_METHOD"
MEMBERS = ("worker", "in_group", "own_session")

PARENT = """
import ctypes, os, signal, sys, threading
import bridge

handler, folder, fork, *states = sys.argv[1:]

def live(state):
    own = os.path.join(folder, state)
    b = bridge.connect(
        handler,
        adapter="python_port",
        size=1,
        options={"folder": own, "blocks": state == "starting"},
        startup_timeout=300,
    )
    args = [os.path.join(own, "inner")] if state == "nest" else None
    b.call("idle" if state == "starting" else state, args, timeout=None)
    signal.sigwait([])

threads = [threading.Thread(target=live, args=(state,)) for state in states]
for thread in threads:
    thread.start()
if fork:
    sys.stdin.readline()  # all are in their states
    pid = os.fork() if fork == "python" else ctypes.CDLL(None).fork()
    if pid == 0:
        signal.pause()
    with open(folder + "/forked", "w") as file:
        print(pid, file=file)
signal.pause()
"""


def runs(pid: int, program: str) -> bool:
    """Whether a live process has come to run that program."""
    try:
        return program in Path(f"/proc/{pid}/cmdline").read_text()  # a zombie's is empty
    except (FileNotFoundError, ProcessLookupError):
        return False


class Family:
    """A parent with one bridge for each state, and all that it led to."""

    def __init__(self, parent: subprocess.Popen[bytes], folder: Path, states: tuple[str, ...]) -> None:
        self.parent = parent
        homes = [folder / state for state in states]
        homes += [folder / "nest" / "inner"] if "nest" in states else []
        self.pids = {f"{home.name} {name}": read_pid(home / name) for home in homes for name in MEMBERS}
        for state in states:
            if state != "starting":
                read_pid(folder / state / "state")
        self._others = {self.pids[f"{state} worker"] for state in states}
        self._bridges = len(states)
        self._folder = folder

    def reapers(self) -> set[int]:
        """The children of the parent that are neither workers nor its fork, and run: before its exec a child still
        holds what its parent holds, and stopped there it would keep the lifeline."""
        return {pid for pid in children_of(self.parent.pid) - self._others if runs(pid, "reaper.py")}

    def await_reapers(self, besides: set[int]) -> set[int]:
        """One for each bridge, and none of these."""
        wait_until(lambda: len(self.reapers() - besides) == self._bridges, 10, what="a reaper for each bridge")
        return self.reapers() - besides

    def await_fork(self) -> int:
        """Have the parent fork; the child's pid."""
        assert self.parent.stdin is not None
        self.parent.stdin.write(b"now\n")
        self.parent.stdin.flush()
        pid = read_pid(self._folder / "forked")
        self._others.add(pid)
        return pid

    def kill_parent_and_check(self) -> None:
        """The promise."""
        everybody = dict(self.pids)
        everybody.update({f"reaper {pid}": pid for pid in self.await_reapers(set())})
        assert not [name for name, pid in everybody.items() if is_gone(pid)]
        took = self.kill_parent_and_time(set(everybody.values()))
        assert not [name for name, pid in everybody.items() if not is_gone(pid)]
        assert took <= GONE_WITHIN

    def kill_parent_and_time(self, pids: set[int]) -> float:
        """Seconds from the parent's death to the end of all of these, or until patience is at its end."""
        self.parent.kill()
        self.parent.wait(10)
        died_at = time.monotonic()
        with contextlib.suppress(AssertionError):
            wait_until_gone(pids, PATIENCE)
        return time.monotonic() - died_at


@contextlib.contextmanager
def family(folder: Path, *states: str, fork: str = "") -> Iterator[Family]:
    """Start a parent whose workers are in these states; whoever is left is killed at the end."""
    for state in states:
        (folder / state / "inner").mkdir(parents=True)
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, NEST, str(folder), fork, *states],
        stdin=subprocess.PIPE,
        env={"PYTHONPATH": str(ROOT), "PATH": os.defpath, METHOD: os.environ.get(METHOD, "spawn")},
        start_new_session=True,
    )
    try:
        yield Family(parent, folder, states)
    finally:
        parent.kill()
        parent.communicate()
        for file in [folder / "forked", *(home / name for home in folder.glob("**/") for name in MEMBERS)]:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                os.kill(int(file.read_text()), signal.SIGKILL)


@pytest.mark.usefixtures("each_start_method")
def test_nobody_outlives_a_parent_that_was_killed(connect: Connect, rough: str, tmp_path: Path) -> None:
    """Whatever a worker is doing (nothing, Python, a nap, C that holds the GIL, its start), it, its group and a process
    that left its group are gone; another program's worker isn't touched. Fails without the
    reaper (own session)."""
    stranger = connect(f"{rough}:Rough")
    pid = stranger.call("pid")
    with family(tmp_path, "idle", "spin", "doze", "hold_the_gil", "starting") as members:
        members.kill_parent_and_check()

    assert stranger.call("pid") == pid
    assert stranger.stats().retries == 0


@pytest.mark.usefixtures("each_start_method")
@pytest.mark.parametrize("fork", ["C", pytest.param("python", marks=pytest.mark.deep)])
def test_a_fork_of_the_parent_keeps_nobody_alive(tmp_path: Path, fork: str) -> None:
    """A child of the parent that inherited its descriptors, by os.fork or behind Python's back, lives on and keeps
    neither workers nor reaper. Fails when the reaper watches its pipe alone."""
    with family(tmp_path, "idle", "hold_the_gil", fork=fork) as members:
        forked = members.await_fork()
        members.kill_parent_and_check()

        assert not is_gone(forked)


def test_a_reaper_that_was_killed_is_replaced_and_the_new_one_works(tmp_path: Path) -> None:
    """The guard is guarded. Fails when the supervisor doesn't watch what `settle` returned."""
    with family(tmp_path, "idle") as members:
        first = members.await_reapers(set())
        for pid in first:
            os.kill(pid, signal.SIGKILL)
        members.await_reapers(first)
        wait_until_gone(first)

        members.kill_parent_and_check()


@pytest.mark.usefixtures("each_start_method")
def test_the_lifeline_alone_takes_each_workers_group(tmp_path: Path) -> None:
    """While the reaper can do nothing, the kernel kills workers and their groups, C that holds the GIL and starts
    included; what left its group is for the reaper. Fails when `arm_lifeline` isn't called."""
    with family(tmp_path, "idle", "spin", "hold_the_gil", "starting") as members:
        reapers = members.await_reapers(set())
        for pid in reapers:
            os.kill(pid, signal.SIGSTOP)
        try:
            apart = {pid for name, pid in members.pids.items() if name.endswith("own_session")}
            assert members.kill_parent_and_time(set(members.pids.values()) - apart) <= GONE_WITHIN
            assert not [pid for pid in apart if is_gone(pid)]
        finally:
            for pid in reapers:
                os.kill(pid, signal.SIGCONT)
        wait_until_gone({*apart, *reapers}, PATIENCE)


def test_an_idle_worker_that_hears_of_the_end_first_takes_its_group(tmp_path: Path) -> None:
    """A dying parent's descriptors are closed one by one, and its worker may be gone before the lifeline's turn, which
    was to kill the group. Fails when `main` doesn't end the group of a worker that wasn't told to stop."""
    adapter = PythonPortAdapter()
    options, path = {"folder": str(tmp_path)}, tuple(sys.path)
    channel = adapter.open(WorkerSpec(NEST, options=options), deadline=time.monotonic() + 10)
    try:
        start = encode_start(handler=NEST, options=options, path=path, replace_path=False, max_frame_bytes=65536)
        _reply, request = channel.fileno()
        os.write(request, pack(START, 0, start, CODEC_JSON))
        pids = {name: read_pid(tmp_path / name) for name in MEMBERS}
        with open(os.devnull, "rb") as nobody:
            os.dup2(nobody.fileno(), request)  # as if we had died, but for the lifeline

        wait_until_gone({pids["worker"], pids["in_group"]}, PATIENCE)
        os.kill(pids["own_session"], signal.SIGKILL)
    finally:
        channel.kill()
        channel.reap()
        channel.close()
        adapter.close()


@pytest.mark.usefixtures("each_start_method")
def test_workers_of_workers_are_gone_too(tmp_path: Path) -> None:
    """A worker that has a bridge of its own is a parent that dies like any other. Fails when an inner runtime
    replaces the outer one's mark, or has none."""
    with family(tmp_path, "nest") as members:
        assert len(set(members.pids.values())) == 6
        members.kill_parent_and_check()


@pytest.mark.usefixtures("each_start_method")
def test_the_end_of_one_bridge_takes_its_family_and_nobody_elses(connect: Connect, tmp_path: Path) -> None:
    """Two bridges of one process: closing the first leaves the second alone. Fails when a sweep isn't for one token."""
    pids: list[set[int]] = []
    bridges = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        b = connect(NEST, options={"folder": str(tmp_path / name)})
        b.call("idle")
        bridges.append(b)
        pids.append({read_pid(tmp_path / name / member) for member in MEMBERS})
    bridges[0].close(0)

    wait_until_gone(pids[0])
    assert not any(is_gone(pid) for pid in pids[1])
    bridges[1].close(0)
    wait_until_gone(pids[1])


@pytest.mark.usefixtures("each_start_method")
def test_a_time_out_takes_what_the_worker_had_started(connect: Connect, tmp_path: Path) -> None:
    """Also while the parent lives: its group at once, a process in a session of its own by its mark. Fails when
    `_died` doesn't sweep."""
    b = connect(NEST, options={"folder": str(tmp_path)}, cancel_grace=0)
    b.call("idle")
    before = {read_pid(tmp_path / member) for member in MEMBERS}
    with pytest.raises(TimeoutError):
        b.call("hold_the_gil", timeout=0.2)

    wait_until_gone(before)
