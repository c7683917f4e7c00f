"""What `doctor` says of a machine and a configuration: each line, its remedy, and the exit code.
No worker is started."""

from __future__ import annotations

import errno
import io
import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bridge.cli.doctor import configuration, machine, orphans
from bridge.cli.doctor.findings import Finding, Outcome, Report, fail, ok, warn
from bridge.schema import BridgeSettings
from tests.facade.terminals import Terminal

UNLIMITED = resource.RLIM_INFINITY


def refuse(*_: Any) -> Any:
    """What a container's filter of system calls does."""
    raise OSError(errno.EPERM, "Operation not permitted")


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set what the system says of a limit: soft, and hard."""

    def limit(kind: int, soft: int, hard: int) -> None:
        real = resource.getrlimit
        monkeypatch.setattr(resource, "getrlimit", lambda which: (soft, hard) if which == kind else real(which))

    return limit


# -- How it is told ----------------------------------------------------------------------------------------


def test_a_finding_is_a_line_and_its_remedy_another_one(capsys: pytest.CaptureFixture[str]) -> None:
    """In a pipe: no colour, nothing folded, however long, so that programs can search. Fails when a pipe is taken for a
    terminal of 80 columns."""
    report = Report(as_json=False)
    report.add(ok("one", "well " * 40))
    report.add(fail("two", "broken", "mend it", detail="Traceback\n  line", host="a"))
    code = report.end()

    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"ok    one         {'well ' * 40}",
        "fail  two         a: broken",
        "                  -> mend it",
        "                  | Traceback",
        "                  |   line",
        "1 ok, 0 warn, 1 fail",
    ]
    assert code == 1


def test_only_a_failure_is_one_for_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    """A warning ends with 0. Fails when it counts."""
    report = Report(as_json=False)
    report.add(warn("one", "odd", "look at it"))

    assert report.end() == 0
    assert capsys.readouterr().out.endswith("0 ok, 1 warn, 0 fail\n")


def test_json_is_one_object_that_stands_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is printed before the end; each finding has all its fields. Fails when lines are told all the same."""
    report = Report(as_json=True)
    report.add(warn("one", "odd", "look at it", host="a"))
    assert capsys.readouterr().out == ""
    report.end()

    told = json.loads(capsys.readouterr().out)
    found = {"check": "one", "outcome": "warn", "text": "odd", "remedy": "look at it", "detail": "", "host": "a"}
    assert told == {"ok": True, "warnings": 1, "failures": 0, "findings": [found]}


def test_a_terminal_gets_colours_and_lines_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each outcome has its colour, texts are folded at blanks beside their label; NO_COLOR takes the colours alone.
    Fails when the terminal isn't asked how wide it is, or the indent isn't counted."""
    monkeypatch.setenv("TERM", "xterm")
    for no_colour, label in (("", "\x1b[33mwarn \x1b[0m"), ("1", "warn ")):
        monkeypatch.setenv("NO_COLOR", no_colour)
        terminal = Terminal(64)
        monkeypatch.setattr(sys, "stdout", terminal.stream)
        Report(as_json=False).add(warn("one", "word " * 20, "look at it " * 6))
        lines = terminal.shown().splitlines()

        assert lines[0] == f"{label} one         word word word word word word word word word"
        assert lines[1].startswith(" " * 18 + "word")
        assert lines[3].startswith(" " * 18 + "-> look")
        assert max(map(len, lines[1:])) <= 64


def test_what_others_named_cannot_command_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program's name may hold escape sequences, or bytes that are no text. Fails when texts are written as
    they are."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    Report(as_json=False).add(warn("one", "\x1b[2J\u00e4\udc80", "x\ny", host="h\r"))

    assert raw.getvalue().splitlines() == [rb"warn  one         h\r: \x1b[2J\xe4\udc80", b" " * 18 + rb"-> x\ny"]


def test_a_detail_that_was_told_of_one_host_is_not_told_of_the_next(capsys: pytest.CaptureFixture[str]) -> None:
    """Twenty hosts behind ssh lack the same. Fails without the look at what was told; JSON has it each time."""
    for as_json, times in ((False, 1), (True, 2)):
        report = Report(as_json=as_json)
        for host in "ab":
            report.add(ok("channel", "behind ssh", detail="kill: no", host=host))
        report.end()

        assert capsys.readouterr().out.count("kill: no") == times


# -- The machine -------------------------------------------------------------------------------------------


def test_this_machine_is_well() -> None:
    """Every test of this project needs what is looked at here. Fails when a check is wrong about a good machine."""
    found = list(machine.look(BridgeSettings(pool={"size": 1})))

    assert [each.check for each in found] == ["python", "pidfd", "lifeline", "memory", "files", "processes", "limits"]
    assert [each for each in found if each.outcome is Outcome.FAIL] == []


@pytest.mark.parametrize(
    ("call", "check", "outcome"),
    [
        ("os.pidfd_open", "pidfd", Outcome.FAIL),
        ("signal.pidfd_send_signal", "pidfd", Outcome.FAIL),
        ("os.memfd_create", "memory", Outcome.WARN),
    ],
)
def test_what_a_container_forbids_is_found_by_trying(
    monkeypatch: pytest.MonkeyPatch, call: str, check: str, outcome: Outcome
) -> None:
    """A kernel's version says nothing of a filter of system calls. Fails when it isn't really called."""
    with monkeypatch.context() as patch:
        patch.setattr(call, refuse)
        found = {each.check: each for each in machine.look(BridgeSettings(pool={"size": 1}))}

    del found["processes"]  # somebody else may use them up
    assert {name for name, each in found.items() if each.outcome is not Outcome.OK} == {check}
    assert found[check].outcome is outcome
    assert "seccomp" in found[check].remedy


def test_a_kernel_whose_pipes_send_no_signal_has_no_lifeline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some sandboxes refuse the request, others take it and never keep it. Fails when the signal isn't waited for."""
    for what, value in (("bridge.cli.doctor.machine.F_SETOWN_EX", 9999), ("signal.sigtimedwait", lambda *_: None)):
        with monkeypatch.context() as patch:
            patch.setattr(what, value)
            found = machine.lifeline()

        assert (found.outcome, "/proc" in found.remedy) == (Outcome.FAIL, True)
    assert machine.lifeline().outcome is Outcome.OK


