"""The command line from end to end: real workers, a real kill, a real Ctrl-C."""

from __future__ import annotations

import json
import os
import pty
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.process.waiting import children_of, read_pid, wait_until_gone

ROOT = Path(__file__).parents[2]
ON_A_TERMINAL = (
    # A session leader without a terminal that opens one gets it, and with it what Ctrl-C sends.
    "import os, sys; os.open(sys.argv[1], os.O_RDWR);"
    "os.execv(sys.executable, [sys.executable, '-m', 'bridge', *sys.argv[2:]])"
)


def plant(folder: Path, modules: int) -> str:
    """So many modules that take some ten milliseconds each to parse, and one that can't be parsed."""
    body = "".join(f"def f{n}(x):\n    return [y for y in x if y] if x else {n}\n" for n in range(400))
    for n in range(modules):
        (folder / f"m{n:02}.py").write_text(body)
    (folder / "wrong.py").write_text("print 'hello'\n")
    return str(folder)


class Screen:
    """What a program wrote to its terminal."""

    def __init__(self, fd: int) -> None:
        self.fd, self.text = fd, ""

    def read(self, seconds: float = 20.0, until: str | None = None) -> str:
        """Everything up to and including `until`, or to the program's end."""
        deadline = time.monotonic() + seconds
        while until is None or until not in self.text:
            assert select.select([self.fd], [], [], max(0.0, deadline - time.monotonic()))[0], self.text
            try:
                self.text += os.read(self.fd, 4096).decode()
            except OSError:  # the other end was closed: the program ended
                break
        return self.text


@contextmanager
def on_a_terminal(*words: str) -> Iterator[tuple[subprocess.Popen[bytes], Screen]]:
    """The command line with a pseudo-terminal as its controlling terminal and its stderr."""
    screen, terminal = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", ON_A_TERMINAL, os.ttyname(terminal), *words],
            stdin=terminal,
            stdout=subprocess.PIPE,
            stderr=terminal,
            start_new_session=True,
            cwd=ROOT,
        )
    finally:
        os.close(terminal)
    try:
        with process:
            yield process, Screen(screen)
    finally:
        process.kill()
        os.close(screen)


def test_the_demo_loses_nothing_though_a_busy_worker_is_killed(tmp_path: Path) -> None:
    """A call is really hit, is sent again, the worker is replaced; every file is accounted for. The bar is on the
    terminal alone."""
    with on_a_terminal("demo", "--json", "--path", plant(tmp_path, 20), "--size", "2") as (process, screen):
        drawn = screen.read()
        assert process.stdout is not None
        found = json.loads(process.stdout.read())
        code = process.wait(5)

    assert (code, found["ok"], found["faults"]) == (0, True, [])
    assert (found["files"], found["unparsable"], found["lost"], found["sample_agrees"]) == (21, 1, 0, True)
    assert (found["functions"], found["branches"]) == (20 * 400, 20 * 800)
    assert found["crashes"] == found["repeated"] == 1
    assert found["restarts"] == found["kills"]
    assert "was lost over" in drawn
    assert "which is sent again" in drawn
    assert "[" + "#" * 30 + "] 100%  21 of 21 files\r\n" in drawn


def test_ctrl_c_ends_the_demo_in_one_line_and_leaves_no_worker() -> None:
    """The bar is wiped, `interrupted` is all that is said, the exit code is 130."""
    with on_a_terminal("demo", "--size", "2") as (process, screen):
        screen.read(until="%")
        workers = children_of(process.pid)
        os.write(screen.fd, b"\x03")
        assert process.wait(10) == 130
        said = screen.read()

    assert len(workers) >= 2
    wait_until_gone(workers)
    assert said.endswith("\rscoped-bridge: interrupted\r\n")
    assert "Traceback" not in said


def test_ctrl_c_ends_a_call_in_one_line_and_leaves_no_worker(tmp_path: Path) -> None:
    """A handler that never returns is no obstacle."""
    handler = tmp_path / "stuck.py"
    handler.write_text(
        "import os\n"
        "def spin(path):\n"
        "    with open(path, 'w') as file: print(os.getpid(), file=file)\n"
        "    while True: pass\n"
    )
    words = ["call", str(handler), "spin", json.dumps([str(tmp_path / "pid")])]
    with subprocess.Popen(
        [sys.executable, "-m", "bridge", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        worker = read_pid(tmp_path / "pid")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)

    assert (process.returncode, out, err) == (130, "", "scoped-bridge: interrupted\n")
    wait_until_gone([worker])


def far(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The demo on two workers, as a user types it."""
    return subprocess.run(
        [sys.executable, "-m", "bridge", "demo", "--size", "2", "--json", *words],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    "launcher", ["nice", f"{shlex.quote(sys.executable)} {shlex.quote(str(Path(__file__).with_name('far.py')))}"]
)
def test_the_demo_loses_nothing_though_a_connection_is_cut(tmp_path: Path, launcher: str) -> None:
    """Behind a launcher its process is what is killed, and the handler is sent. Fails when the accident takes a
    worker's number there for one here: then nothing is hit. Some kills meet a call that wasn't read yet; among so many
    files one does not."""
    done = far("--path", plant(tmp_path, 100), "--launcher", launcher)
    found = json.loads(done.stdout)

    assert (done.returncode, found["faults"], found["lost"], found["sample_agrees"]) == (0, [], 0, True), done.stderr
    assert found["crashes"] == found["repeated"] >= 1
    assert f"in 2 worker processes behind `{launcher}`" in done.stderr


def test_a_launcher_that_leads_nowhere_is_told_in_words(tmp_path: Path) -> None:
    """And by the exit code of a start. Fails when the demo doesn't hand the launcher on."""
    done = far("--path", plant(tmp_path, 1), "--launcher", "no-such-launcher")

    assert done.returncode not in (0, 1)
    assert "the launcher 'no-such-launcher': No such file" in done.stderr


@pytest.mark.deep
def test_the_demo_parses_the_whole_standard_library() -> None:
    """The command as the documentation names it, on its real input."""
    command = [sys.executable, "-m", "bridge", "demo", "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, cwd=ROOT)
    found = json.loads(done.stdout)

    assert (done.returncode, found["ok"], found["faults"], found["lost"]) == (0, True, [], 0)
    assert found["files"] > 500
    assert len(found["top"]) == 10


def test_a_launcher_of_the_environment_is_not_the_demos(tmp_path: Path) -> None:
    """The application's workers may be where these files aren't: the demo's are where `--launcher` says. Fails when its
    own settings don't say so."""
    done = far("--path", plant(tmp_path, 20), BRIDGE_WORKER__LAUNCHER="no-such-launcher")

    assert done.returncode == 0, done.stderr
