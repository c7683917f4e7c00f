"""The system has no more descriptors, processes, threads or disk to give: a typed error, and recovery afterwards.

What is refused is refused in programs of their own (scarce.py), so that nobody else meets the limit.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bridge import RemoteError
from tests.house.interpreters import MINORS, find
from tests.process.conftest import Connect

ROOT = Path(__file__).parents[2]
PROMPTLY = 10.0
"""Seconds; tells an answer from a hang. An attempt takes 0.1 s."""

EXACT = os.geteuid() == 0
"""Only root can become a user whom nobody else is: others' processes count too."""
ADAPTERS = ("python_port", "bridge_mock")
STARTING = ("warm", "start", "replace", "map")
RUNNING = ("use", "close")


def run(
    *arguments: str,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    via: tuple[str, ...] = (),
    python: str = sys.executable,
) -> Any:
    """What a program of ours prints; it must end well, and say nothing else."""
    environment = {"PYTHONPATH": str(ROOT), "PATH": os.defpath} | (env or {})
    argv = [*via, python, "-W", "error", *arguments]
    done = subprocess.run(
        argv, env=environment, cwd=cwd, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return json.loads(done.stdout)


def sweep(supply: str, adapter: str, stage: str, first: int, last: int) -> dict[int, dict[str, Any]]:
    """Outcomes by what the system still gave. Whatever it was, the bridge recovered, ended, and left nothing."""
    program = ("-m", "tests.process.scarce", supply, adapter, stage, str(first), str(last), "100")
    found = run(*program)
    if "skip" in found:
        pytest.skip(found["skip"])
    for attempt in found.values():
        assert attempt["left"] == []
        assert attempt.get("answers", 7) == 7
        assert attempt["seconds"] < PROMPTLY
        if attempt["outcome"] != "answered":
            assert attempt["outcome"] in ("WorkerStartError", "CircuitOpen")
            # A handler on a thread is loaded here: what its file meets is told as its own error.
            assert "limits" in attempt["text"] or attempt["reason"] == "handler", attempt["text"]
    return {int(count): attempt for count, attempt in found.items()}


def outcomes(found: dict[int, dict[str, Any]]) -> list[bool]:
    """Whether each attempt was answered, from the least to the most that the system gave."""
    return [found[count]["outcome"] == "answered" for count in sorted(found)]


@pytest.mark.parametrize(
    ("adapter", "stage", "count"),
    [("python_port", "start", 7), pytest.param("bridge_mock", "warm", 2, marks=pytest.mark.deep)],
)
def test_without_descriptors_a_start_is_a_typed_error_and_then_works(adapter: str, stage: str, count: int) -> None:
    """WorkerStartError says what to do; with the limit gone the same bridge serves, and its end leaves nothing. Fails
    (after 20 s) when `warm` doesn't make the next start where no thread does; when an OSError passes `_spawn`."""
    assert outcomes(sweep("descriptors", adapter, stage, count, count)) == [False]


@pytest.mark.deep
@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("stage", STARTING)
def test_descriptors_may_run_out_at_each_step_of_a_start(adapter: str, stage: str) -> None:
    """With 0 to 27 left: refused up to some count, answered from there on. Fails when any step of a start lets what it
    had opened lie."""
    answered = outcomes(sweep("descriptors", adapter, stage, 0, 27))

    assert answered[-1]
    assert not answered[0] or stage in ("replace", "map")  # what the dead gave back may do; `map` starts no worker


@pytest.mark.deep
@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("stage", RUNNING)
@pytest.mark.parametrize("supply", ["descriptors", "tasks"])
def test_what_runs_needs_nothing_more(supply: str, adapter: str, stage: str) -> None:
    """Calls, time-outs, leases, and the end of a bridge, with 0 to 5 left: as ever. Fails when a call, a soft cancel
    or `close` opens a descriptor or starts a thread."""
    assert outcomes(sweep(supply, adapter, stage, 0, 5)) == [True] * 6


@pytest.mark.deep
@pytest.mark.parametrize(("adapter", "stage"), [("python_port", "warm"), ("bridge_mock", "start")])
def test_without_processes_or_threads_a_start_is_a_typed_error_and_then_works(adapter: str, stage: str) -> None:
    """The supervisor's own thread, a worker's process, and a thread that serves. Fails when a closed runtime keeps the
    descriptors of a start that failed; when, without a thread, nobody makes the start whose time has come: then callers
    are refused for ever."""
    answered = outcomes(sweep("tasks", adapter, stage, 0, 1))

    assert not answered[0]
    assert answered[1] == (adapter == "bridge_mock") or not EXACT


@pytest.mark.deep
@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("stage", STARTING)
def test_processes_and_threads_may_run_out_at_each_step(adapter: str, stage: str) -> None:
    """With 0 to 7 left: refused up to some count, answered from there on."""
    answered = outcomes(sweep("tasks", adapter, stage, 0, 7))

    assert answered[-1] or not EXACT
    assert not answered[0] or stage == "replace"  # a worker's place is free for its successor


def test_a_handler_that_used_up_its_own_descriptors_is_told_so(connect: Connect, rough: str) -> None:
    """Its error is a RemoteError, and it may serve on. Fails when `describe` insists on what it has yet to import."""
    with connect(f"{rough}:Rough") as b:
        pid = b.call("pid")
        with pytest.raises(RemoteError) as caught:
            b.call("use_up_descriptors")
        with pytest.raises(RemoteError, match="TypeError"):
            b.call("type_error", ["x"])

        assert caught.value.type == "OSError"
        assert "Too many open files" in caught.value.remote_traceback
        assert b.call("pid") == pid


STEP_BY_STEP = """
import json, os, resource, time
from bridge.adapters.python_port import PythonPortAdapter
from bridge.contract import WorkerSpec

resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
found = []
for step in ("settle", "open"):
    for left in range(14):
        adapter = PythonPortAdapter()
        before = sorted(os.listdir("/proc/self/fd"))
        taken = []
        try:
            while True:
                taken.append(os.dup(2))
        except OSError:
            pass
        for _ in range(left):
            os.close(taken.pop())
        channel = error = None
        try:
            if step == "settle":
                adapter.settle()
            else:
                channel = adapter.open(WorkerSpec("any:Handler"), deadline=time.monotonic() + 10)
        except Exception as caught:
            error = type(caught).__name__
        for fd in taken:
            os.close(fd)
        if channel is not None:
            channel.kill()
            os.waitid(os.P_PIDFD, channel.sentinel(), os.WEXITED | os.WNOWAIT)
            channel.reap()
            channel.close()
        adapter.close()
        found.append([step, error, sorted(os.listdir("/proc/self/fd")) == before])
print(json.dumps(found))
"""


@pytest.mark.deep
@pytest.mark.parametrize("minor", [minor for minor in MINORS if minor >= 10])
def test_a_refused_process_leaves_no_descriptor_whatever_python_it_is(minor: int) -> None:
    """Worker or reaper, with 0 to 13 descriptors left, on each Python that may be the caller's. Fails, on 3.10 alone,
    when the reaper's /dev/null is opened by Popen: there its pipe was lost, once a second."""
    python = find(minor)
    if python is None:
        pytest.skip(f"there is no CPython 3.{minor} here")
    found = run("-c", STEP_BY_STEP, python=python)

    assert {kind: {error for step, error, _ in found if step == kind} for kind in ("settle", "open")} == {
        "settle": {"OSError", None},
        "open": {"WorkerStartError", None},
    }
    assert all(clean for _, _, clean in found)


ON_A_FULL_DISK = """
import json, os, resource, sys, tempfile
import bridge
if sys.argv[2] == "no":
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # of every file, here and in the workers; pipes are none
try:
    with open("probe", "w") as file:
        file.write("x" * 100_000)
    refused = None
except OSError as error:
    refused = error.strerror
if os.path.exists("probe"):
    os.unlink("probe") if sys.argv[2] == "no" else None
answers = []
for adapter in ("python_port", "bridge_mock"):
    with bridge.connect(sys.argv[1], adapter=adapter, size=2) as b:
        answers += [b.call("echo", [1]), len(b.call("large", [5_000_000])), b.call("echo", ["x" * 1_000_000])[-1]]
        if adapter == "python_port":
            answers.append(b.call("flood_stderr", [1]))
            try:
                b.call("say_and_crash", ["last words", 9])
            except bridge.WorkerCrashed as error:
                answers.append(error.stderr_tail.splitlines()[-1])
        answers.append(b.call("echo", [2]))
print(json.dumps([refused, answers, sorted(os.listdir("."))]))
"""
ANSWERS = [1, 5_000_000, "x", "still here", "last words", 2, 1, 5_000_000, "x", 2]


def test_no_file_is_written(rough: str, tmp_path: Path) -> None:
    """No byte can be written to any file, and the directory for temporary ones, HOME and the working directory are the
    same empty one: all works, and it stays empty. Fails when anything of ours makes a temporary file."""
    env = {"HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    refused, answers, left = run("-c", ON_A_FULL_DISK, f"{rough}:Rough", "no", env=env, cwd=tmp_path)

    assert (refused, answers, left) == ("File too large", ANSWERS, [])


@pytest.mark.deep
@pytest.mark.parametrize("options", ["size=8k", "size=8k,ro"])
def test_a_full_or_read_only_disk_is_no_obstacle(rough: str, tmp_path: Path, options: str) -> None:
    """The same on a file system that is full, and on one that is read-only."""
    mount = f'mount -t tmpfs -o {options} none "$0" && cd "$0" && exec "$@"'
    via = ("unshare", "--mount", "sh", "-c", mount, str(tmp_path))
    if os.geteuid() != 0 or subprocess.run([*via, "true"], capture_output=True).returncode:
        pytest.skip("only a root that may mount can fill a disk of its own")
    env = {"HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    refused, answers, left = run("-c", ON_A_FULL_DISK, f"{rough}:Rough", "yes", env=env, via=via)

    assert refused == ("Read-only file system" if "ro" in options else "No space left on device")
    assert answers == ANSWERS
    assert left == ([] if "ro" in options else ["probe"])
