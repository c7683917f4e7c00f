"""Limits of a worker, with real processes: they are in force before the handler's first line, and a death says which
one it met."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import bridge
from bridge import (
    Bridge,
    BridgeError,
    CircuitOpen,
    ConfigurationError,
    ExitStatus,
    PythonPortAdapter,
    RemoteError,
    WorkerCrashed,
    WorkerSpec,
    WorkerStartError,
)
from tests.process import out_of_memory
from tests.process.conftest import Connect
from tests.process.waiting import is_gone, wait_until

LIMITED = Path(__file__).parent / "limited_handlers.py"
SPACE = 128 * 1024 * 1024


@pytest.fixture
def limited(connect: Connect) -> Any:
    """Opens a bridge to the handler Limited, with these settings."""
    return lambda **settings: connect(f"{LIMITED}:Limited", **settings)


def crash_of(b: Bridge, command: str, args: Any = None) -> WorkerCrashed:
    """What a call ends in that kills its worker."""
    with pytest.raises(WorkerCrashed) as caught:
        b.call(command, args)
    return caught.value


def test_limits_are_in_force_before_the_handler_is_imported(limited: Any) -> None:
    """Each, soft and hard. Fails when `load` sets them after the handler's module ran, or sets soft ones only."""
    niceness = min(19, os.nice(0) + 5)
    limits = {"address_space": SPACE, "cpu_seconds": 50, "open_files": 99, "core": False, "niceness": 5}
    b = limited(limits=limits, umask="027")

    assert b.call("limit", ["RLIMIT_AS"]) == [SPACE, SPACE]
    assert b.call("limit", ["RLIMIT_CPU"]) == [50, 51]
    assert b.call("limit", ["RLIMIT_NOFILE"]) == [99, 99]
    assert b.call("limit", ["RLIMIT_CORE"]) == [0, 0]
    assert b.call("umask") == 0o27
    assert b.call("niceness") == niceness


def test_what_nobody_limits_is_as_the_callers(limited: Any) -> None:
    """A limit is set only if it is asked for. Fails when a default is sent as one."""
    b = limited()
    mask = os.umask(0)
    os.umask(mask)

    for name in ("RLIMIT_AS", "RLIMIT_CPU", "RLIMIT_NOFILE", "RLIMIT_CORE"):
        assert b.call("limit", [name]) == list(resource.getrlimit(getattr(resource, name)))
    assert (b.call("umask"), b.call("niceness")) == (mask, os.nice(0))


@pytest.mark.parametrize("name", ["RLIMIT_NOFILE", "RLIMIT_AS"])
def test_a_handler_cannot_raise_a_limit_back(limited: Any, name: str) -> None:
    """Unless it is root's. Fails when the hard limit is left as it was."""
    b = limited(limits={"open_files": 99, "address_space": SPACE})

    with pytest.raises(RemoteError, match="not allowed to raise maximum limit"):
        b.call("raise_back", [name])


def test_a_limit_above_our_own_is_refused_before_anything_starts(monkeypatch: pytest.MonkeyPatch, limited: Any) -> None:
    """With its name and ours, also when it comes in a spec of the user's. Fails when `assemble` doesn't ask."""
    monkeypatch.setattr("resource.getrlimit", lambda _number: (4096, 4096))

    with pytest.raises(ConfigurationError, match="open_files=4097 is above this process's hard limit, 4096"):
        limited(limits={"open_files": 4097})
    with pytest.raises(
        TypeError, match=r"'open_files' is neither a setting nor an option of .*; it belongs into limits="
    ):
        limited(open_files=64)
    spec = WorkerSpec(f"{LIMITED}:Limited", limits={"adress_space": SPACE})
    with pytest.raises(ConfigurationError, match="did you mean 'address_space'"):
        limited(adapter=PythonPortAdapter(spec))


@pytest.mark.parametrize("adapter", ["mock", "bridge_mock"])
def test_a_mock_has_no_process_and_no_limits(adapter: str) -> None:
    """They would hit the caller. Fails when the limits are set, or compared, where no process is."""
    before = [resource.getrlimit(number) for number in (resource.RLIMIT_NOFILE, resource.RLIMIT_CPU)]
    mask = os.umask(0o22)
    try:
        limits = {"open_files": 2**31, "cpu_seconds": 1, "niceness": 1}
        with bridge.connect("math", adapter=adapter, fake="math", size=1, limits=limits, umask=0o77) as b:
            assert b.call("sqrt", [4]) == 2.0
        assert os.umask(0o22) == 0o22
    finally:
        os.umask(mask)
    assert [resource.getrlimit(number) for number in (resource.RLIMIT_NOFILE, resource.RLIMIT_CPU)] == before


