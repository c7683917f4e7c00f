"""The socket that serves a bridge's status: whose it is, when it is there, and that it can't hold up the bridge."""

from __future__ import annotations

import fcntl
import gc
import os
import socket
import stat
import subprocess
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import bridge
from bridge.errors import ConfigurationError, WorkerStartError
from bridge.runtime import status
from tests.runtime.statuses import ask, opened

ROOT = Path(__file__).parents[2]


LEFT = """
import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen(16)
if not os.fork():
    os.write(1, b"there\\n")
    sys.stdin.read()
"""
"""A program that ends while another process has a copy of its socket."""


def leave_a_stale_one(path: str) -> None:
    """As of a process that was killed."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)


def test_it_tells_what_stats_and_health_tell(handlers: str, path: str) -> None:
    """One line of JSON, to whoever connects and without being asked anything."""
    with opened(handlers, path) as b:
        b.call("echo", [1])
        told, stats = ask(path), b.stats()

    assert told["pid"] == os.getpid()
    assert told["health"]["ok"] is True
    assert {name: told["stats"][name] for name in ("name", "adapter", "state", "size", "calls", "restarts")} == {
        "name": "shop",
        "adapter": "bridge_mock",
        "state": "open",
        "size": 1,
        "calls": 1,
        "restarts": 0,
    }
    assert [worker["generation"] for worker in told["stats"]["workers"]] == [stats.workers[0].generation]
    assert told["stats"]["p50"] == stats.p50


def test_memory_is_told_where_there_are_processes(handlers: str, path: str) -> None:
    """That of each worker, as the kernel counts it."""
    with bridge.connect(f"{handlers}:Echo", size=1, adapter="python_port", status_socket=path) as b:
        (worker,) = ask(path)["stats"]["workers"]

        assert worker["pid"] == b.stats().workers[0].pid
        assert worker["rss"] > 1_000_000


def test_it_is_there_while_the_bridge_is_open(handlers: str, path: str) -> None:
    """From its start to its close, which removes it before it returns. Fails when `close` doesn't wait for that."""
    b = opened(handlers, path)
    assert not os.path.lexists(path)
    with b:
        assert stat.S_ISSOCK(os.lstat(path).st_mode)
    assert os.listdir(".") == []


