"""`doctor` with real workers: what starts, what doesn't, and what a dead parent left."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import shlex
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any, cast

import pytest

from bridge.assembly import Choice
from bridge.cli.doctor import orphans, workers
from bridge.cli.doctor.findings import Finding, Outcome
from bridge.cli.doctor.trial import Trial, attempt
from bridge.errors import PoolClosed
from bridge.leasing import Lease
from bridge.schema import BridgeSettings
from tests.process.test_cli_demo import Screen, on_a_terminal
from tests.process.test_parent_death import family
from tests.process.waiting import children_of, wait_until, wait_until_gone

ROOT = Path(__file__).parents[2]
PROCESSES = Choice("python_port")


def doctor(*words: str, **variables: str) -> tuple[int, dict[str, list[dict[str, Any]]]]:
    """Run it with nothing of ours in the environment but this; its exit code, and its findings by check."""
    environment = {name: value for name, value in os.environ.items() if "BRIDGE" not in name and name != "TEST_MODE"}
    done = subprocess.run(
        [sys.executable, "-m", "bridge", "doctor", "--json", *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**environment, **variables},
    )
    found: dict[str, list[dict[str, Any]]] = {}
    assert done.stderr == ""
    for finding in json.loads(done.stdout)["findings"]:
        found.setdefault(finding["check"], []).append(finding)
    return done.returncode, found


def by_host(findings: list[dict[str, Any]]) -> dict[str, str]:
    return {each["host"]: each["outcome"] for each in findings}


def look(settings: dict[str, Any], handler: str | None = None) -> dict[str, Finding]:
    return {each.check: each for each in workers.look(BridgeSettings(**settings), PROCESSES, handler)}


def test_a_good_handler_is_told_with_its_commands_and_its_start(handlers: str) -> None:
    """One worker of the settings' interpreter, values there and back, then the handler; it ends with 0. Fails when the
    handler isn't really started."""
    code, found = doctor(f"{handlers}:Echo", BRIDGE_PORT="tcp://10.0.0.1")

    assert code == 0
    (handler,), (worker,), (start,) = found["handler"], found["worker"], found["start"]
    assert (handler["outcome"], worker["outcome"], start["outcome"]) == ("ok", "ok", "ok")
    assert f"{handlers}:Echo has the commands " in handler["text"]
    assert " echo," in handler["text"]
    assert f"Python {sys.version.split()[0]}, {sys.executable}: ready after" in worker["text"]
    assert "startup_timeout is 30 s" in start["text"]
    assert found["values"][0]["outcome"] == "ok"
    assert "BRIDGE_PORT" in found["variables"][0]["text"]


@pytest.mark.parametrize(
    ("source", "told", "remedy"),
    [
        ("import no_such_thing", "ModuleNotFoundError: No module named 'no_such_thing'", "worker.path"),
        ("1 / 0", "ZeroDivisionError: division by zero", "the handler's own code"),
        ("import os\nos._exit(3)", "exit code 3", "by hand"),
    ],
)
def test_a_handler_that_does_not_start_is_told_with_the_remedy(
    tmp_path: Path, source: str, told: str, remedy: str
) -> None:
    """The machine is well, the handler isn't: two lines. The traceback is the worker's; it ends with 1. Fails when an
    error of a start is raised, or not told apart from the machine's."""
    (tmp_path / "wrong.py").write_text(source + "\n")
    code, found = doctor(f"{tmp_path}/wrong.py")

    (handler,) = found["handler"]
    assert (code, found["worker"][0]["outcome"], handler["outcome"]) == (1, "ok", "fail")
    assert told in handler["text"]
    assert remedy in handler["remedy"]
    assert "bridge/cli" not in handler["detail"]


def test_an_interpreter_that_is_none_is_the_workers_failure(handlers: str) -> None:
    """The handler isn't blamed, nor tried. Fails when every start that can't succeed is waited for."""
    code, found = doctor(f"{handlers}:Echo", BRIDGE_WORKER__PYTHON="/no/such/python")

    (worker,), (handler,) = found["worker"], found["handler"]
    assert (code, worker["outcome"], handler["outcome"]) == (1, "fail", "warn")
    assert "/no/such/python" in worker["text"]
    assert "BRIDGE_WORKER__PYTHON" in worker["remedy"]
    assert "values" not in found


def test_a_handler_that_never_becomes_ready_is_told_after_its_time(tmp_path: Path) -> None:
    """Not waited for without end, nor taken for a crash, whoever notices first: who opens the pool, or the supervisor.
    Fails when only starts that failed are told."""
    (tmp_path / "stuck.py").write_text("import os\nos.read(os.pipe()[0], 1)\n")
    values = BridgeSettings(supervisor={"startup_timeout": 0.2})
    trial = attempt(values, PROCESSES, workers.commands, {"handler": f"{tmp_path}/stuck.py"})
    found = workers._start("handler", trial, None, values, (), "stuck.py")

    assert (found.outcome, "ready" in found.text, "0.2 s" in found.text) == (Outcome.FAIL, True, True)
    assert "startup_timeout" in found.remedy