def test_a_worker_gets_the_variables_that_are_allowed(limited: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """By name or pattern, those of `env` besides, and the run's own, without which nobody would sweep after it. Fails
    when the list isn't applied, or is applied to our own or to `env`."""
    monkeypatch.setenv("_SCOPED_BRIDGE_RUN", "outer:1")  # as if we were a worker ourselves
    for name in ("BILLING_KEY", "LC_TIME", "LC_X", "lc_y"):
        monkeypatch.setenv(name, "from the caller")
    b = limited(env_allow=["LC_*", "PATH"], env={"EXTRA": "1"})
    nothing = limited(env_allow=[])

    names = set(b.call("names"))
    assert names >= {"LC_TIME", "LC_X", "PATH", "EXTRA"}
    assert not names & {"BILLING_KEY", "lc_y", "HOME"}
    # PEP 538: a Python without a locale gives itself one.
    assert set(nothing.call("names")) - {"LC_CTYPE"} == {"_SCOPED_BRIDGE_RUN"}
    assert nothing.call("value", ["_SCOPED_BRIDGE_RUN"]).startswith("outer:1 ")


def test_a_handler_that_meets_its_address_space_gets_a_memory_error(limited: Any) -> None:
    """It is an error of the call like any other, and the worker lives on. Fails when `load` doesn't import what the
    report is made with while there is memory; tests/house/test_worker_file.py sees to what 3.13 needs besides."""
    b = limited(limits={"address_space": SPACE})
    pid = b.call("pid")

    with pytest.raises(RemoteError) as caught:
        b.call("hoard")
    assert caught.value.type == "MemoryError"
    assert "in hoard" in caught.value.remote_traceback
    assert b.call("pid") == pid


@pytest.mark.parametrize(
    "space", [1, pytest.param(2**25, marks=pytest.mark.deep), pytest.param(SPACE, marks=pytest.mark.deep)]
)
def test_a_start_without_memory_says_which_limit_that_was(connect: Connect, space: int) -> None:
    """At once, and it isn't tried again and again. 1 is below what the interpreter has already. Fails when the error of
    the start doesn't look at the limits."""
    spec = WorkerSpec(f"{LIMITED}:Hungry", path=tuple(sys.path), replace_path=True, limits={"address_space": space})
    adapter = PythonPortAdapter(spec)
    with contextlib.closing(adapter), contextlib.closing(connect(spec.handler, adapter=adapter)) as b:
        for _ in range(2):
            with pytest.raises(BridgeError, match=f"address_space={space}: if that is too little to start") as caught:
                b.call("pid", timeout=20)
            assert isinstance(caught.value, (WorkerStartError, CircuitOpen))
        assert b.stats().failed_starts <= 3


def test_a_start_that_ends_without_a_word_names_the_address_space(connect: Connect) -> None:
    """Python's own report can fail for want of memory too. Fails when `start_error` doesn't look at the limits."""
    handler = f"{LIMITED}:Speechless"
    with pytest.raises(WorkerStartError, match=f"exit code 1 .*address_space={SPACE}") as caught:
        connect(handler, limits={"address_space": SPACE}).call("pid")
    assert caught.value.reason == "crashed"
    with pytest.raises(WorkerStartError) as caught:
        connect(handler).call("pid")
    assert "address_space" not in str(caught.value)


def test_settings_refuse_an_address_space_that_no_interpreter_starts_in(limited: Any) -> None:
    """Before anything starts. Fails when the field has no lower bound."""
    with pytest.raises(ConfigurationError, match=r"worker\.limits\.address_space.*33554432"):
        limited(limits={"address_space": 2**24})


def test_a_native_abort_names_the_address_space(limited: Any) -> None:
    """As C++ ends when it gets no memory; without that limit nothing is guessed. Fails when `cause_of` isn't asked."""
    b = limited(limits={"address_space": SPACE})

    assert f"address_space={SPACE}" in str(crash_of(b, "die", [signal.SIGABRT]))
    assert "address_space" not in str(crash_of(limited(), "die", [signal.SIGABRT]))


@pytest.mark.deep
def test_a_worker_that_used_up_its_cpu_seconds_says_so(limited: Any) -> None:
    """SIGXCPU, and the setting. Fails when soft and hard limit are the same: the kernel then sends SIGKILL."""
    error = crash_of(limited(limits={"cpu_seconds": 1}), "spin")

    assert error.signal_name == "SIGXCPU"
    assert "used up the cpu_seconds=1 of worker.limits" in error.why
    assert error.why in str(error)


@pytest.mark.deep
def test_a_worker_that_ignores_its_cpu_limit_is_killed_and_says_so(limited: Any) -> None:
    """A second later, by SIGKILL, which isn't taken for want of memory. Fails when the time used isn't read."""
    error = crash_of(limited(limits={"cpu_seconds": 1}), "spin_on")

    assert error.signal_name == "SIGKILL"
    assert "used up the cpu_seconds=1 of worker.limits" in str(error)
    assert "out of memory" not in str(error)


@pytest.mark.parametrize("ours", [False, True])
def test_a_sigkill_of_our_own_has_no_other_reason(monkeypatch: pytest.MonkeyPatch, limited: Any, ours: bool) -> None:
    """Whatever the cgroup counted, and however long it had computed. Fails when `kill` doesn't note that it was us, or
    when the time used of a process that isn't reaped can't be read."""
    for kernel_did_it in (True, False):
        monkeypatch.setattr("bridge.adapters.oom.OomKills.watch", lambda *_, was=kernel_did_it: lambda: was)
        with contextlib.closing(PythonPortAdapter()) as adapter:
            channel = adapter.open(WorkerSpec("", limits={"cpu_seconds": 0}), deadline=0)
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
            assert (status.out_of_memory, "cpu_seconds=0" in status.why) == (kernel_did_it, not kernel_did_it)


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


@pytest.mark.deep
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
