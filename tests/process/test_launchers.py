"""Workers behind a launcher: started somewhere else, by what was sent through its stdin, and ended by its hang-up."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import bridge
from bridge.adapters.launched import BOOT
from tests.conftest import HANDLERS
from tests.house import interpreters
from tests.process.conftest import Connect
from tests.process.waiting import is_gone, read_pid, wait_until_gone

HERE = {"python": sys.executable, "cancel_grace": 5}
SHELL = "sh -c 'exec \"$@\"' sh"
JOINING = "sh -c 'exec sh -c \"$*\"' sh"
"""What ssh does: its arguments become one text, for a shell."""
HANDLER = f"{HANDLERS}:Echo"
FAKE = """\
#!/bin/sh
case "$*" in
    '{expected} '*) shift {count}; exec "$@" ;;
esac
echo "called with: $*" >&2
exit 64
"""
FAR = [sys.executable, str(Path(__file__).parent / "far.py")]
LIMITED = f"{Path(__file__).parent / 'limited_handlers.py'}:Limited"
NEST = f"{Path(__file__).parent / 'nest_handlers.py'}:Nest"


@pytest.mark.parametrize("launcher", ["nice -n 5", "env", SHELL, JOINING])
def test_a_worker_is_started_by_whatever_carries_stdin_and_stdout(connect: Connect, launcher: str) -> None:
    """Also by what has a shell read its arguments again, as ssh does. Fails when BOOT
    has a blank or a parenthesis."""
    b = connect(HANDLER, launcher=launcher, **HERE)

    assert b.call("echo", [b"x" * 3_000_000]) == b"x" * 3_000_000
    assert b.call("pid") == b.stats().workers[0].pid
    assert b.stats().workers[0].path == sys.executable


def test_a_launcher_may_be_behind_another_one(connect: Connect, tmp_path: Path) -> None:
    """`ssh a ssh b`: a shell for each. Fails when BOOT is quoted, for one of them."""
    joining = tmp_path / "joining"
    joining.write_text('#!/bin/sh\nexec sh -c "$*"\n')
    joining.chmod(0o755)

    assert connect(HANDLER, launcher=[str(joining)] * 2, **HERE).call("add", [1, 2]) == 3


def test_the_boot_line_has_nothing_that_a_shell_would_touch() -> None:
    """Fails when somebody makes it prettier."""
    assert not set(BOOT) & set(" \t\n'\"\\`$;&|<>()[]{}*?!#~^")


@pytest.mark.parametrize(
    ("program", "args"),
    [
        ("docker", "run -i --rm image"),
        ("kubectl", "exec -i pod --"),
        ("srun", "-n1"),
        ("systemd-run", "--pipe --quiet"),
    ],
)
def test_the_command_of_a_launcher_is_what_was_said(connect: Connect, tmp_path: Path, program: str, args: str) -> None:
    """Its arguments come first, then the interpreter. Fails when anything is put between, or quoted."""
    fake = tmp_path / program
    fake.write_text(FAKE.format(expected=args, count=len(args.split())))
    fake.chmod(0o755)

    assert connect(HANDLER, launcher=[str(fake), *args.split()], **HERE).call("add", [1, 2]) == 3


def test_another_user_may_be_who_serves(connect: Connect) -> None:
    """`sudo -u`. Fails when anything but 0 and 1 is needed there."""
    if shutil.which("sudo") is None or os.getuid() != 0:
        pytest.skip("there is no sudo, or this isn't root")
    b = connect("getpass", launcher="sudo -u nobody", python="/usr/bin/python3", env={"LOGNAME": "sent"})

    assert b.call("getuser") == "sent"


@pytest.mark.parametrize("minor", interpreters.EACH)
def test_every_other_python_can_be_there(connect: Connect, minor: int) -> None:
    """From 3.8 on, with nothing installed. Fails when remote.py uses what is newer."""
    b = connect(HANDLER, launcher="nice", python=interpreters.need(minor))

    assert b.call("echo", [[1, {"a": b"b"}]]) == [1, {"a": b"b"}]
    with pytest.raises(bridge.CallTimeout):
        b.call("sleep", [60], timeout=0.05)
    assert b.call("pid") == b.stats().workers[0].pid


@pytest.mark.parametrize("command", ["sleep", "spin"])
def test_a_call_is_cancelled_there_and_its_worker_lives_on(connect: Connect, command: str) -> None:
    """Nobody can signal it, so the kernel does when the frame arrives. Fails without `be_nudged`."""
    b = connect(HANDLER, launcher=JOINING, python=sys.executable, cancel_grace=20)
    pid = b.call("pid")
    with pytest.raises(bridge.CallTimeout):
        b.call(command, [60] if command == "sleep" else None, timeout=0.1)

    assert b.call("pid", timeout=15) == pid


@pytest.mark.parametrize("command", ["idle", "spin", "hold_the_gil"])
def test_a_hang_up_ends_whatever_is_there(connect: Connect, tmp_path: Path, command: str) -> None:
    """The launcher is killed (the connection is lost) while its worker does anything, C code that holds the GIL
    included: the worker, its group and what left that are gone, and the pool is whole. Fails when `nudge` doesn't look
    for a hang-up, and `main` starts no guard."""
    b = connect(NEST, launcher=FAR, options={"folder": str(tmp_path)}, **HERE)
    b.call("idle")
    pids = {read_pid(tmp_path / name) for name in ("worker", "in_group", "own_session")}
    (far,) = b._source.runtime().supervisor.workers.values()
    (tmp_path / "state").unlink()
    future = b.submit(command)
    read_pid(tmp_path / "state")  # it is at it
    os.kill(far.channel._process.pid, signal.SIGKILL)  # type: ignore[attr-defined]
    if command != "idle":
        with pytest.raises(bridge.WorkerCrashed) as caught:
            future.result(20)
        assert caught.value.pid == read_pid(tmp_path / "worker") or caught.value.pid in pids

    wait_until_gone(pids, 20)
    b.call("idle", timeout=20)


def test_a_hang_up_ends_what_hears_no_signal(connect: Connect, tmp_path: Path) -> None:
    """C code that holds the GIL, and isn't woken by anything. Fails without the guard."""
    (tmp_path / "deaf.py").write_text(
        "import os\n\ndef count(file):\n    open(file, 'w').write('%d\\n' % os.getpid())\n    sum(range(10 ** 14))\n"
    )
    b = connect(str(tmp_path / "deaf.py"), launcher=FAR, **HERE)
    future = b.submit("count", [str(tmp_path / "pid")])
    pid = read_pid(tmp_path / "pid")
    (far,) = b._source.runtime().supervisor.workers.values()
    os.kill(far.channel._process.pid, signal.SIGKILL)  # type: ignore[attr-defined]

    with pytest.raises(bridge.WorkerCrashed):
        future.result(20)
    wait_until_gone({pid}, 20)


