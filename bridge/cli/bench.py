"""`bench`: measure, and report.

Rules: where the figures go is known to be writable before minutes are spent; JSON on stdout stands there alone. Apart
from bridge/bench, which neither prints nor ends a program.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from importlib.util import cache_from_source, find_spec
from pathlib import Path
from typing import Final

from bridge.bench import SECTIONS, measure, tables
from bridge.bench.found import Effort
from bridge.bench.picture import draw
from bridge.bench.verdicts import judge
from bridge.cli import exits
from bridge.cli.output import UnwritableError, print_json, put
from bridge.cli.progress import Progress
from bridge.errors import ConfigurationError

STDOUT: Final = "-"
QUICK: Final = 2
"""Rounds of --quick."""
BUSY: Final = 0.5
"""Processes that want to run, of the last minute, for each core, from which on ours wait for others."""
REMEDY: Final = "install the package, or run `python -m compileall bridge adapters`"


def run(section: str, *, json_to: str | None, plot_to: str | None, rounds: int, quick: bool, check: bool) -> int:
    """Measure one section, or all; answers the exit code.

    Args:
        json_to: A file, "-" for stdout; None is nowhere.
        plot_to: A file for an SVG, of rows that have a budget, or of all rows of one section.
        check: A budget that is missed is a fault.

    Raises:
        ConfigurationError: One of the files can't be written; nothing was measured.
        UnwritableError: It can't any more.
    """
    files = [name for name in (json_to, plot_to) if name is not None and name != STDOUT]
    for name in files:
        _try(name)
    sections = [*SECTIONS] if section == "all" else [section]
    effort = Effort(QUICK if quick else rounds, quick)
    load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    if load > BUSY * cores:
        put(f"this machine is busy already: a load of {load:.1f} on {cores} cores\n", sys.stderr)
    with Progress(len(sections), "sections", sys.stderr) as progress:
        found = measure(sections, effort, progress.say)
    verdicts = judge(found, sections)
    report = tables.document(verdicts, found, effort, load)
    if json_to == STDOUT:
        print_json(report)
    else:
        put(tables.text(verdicts), sys.stdout)
    if json_to is not None and json_to != STDOUT:
        _write(json_to, json.dumps(report, indent=1) + "\n")
    if plot_to is not None:
        drawn = [verdict for verdict in verdicts if section != "all" or verdict.row.budget is not None]
        _write(plot_to, draw(drawn, *heading(section, effort)))
    if not is_compiled():
        put(f"not compiled: each worker compiles itself at its start; {REMEDY}\n", sys.stderr)
    for doubt in tables.doubts(verdicts):
        put(f"too noisy to tell: {doubt}\n", sys.stderr)
    faults = tables.faults(verdicts) if check else []
    for fault in faults:
        put(f"MISSED: {fault}\n", sys.stderr)
    return exits.FAULT if faults else exits.OK


def is_compiled() -> bool:
    """Whether there is bytecode of what a worker loads; pip makes it, a checkout may have none."""
    origin = getattr(find_spec("bridge.worker"), "origin", None)
    return origin is not None and os.path.exists(cache_from_source(origin))


def heading(section: str, effort: Effort) -> tuple[str, str]:
    """Title and note of a picture."""
    machine = f"{len(os.sched_getaffinity(0))} cores, {platform.system()}, CPython {platform.python_version()}"
    rounds = "a quick look, not a measurement" if effort.quick else f"median of {effort.rounds} rounds"
    what = "" if section == "all" else f": {section}"
    return f"scoped-bridge{what}", f"{rounds}; {machine}; shorter is better for times, longer for rates"


def _try(name: str) -> None:
    """See whether a file can be written; what is in it stays."""
    try:
        with open(name, "a"):
            return
    except OSError as error:
        raise ConfigurationError(f"{name} can't be written: {error.strerror or error}; name another file") from error


def _write(name: str, text: str) -> None:
    try:
        Path(name).write_text(text)
    except OSError as error:
        raise UnwritableError(f"{name} can't be written: {error.strerror or error}; name another file") from error
