"""The real ssh, to a server of the test's own on loopback."""

from __future__ import annotations

import getpass
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import bridge
from tests.process.conftest import Connect
from tests.process.waiting import is_gone, wait_until, wait_until_gone

pytestmark = pytest.mark.deep

CENSUS = Path(bridge.__file__).parent / "cli" / "census.py"
CONFIG = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
"""


def is_heard(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[list[str]]:
    """The command that leads there and back."""
    server = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if server is None or shutil.which("ssh") is None:
        pytest.skip("no sshd is installed")
    if os.getuid() == 0 and not os.path.isdir("/run/sshd"):
        os.mkdir("/run/sshd", 0o755)  # where a server of root's locks up its unprivileged part
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "config").write_text(CONFIG.format(port=port, folder=tmp_path))
    with open(tmp_path / "log", "wb") as log:
        running = subprocess.Popen([server, "-D", "-e", "-f", str(tmp_path / "config")], stderr=log)
    try:
        wait_until(lambda: is_heard(port) or running.poll() is not None, 20, "an sshd")
        if running.poll() is not None:
            pytest.skip(f"sshd doesn't start here: {(tmp_path / 'log').read_text()[-200:]}")
        options = (
            "BatchMode=yes",
            "StrictHostKeyChecking=no",
            f"UserKnownHostsFile={tmp_path}/known",
            "LogLevel=ERROR",
        )
        yield [
            *("ssh", "-F", "none", "-p", str(port), "-i", str(tmp_path / "user")),
            *(part for option in options for part in ("-o", option)),
            f"{getpass.getuser()}@127.0.0.1",
        ]
    finally:
        running.kill()
        running.wait()


def test_a_connection_that_is_cut_in_mid_run_loses_no_call(connect: Connect, ssh: list[str]) -> None:
    """Two workers measure the standard library; the client of one is killed halfway. Each file is answered once,
    nothing stays there, and the pool is whole again. Fails when a launcher's death isn't a worker's."""
    files = sorted(map(str, Path(os.__file__).parent.glob("*.py")))
    b = connect(str(CENSUS), size=2, launcher=ssh, ship=[str(CENSUS)], python=sys.executable)
    answered = []
    for number, record in enumerate(b.map("measure", files, arg="path", idempotent=True, chunksize=1)):
        answered.append(record["path"])
        if number == len(files) // 2:
            first, *_ = b._source.runtime().supervisor.workers.values()
            there = first.info.pid
            os.kill(first.channel._process.pid, signal.SIGKILL)  # type: ignore[attr-defined]

    assert answered == files
    assert there is not None
    wait_until_gone({there}, 20)
    wait_until(lambda: b.stats().idle == 2, 20, "a worker in the place of the one that was lost")


def test_the_demo_runs_over_there_and_loses_no_call(ssh: list[str]) -> None:
    """As a user types it: two workers parse the standard library, and the client of one is killed halfway. Fails when
    the demo's accident isn't one of the connection."""
    done = subprocess.run(
        [sys.executable, "-m", "bridge", "demo", "--json", "--size", "2", "--launcher", shlex.join(ssh)],
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)

    assert (found["ok"], found["size"], found["lost"], found["sample_agrees"]) == (True, 2, 0, True)
    assert (found["crashes"], found["restarts"]) == (found["repeated"], found["kills"])
    assert found["files"] > 500


def test_a_late_call_is_cancelled_over_there(connect: Connect, ssh: list[str], handlers: str) -> None:
    """sshd gives a socket or a pipe, and either nudges. Fails without `be_nudged`."""
    b = connect(f"{handlers}:Echo", launcher=ssh, python=sys.executable, cancel_grace=20)
    pid = b.call("pid")
    with pytest.raises(bridge.CallTimeout):
        b.call("spin", timeout=0.2)

    assert b.call("pid", timeout=15) == pid
    assert not is_gone(pid)


def test_ssh_that_is_not_let_in_says_why(connect: Connect, ssh: list[str]) -> None:
    """With its own words. Fails when 255 has no hint."""
    stranger = ["nobody-of-that-name@127.0.0.1" if "@" in part else part for part in ssh]

    with pytest.raises(bridge.WorkerStartError, match=r"255; ssh ends so when it has no connection(.|\n)*denied"):
        connect("platform", launcher=stranger).call("node", timeout=30)


def test_the_placement_example_runs_over_ssh(ssh: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """By settings alone. Fails when the launcher can't be said in the environment."""
    monkeypatch.delenv("TEST_MODE", raising=False)
    example = Path(__file__).parents[2] / "docs" / "examples" / "placement"
    monkeypatch.setenv("BRIDGE_WORKER__LAUNCHER", shlex.join(ssh))
    monkeypatch.setenv("BRIDGE_WORKER__SHIP", '["pricing"]')
    monkeypatch.setenv("BRIDGE_WORKER__PYTHON", sys.executable)
    done = subprocess.run([sys.executable, "-m", "main"], cwd=example, capture_output=True, text=True, timeout=60)

    assert (done.stdout, done.stderr) == ("8 EUR\n", "")
