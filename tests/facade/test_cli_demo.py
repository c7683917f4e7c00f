"""The demo's judgement: what it counts, whom it kills, and what it calls a fault. No process is needed for that."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bridge import Bridge, RemoteError, WorkerCrashed
from bridge.cli import accident, census, demo, report
from bridge.cli.progress import Progress


class Pool:
    """Stands in for a Bridge: answers each file with the next of its scripted outcomes, then with the census."""

    def __init__(
        self,
        script: dict[str, list[Any]] | None = None,
        *,
        busy: tuple[int, ...] = (7,),
        launcher_pid: int | None = None,
    ) -> None:
        self.script, self.busy, self.restarts, self.launcher_pid = script or {}, busy, 0, launcher_pid
        self.calls_of: dict[int, int] = {}

    def map(self, _command: str, paths: Iterable[str], **_: object) -> Iterator[Any]:
        for path in paths:
            outcomes = self.script.get(path)
            yield outcomes.pop(0) if outcomes else census.measure(path)

    def stats(self) -> Any:
        workers = [SimpleNamespace(pid=None, state="busy"), SimpleNamespace(pid=5, state="idle")]
        workers += [
            SimpleNamespace(pid=pid, state="busy", calls=self.calls_of.get(pid, 1), launcher_pid=self.launcher_pid)
            for pid in self.busy
        ]
        return SimpleNamespace(
            workers=workers, restarts=self.restarts, calls=1, crashes=0, size=2, p50=None, p99=None, waiting=0
        )


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Nobody is sent a signal, nobody waits for it; those that kill are listed."""
    kills: list[tuple[int, int]] = []

    def note(pid: int, number: int) -> None:
        if number == signal.SIGKILL:
            kills.append((pid, number))

    monkeypatch.setattr("bridge.cli.accident.os.kill", note)
    monkeypatch.setattr(accident, "MOMENT", 0)
    clock = count()
    monkeypatch.setattr(accident, "cpu_used_by", lambda _: next(clock))
    return kills


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Four small modules."""
    for name in "abcd":
        (tmp_path / f"{name}.py").write_text(f"def {name}(x):\n    return 1 if x else 2\n")
    return demo.find(str(tmp_path))


def crash(pid: int) -> WorkerCrashed:
    """What a call raises whose worker was killed."""
    return WorkerCrashed(pid=pid, exit_code=None, signal=signal.SIGKILL, command="measure")


def judged(pool: Pool, files: list[str]) -> report.Report:
    """A whole demo on a scripted pool."""
    b = cast(Bridge, pool)
    job = demo.Job(b, accident.Accident(b, at=0, window=4), Progress(len(files), "files", None))
    job.run(files)
    root = os.path.dirname(files[0])
    return report.of(root, files, job, b.stats(), sample_agrees=demo.agrees(files, job.records))


def test_the_census_counts_what_is_there(tmp_path: Path) -> None:
    """Lines, functions, classes and branches of a file, by its syntax tree."""
    file = tmp_path / "some.py"
    file.write_text("class A:\n    def f(self):\n        return [x for x in y if x] if z else (lambda: 1)\n")

    assert census.measure(str(file)) == {
        "path": str(file),
        "error": None,
        "bytes": file.stat().st_size,
        "lines": 3,
        "functions": 2,
        "classes": 1,
        "branches": 2,
    }


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (b"print 'hello'\n", "SyntaxError"),
        (b"# coding: no-such\n", "SyntaxError"),
        (b"x = '\xff'\n", "SyntaxError"),
        (b"x = '\x00'\n", "(SyntaxError|ValueError)"),
        (b"x = " + b"(" * 5000, "(SyntaxError|MemoryError|RecursionError)"),
        (b"x = '\\d'\n", None),
    ],
)
def test_a_file_that_cannot_be_parsed_is_an_outcome(tmp_path: Path, source: bytes, reason: str | None) -> None:
    """The record says why; a mere warning of the parser is no reason, and is not shown."""
    file = tmp_path / "some.py"
    file.write_bytes(source)
    error = census.measure(str(file))["error"]

    if reason is None:
        assert error is None
    else:
        assert re.match(f"{reason}: ", error)


def test_a_file_that_cannot_be_read_is_an_outcome(tmp_path: Path) -> None:
    """One that was removed meanwhile isn't lost either."""
    record = census.measure(str(tmp_path / "gone.py"))

    assert record["error"].startswith("FileNotFoundError: ")
    assert record["bytes"] == 0


