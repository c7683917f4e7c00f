"""The benchmarks: every section measures what its rows compare, and leaves nothing behind. No test asserts a time."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bridge.bench import SECTIONS, timing
from bridge.bench.found import FRESH, Effort, Found
from bridge.bench.growth import TOO_LONG
from bridge.bench.rows import ROWS
from bridge.cli import exits, parser
from tests.process.waiting import wait_until

ROOT = Path(__file__).parents[2]
QUICK = Effort(rounds=2, quick=True)


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_measures_what_its_rows_compare(name: str) -> None:
    """Each series has a sample for each round, or a reason for having none. Fails when a row names a series that
    nobody measures, and, by the guard of all tests, when a child, a thread or a descriptor stays.
    """
    found = Found()
    SECTIONS[name](QUICK, found)
    wanted = {side for row in ROWS if row.section == name for side in (row.ours, row.against) if side is not None}

    assert wanted == {*found.series, *found.missing}
    assert not found.series.keys() & found.missing.keys()
    assert {series: len(found.series[series].samples) for series in found.series} == dict.fromkeys(found.series, 2)
    assert all(sample > 0 for series in found.series.values() for sample in series.samples)
    assert all(found.missing.values())


def test_every_row_belongs_to_a_section_and_names_its_own() -> None:
    """Rows are found by their section, and read by their name. Fails when one is misspelt, or a name is used twice."""
    assert {row.section for row in ROWS} == set(SECTIONS)
    assert len({(row.section, row.name) for row in ROWS}) == len(ROWS)


def test_the_parser_knows_the_sections() -> None:
    """It names them without importing them. Fails when one was added in one place alone."""
    assert (*SECTIONS, "all") == parser.SECTIONS


@pytest.mark.deep
def test_what_quick_leaves_out_can_be_measured() -> None:
    """The queues and the sessions. Fails when only --quick works."""
    found = Found()
    SECTIONS["growth"](Effort(rounds=1), found)

    assert TOO_LONG not in found.missing.values()
    assert {len(series.samples) for series in found.series.values()} == {1}


def test_the_parts_of_an_effort_are_all_of_it() -> None:
    """Each of few rounds, for processes of its own. Fails when one is lost, or when all are one part."""
    for rounds in range(1, 12):
        parts = [*Effort(rounds, quick=True).parts()]

        assert sum(part.rounds for part in parts) == rounds
        assert all(0 < part.rounds <= FRESH and part.quick for part in parts)


def test_rounds_take_turns_and_every_second_goes_backwards() -> None:
    """Nobody is always measured right after the same neighbour. Fails when subjects are measured one by one."""
    turns: list[str] = []

    def noted(name: str) -> float:
        turns.append(name)
        return 1.0

    found = Found()
    found.rounds(Effort(rounds=3), "us", {"a": lambda: noted("a"), "b": lambda: noted("b")})

    assert "".join(turns) == "abbaab"
    assert found.series["a"].samples == [1.0, 1.0, 1.0]


def test_the_cores_are_given_back() -> None:
    """Whoever was pinned may run anywhere again, also after an error. Fails when the mask stays, or none is set."""
    before = os.sched_getaffinity(0)

    with pytest.raises(ZeroDivisionError), timing.one_core():
        _ = 1 / (len(os.sched_getaffinity(0)) - 1)

    assert os.sched_getaffinity(0) == before


def _marked(mark: int) -> list[str]:
    """The processes of this test, by what their environment says."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            text = Path(f"/proc/{entry}/environ").read_bytes()
        except (FileNotFoundError, ProcessLookupError, PermissionError):  # ended, or another user's
            continue
        if f"BENCH_TEST={mark}".encode() in text:
            found.append(entry)
    return found


@pytest.mark.parametrize("section", ["latency", "recover"])
def test_ctrl_c_ends_the_children_too(section: str) -> None:
    """As a terminal does it, to the whole group: one line, the code of an interruption, and nobody is left. Fails when
    a peer's worker tells its own traceback, or a child outlives the command.
    """
    mark = os.getpid()
    environment: dict[str, Any] = {**os.environ, "BENCH_TEST": str(mark)}
    words = [sys.executable, "-m", "bridge", "bench", section, "--rounds", "10000"]
    with subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment,
        start_new_session=True,
    ) as command:
        assert command.stderr is not None
        try:
            said = iter(command.stderr.readline, "")
            assert f"{section}\n" in said  # before it, perhaps, that the machine is busy
            os.killpg(command.pid, signal.SIGINT)
            out, err = command.communicate(timeout=30)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(command.pid, signal.SIGKILL)  # with the peers, which outlive a parent that is killed

    assert (command.returncode, out, err) == (exits.INTERRUPTED, "", "scoped-bridge: interrupted\n")
    wait_until(lambda: not _marked(mark), what="the end of all that was started")