def test_where_the_system_has_none_of_it_that_is_told_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As on another one than Linux: each line says so, and the next one is told. Fails when only what the system
    refuses is expected, or /proc to be there."""
    for module, name in (
        (os, "pidfd_open"),
        (signal, "sigtimedwait"),
        (os, "memfd_create"),
    ):
        monkeypatch.delattr(module, name)
    monkeypatch.setattr(orphans, "PROC", tmp_path / "proc")
    found = [machine.deaths(), machine.lifeline(), machine.shared_memory(), orphans.look()]

    assert [each.outcome for each in found] == [Outcome.FAIL, Outcome.FAIL, Outcome.WARN, Outcome.WARN]
    assert machine.tasks_of(0, tmp_path / "proc") == 0


@pytest.mark.parametrize(
    ("soft", "hard", "outcome", "remedy"),
    [
        (64 + 6 * 7 - 1, 1000, Outcome.FAIL, "ulimit -n 106"),
        (64 + 6 * 7 - 1, 100, Outcome.FAIL, "root"),
        (64 + 6 * 7, 1000, Outcome.OK, ""),
        (UNLIMITED, UNLIMITED, Outcome.OK, ""),
    ],
)
def test_descriptors_are_counted_for_all_workers_that_there_can_be(
    limited: Callable[..., None], soft: int, hard: int, outcome: Outcome, remedy: str
) -> None:
    """By the same count that a bridge is refused by: `size`, `max_overflow` and `spare`. Fails when one is left out."""
    limited(resource.RLIMIT_NOFILE, soft, hard)
    found = machine.descriptors(BridgeSettings(pool={"size": 4, "max_overflow": 2, "spare": 1}))

    assert (found.outcome, remedy in found.remedy) == (outcome, True)


@pytest.mark.parametrize(
    ("uid", "used", "outcome"),
    [(1000, 90, Outcome.OK), (1000, 191, Outcome.WARN), (1000, 197, Outcome.FAIL), (0, 500, Outcome.OK)],
)
def test_processes_are_counted_with_those_of_the_same_user(
    limited: Callable[..., None], monkeypatch: pytest.MonkeyPatch, uid: int, used: int, outcome: Outcome
) -> None:
    """RLIMIT_NPROC is the user's, not the process's, and isn't root's. Fails when what is used isn't added."""
    limited(resource.RLIMIT_NPROC, 200, 200)
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setattr(machine, "tasks_of", lambda _: used)
    monkeypatch.setattr(machine, "cgroup_rooms", list)

    assert machine.processes(BridgeSettings(pool={"size": 1})).outcome is outcome


def test_a_groups_limit_of_tasks_counts_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A container's pids.max, its own or one around it, in both versions of cgroups. Fails when only the innermost
    group is read, or the older version isn't."""
    for folder, most, used in (("box", "max", 3), ("", "10", 8), ("pids/old", "20", 5)):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "pids.max").write_text(f"{most}\n")
        (tmp_path / folder / "pids.current").write_text(f"{used}\n")
    own = tmp_path / "own"
    own.write_text("9:name=systemd:/x\n8:cpu,pids:/old\n3:cpu:/y\n0::/box\n")
    rooms = machine.cgroup_rooms(tmp_path, own)

    assert rooms == [(tmp_path / "pids/old", 20, 5), (tmp_path, 10, 8)]
    assert machine.cgroup_rooms(tmp_path, tmp_path / "nothing") == []
    monkeypatch.setattr(machine, "cgroup_rooms", lambda: rooms)
    found = machine.processes(BridgeSettings(pool={"size": 4}))
    assert (found.outcome, f"raise {tmp_path}/pids.max" in found.remedy) == (Outcome.FAIL, True)