def test_what_others_print_first_is_passed_over(connect: Connect) -> None:
    """A login shell's greeting. Fails when the marker isn't looked for."""
    b = connect(HANDLER, launcher="sh -c 'echo Welcome; exec \"$@\"' sh", **HERE)

    assert b.call("echo", [1]) == 1


@pytest.mark.parametrize(
    ("launcher", "python", "says"),
    [
        ("no-such-launcher", None, "the launcher 'no-such-launcher': No such file or directory. Install it"),
        ("nice", "/no/such/python", "exit code 127; a program wasn't found there"),
        ("sh -c 'echo This account is closed; exit 1'", None, "This account is closed"),
        ("sh -c 'echo no route >&2; exit 255'", None, "ssh ends so when it has no connection"),
        ("sh -c 'exec yes'", None, "goes on writing to stdout"),
    ],
)
def test_a_launcher_that_starts_nothing_says_why(
    connect: Connect, launcher: str, python: str | None, says: str
) -> None:
    """At once, and with what it said. Fails when its exit code, or stdout before the marker, isn't told."""
    with pytest.raises(bridge.WorkerStartError, match=says):
        connect(HANDLER, launcher=launcher, python=python).call("echo", [1], timeout=20)


def test_what_is_shipped_needs_not_be_there(connect: Connect, tmp_path: Path) -> None:
    """A package with its data, and a handler's file: both are found in what was sent. Fails when `ship` isn't."""
    package = tmp_path / "here" / "wares"
    (package / "deep").mkdir(parents=True)
    (package / "__init__.py").write_text("def kind():\n    return 'sent'\n")
    (package / "deep/__init__.py").write_text("import pkgutil\nDATA = pkgutil.get_data(__name__, 'x.txt').decode()\n")
    (package / "deep/x.txt").write_text("data")
    (tmp_path / "here/shop.py").write_text(
        "import wares.deep\n\nclass Shop:\n    def look(self):\n"
        "        return [wares.kind(), wares.deep.DATA, __file__]\n"
    )
    handler = f"{tmp_path}/here/shop.py:Shop"
    b = connect(handler, launcher="nice", ship=[str(package), handler.partition(":")[0]], cwd="/", **HERE)
    kind, data, file = b.call("look")

    assert (kind, data) == ("sent", "data")
    assert file.startswith("/proc/self/fd/")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"start_method": "zygote"}, "set start_method='spawn'"),
        ({"env_allow": ["PATH"]}, "leave it out"),
        ({"max_rss": 2**30}, "address_space"),
        ({"python": "/a b/python"}, "name a link"),
        ({"ship": ["no_such_module_anywhere"]}, "there is no module"),
        ({"ship": ["./no/such/folder"]}, "there is no file or folder"),
        ({"launcher": "ssh 'host"}, "can't be split"),
    ],
)
def test_what_cannot_work_there_is_said_at_once(settings: dict[str, Any], says: str) -> None:
    """With the cure. Fails when `check_launched` isn't asked."""
    with pytest.raises(bridge.ConfigurationError, match=says):
        bridge.connect(HANDLER, **{"adapter": "python_port", "launcher": "nice", **settings})


