"""`doctor`: what works on this machine, with this configuration, and what to do about the rest.

Rules: every line is told as soon as it is known, and one that fails keeps no other from being told. Apart from the
modules that look, so that the order of the lines reads in one page.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from bridge.cli.doctor import configuration, machine, orphans, workers
from bridge.cli.doctor.findings import Finding, Outcome, Report
from bridge.cli.output import put
from bridge.schema import BridgeSettings


def run(handler: str | None, *, as_json: bool) -> int:
    """Look at everything, tell it, and answer the exit code.

    Args:
        handler: Whose workers are tried; None is that of the settings.
    """
    report = Report(as_json=as_json)
    for finding in _findings(handler):
        report.add(finding)
    return report.end()


def _findings(handler: str | None) -> Iterator[Finding]:
    values, finding = configuration.load()
    yield from machine.look(BridgeSettings() if values is None else values)
    yield orphans.look()
    yield finding
    yield configuration.mode()
    yield configuration.strangers()
    if values is None:
        return
    choice, finding = configuration.adapter(values)
    yield finding
    if finding.outcome is Outcome.FAIL:
        return
    if sys.stderr is not None and sys.stderr.isatty():
        put(f"starting workers, which have {values.supervisor.startup_timeout:g} s each\n", sys.stderr)
    yield from workers.look(values, choice, handler or values.worker.handler)