def test_threads_of_a_user_are_counted_as_the_kernel_does(tmp_path: Path) -> None:
    """Each thread is one, by the real user. Fails when processes are counted in place of threads."""
    for pid, uid, threads in ((1, 0, 9), (7, 5, 3), (8, 5, 4)):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "status").write_text(f"Name:\tx\nUid:\t{uid}\t5\t5\t5\nThreads:\t{threads}\n")
    (tmp_path / "9").mkdir()  # it has just ended
    (tmp_path / "self").mkdir()

    assert machine.tasks_of(5, tmp_path) == 7
    assert machine.tasks_of(os.getuid()) >= 1


def test_a_limit_for_workers_above_our_own_is_found(limited: Callable[..., None]) -> None:
    """A worker inherits the hard limit. Fails when the system isn't asked; behind a launcher it is another system."""
    limited(resource.RLIMIT_NOFILE, 1024, 2048)
    settings: dict[str, Any] = {"limits": {"open_files": 4096}}
    found = machine.limits(BridgeSettings(worker=settings))

    assert (found.outcome, "open_files=4096" in found.text) == (Outcome.FAIL, True)
    assert machine.limits(BridgeSettings(worker={**settings, "launcher": "ssh b"})).outcome is Outcome.OK


def test_an_embedded_interpreter_is_told_what_workers_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    """It doesn't know what to start workers by. Fails when sys.executable isn't looked at."""
    monkeypatch.setattr(sys, "executable", "")

    assert "worker.python" in machine.python().remedy


# -- The configuration -------------------------------------------------------------------------------------


def test_settings_that_cannot_be_used_are_a_failure_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other lines are told all the same. Fails when the error is raised."""
    monkeypatch.setenv("BRIDGE_POOL__SIZ", "4")
    values, found = configuration.load()

    assert values is None
    assert (found.outcome, "did you mean 'size'" in found.text) == (Outcome.FAIL, True)


def test_variables_that_are_nobodys_are_listed_and_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubernetes sets BRIDGE_PORT for a Service called bridge. Fails when a setting, or a group, is taken for one."""
    for name, value in (("BRIDGE_PORT", "tcp://"), ("BRIDGE_POOL__SIZE", "4"), ("BRIDGE_CALL", "{}"), ("bridge_x", "")):
        monkeypatch.setenv(name, value)
    found = configuration.strangers()

    assert found.text.endswith(": BRIDGE_PORT, bridge_x")
    assert "BRIDGE_CALL, BRIDGE_POOL__SIZE" in configuration.load()[1].text


@pytest.mark.parametrize(
    ("variables", "outcome", "told"),
    [
        ({}, Outcome.OK, "none"),
        ({"BRIDGE_FORBID_TEST_MODE": "1"}, Outcome.OK, "none; BRIDGE_FORBID_TEST_MODE=1"),
        ({"TEST_MODE": "bridge_mock"}, Outcome.WARN, "TEST_MODE=bridge_mock: calls go to a mock"),
        ({"TEST_MODE": "x", "BRIDGE_TEST_MODE": "mock_adapter"}, Outcome.WARN, "BRIDGE_TEST_MODE=mock_adapter: calls"),
        ({"TEST_MODE": "full_integration"}, Outcome.OK, "TEST_MODE=full_integration: calls go to the adapter"),
        ({"TEST_MODE": "mock"}, Outcome.FAIL, "TEST_MODE is set, and no bridge can be made: TEST_MODE is one of"),
        ({"TEST_MODE": "bridge_mock", "BRIDGE_FORBID_TEST_MODE": "1"}, Outcome.FAIL, "(BRIDGE_FORBID_TEST_MODE=1)"),
        ({"TEST_MODE": "bridge_mock", "BRIDGE_FORBID_TEST_MODE": "0"}, Outcome.WARN, "calls go to a mock"),
    ],
)
def test_a_test_mode_is_told_with_the_variable_that_asks_for_it(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], outcome: Outcome, told: str
) -> None:
    """And with the one that refuses it. Fails when the wrong one is named, or a refusal isn't told apart."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = configuration.mode()

    assert (found.outcome, told in found.text) == (outcome, True), found


@pytest.mark.parametrize(
    ("name", "outcome", "tried"),
    [("python_port", Outcome.OK, "python_port"), ("mock", Outcome.WARN, "python_port"), ("mok", Outcome.FAIL, "mok")],
)
def test_the_adapter_is_the_one_that_does_real_work(name: str, outcome: Outcome, tried: str) -> None:
    """A mock says nothing of this machine. Fails when it is tried in place of a process."""
    choice, found = configuration.adapter(BridgeSettings(adapter=name))

    assert (choice.source, found.outcome) == (tried, outcome)
    assert isinstance(found, Finding)