@pytest.mark.parametrize("setting", ["cwd", "python"])
def test_a_setting_that_keeps_workers_from_starting_is_named_as_a_variable(setting: str) -> None:
    """What is to be changed, not what might be. Fails when every such start is laid to the interpreter."""
    found = look({"worker": {setting: "/no/such/thing"}}, "math")

    assert found["worker"].remedy == f"change worker.{setting} (BRIDGE_WORKER__{setting.upper()})"
    assert found["handler"].outcome is Outcome.WARN


def test_a_handler_that_is_no_file_or_has_no_commands_is_told(tmp_path: Path) -> None:
    """Before anything is started, and after. Fails when an error of the settings isn't expected here."""
    (tmp_path / "empty.py").write_text("x = 1\n")

    assert "there is no file" in look({}, f"{tmp_path}/none.py")["handler"].text
    found = look({}, f"{tmp_path}/empty.py")["handler"]
    assert (found.outcome, "has no commands" in found.text) == (Outcome.WARN, True)


def test_each_host_is_tried_and_told_with_what_its_launcher_lacks(handlers: str) -> None:
    """One that answers, one whose program ends, one that isn't there; what can't be had behind a launcher is said with
    what there is instead, and of a host without one nothing is. Fails when one failure hides another host."""
    hosts = [
        {"name": "far", "launcher": "env HOST=far", "size": 3},
        {"name": "dead", "launcher": ["sh", "-c", "exit 7"]},
        {"name": "absent", "launcher": "/no/such/launcher"},
        {"name": "here"},
    ]
    code, found = doctor(f"{handlers}:Echo", BRIDGE_POOL__HOSTS=json.dumps(hosts), BRIDGE_WORKER__PYTHON=sys.executable)

    assert code == 1
    assert by_host(found["worker"]) == {"far": "ok", "dead": "fail", "absent": "fail", "here": "ok"}
    assert by_host(found["handler"]) == by_host(found["values"]) == {"far": "ok", "here": "ok"}
    dead, absent = found["worker"][1:3]
    assert "exit code 7" in dead["text"]
    assert f"sh -c 'exit 7' {sys.executable} -V has to print a version" in dead["remedy"]
    assert "/no/such/launcher" in absent["text"]
    channels = {each["host"]: each for each in found["channel"]}
    assert set(channels) == {"far", "dead", "absent"}
    assert "there is no kill, " in channels["far"]["text"]
    assert "shared_memory: " in channels["far"]["detail"]
    assert "max_rss: " in channels["far"]["detail"]


def test_what_to_do_about_a_start_speaks_of_what_failed(tmp_path: Path) -> None:
    """Of the launcher where that never brought a worker, of the handler where the worker had spoken, of the interpreter
    where that is none. Fails when a crash behind a working launcher is blamed on it, or /bin/false on native code."""
    (tmp_path / "aborts.py").write_text("import os\nos.abort()\n")

    def remedy(check: str, handler: str | None, **worker: Any) -> str:
        found = look({"worker": worker}, handler)[check]
        assert found.outcome is Outcome.FAIL
        return found.remedy

    for launcher in (["sh", "-c", "exit 7"], ["sh", "-c", "kill -9 $$"], ["/no/such/launcher"]):
        assert remedy("worker", None, launcher=launcher).startswith(
            f"try it by hand: {shlex.join(launcher)} python3 -V"
        )
    aborts = f"{tmp_path}/aborts.py"
    for launched in ({}, {"launcher": ["env", "X=1"], "ship": [aborts]}):
        assert remedy("handler", aborts, **launched).startswith("run what it does by hand in that interpreter")
    assert "BRIDGE_WORKER__PYTHON" in remedy("worker", None, python="/bin/false")


def test_no_host_that_answers_is_a_failure_of_each(handlers: str) -> None:
    """Also when the pool itself can't open. Fails when only the error that is raised is told."""
    hosts = [{"name": "a", "launcher": ["sh", "-c", "exit 7"]}, {"name": "b", "launcher": ["sh", "-c", "exit 8"]}]
    code, found = doctor(f"{handlers}:Echo", BRIDGE_POOL__HOSTS=json.dumps(hosts))

    assert (code, by_host(found["worker"])) == (1, {"a": "fail", "b": "fail"})
    assert ["exit code 7" in found["worker"][0]["text"], "exit code 8" in found["worker"][1]["text"]] == [True, True]


@pytest.mark.parametrize("codec", ["json", "pickle"])
@pytest.mark.parametrize("limit", [1024, 256 * 1024 * 1024])
def test_values_of_every_kind_go_there_and_back(codec: str, limit: int) -> None:
    """As small as frames may be, and through shared memory. Fails when a long value is longer than a frame may be."""
    found = look({"worker": {"codec": codec, "max_frame_bytes": limit}})["values"]

    assert (found.outcome, codec in found.text) == (Outcome.OK, True), found


def test_values_that_come_back_changed_are_a_failure() -> None:
    """What stood between is named by what it did. Fails when nobody compares."""

    class Upper:
        def call(self, _command: str, args: list[Any], **_: object) -> Any:
            return args[0].upper() if isinstance(args[0], str) else args[0]

    told = workers.echoed(BridgeSettings(), cast(Lease, Upper()))
    assert told.startswith("'quotes ")
    assert " came back as 'QUOTES " in told


