"""What is known of the death of a worker that used too much, with real processes."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge import ExitStatus, PythonPortAdapter, WorkerSpec
from tests.process import out_of_memory
from tests.process.waiting import is_gone, wait_until

LIMITED = Path(__file__).parent / "limited_handlers.py"


@pytest.mark.parametrize("ours", [False, True])
def test_a_sigkill_of_our_own_has_no_other_reason(monkeypatch: pytest.MonkeyPatch, ours: bool) -> None:
    """Whatever the cgroup counted. Fails when `kill` doesn't note that it was us, or does so after the death."""
    for kernel_did_it in (True, False):
        monkeypatch.setattr("bridge.adapters.oom.OomKills.watch", lambda *_, was=kernel_did_it: lambda: was)
        with contextlib.closing(PythonPortAdapter()) as adapter:
            channel = adapter.open(WorkerSpec(""), deadline=0)
            if ours:
                channel.kill()
            else:
                os.kill(channel.info.pid or 0, signal.SIGKILL)
            assert select.select([channel.sentinel()], [], [], 20)[0]
            if not ours:
                channel.kill()  # after its death: that is no reason
            status = channel.reap()
            channel.close()

        if ours:
            assert status == ExitStatus(signal=signal.SIGKILL)
        else:
            assert status.out_of_memory is kernel_did_it


def test_a_worker_whose_descriptor_somebody_closed_is_killed_all_the_same() -> None:
    """A program that closes what isn't its own loses a reason, and no more. Fails when `kill` asks the pidfd first, and
    takes its answer for granted."""
    with contextlib.closing(PythonPortAdapter()) as adapter:
        channel = adapter.open(WorkerSpec(""), deadline=0)
        pid, spare = channel.info.pid or 0, os.dup(channel.sentinel())
        os.close(channel.sentinel())
        channel.kill()
        assert select.select([spare], [], [], 20)[0]
        assert channel.reap() == ExitStatus(signal=signal.SIGKILL)
        assert is_gone(pid)
        channel.close()
        os.close(spare)


@contextlib.contextmanager
def small_cgroup(limit: int) -> Iterator[Path]:
    """A cgroup, below that of this process or the root, that has so much memory; skips where none can be made."""
    for mount, maximum, swap in (
        (Path("/sys/fs/cgroup"), "memory.max", "memory.swap.max"),
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
    ):
        folder = mount / f"scoped-bridge-test-{os.getpid()}"
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            # Not made if it isn't there: a folder of another file system would take it for a file like any other.
            os.close(os.open(folder / maximum, os.O_WRONLY))
            (folder / maximum).write_text(str(limit))
            with contextlib.suppress(OSError):  # without swap there is nothing to limit
                (folder / swap).write_text("0" if swap == "memory.swap.max" else str(limit))
        except OSError:  # without the controller of memory, or no cgroup at all
            folder.rmdir()
            continue
        try:
            yield folder
        finally:
            members = folder / "cgroup.procs"
            wait_until(lambda members=members: not members.read_text(), 20, "the end of its members")  # type: ignore[misc]
            wait_until(lambda folder=folder: removed(folder), 20, "the end of the cgroup")  # type: ignore[misc]
        return
    pytest.skip("no cgroup with a limit of memory can be made here: that needs root and a writable /sys/fs/cgroup")


def removed(folder: Path) -> bool:
    """Whether it could be removed."""
    try:
        folder.rmdir()
    except OSError:
        return False
    return True


def test_a_worker_that_the_kernel_killed_for_memory_says_so_for_certain() -> None:
    """The counter of its cgroup tells, for each such death; a SIGKILL of somebody's that follows is no such one. Fails
    when no kill is counted before and after, or one kill explains two deaths."""
    with small_cgroup(160 * 1024 * 1024) as folder:
        program = [sys.executable, out_of_memory.__file__, str(folder / "cgroup.procs"), f"{LIMITED}:Limited"]
        caller = subprocess.run(program, capture_output=True, text=True, timeout=60)

    assert caller.returncode == 0, caller.stderr
    first, second, third = json.loads(caller.stdout)
    assert [first[:2], second[:2], third[:2]] == [["SIGKILL", True], ["SIGKILL", True], ["SIGKILL", False]]
    assert "out of memory: its cgroup counted an oom_kill" in first[2]
    assert "If nobody killed it, it was possibly out of memory" in third[2]
