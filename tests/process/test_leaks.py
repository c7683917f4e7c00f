"""What is left after crashes, and of bridges that were dropped or never used: nothing."""

from __future__ import annotations

import gc
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

import bridge
from bridge import Bridge, WorkerCrashed
from tests.process.conftest import Connect
from tests.process.endings import offspring
from tests.process.waiting import wait_until, wait_until_gone

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.usefixtures("note_children")


def census(b: Bridge) -> tuple[int, int, int]:
    """Open descriptors, threads and children of this process, once the bridge is at rest."""
    reaper_and_workers = b.stats().size + 1
    wait_until(
        lambda: b.stats().idle == b.stats().size and len(offspring()) == reaper_and_workers,
        20,
        what=f"rest of {b}",
    )
    gc.collect()
    return len(os.listdir("/proc/self/fd")), threading.active_count(), len(offspring())


def crash(b: Bridge, times: int) -> None:
    """So many crashes in a row, of every kind in turn; each says how it was, and the breaker stays closed."""
    kinds: list[tuple[str, list[object], object]] = [
        ("say_and_leave", ["", 0], 0),
        ("say_and_leave", ["last words\n", 3], 3),
        ("say_and_crash", ["", int(signal.SIGKILL)], "SIGKILL"),
        ("say_and_crash", ["", int(signal.SIGSEGV)], "SIGSEGV"),
        ("run_out_of_memory", [], "SIGABRT"),
    ]
    for number in range(times):
        command, args, how = kinds[number % len(kinds)]
        with pytest.raises(WorkerCrashed) as caught:
            b.call(command, args, timeout=20)
        assert how in (caught.value.exit_code, caught.value.signal_name)
        assert b.health().breaker == "closed"


@pytest.mark.parametrize("times", [10, pytest.param(1_000, marks=pytest.mark.deep)])
def test_crashes_in_a_row_leave_nothing_and_open_no_breaker(connect: Connect, rough: str, times: int) -> None:
    """As many descriptors, threads and children as before: after exits with 0 and 3 in the middle of a call, SIGKILL,
    SIGSEGV, and native code that finds no memory under RLIMIT_AS. Fails when `_release` forgets one, or when a worker
    that had served counts as a failed start."""
    with connect(f"{rough}:Rough", size=2) as b:
        b.call("pid")
        before = census(b)
        crash(b, times)

        assert census(b) == before
        assert b.stats().crashes == times


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, unlike tmp_path."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.mark.deep
def test_a_normal_user_can_crash_workers_too(open_folder: Path) -> None:
    """Limits that root doesn't have (pipe buffers, processes) aren't met: this very module passes as user nobody."""
    if os.geteuid() != 0:
        pytest.skip("the tests run as a normal user anyway")
    nobody = pwd.getpwnam("nobody")
    home = open_folder
    for name in ("bridge", "adapters", "tests", "pyproject.toml"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, home / name)
    for folder, _, files in os.walk(home):
        for path in (folder, *(os.path.join(folder, file) for file in files)):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
    path = os.pathsep.join([str(home), *filter(None, sys.path)])
    environment = {"PYTHONPATH": path, "HOME": str(home), "TMPDIR": str(home), "PATH": os.defpath}
    as_nobody = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": [], "cwd": home, "env": environment}
    look = [sys.executable, "-c", "import bridge, pytest, pydantic_settings"]
    try:
        subprocess.run(look, capture_output=True, check=True, **as_nobody)  # type: ignore[call-overload]
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"the user nobody can't run this interpreter with its packages: {error}")
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "deep or not deep"]
    tests += ["-k", "crashes_in_a_row", "--basetemp", str(home / "base"), "tests/process/test_leaks.py"]
    done = subprocess.run(tests, capture_output=True, text=True, timeout=600, **as_nobody)  # type: ignore[call-overload]

    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_a_bridge_dropped_unclosed_warns_and_its_workers_go(rough: str) -> None:
    """ResourceWarning, and nothing is left. Fails without `Bridge.__del__`."""
    b = bridge.connect(f"{rough}:Rough", adapter="python_port", size=2)
    b.call("pid")
    wait_until(lambda: len(offspring()) == 3, what="two workers and their reaper")
    started = offspring()
    with pytest.warns(ResourceWarning, match="dropped without close"):
        del b

    wait_until_gone(started)
    wait_until(lambda: not offspring(), what="their reaping")


def test_a_bridge_that_was_never_used_has_nothing_to_close(rough: str) -> None:
    """No thread, no process, no warning. Fails when `connect` starts something."""
    threads, descriptors = set(threading.enumerate()), len(os.listdir("/proc/self/fd"))
    b = bridge.connect(f"{rough}:Rough", adapter="python_port")

    # No more than before: a thread of the test before this one may end meanwhile.
    assert set(threading.enumerate()) <= threads
    assert len(os.listdir("/proc/self/fd")) <= descriptors
    assert not offspring()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del b
        gc.collect()
