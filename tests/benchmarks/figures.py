"""Put what was measured into the documentation: `python -m tests.benchmarks.figures bench.json`.

`python -m bridge bench --json bench.json` wrote that file. The table of budgets gets its last column, and the pictures
of README and of the costs that must not grow are drawn, all of one run.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, Final

from bridge.bench import SECTIONS
from bridge.bench.found import Effort, Found, Series
from bridge.bench.picture import draw
from bridge.bench.rows import LABELS
from bridge.bench.tables import number
from bridge.bench.verdicts import Outcome, Verdict, judge
from bridge.cli.bench import heading

LOAD: Final = "- Before the run, processes that wanted its cores: "
GROWING: Final = ("workers", "callers", "sessions")
"""Of whom there may be many: a word in the names of the rows, and the name of a picture."""
DOCS: Final = Path(__file__).parents[2] / "docs"
ROW: Final = re.compile(r"^(\| `(\w+)` \| (.*?) \| .*? \| [≤≥] [^|]*\|)")


def found_in(report: dict[str, Any]) -> Found:
    """The samples of a report, and why some have none."""
    found = Found({name: Series(**series) for name, series in report["series"].items()})
    for row in report["rows"]:
        if row["reason"] is not None:
            found.miss([side for side in (row["ours"], row["against"]) if side not in found.series], row["reason"])
    return found


def cell(verdict: Verdict) -> str:
    """The last one of a row."""
    if verdict.value is None or verdict.low is None or verdict.high is None:
        return f"not measured: {verdict.reason}"
    unit = LABELS.get(verdict.unit, verdict.unit)
    missed = ", **missed**" if verdict.outcome is Outcome.MISSED else ""
    return f"{number(verdict.value)} {unit} ({number(verdict.low)} to {number(verdict.high)}){missed}"


def main() -> None:
    """Rewrite the page, and the pictures."""
    report = json.loads(Path(sys.argv[1]).read_text())
    verdicts = {(each.row.section, each.row.name): each for each in judge(found_in(report), [*SECTIONS])}
    page = DOCS / "design" / "benchmarks.md"
    lines = []
    for each in page.read_text().splitlines():
        line = each
        if line.startswith(LOAD):
            line = f"{LOAD}{report['load']:.1f}, on {report['cpus']}"
        match = ROW.match(line)
        lines.append(f"{match[1]} {cell(verdicts[match[2], match[3]])} |" if match else line)
    page.write_text("\n".join(lines) + "\n")
    effort = Effort(report["rounds"], report["quick"])
    promised = [each for each in verdicts.values() if each.row.budget is not None and each.row.section != "growth"]
    (DOCS / "benchmarks.svg").write_text(draw(promised, *heading("all", effort)))
    (DOCS / "design" / "plots").mkdir(exist_ok=True)
    for kind in GROWING:
        growing = [each for each in verdicts.values() if each.row.section == "growth" and kind in each.row.name]
        (DOCS / "design" / "plots" / f"{kind}.svg").write_text(draw(growing, *heading("growth", effort)))


if __name__ == "__main__":
    main()