def test_close_returns_when_it_is_removed(handlers: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long that takes, within a bound. Fails when `close` doesn't wait for the thread."""
    waits, gone = threading.Event(), threading.Event()
    remove, await_end = status.StatusSocket._remove, status.StatusSocket.await_end

    def remove_late(self: status.StatusSocket, listener: socket.socket) -> None:
        waits.wait(10)
        remove(self, listener)
        gone.set()

    def say_that_it_waits(self: status.StatusSocket, seconds: float) -> None:
        waits.set()
        await_end(self, seconds)

    monkeypatch.setattr(status.StatusSocket, "_remove", remove_late)
    monkeypatch.setattr(status.StatusSocket, "await_end", say_that_it_waits)
    with opened(handlers, path):
        pass
    there = os.path.lexists(path)
    waits.set()
    gone.wait(10)

    assert not there


def test_nobody_else_can_connect_at_any_moment(handlers: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made with its permissions, whatever the umask says. Fails when they are set after `bind`."""
    seen = []
    bind = socket.socket.bind

    def look(self: socket.socket, address: Any) -> None:
        bind(self, address)
        seen.append(stat.S_IMODE(os.lstat(address).st_mode))

    monkeypatch.setattr(socket.socket, "bind", look)
    before = os.umask(0)
    try:
        with opened(handlers, path):
            seen.append(stat.S_IMODE(os.lstat(path).st_mode))
    finally:
        os.umask(before)

    assert seen == [0o600, 0o600]


def test_without_the_setting_there_is_no_thread(handlers: str, path: str) -> None:
    """Nobody pays for what nobody asked for."""
    with bridge.connect(f"{handlers}:Echo", adapter="bridge_mock", size=1) as b:
        b.call("echo", [1])
        assert [thread.name for thread in threading.enumerate() if "status" in thread.name] == []
    with opened(handlers, path):
        assert [thread.name for thread in threading.enumerate() if "status" in thread.name] == ["bridge-status-shop"]


def test_a_stale_socket_is_replaced(handlers: str, path: str) -> None:
    """That of a process that was killed is in nobody's way."""
    leave_a_stale_one(path)

    with opened(handlers, path):
        assert ask(path)["pid"] == os.getpid()


@pytest.fixture
def left(path: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program that is dead, and whose socket another process has until its stdin is closed."""
    with subprocess.Popen([sys.executable, "-c", LEFT, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"there\n"
        program.wait(10)
        yield program


def test_what_a_killed_program_left_to_a_process_that_it_was_starting_is_waited_for(
    handlers: str, path: str, left: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """That one has its socket until it calls exec. Fails when whoever listened there isn't looked for, or is waited for
    but once."""
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            left.stdin.close()  # type: ignore[union-attr]
            assert left.stdout.read() == b""  # type: ignore[union-attr]  # the copy is closed

    monkeypatch.setattr(time, "sleep", pause)
    with opened(handlers, path):
        assert ask(path)["pid"] == os.getpid()
    assert len(pauses) >= 3


def test_what_a_killed_program_left_to_a_process_that_stays_is_not_waited_for_for_ever(
    handlers: str, path: str, left: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused, by the pid of the one that listened. Fails when nobody looks at the time: it would hang."""
    monkeypatch.setattr(status, "LOCK_WAIT", 0.0)
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("its time is over"))
    with pytest.raises(ConfigurationError, match=f"process {left.pid} serves its status there"):
        opened(handlers, path).__enter__()


def test_a_living_one_is_refused_by_name(handlers: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second bridge on a path doesn't start, the first one goes on; once it is gone the second one can start.
    Fails when it is waited for as if it were dead."""
    second = opened(handlers, path)
    with opened(handlers, path):
        monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("it lives, so there is nothing to wait for"))
        with pytest.raises(ConfigurationError, match=f"status_socket {path}: another bridge of this process serves"):
            second.call("echo", [1])
        monkeypatch.undo()
        assert second.stats().state == "new"
        assert ask(path)["stats"]["state"] == "open"
    assert second.call("echo", [1]) == 1
    second.close()


def test_that_of_another_process_is_named_by_its_pid(handlers: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the reader finds who it is."""
    with opened(handlers, path):
        own = os.getpid()
        monkeypatch.setattr(os, "getpid", lambda: own + 1)
        with pytest.raises(ConfigurationError, match=f"process {own} serves its status there"):
            opened(handlers, path).__enter__()
        monkeypatch.undo()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("file", "there is a file that is no socket"),
        ("no/folder/s", "No such file or directory"),
        ("x" * 108, "107 at the most"),
        (".", "no socket"),
        ("a\0b", "no NUL"),
    ],
)
def test_a_path_that_cannot_be_used_is_told_so(handlers: str, path: str, name: str, why: str) -> None:
    """And what is there stays there."""
    Path("file").write_text("mine")

    with pytest.raises(ConfigurationError, match=f"status_socket .*{why}"):
        opened(handlers, name).__enter__()
    assert Path("file").read_text() == "mine"


def test_a_relative_path_is_meant_where_it_was_said(handlers: str, path: str, tmp_path: Path) -> None:
    """A later chdir moves nothing. Fails when it is made absolute at the start."""
    b = opened(handlers, "s")
    (tmp_path / "elsewhere").mkdir()
    os.chdir(tmp_path / "elsewhere")
    with b:
        assert ask(path)["pid"] == os.getpid()


def test_what_has_taken_its_place_is_not_removed(handlers: str, path: str) -> None:
    """Somebody removed it, and another bridge serves there. Fails when `close` removes whatever has the name."""
    with opened(handlers, path):
        os.unlink(path)
        leave_a_stale_one(path)
    assert os.path.lexists(path)


def test_two_that_find_the_same_stale_one_take_turns(handlers: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the slower one would remove what the other has just put there. Fails without the lock of the folder."""
    leave_a_stale_one(path)
    monkeypatch.setattr(status, "LOCK_WAIT", 0.0)
    folder = os.open(".", os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        with pytest.raises(ConfigurationError, match="holds a lock on its folder"):
            opened(handlers, path).__enter__()
    finally:
        os.close(folder)


def test_a_thread_that_is_refused_leaves_no_socket(handlers: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The start fails as a whole, and the next one works. Fails when the file stays, which nobody serves."""
    start = threading.Thread.start

    def refuse(self: threading.Thread) -> None:
        if "status" in self.name:
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    b = opened(handlers, path)
    with pytest.raises(WorkerStartError, match="refused a thread"):
        b.call("echo", [1])
    assert not os.path.lexists(path)
    monkeypatch.undo()

    assert b.call("echo", [1]) == 1
    assert ask(path)["pid"] == os.getpid()
    b.close()


def test_a_bridge_that_is_dropped_takes_it_along(handlers: str, path: str) -> None:
    """The thread keeps no bridge alive. Fails when what it tells of holds the runtime."""
    b = opened(handlers, path, adapter=bridge.MockAdapter({"echo": 1}))
    b.call("echo", [1])
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "bridge-status-shop"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        del b
        gc.collect()
    thread.join(10)

    assert not thread.is_alive()
    assert not os.path.lexists(path)


def test_a_closed_bridge_is_let_go_at_once(handlers: str, path: str) -> None:
    """Without a garbage collection. Fails when the socket and its bridge keep each other."""
    b = opened(handlers, path, adapter=bridge.MockAdapter({"echo": 1}))
    b.call("echo", [1])
    runtime = weakref.ref(b._source.peek())
    b.close()
    gc.disable()
    try:
        del b
        assert runtime() is None
    finally:
        gc.enable()


def test_a_scope_has_none_of_its_application(handlers: str, path: str) -> None:
    """A mock in the place of a bridge that runs doesn't ask for the same path, unless the scope itself names one."""
    b = bridge.connect(f"{handlers}:Echo", size=1, status_socket=path, adapter_options={})
    with bridge.with_adapter("bridge_mock", handler=f"{handlers}:Echo"), bridge.with_settings(size=1):
        assert b.call("echo", [1]) == 1
        assert not os.path.lexists(path)
        with bridge.with_settings(status_socket=path):
            assert b.call("echo", [2]) == 2
            assert ask(path)["stats"]["adapter"] == "bridge_mock"
    assert not os.path.lexists(path)
    b.close()


def test_an_empty_path_is_refused(handlers: str) -> None:
    """As a variable that is set to nothing would say it."""
    with pytest.raises(ConfigurationError, match="status_socket"):
        opened(handlers, "")


FORK = """
import json, os, socket, stat, sys
import bridge

path, handler = sys.argv[1:]

def listening():
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                continue
        except OSError:
            continue
        with socket.socket(fileno=os.dup(int(name))) as copy:
            if copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                found.append(copy.getsockname())
    return found

def told():
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        return json.loads(client.makefile().readline())["pid"] == os.getpid()

with bridge.connect(handler, adapter="bridge_mock", size=1, status_socket=path) as b:
    before = listening()
    parent, child = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        answer = b.call("echo", [7])
        b.close()
        child.sendall(json.dumps([answer, listening()]).encode() + b"\\n")
        os._exit(0)
    os.waitpid(pid, 0)
    print(json.dumps([before == [path], json.loads(parent.makefile().readline()), told()]))
print(os.path.exists(path))
"""


def test_a_forked_child_has_none(handlers: str, path: str) -> None:
    """It calls as ever, holds nothing of its parent's socket, and its close doesn't remove that. Fails when the child
    keeps the listener, or asks for the same path."""
    words = [sys.executable, "-W", "ignore", "-c", FORK, path, f"{handlers}:Echo"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, timeout=60)

    assert (done.stdout, done.stderr) == ("[true, [7, []], true]\nFalse\n", "")