@pytest.mark.parametrize("trial", [Trial(error=PoolClosed("b")), Trial(faults={None: PoolClosed("b")}), Trial()])
def test_a_worker_that_was_ready_and_gave_no_answer_is_a_failure(trial: Trial) -> None:
    """Whoever noticed: the lease, the call, or nobody. Fails when to be ready is enough."""
    trial.seconds[None] = 0.1
    found = workers._start("handler", trial, None, BridgeSettings(), (), "math")

    assert (found.outcome, "it was ready, and then: " in found.text) == (Outcome.FAIL, True)


def test_a_start_that_takes_most_of_its_time_is_a_warning() -> None:
    """It is one bad day away from failing. Fails when the time isn't compared with startup_timeout."""
    values = BridgeSettings(supervisor={"startup_timeout": 4})

    assert workers._time(2.1, values, None).outcome is Outcome.WARN
    assert workers._time(1.9, values, None).outcome is Outcome.OK


# -- Orphans -----------------------------------------------------------------------------------------------


def found_orphans(among: dict[str, int]) -> set[str]:
    """Which of these are found. There may be others: of tests that run at the same time."""
    pids = {each.pid for each in orphans.orphans_of(orphans.processes())}
    return {name for name, pid in among.items() if pid in pids}


def test_workers_of_a_living_parent_are_nobodys_orphans(tmp_path: Path) -> None:
    """Whatever they are doing, what left their group too, and though the reaper was killed and its parent stopped, so
    that there is no other one. Fails without the look at reapers, or that at pipes."""
    with family(tmp_path, "idle", "nest") as members:
        members.await_reapers(set())
        assert found_orphans(members.pids) == set()
        os.kill(members.parent.pid, signal.SIGSTOP)
        for pid in members.reapers():
            os.kill(pid, signal.SIGKILL)

        assert found_orphans(members.pids) == set()


def test_what_outlived_its_parent_is_found(tmp_path: Path) -> None:
    """The parent was killed, and its reaper can do nothing: what left its group is alive. Fails when a reaper without
    its parent counts, or whoever took the orphan in."""
    with family(tmp_path, "idle") as members:
        reapers = members.await_reapers(set())
        for pid in reapers:
            os.kill(pid, signal.SIGSTOP)
        members.parent.kill()
        members.parent.wait(10)
        wait_until_gone({members.pids["idle worker"], members.pids["idle in_group"]})

        assert found_orphans(members.pids) == {"idle own_session"}
        for pid in reapers:
            os.kill(pid, signal.SIGKILL)
        wait_until_gone(reapers)
        assert found_orphans(members.pids) == {"idle own_session"}


# -- On a terminal -----------------------------------------------------------------------------------------


def test_on_a_terminal_outcomes_are_coloured_and_texts_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole command, on a real one. Fails when its stdout isn't asked what it is."""
    monkeypatch.setenv("TERM", "xterm")
    for name in [name for name in os.environ if "BRIDGE" in name or name in ("NO_COLOR", "TEST_MODE")]:
        monkeypatch.delenv(name)
    fd, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 70, 0, 0))
    try:
        command = [sys.executable, "-m", "bridge", "doctor", "math"]
        with subprocess.Popen(command, stdout=terminal, stderr=subprocess.PIPE, cwd=ROOT) as process:
            os.close(terminal)
            lines = Screen(fd).read(60).splitlines()
            assert (process.wait(10), process.stderr and process.stderr.read()) == (0, b"")
    finally:
        os.close(fd)

    assert lines[0].startswith("\x1b[32mok   \x1b[0m python      ")
    assert lines[-1].startswith("\x1b[1m")
    assert lines[-1].endswith(" 0 fail\x1b[0m")
    handler = next(number for number, line in enumerate(lines) if " math has the commands " in line)
    assert lines[handler + 1].startswith(" " * 18)


def test_ctrl_c_while_a_worker_starts_is_one_line_and_130(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that never becomes ready is no obstacle, and leaves no worker. Fails when what is raised while workers
    are tried is taken for their failure."""
    for name in [name for name in os.environ if "BRIDGE" in name or name == "TEST_MODE"]:
        monkeypatch.delenv(name)
    stuck = tmp_path / "stuck.py"
    stuck.write_text("import os\nopen(__file__ + '.started', 'w').close()\nos.read(os.pipe()[0], 1)\n")
    started = Path(f"{stuck}.started")
    with on_a_terminal("doctor", str(stuck)) as (process, screen):
        assert screen.read(until="30 s each").startswith("starting workers")
        wait_until(started.exists, 20, what="the handler's import")
        seen = children_of(process.pid)
        os.write(screen.fd, b"\x03")
        assert process.wait(20) == 130
        said = screen.read()
        assert process.stdout is not None
        told = process.stdout.read().decode()

    assert said.endswith("scoped-bridge: interrupted\r\n")
    assert "Traceback" not in said
    assert "\nok    values " in told
    assert "\x1b" not in told  # stdout is a pipe
    wait_until_gone(seen)
