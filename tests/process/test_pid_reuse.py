"""A number that was a process of ours, and is a stranger's by now: nothing is ever sent to it.

Where the kernel lets us choose the next number, the stranger is a real one; elsewhere those tests are skipped.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bridge import reaper
from bridge.adapters.port import PythonPort
from bridge.adapters.python_port import PythonPortAdapter
from bridge.contract import ExitStatus, WorkerSpec
from tests.process.waiting import wait_until

LAST_PID = Path("/proc/sys/kernel/ns_last_pid")
SLEEP = ("/bin/sleep", "600")
TOKEN = b"a-token-of-ours:"
MARKED = {reaper.VARIABLE: TOKEN.decode() + "1"}
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a process, which leads a group of its own; with that number, if one is named."""
    started: list[subprocess.Popen[bytes]] = []

    def start(pid: int | None = None, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        for _ in range(50):  # other processes start others meanwhile
            if pid is not None:
                try:
                    LAST_PID.write_text(str(pid - 1))
                except OSError as error:
                    pytest.skip(f"the kernel doesn't let us choose a number: {error}")
            started.append(subprocess.Popen(SLEEP, env=env or {}, start_new_session=True))
            if pid in (None, started[-1].pid):
                return started[-1]
        pytest.skip("somebody else has the number by now")

    yield start
    for process in started:
        process.kill()
        process.wait()


def lives(process: subprocess.Popen[bytes]) -> bool:
    """Whether it wasn't even told to end: a signal that was sent is seen by now, or within an instant."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(0.02)
    return process.poll() is None


class Machine:
    """Processes by their numbers; one of them is replaced at a chosen step of whoever looks."""

    def __init__(self, first: str, second: str, at_step: int) -> None:
        self.holder, self._second = first, second
        self._left = at_step
        self.killed: list[str] = []
        self.os = SimpleNamespace(pidfd_open=self._open, close=lambda fd: None)

    def step(self) -> None:
        if self._left == 0:
            self.holder = self._second
        self._left -= 1

    def _open(self, pid: int) -> Any:
        self.step()
        return self.holder

    def read(self, path: str, mode: str) -> Any:
        self.step()
        mark = f"{reaper.VARIABLE}={TOKEN.decode()}1".encode()
        return contextlib.nullcontext(SimpleNamespace(read=lambda: mark if self.holder == "ours" else b"A=1"))

    def signal(self, pidfd: Any, number: int) -> None:
        self.step()
        if pidfd != self.holder:
            raise ProcessLookupError
        self.killed.append(self.holder)


@pytest.mark.parametrize("at_step", range(4))
@pytest.mark.parametrize(("first", "second"), [("ours", "a stranger"), ("a stranger", "ours")])
def test_the_reaper_never_kills_a_stranger_who_got_the_number(
    monkeypatch: pytest.MonkeyPatch, first: str, second: str, at_step: int
) -> None:
    """Whichever step of it he, or the one before him, ends at. Fails when the token is read before the pidfd is opened,
    or when the kill is by number."""
    machine = Machine(first, second, at_step)
    monkeypatch.setattr(reaper, "os", machine.os)
    monkeypatch.setattr(reaper, "open", machine.read, raising=False)
    monkeypatch.setattr(reaper, "pidfd_send_signal", machine.signal)
    reaper._kill_if_marked(4711, TOKEN)

    assert "a stranger" not in machine.killed
    assert machine.killed == ["ours"] or (first, at_step) != ("ours", 3)


def test_the_reaper_kills_no_process_that_got_the_number_in_the_middle(
    monkeypatch: pytest.MonkeyPatch, start: Start
) -> None:
    """The same with real processes: after the reaper's first step ours ends, and a stranger has its number. Fails when
    the token is read before the pidfd is opened."""
    ours = start(env=MARKED)
    strangers: list[subprocess.Popen[bytes]] = []
    pidfd_open = os.pidfd_open

    def replace() -> None:
        if not strangers:
            ours.kill()
            ours.wait()
            strangers.append(start(pid=ours.pid))
            wait_until(lambda: Path(f"/proc/{ours.pid}/cmdline").read_text().startswith(SLEEP[0]), what="its exec")

    def open_it(pid: int) -> int:
        with contextlib.ExitStack() as unless_skipped:
            pidfd = pidfd_open(pid)
            unless_skipped.callback(os.close, pidfd)
            replace()
            unless_skipped.pop_all()
            return pidfd

    @contextlib.contextmanager
    def read(path: str, mode: str) -> Iterator[Any]:
        with open(path, mode) as file:
            text = file.read()
        replace()
        yield SimpleNamespace(read=lambda: text)

    monkeypatch.setattr(os, "pidfd_open", open_it)
    monkeypatch.setattr(reaper, "open", read, raising=False)

    assert not reaper._kill_if_marked(ours.pid, TOKEN)
    assert lives(*strangers)


@pytest.fixture
def port(handlers: str) -> Iterator[PythonPort]:
    """A worker that has ended, and whose status nobody has taken."""
    adapter = PythonPortAdapter()
    port = adapter.open(WorkerSpec(f"{handlers}:Echo"), deadline=time.monotonic() + 10)
    assert isinstance(port, PythonPort)
    assert port.info.pid is not None
    os.kill(port.info.pid, signal.SIGKILL)
    os.waitid(os.P_PIDFD, port.sentinel(), os.WEXITED | os.WNOWAIT)
    yield port
    port.close()
    adapter.close()
    with contextlib.suppress(ChildProcessError):  # most tests have taken its status
        os.waitpid(port.info.pid, 0)


def test_a_worker_that_was_reaped_is_sent_nothing_more(port: PythonPort, start: Start) -> None:
    """Killed, cancelled and reaped again, while its number is that of another child of ours. Fails when `kill` and
    `reap` go by number."""
    assert port.reap() == ExitStatus(signal=signal.SIGKILL)
    stranger = start(pid=port.info.pid)
    port.kill()
    port.cancel(1)

    assert port.reap() == ExitStatus()
    assert lives(stranger)


def test_a_worker_whose_status_somebody_else_took_is_sent_nothing_more(port: PythonPort, start: Start) -> None:
    """As where SIGCHLD is ignored: its number is free before we know of its end, and another child's. Fails when `kill`
    doesn't ask the pidfd, or when `reap` waits by number."""
    os.waitid(os.P_PIDFD, port.sentinel(), os.WEXITED)
    stranger = start(pid=port.info.pid)
    port.kill()
    assert lives(stranger)

    assert port.reap() == ExitStatus()
    assert lives(stranger)


def test_a_number_that_is_not_ours_any_more_is_never_used(port: PythonPort, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same where we can't choose numbers: no group is sent anything, neither after the reap. Fails when `_is_ours`
    takes either for its own."""
    sent: list[int] = []
    monkeypatch.setattr(os, "killpg", lambda pid, number: sent.append(pid))
    os.waitid(os.P_PIDFD, port.sentinel(), os.WEXITED)
    port.kill()
    assert port.reap() == ExitStatus()
    os.close(port.sentinel())  # as a program may that closes all descriptors
    port.kill()

    assert sent == []


def test_a_forked_childs_copy_of_a_worker_sends_nothing(port: PythonPort, monkeypatch: pytest.MonkeyPatch) -> None:
    """It isn't the child's to end. Fails when `kill` doesn't look whether the descriptors were given up."""
    sent: list[int] = []
    monkeypatch.setattr(os, "killpg", lambda pid, number: sent.append(pid))
    port.forget()
    port.kill()

    assert sent == []


def test_a_worker_whose_pidfd_the_program_closed_is_killed_all_the_same(
    port: PythonPort, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until its status was taken the number is its own. Fails when `_is_ours` lets EBADF pass."""
    sent: list[int] = []
    monkeypatch.setattr(os, "killpg", lambda pid, number: sent.append(pid))
    os.close(port.sentinel())
    port.kill()

    assert sent == [port.info.pid]


def test_a_reaper_whose_status_somebody_else_took_costs_nobody_his_life(start: Start) -> None:
    """Closing the adapter neither waits for nor kills whoever has its number. Fails when it is buried by number."""
    with contextlib.closing(PythonPortAdapter()) as adapter:
        pidfd = adapter.settle()
        assert pidfd is not None
        pid = adapter._reaper.pid  # type: ignore[union-attr]
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
        stranger = start(pid=pid)
        began = time.monotonic()

    assert time.monotonic() - began < 1
    assert lives(stranger)
