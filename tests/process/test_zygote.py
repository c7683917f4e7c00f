"""Workers that are forked from one process, which has imported their handler's module (`worker.start_method`).

What they have in common with others is tested where that is, by the fixture `each_start_method`.
"""

from __future__ import annotations

import errno
import gc
import logging
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bridge import Bridge, WorkerCrashed, WorkerStartError
from bridge.adapters import zygote as parents_side
from bridge.adapters.python_port import PythonPortAdapter
from bridge.channel import FdLink
from bridge.contract import ExitStatus, WorkerSpec
from tests.process.conftest import Connect
from tests.process.endings import offspring
from tests.process.waiting import children_of, is_gone, read_pid, wait_until, wait_until_gone

IMPORTED = f"{Path(__file__).parent / 'zygote_handlers.py'}:Imported"
Fork = Callable[..., Bridge]

pytestmark = pytest.mark.usefixtures("note_children")


@pytest.fixture
def fork(connect: Connect) -> Fork:
    """A bridge to the handler Imported; `on_import` is what its import does."""

    def fork(on_import: str = "", **settings: Any) -> Bridge:
        return connect(IMPORTED, start_method="zygote", **{"env": {"ZYGOTE_IMPORT": on_import}, **settings})

    return fork


def runs(program: str) -> set[int]:
    """Children of ours that run this file."""
    found = set()
    for pid in offspring():
        try:
            if program in Path(f"/proc/{pid}/cmdline").read_text():
                found.add(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def zygotes() -> set[int]:
    """Children of ours that fork."""
    return {pid for pid in runs("beside('zygote')") if not is_gone(pid)}


def pids(b: Bridge) -> set[int]:
    """Of the workers that are ready."""
    return {worker.pid for worker in b.stats().workers if worker.pid and worker.state in ("ready", "busy")}


def wait_until_full(b: Bridge) -> None:
    """Every place is filled, by workers that were started now or before."""
    b.call("pids")
    wait_until(lambda: b.stats().idle == b.stats().size, 20, what=f"full size of {b}")


def failure_of(b: Bridge) -> WorkerStartError:
    """Why it can't start."""
    with pytest.raises(WorkerStartError) as caught:
        b.call("pids", timeout=30)
    return caught.value


def be_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a kernel that can't send a signal to the group of a pidfd."""
    send = signal.pidfd_send_signal

    def old(pidfd: int, number: int, info: None = None, flags: int = 0) -> None:
        if flags:
            raise OSError(errno.EINVAL, "Invalid argument")
        send(pidfd, number)

    monkeypatch.setattr(signal, "pidfd_send_signal", old)


# -- What is shared, and what isn't --------------------------------------------------------------------------


def test_the_module_is_imported_once_and_the_handler_made_in_each_worker(fork: Fork) -> None:
    """Constructor and hooks belong to the worker. Fails when `warm` makes it, or `load` looks for it again."""
    b = fork(size=3)
    with b.lease() as one, b.lease() as two, b.lease() as three:
        found = [lease.call("pids") for lease in (one, two, three)]

    assert {imported for imported, *_ in found} == zygotes()
    assert all(len(set(own)) == 1 for _, *own in found)
    assert len({own for _, *_, own in found}) == 3


def test_workers_draw_different_numbers(fork: Fork) -> None:
    """Though they share the state of the generator. Fails where a fork doesn't reseed it."""
    b = fork(size=3)
    with b.lease() as one, b.lease() as two, b.lease() as three:
        assert len({lease.call("draw") for lease in (one, two, three)}) == 3


def test_a_worker_has_nothing_open_that_is_not_its_own(fork: Fork) -> None:
    """Neither the zygote's socket nor what watches its siblings. Fails when `_begin` doesn't close them."""
    b = fork(size=3)
    wait_until_full(b)
    os.kill(min(pids(b)), signal.SIGKILL)  # the next one is forked while the zygote has the others' pidfds
    wait_until(lambda: b.stats().restarts == 1 and b.stats().idle == 3, what="the successor")
    with b.lease() as one, b.lease() as two, b.lease() as three:
        for lease in (one, two, three):
            found = lease.call("open_files")
            assert found.count("pipe") == 5  # request, reply, lifeline, and stderr twice
            assert [what for what in found if what.startswith(("anon_inode", "socket"))] == []


def test_libraries_have_one_thread_there_if_nothing_else_is_said(fork: Fork) -> None:
    """What an import starts isn't there after a fork. Fails when the defaults aren't set, or win over what is said."""
    b = fork(env={"MKL_NUM_THREADS": "2"})

    assert b.call("environ", ["OMP_NUM_THREADS"]) == b.call("environ", ["OPENBLAS_NUM_THREADS"]) == "1"
    assert b.call("environ", ["MKL_NUM_THREADS"]) == "2"


def test_the_umask_holds_for_the_import_too(fork: Fork, tmp_path: Path) -> None:
    """As in a worker of its own. Fails when `warm` doesn't set it."""
    b = fork(f"mask {tmp_path / 'made'}", umask="077")
    b.call("pids")

    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o600


# -- Imports that go wrong ---------------------------------------------------------------------------------


def test_what_the_import_prints_is_logged(fork: Fork, caplog: pytest.LogCaptureFixture) -> None:
    """As the first worker's. Fails when nobody reads what the zygote has written."""
    with caplog.at_level(logging.INFO, "bridge.worker"):
        fork("say").call("pids")
        wait_until(lambda: "imported, and said so" in caplog.messages, what="the line")


def test_an_import_that_fails_is_reported_as_ever(fork: Fork) -> None:
    """Type, message and traceback of it, at once. Fails when `warm` doesn't leave the report to the worker."""
    error = failure_of(fork("fail", size=2))

    assert (error.reason, error.detail) == ("handler", "LookupError: no model")
    assert 'raise LookupError("no model")' in (error.remote_traceback or "")


def test_an_import_that_fails_is_tried_again(fork: Fork, tmp_path: Path) -> None:
    """And once it succeeds, it is the zygote's: later workers share it. Fails when `_fork` doesn't warm again."""
    b = fork(f"need {tmp_path / 'file'}", backoff=0.01)
    assert failure_of(b).detail == "LookupError: no file yet"
    (tmp_path / "file").touch()

    def served() -> bool:
        try:
            return bool(b.call("pids", timeout=30))
        except WorkerStartError:
            return False

    wait_until(served, 20, what="a start that succeeds")
    assert {b.call("pids")[0]} == zygotes()


def test_an_import_that_ends_the_process_is_a_start_that_crashed(fork: Fork) -> None:
    """With the exit code and the last words. Fails when the zygote's own status and output are lost."""
    error = failure_of(fork("exit", size=2))

    assert (error.reason, error.stderr_tail) == ("crashed", "last words of an import\n")
    assert "exit code 3" in error.detail
    wait_until(lambda: not zygotes(), what="its end")


def test_an_import_that_hangs_is_a_start_that_took_too_long(fork: Fork) -> None:
    """And its zygote goes, so that the next start isn't the same one. Fails when `kill` waits for a worker that
    won't come."""
    error = failure_of(fork("hang", startup_timeout=0.5, backoff=30))

    assert error.reason == "timeout"
    wait_until(lambda: not zygotes(), what="its end")


def test_an_import_that_leaves_threads_running_is_refused(fork: Fork) -> None:
    """They wouldn't be in a forked worker, their locks would. Fails when `_refusal` doesn't count them."""
    error = failure_of(fork("thread"))

    assert error.reason == "handler"
    for words in ("1 Python threads", "ticker", "on_start", "start_method"):
        assert words in error.detail


def test_native_threads_are_a_warning_that_counts_them(fork: Fork, caplog: pytest.LogCaptureFixture) -> None:
    """They may be harmless. Fails when `/proc/self/task` isn't looked at, or when they are refused."""
    with caplog.at_level(logging.INFO, "bridge.worker"):
        assert fork("native").call("pids")
        wait_until(lambda: any("has started 1 native threads" in text for text in caplog.messages), what="the warning")


# -- Deaths ------------------------------------------------------------------------------------------------


def test_the_zygotes_death_kills_no_worker_and_the_next_start_makes_another_one(fork: Fork) -> None:
    """Those that live serve on; how they end then nobody knows. Fails when their status is 0, or when the dead zygote
    is asked for the next one."""
    b = fork(size=2)
    wait_until_full(b)
    before, (zygote,) = pids(b), zygotes()
    os.kill(zygote, signal.SIGKILL)
    wait_until_gone({zygote})

    assert b.call("pids")[-1] in before
    with pytest.raises(WorkerCrashed) as caught:
        b.call("die", [int(signal.SIGKILL)])
    assert (caught.value.exit_code, caught.value.signal_name) == (None, None)
    wait_until_full(b)
    assert len(pids(b) & before) == 1
    assert zygote not in zygotes()
    assert len(zygotes()) == 1


def test_a_frozen_zygote_is_a_start_that_takes_too_long(fork: Fork) -> None:
    """The supervisor never waits for it: another worker serves meanwhile; then it is killed, and another one forks.
    Fails when the request blocks, or when `kill` spares a zygote that doesn't answer."""
    b = fork(size=2, startup_timeout=1.0)
    wait_until_full(b)
    (zygote,) = zygotes()
    os.kill(zygote, signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(WorkerCrashed) as caught:
        b.call("die", [int(signal.SIGKILL)])
    assert b.call("pids")
    assert time.monotonic() - began < 1.0
    assert (caught.value.exit_code, caught.value.signal_name) == (None, None)  # it can't say

    wait_until_full(b)
    wait_until_gone({zygote})
    assert b.stats().failed_starts == 1


@pytest.mark.parametrize("kernel", ["new", "old"])
def test_a_stray_that_only_forked_is_swept_with_its_worker_and_no_other_one(
    fork: Fork, tmp_path: Path, kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its environment, as the kernel shows it, has its worker's mark, though it never ran a program; with the older
    kernel's calls too. Fails when `_carry` doesn't write into that."""
    if kernel == "old":
        be_old(monkeypatch)
    b = fork(size=2, cancel_grace=0)
    with b.lease() as one, b.lease() as two:
        for number, lease in enumerate((one, two)):
            lease.call("leave_a_fork", [str(tmp_path / str(number))])
        strays = [read_pid(tmp_path / str(number)) for number in range(2)]
        wait_until(lambda: runs("reaper.py"), what="the reaper")
        with pytest.raises(WorkerCrashed):
            one.call("die", [int(signal.SIGKILL)])

        wait_until_gone({strays[0]})
        assert not is_gone(strays[1])
    b.close(0)
    wait_until_gone(strays)


def test_a_dead_workers_group_is_ended_where_nobody_else_can(
    fork: Fork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the zygote, before it reaps its leader: an older kernel has no such call for us, and the reaper is stopped.
    Fails when `_bury` doesn't kill the group."""
    be_old(monkeypatch)
    b = fork()
    b.call("leave_a_fork", [str(tmp_path / "pid"), False])
    wait_until(lambda: runs("reaper.py"), what="the reaper")
    (reaper,) = runs("reaper.py")
    os.kill(reaper, signal.SIGSTOP)
    try:
        with pytest.raises(WorkerCrashed):
            b.call("die", [int(signal.SIGKILL)])
        wait_until_gone({read_pid(tmp_path / "pid")})
    finally:
        os.kill(reaper, signal.SIGCONT)


def test_what_is_long_lies_in_shared_memory_too(fork: Fork) -> None:
    """As with a worker of its own. Fails when `_fork` makes no memory, or the zygote doesn't hand it on."""
    b = fork()
    value = bytes(range(256)) * 8192
    assert bytes(b.call("same", [value])) == value

    (worker,) = b._source.peek().supervisor.workers.values()
    assert isinstance(worker.link, FdLink)
    assert worker.link.arena is not None
    assert any(name.startswith("/memfd") for name in b.call("open_files"))


def test_crashes_and_zygotes_leave_nothing(fork: Fork) -> None:
    """Descriptors and processes are as many as before, and none when it is closed. Fails when a port, a packet or a
    zygote keeps a descriptor."""
    b = fork(size=2)
    wait_until_full(b)
    wait_until(lambda: len(offspring()) == 2, what="a zygote and a reaper")

    def count() -> int:
        wait_until_full(b)
        wait_until(lambda: len(offspring()) == 2 and not b._source.peek().supervisor.undead, what="rest")
        gc.collect()
        with b._source.peek().supervisor._steady:  # it isn't in the middle of a start
            return len(os.listdir("/proc/self/fd"))

    before = count()
    for number in range(6):
        if number % 3 == 2:
            (zygote,) = zygotes()
            os.kill(zygote, signal.SIGKILL)
            wait_until_gone({zygote})
        with pytest.raises(WorkerCrashed):
            b.call("die", [int(signal.SIGKILL)])
        wait_until(lambda number=number: b.stats().restarts == number + 1, what="a restart")  # type: ignore[misc]
        assert count() == before
    b.close()
    assert offspring() == set()


def test_closing_while_it_imports_ends_it(fork: Fork) -> None:
    """Nobody waits for the import. Fails when the zygote of a start that is given up lives on."""
    b = fork("hang")
    b.submit("pids")
    wait_until(zygotes, what="the zygote")
    began = time.monotonic()
    b.close(0)

    assert time.monotonic() - began < 10
    assert offspring() == set()


# -- The parent's side alone -------------------------------------------------------------------------------


def opened(adapter: PythonPortAdapter) -> parents_side.ForkedPort:
    """One start that was asked for."""
    spec = WorkerSpec(IMPORTED, start_method="zygote", path=(), replace_path=False)
    port = adapter.open(spec, deadline=time.monotonic() + 10)
    assert isinstance(port, parents_side.ForkedPort)
    return port


def test_adapters_that_are_shared_share_the_zygote_of_equal_specs() -> None:
    """Two starts, one zygote, and one death of it is both their end. Fails when each makes its own, or when only the
    one that hears of it is told."""
    adapter = PythonPortAdapter()
    ports = [opened(adapter), opened(adapter)]
    wait_until(zygotes, what="the zygote")
    (pid,) = zygotes()
    os.kill(pid, signal.SIGKILL)
    try:
        wait_until(ports[0].is_over, what="the end")
        assert all(port.is_over() for port in ports)
        assert {port.reap() for port in ports} <= {ExitStatus(signal=signal.SIGKILL), ExitStatus()}
    finally:
        for port in ports:
            port.kill()
            wait_until(port.is_over, what="its end")
            port.reap()
            port.close()
        adapter.close()
    assert children_of(os.getpid()) & {pid} == set()


@pytest.mark.parametrize("packet", [b"born", b"born 1 x", b"died 1 2", b"hello", b"died 1 x 0 0"])
def test_a_zygote_that_says_anything_else_is_given_up(packet: bytes) -> None:
    """It is no longer ours. Fails when `_heard` takes it, or raises."""
    adapter = PythonPortAdapter()
    port = opened(adapter)
    try:
        zygote = port._zygote
        assert not zygote._heard(packet.decode().split(), [])
        zygote._give_up()
        wait_until(port.is_over, what="the end")
        assert port.reap().signal == signal.SIGKILL
    finally:
        port.close()
        adapter.close()
