"""Logging that breaks: whatever the application's handlers and filters do, no worker's place is lost."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterator

import pytest

from bridge import Bridge
from tests.process.conftest import Connect
from tests.process.waiting import wait_until, wait_until_gone

PROMPTLY = 15.0
"""Seconds; tells an end from a hang."""


class Broken(logging.Handler):
    """Raises at each record, and counts them."""

    def __init__(self, error: type[BaseException]) -> None:
        super().__init__()
        self.error, self.seen = error, 0

    def emit(self, record: logging.LogRecord) -> None:
        """Its sink is gone."""
        self.seen += 1
        raise self.error("its sink is gone")


@pytest.fixture
def loggers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[logging.Logger]]:
    """Those of the runtime, which hear everything; what raises isn't printed."""
    monkeypatch.setattr(logging, "raiseExceptions", False)
    monkeypatch.setattr("bridge.runtime.supervisor.AFTER_DEFECT", 0.01)  # a report that raises is one
    found = [logging.getLogger(name) for name in ("bridge.supervisor", "bridge.worker")]
    before = [(logger, logger.level, [*logger.handlers], [*logger.filters]) for logger in found]
    for logger in found:
        logger.setLevel(logging.DEBUG)
    yield found
    for logger, level, handlers, filters in before:
        logger.setLevel(level)
        logger.handlers, logger.filters = handlers, filters


def wear_out(b: Bridge, times: int) -> None:
    """Kill the one worker so often, each time after it wrote to stderr; the next call is answered."""
    for number in range(times):
        b.call("complain", ["to whom it may concern"])
        pid = b.call("pid")
        os.kill(pid, signal.SIGKILL)
        wait_until_gone({pid})  # dying, it could still take a call with it
        assert b.call("echo", [number], timeout=PROMPTLY) == number
    wait_until(lambda: b.stats().idle == b.stats().size, what="full size")


@pytest.mark.parametrize("error", [RuntimeError, SystemExit])
def test_a_log_handler_that_raises_costs_nothing(
    connect: Connect, rough: str, loggers: list[logging.Logger], error: type[BaseException]
) -> None:
    """At no place where the runtime logs: starts, deaths, lines on stderr. Fails when the fleet is told after a line
    was logged, or when the loop's own report of an error may end it."""
    broken = Broken(error)
    for logger in loggers:
        logger.addHandler(broken)
    b = connect(f"{rough}:Rough")
    wear_out(b, 3)
    began = time.monotonic()
    b.close()

    assert time.monotonic() - began < PROMPTLY
    assert b.stats().state == "closed"
    assert broken.seen >= 9


def test_a_log_filter_that_raises_costs_nothing(connect: Connect, rough: str, loggers: list[logging.Logger]) -> None:
    """Filters raise out of the logging call itself, unlike most handlers. Fails when one line in `_died` is logged
    unguarded before the fleet is told."""

    def refuse(record: logging.LogRecord) -> bool:
        raise LookupError("no such context")

    for logger in loggers:
        logger.addFilter(refuse)
    wear_out(connect(f"{rough}:Rough"), 3)


def test_a_start_that_cannot_be_made_is_told_although_its_log_line_raises(
    connect: Connect, handlers: str, loggers: list[logging.Logger]
) -> None:
    """Fails when `_spawn` logs before it tells the fleet: the caller then waits for a worker that nobody starts."""
    loggers[0].addHandler(Broken(SystemExit))
    b = connect(f"{handlers}:Echo", python="/no/such/python")

    for _ in range(2):
        with pytest.raises(Exception, match="No such file or directory"):
            b.call("echo", [1], timeout=PROMPTLY)
