"""What the demo found, as a table or as JSON.

Rules: nothing is measured here. `ok` follows from `faults`, and those are sentences. Apart from demo.py because the
names of the fields are what scripts read (docs/reference/cli.md).
"""

from __future__ import annotations

import os
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from bridge.cli.output import print_json, put

if TYPE_CHECKING:
    from bridge.cli.demo import Job
    from bridge.core.stats import Stats

TOP: Final = 10
SHOWN: Final = 3
"""Errors told in full; whatever broke one call may have broken them all."""


@dataclass(frozen=True)
class Report:
    """One demo. The order of the fields is that of the JSON object."""

    ok: bool
    faults: list[str]
    path: str
    python: str
    size: int
    files: int
    unparsable: int
    """Files that this interpreter's parser refuses; an outcome like any other."""
    lost: int
    """Files without exactly one outcome."""
    mb: float
    lines: int
    functions: int
    classes: int
    branches: int
    seconds: float
    calls_per_s: float
    p50_ms: float
    p99_ms: float
    kills: int
    crashes: int
    """Calls that raised WorkerCrashed."""
    repeated: int
    restarts: int
    sample_agrees: bool
    top: list[dict[str, Any]]
    """The modules with the most branches."""


def of(root: str, paths: list[str], job: Job, stats: Stats, *, sample_agrees: bool) -> Report:
    """Sum up."""
    lost = [path for path in paths if job.outcomes[path] != 1]
    total = {
        name: sum(record[name] for record in job.records.values())
        for name in ("bytes", "lines", "functions", "classes", "branches")
    }
    ranked = sorted(job.records.values(), key=lambda record: (-record["branches"], record["path"]))
    faults = job.errors[:SHOWN]
    if len(job.errors) > SHOWN:
        faults.append(f"{len(job.errors) - SHOWN} more calls failed")
    if lost:
        faults.append(f"{len(lost)} files have not exactly one outcome, the first of them {lost[0]}")
    if not sample_agrees:
        faults.append("the workers' counts differ from those of a plain run in this process")
    if job.accident.hit is None:
        faults.append(f"{job.accident.kills} workers were killed, but none during a call: name a larger tree")
    if stats.restarts < 1:
        faults.append("no worker was started in place of a dead one")
    return Report(
        ok=not faults,
        faults=faults,
        path=root,
        python=".".join(map(str, sys.version_info[:3])),
        size=stats.size,
        files=len(paths),
        unparsable=sum(record["error"] is not None for record in job.records.values()),
        lost=len(lost),
        mb=round(total["bytes"] / 1e6, 3),
        lines=total["lines"],
        functions=total["functions"],
        classes=total["classes"],
        branches=total["branches"],
        seconds=round(job.seconds, 3),
        calls_per_s=round(stats.calls / job.seconds, 1),
        p50_ms=round((stats.p50 or 0.0) * 1e3, 3),
        p99_ms=round((stats.p99 or 0.0) * 1e3, 3),
        kills=job.accident.kills,
        crashes=stats.crashes,
        repeated=job.repeated,
        restarts=stats.restarts,
        sample_agrees=sample_agrees,
        top=[_module(root, record) for record in ranked[:TOP]],
    )


def show(report: Report, *, as_json: bool) -> None:
    """Print it on stdout, and its faults on stderr."""
    if as_json:
        print_json(asdict(report))
    else:
        put("\n".join([*_table(report), ""]), sys.stdout)
    for fault in report.faults:
        put(f"FAULT: {fault}\n", sys.stderr)


def _module(root: str, record: dict[str, Any]) -> dict[str, Any]:
    name = os.path.relpath(record["path"], root)
    return {"module": name, **{what: record[what] for what in ("branches", "functions", "lines")}}


def _table(report: Report) -> list[str]:
    rows = [
        ("files", f"{report.files:,} ({report.unparsable:,} unparsable)"),
        ("size", f"{report.mb:,.1f} MB, {report.lines:,} lines"),
        ("found", f"{report.functions:,} functions, {report.classes:,} classes, {report.branches:,} branches"),
        ("time", f"{report.seconds:.1f} s in {report.size} workers of Python {report.python}"),
        ("calls/s", f"{report.calls_per_s:,.0f}"),
        ("p50", f"{report.p50_ms:.1f} ms"),
        ("p99", f"{report.p99_ms:.1f} ms"),
        ("restarts", f"{report.restarts} (killed on purpose: {report.kills})"),
        ("crashes", f"{report.crashes} (sent again: {report.repeated})"),
        ("lost calls", f"{report.lost}"),
        ("sample", "agrees with a plain run" if report.sample_agrees else "DIFFERS from a plain run"),
    ]
    lines = [f"{name:<12}{text}" for name, text in rows]
    lines += ["", f"{'branches':>8}  {'functions':>9}  {'lines':>7}  module"]
    lines += [f"{m['branches']:>8,}  {m['functions']:>9,}  {m['lines']:>7,}  {_shown(m['module'])}" for m in report.top]
    return lines


def _shown(name: str) -> str:
    """A file's name that any stream can carry: those on disk may hold any byte."""
    return name.encode("ascii", "backslashreplace").decode()
