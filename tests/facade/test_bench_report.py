"""What the benchmarks' report makes of made-up samples: figures, budgets, doubts, exit codes, JSON and the picture."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from bridge.bench import SECTIONS, rows
from bridge.bench.found import Effort, Found
from bridge.bench.picture import draw
from bridge.bench.rows import ROWS, Figure, Limit, Row
from bridge.bench.tables import document, doubts, faults, text
from bridge.bench.verdicts import Outcome, Verdict, judge
from bridge.cli import exits, main

ROOT = Path(__file__).parents[2]
SVG = "{http://www.w3.org/2000/svg}"


def judged(
    ours: Sequence[float], against: Sequence[float], figure: Figure, limit: Limit | None, budget: float | None
) -> Verdict:
    """One row on made-up samples."""
    found = Found()
    for name, samples in (("ours", ours), ("against", against)):
        for sample in samples:
            found.add(name, "us", sample)
    row = Row("a row", "s", "ours", None if figure is Figure.ITSELF else "against", figure, limit, budget)
    (verdict,) = judge(found, ["s"], [row])
    return verdict


@pytest.mark.parametrize(
    ("ours", "against", "figure", "limit", "budget", "value", "outcome"),
    [
        ((3, 3, 3), (2, 2, 2), Figure.RATIO, Limit.AT_MOST, 1.5, 1.5, Outcome.MET),
        ((3, 3, 3), (2, 2, 2), Figure.RATIO, Limit.AT_MOST, 1.4, 1.5, Outcome.MISSED),
        ((3, 3, 3), (2, 2, 2), Figure.RATIO, Limit.AT_LEAST, 1.5, 1.5, Outcome.MET),
        ((3, 3, 3), (2, 2, 2), Figure.RATIO, Limit.AT_LEAST, 1.6, 1.5, Outcome.MISSED),
        ((2, 2, 2), (5, 5, 5), Figure.FASTER, Limit.AT_LEAST, 2.5, 2.5, Outcome.MET),
        ((2, 2, 2), (5, 5, 5), Figure.FASTER, Limit.AT_LEAST, 2.6, 2.5, Outcome.MISSED),
        ((9, 9, 9), (2, 2, 2), Figure.BEYOND, Limit.AT_MOST, 7, 7, Outcome.MET),
        ((9, 9, 9), (2, 2, 2), Figure.BEYOND, Limit.AT_MOST, 6, 7, Outcome.MISSED),
        ((9, 9, 9), (), Figure.ITSELF, Limit.AT_MOST, 10, 9, Outcome.MET),
        ((9, 9, 9), (), Figure.ITSELF, Limit.AT_MOST, 8, 9, Outcome.MISSED),
        ((3, 3, 3), (2, 2, 2), Figure.RATIO, None, None, 1.5, Outcome.SHOWN),
        ((2,), (2,), Figure.RATIO, Limit.AT_MOST, 1, 1, Outcome.MET),
    ],
)
def test_a_figure_is_held_against_its_budget(
    ours: tuple[float, ...],
    against: tuple[float, ...],
    figure: Figure,
    limit: Limit | None,
    budget: float | None,
    value: float,
    outcome: Outcome,
) -> None:
    """Each kind of figure, on both sides of each kind of limit. Fails when a quotient is upside down."""
    verdict = judged(ours, against, figure, limit, budget)

    assert (verdict.value, verdict.outcome, verdict.doubt) == (value, outcome, None)
    assert verdict.missed == (outcome is Outcome.MISSED)


def test_a_figure_is_that_of_its_own_rounds() -> None:
    """The median of the ratios, not the ratio of medians. Fails when a machine that slowed down changes the figure."""
    verdict = judged((3, 30, 4, 3, 3), (2, 20, 2, 2, 2), Figure.RATIO, Limit.AT_MOST, 1.5)

    assert (verdict.value, verdict.low, verdict.high) == (1.5, 1.5, 1.5)


def test_a_floor_that_varies_is_said_to_tell_nothing() -> None:
    """Whatever the figure says. Fails when only the figures' spread is looked at."""
    verdict = judged((2, 2, 4, 4), (2, 2, 4, 4), Figure.RATIO, Limit.AT_MOST, 1.5)

    assert verdict.outcome is Outcome.MET
    assert verdict.doubt == "against itself went from 2 to 4 between rounds"


def test_a_budget_among_the_figures_is_said_to_be_too_close_to_call() -> None:
    """The floor may be steady all the same. Fails when only the floor is looked at."""
    verdict = judged((2, 2, 4, 4), (2, 2, 2, 2), Figure.RATIO, Limit.AT_MOST, 1.5)

    assert verdict.doubt == "the budget lies within the middle half of the rounds"
    assert doubts([verdict]) == [f"s: a row: {verdict.doubt}"]


