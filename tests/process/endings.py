"""What a test has started, and how it sees a bridge end.

Rules: a module that uses this asks for the fixture `note_children`. Apart from conftest.py so that it can be imported.
"""

from __future__ import annotations

import os
import time

from bridge import Bridge
from tests.process.waiting import children_of, wait_until, wait_until_gone

SLACK = 15.0
"""Seconds that `close` may take beyond its timeout: 2 for killed workers to be gone, and some for a busy machine."""


def offspring() -> set[int]:
    """The processes that this process has started since the test began."""
    return children_of(os.getpid()) - getattr(offspring, "before", set())


def timed_close(b: Bridge, timeout: float, *, within: float | None = None) -> None:
    """Close, within its bound, and see that nobody is left."""
    started = offspring()
    began = time.monotonic()
    b.close(timeout)

    assert time.monotonic() - began < (timeout + SLACK if within is None else within)
    wait_until_gone(started)
    assert b.stats().state == "closed"
    wait_until(lambda: b.stats().workers == (), what="the end of all workers")