def test_packages_installed_beside_the_standard_library_are_left_out(tmp_path: Path) -> None:
    """site-packages and dist-packages are skipped at any depth; only .py files count."""
    for name in ("a.py", "p/b.py", "p/note.txt", "site-packages/c.py", "p/dist-packages/d.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    assert demo.find(str(tmp_path)) == [str(tmp_path / "a.py"), str(tmp_path / "p/b.py")]


def test_the_victim_is_a_worker_that_is_busy(killed: list[tuple[int, int]]) -> None:
    """From halfway on, and never one that idles or has no process; while none is busy, nobody."""
    pool = Pool(busy=())
    victim = accident.Accident(cast(Bridge, pool), at=2, window=2)
    victim.look()
    pool.busy = (7, 8)
    assert killed == []

    victim.look()
    assert killed == [(7, signal.SIGKILL)]


def test_the_victim_is_one_that_computes(killed: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Another may not have read its call yet, and that costs nobody anything. Fails when `cpu_used_by` isn't asked."""
    clock = count()
    monkeypatch.setattr(accident, "cpu_used_by", lambda pid: next(clock) if pid == 8 else 0)
    victim = accident.Accident(cast(Bridge, Pool(busy=(7, 8))), at=1, window=2)
    victim.look()

    assert killed == [(8, signal.SIGKILL)]


def test_of_a_worker_behind_a_launcher_the_connection_is_cut(
    killed: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number is another process's here, perhaps: the launcher's group is what dies, and the worker's number is what
    the error names. Fails when either of the two is taken for the other."""
    monkeypatch.delattr(accident, "cpu_used_by")  # of that number, nothing is known here
    victim = accident.Accident(cast(Bridge, Pool(busy=(7,), launcher_pid=500)), at=1, window=1)
    victim.look()
    victim.saw(crash(7))

    assert (killed, victim.hit) == ([(-500, signal.SIGKILL)], 7)


def test_one_that_answers_while_it_is_being_frozen_is_let_go(
    killed: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its call is over by the second look. Fails when there is none."""
    pool = Pool(busy=(7,))
    clock = count()

    def answer(pid: int) -> int:
        pool.calls_of[pid] = 2
        return next(clock)

    monkeypatch.setattr(accident, "cpu_used_by", answer)
    accident.Accident(cast(Bridge, pool), at=1, window=2).look()

    assert killed == []


def test_a_kill_that_met_no_call_is_followed_by_another_until_one_did(killed: list[tuple[int, int]]) -> None:
    """Only a WorkerCrashed with a pid that was killed is a hit; a crash of another worker is none."""
    pool = Pool(busy=(7,))
    victim = accident.Accident(cast(Bridge, pool), at=1, window=1)
    victim.look()
    victim.look()
    victim.saw(crash(99))
    pool.busy = (8,)
    victim.look()
    assert (victim.hit, [pid for pid, _ in killed]) == (None, [7, 8])

    victim.saw(crash(8))
    pool.busy = (9,)
    for _ in range(10):
        victim.look()
    assert (victim.hit, victim.kills) == (8, 2)


def test_the_killing_is_bounded(killed: list[tuple[int, int]]) -> None:
    """Where no kill ever meets a call, it gives up instead of wearing out the pool."""
    pool = Pool()
    victim = accident.Accident(cast(Bridge, pool), at=1, window=0)
    for pid in range(100):
        pool.busy = (pid,)
        victim.look()

    assert len(killed) == accident.MAX_KILLS


def test_a_call_that_was_hit_is_sent_again(killed: list[tuple[int, int]], files: list[str]) -> None:
    """Each file has one outcome then, and all is well."""
    pool = Pool({files[2]: [crash(7)]})
    pool.restarts = 1
    found = judged(pool, files)

    assert (found.ok, found.faults, found.lost, found.repeated) == (True, [], 0, 1)
    assert (found.files, found.functions, found.branches) == (4, 4, 4)
    assert [each["module"] for each in found.top] == ["a.py", "b.py", "c.py", "d.py"]


@pytest.mark.parametrize(
    ("case", "fault"),
    [
        ("always crashes", "1 files have not exactly one outcome"),
        ("raises", "'measure' raised ValueError: no"),
        ("answers for another", "2 files have not exactly one outcome"),
        ("counts wrongly", "the workers' counts differ"),
        ("never hit", "none during a call"),
        ("not replaced", "no worker was started in place"),
    ],
)
def test_whatever_is_not_right_is_a_fault(
    killed: list[tuple[int, int]], files: list[str], case: str, fault: str
) -> None:
    """The demo would rather end with 1 than tell less than the truth."""
    right = [census.measure(file) for file in files]
    cases: dict[str, dict[str, list[Any]]] = {
        "always crashes": {files[1]: [crash(7)] * demo.MAX_TRIES},
        "raises": {files[0]: [RemoteError("ValueError", "no", command="measure")]},
        "answers for another": {files[0]: [right[1]]},
        "counts wrongly": {files[0]: [right[0] | {"lines": 0}]},
        "never hit": {},
        "not replaced": {},
    }
    script = cases[case]
    if case != "never hit":
        script.setdefault(files[3], [crash(7)])
    pool = Pool(script)
    pool.restarts = 0 if case == "not replaced" else 1
    found = judged(pool, files)

    assert not found.ok
    assert any(fault in each for each in found.faults), found.faults


def test_the_table_has_every_figure(
    killed: list[tuple[int, int]], files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The table goes to stdout and the faults to stderr, where a pipe doesn't swallow them."""
    report.show(judged(Pool(), files), as_json=False)
    out, err = capsys.readouterr()

    for name in ("files", "size", "calls/s", "p50", "p99", "restarts", "lost calls", "sample", "branches", "a.py"):
        assert name in out
    assert err.startswith("FAULT: ")