def test_what_was_not_measured_is_missed_and_says_why() -> None:
    """With a budget it counts as missed; without one it is only told. Fails when it passes for met."""
    found = Found()
    found.add("b", "us", 1.0)
    found.miss(["a", "c"], "there is no such thing")
    table = [
        Row("first", "s", "a", "b", Figure.RATIO, Limit.AT_MOST, 1),
        Row("second", "s", "c", "b", Figure.RATIO),
        Row("third", "s", "b", "d", Figure.RATIO, Limit.AT_MOST, 1),
    ]
    verdicts = judge(found, ["s"], table)

    assert [verdict.outcome for verdict in verdicts] == [Outcome.UNMEASURED] * 3
    assert [verdict.missed for verdict in verdicts] == [True, False, True]
    assert faults(verdicts) == [
        "s: first was not measured: there is no such thing",
        "s: third was not measured: nothing measured 'd'",
    ]


def made_up(sample: float, *, without: str = "") -> Found:
    """Everything that the rows name, but one section: rates are doubled so that at least their budgets are met."""
    found = Found()
    for row in ROWS:
        for name in (row.ours, row.against):
            if name is None or name in found.series or row.section == without:
                continue
            mine = name == row.ours
            better = 10 * sample if row.limit is Limit.AT_LEAST and row.figure is Figure.RATIO else sample / 10
            for _ in range(3):
                found.add(name, "us", better if mine else sample)
    return found


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Nothing is measured: all is well, but for a payload. Lists the sections that were asked for."""
    asked: list[list[str]] = []

    def measure(sections: list[str], _effort: Effort, _began: Any) -> Found:
        asked.append(sections)
        return made_up(1.0, without="payload")

    monkeypatch.setattr("bridge.cli.bench.measure", measure)
    return asked


def test_check_ends_with_0_when_all_budgets_are_met(
    measured: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Only the section that was asked for counts. Fails when a budget that is met counts as missed."""
    assert main(["bench", "recover", "--check"]) == exits.OK
    assert measured == [["recover"]]
    assert "a worker killed, and all there again" in capsys.readouterr().out