def test_settings_apply_there(connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Directory and variables, and the launcher as text from the environment. Fails when the block lacks them."""
    monkeypatch.setenv("BRIDGE_WORKER__LAUNCHER", f"env -i PATH={os.defpath}")
    b = connect("os", **HERE, cwd=str(tmp_path), env={"SENT": "yes"})

    assert b.call("getcwd") == str(tmp_path)
    assert b.call("getenv", ["SENT"]) == "yes"
    assert b.call("getenv", ["HOME"]) is None


def test_limits_and_mask_are_in_force_there(connect: Connect) -> None:
    """Before the handler is imported, in the worker and not in its launcher. Fails when START's are left out there."""
    limits = {"cpu_seconds": 50, "open_files": 99, "core": False, "niceness": 5}
    b = connect(LIMITED, launcher=FAR, limits=limits, umask="027", **HERE)
    assert b.call("limit", ["RLIMIT_CPU"]) == [50, 51]
    assert b.call("limit", ["RLIMIT_NOFILE"]) == [99, 99]
    assert b.call("limit", ["RLIMIT_CORE"]) == [0, 0]
    assert (b.call("umask"), b.call("niceness")) == (0o27, min(19, os.nice(0) + 5))
    launcher_pid = b.stats().workers[0].launcher_pid
    assert launcher_pid is not None
    assert resource.prlimit(launcher_pid, resource.RLIMIT_NOFILE) == resource.getrlimit(resource.RLIMIT_NOFILE)


@pytest.mark.parametrize("launcher", ["nice", "sh -c '\"$@\"; exit $?' sh"])
def test_a_limit_that_was_met_there_is_told(connect: Connect, launcher: str) -> None:
    """By the signal, of a launcher that became the worker, or by the exit code that a shell makes of it. Fails when the
    limits aren't looked at behind a launcher."""
    b = connect(LIMITED, launcher=launcher, limits={"cpu_seconds": 1}, **HERE)
    with pytest.raises(bridge.WorkerCrashed, match=r"it had used up the cpu_seconds=1 of worker\.limits"):
        b.call("spin", timeout=60)


def test_memory_is_limited_there(connect: Connect) -> None:
    """Fails when the limit is the launcher's."""
    b = connect(LIMITED, launcher=FAR, limits={"address_space": 2**27}, **HERE)
    with pytest.raises(bridge.RemoteError, match="MemoryError"):
        b.call("hoard", timeout=60)

    assert b.call("limit", ["RLIMIT_AS"]) == [2**27, 2**27]


@pytest.mark.parametrize("value", [b"", b"x" * 3_000_000])
def test_a_launcher_that_is_stopped_holds_up_nobody(connect: Connect, value: bytes) -> None:
    """As when a cable is pulled: its call ends at its deadline, also one that doesn't fit into the pipe, which
    certainly wasn't begun; its worker is replaced, and nothing stays. Fails when anything is waited for without an
    end."""
    b = connect(HANDLER, launcher=FAR, python=sys.executable, cancel_grace=0.1)
    pid = b.call("pid")
    (worker,) = b.stats().workers
    assert worker.launcher_pid is not None
    os.kill(worker.launcher_pid, signal.SIGSTOP)
    with pytest.raises(bridge.CallTimeout) as caught:
        b.call("echo", [value], timeout=0.2)

    assert caught.value.retryable is bool(value)
    wait_until_gone({pid, worker.launcher_pid}, 20)
    assert b.call("pid", timeout=20) != pid


def test_a_bridge_closes_though_its_launcher_is_stopped(connect: Connect) -> None:
    """Within its time, and what was there is gone. Fails when `close` waits for a goodbye."""
    b = connect(HANDLER, launcher=FAR, python=sys.executable)
    pid = b.call("pid")
    launcher_pid = b.stats().workers[0].launcher_pid
    assert launcher_pid is not None
    os.kill(launcher_pid, signal.SIGSTOP)
    closing = threading.Thread(target=b.close, args=(0.1,))
    closing.start()
    closing.join(30)

    assert not closing.is_alive()
    wait_until_gone({pid, launcher_pid}, 20)


def test_a_parent_that_is_killed_leaves_nothing_there(tmp_path: Path) -> None:
    """Its end closes the launcher's stdin. Fails without the guard."""
    code = (
        "import bridge, os\n"
        f"b = bridge.connect({NEST!r}, adapter='python_port', size=1, launcher={JOINING!r},\n"
        f"    python={sys.executable!r}, options={{'folder': {str(tmp_path)!r}}})\n"
        "b.submit('hold_the_gil')\n"
        "input()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    try:
        pids = {read_pid(tmp_path / name) for name in ("worker", "in_group", "own_session")}
        assert not any(map(is_gone, pids))
    finally:
        parent.kill()
        parent.communicate()
    wait_until_gone(pids, 20)