def test_check_ends_with_1_and_names_what_was_missed(
    measured: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Each on a line of stderr. Fails when what wasn't measured passes."""
    assert main(["bench", "--check"]) == exits.FAULT
    assert measured == [[*SECTIONS]]
    assert re.findall("^MISSED: (.*)$", capsys.readouterr().err, re.MULTILINE) == [
        "payload: 64 MiB there and back was not measured: nothing measured 'bridge, 64 MiB'",
        "payload: 64 MiB, shared memory was not measured: nothing measured 'bridge, 64 MiB shared'",
    ]


def test_without_check_a_missed_budget_is_only_shown(
    measured: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """A look at the figures isn't a failure. Fails when the code depends on them without --check."""
    assert main(["bench", "payload"]) == exits.OK
    assert "not measured" in capsys.readouterr().out


@pytest.mark.parametrize(("compiled", "told"), [(True, 0), (False, 1)])
def test_a_package_without_bytecode_is_told(
    measured: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    compiled: bool,
    told: int,
) -> None:
    """Its workers hold half as much again, and start later. Fails when a checkout's figures pass for a user's."""
    monkeypatch.setattr("bridge.cli.bench.cache_from_source", lambda origin: origin if compiled else origin + "c")

    assert main(["bench", "memory"]) == exits.OK
    assert capsys.readouterr().err.count("not compiled: ") == told


@pytest.mark.parametrize(
    ("load", "told"), [(0.2, ""), (1.3, "this machine is busy already: a load of 1.3 on 2 cores\n")]
)
def test_a_machine_that_is_busy_already_is_told(
    measured: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    load: float,
    told: str,
) -> None:
    """Before minutes are spent. Fails when the load that the measuring itself makes is what counts."""
    monkeypatch.setattr("bridge.cli.bench.os.getloadavg", lambda: (load, 9.0, 9.0))
    monkeypatch.setattr("bridge.cli.bench.os.sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr("bridge.cli.bench.is_compiled", lambda: True)

    assert main(["bench", "memory"]) == exits.OK
    assert capsys.readouterr().err == told


def test_json_goes_to_a_file_or_to_stdout_alone(
    measured: list[list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With every sample. Fails when the table stands before the JSON, or a script's field is gone."""
    file = tmp_path / "bench.json"

    assert main(["bench", "scope", "--json", str(file)]) == exits.OK
    assert "a call on the mock" in capsys.readouterr().out
    assert main(["bench", "scope", "--json", "-", "--rounds", "3"]) == exits.OK
    printed = json.loads(capsys.readouterr().out)
    written = json.loads(file.read_text())

    assert written["rows"] == printed["rows"]
    assert (printed["ok"], printed["rounds"], printed["quick"], written["rounds"]) == (True, 3, False, 15)
    assert printed["rows"][1] == {
        "name": "a call on the mock",
        "section": "scope",
        "ours": "call on the mock",
        "against": None,
        "figure": "itself",
        "limit": "at most",
        "budget": 10,
        "outcome": "met",
        "value": 0.1,
        "low": 0.1,
        "high": 0.1,
        "unit": "us",
        "doubt": None,
        "reason": None,
    }
    assert printed["series"]["call on the mock"] == {"unit": "us", "samples": [0.1, 0.1, 0.1]}


def test_the_page_names_every_field_of_the_json() -> None:
    """docs/reference/cli.md is what scripts are written from. Fails when a field is new, or renamed."""
    found = made_up(1.0)
    report = document(judge(found, [*SECTIONS]), found, Effort(3), load=0.0)
    page = (ROOT / "docs/reference/cli.md").read_text().partition("\n## bench\n")[2].partition("\n## ")[0]
    fields = {*report, *report["rows"][0], *report["series"]["python -c pass"]}

    assert (
        fields - {name for cell in re.findall(r"^\| (.*?) \|", page, re.MULTILINE) for name in cell.split("`")} == set()
    )


def test_the_page_of_benchmarks_has_every_budget() -> None:
    """docs/design/benchmarks.md repeats the table of budgets, row by row. Fails when one was changed in one place."""
    page = (ROOT / "docs/design/benchmarks.md").read_text()
    shown = re.findall(r"^\| `(\w+)` \| (.*?) \| .*? \| ([≤≥]) ([\d.]+) (\S+).*? \|", page, re.MULTILINE)
    signs = {Limit.AT_MOST: "≤", Limit.AT_LEAST: "≥"}
    units = {Figure.RATIO: "×", Figure.FASTER: "×"}  # noqa: RUF001  that sign is meant

    assert [(section, name, sign, float(budget)) for section, name, sign, budget, _ in shown] == [
        (row.section, row.name, signs[row.limit], row.budget) for row in ROWS if row.budget is not None and row.limit
    ]
    assert all(
        unit == units[row.figure] for (*_, unit), row in zip(shown, rows.promised(), strict=True) if row.figure in units
    )


def test_the_picture_of_one_section_has_all_its_rows(
    measured: list[list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also those without a budget, for which that of everything has no room. Fails when they are nowhere drawn."""
    file = tmp_path / "latency.svg"

    assert main(["bench", "latency", "--plot", str(file)]) == exits.OK
    texts = {element.text for element in ET.fromstring(file.read_text()).iter(f"{SVG}text")}
    assert {row.name for row in ROWS if row.section == "latency"} <= texts


def test_the_picture_is_xml_with_each_budget_inside_it(
    measured: list[list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two bars and a mark for what was measured, a reason for what wasn't; all within the page. Fails when a name isn't
    escaped, or a bar leaves the picture.
    """
    file = tmp_path / "bench.svg"

    assert main(["bench", "--plot", str(file)]) == exits.OK
    root = ET.fromstring(file.read_text())
    texts = {element.text for element in root.iter(f"{SVG}text")}
    width = float(root.attrib["width"])

    assert {row.name for row in rows.promised()} <= texts
    assert "prefers-color-scheme: dark" in file.read_text()
    for bar in root.iter(f"{SVG}rect"):
        assert 0 <= float(bar.attrib["x"]) + float(bar.attrib["width"]) < width
    for mark in root.iter(f"{SVG}line"):
        assert float(mark.attrib["x1"]) < width


def test_names_in_the_picture_are_escaped() -> None:
    """Whatever a row is called. Fails when the picture is put together without looking."""
    row = Row("<&>", "s", "a", "b", Figure.RATIO)
    found = Found()
    found.miss(["a", "b"], "1 < 2 & 3")

    root = ET.fromstring(draw(judge(found, ["s"], [row]), "<title>", "a & b"))

    assert {"<&>", "not measured: 1 < 2 & 3", "a & b"} <= {element.text for element in root.iter(f"{SVG}text")}


def test_the_table_is_text_that_any_terminal_carries() -> None:
    """ASCII alone. Fails when a unit is written with its proper sign."""
    found = made_up(1.0, without="payload")

    assert text(judge(found, [*SECTIONS])).isascii()


def test_files_are_tried_before_anything_is_measured(
    measured: list[list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Minutes aren't spent for a report that can't be written. Fails when it is only seen at the end."""
    for option in ("--json", "--plot"):
        assert main(["bench", option, str(tmp_path / "nowhere" / "file")]) == 2
        assert "nowhere/file can't be written: No such file" in capsys.readouterr().err
    assert measured == []


def test_a_file_that_was_there_stays_until_there_are_figures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An interruption doesn't cost the report of yesterday. Fails when trying the file empties it."""

    def interrupted(*_: object) -> Found:
        raise KeyboardInterrupt

    monkeypatch.setattr("bridge.cli.bench.measure", interrupted)
    file = tmp_path / "bench.json"
    file.write_text("yesterday")

    assert main(["bench", "--json", str(file)]) == exits.INTERRUPTED
    assert file.read_text() == "yesterday"
