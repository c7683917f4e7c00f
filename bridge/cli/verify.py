"""`verify`: a cassette beside the real handler, from the command line.

Rules: what differs is the result, and goes to stdout; nothing is recorded. What may not be shown as it is, since a
cassette may hold anything, is escaped. Apart from bridge/verifying.py, which makes the calls, and knows of no
terminal.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence

from bridge.cassette import read
from bridge.cli import exits
from bridge.cli.call import search_path
from bridge.cli.output import Colour, harmless, painted, put
from bridge.drift import CassetteDrift
from bridge.verifying import verify

RECORDED, NOW = ("recorded:", "-"), ("now:", "+")
"""How lines of a drift begin, behind their indent."""
INDENT = 4


def run(cassette: str, handler: str, *, redact: Sequence[str] | None, timeout: float | None, python: str | None) -> int:
    """Make every call of a cassette, print what differs, and answer the exit code.

    Args:
        redact: Names of keys, as it was recorded with.
        timeout: Seconds for each call; None is what the settings say.

    Raises:
        ConfigurationError: The cassette can't be read, or something else that was said can't be used.
        WorkerStartError, ...: The handler can't be asked.
    """
    settings = {"timeout": timeout, "python": python, "redact": redact}
    given = {name: value for name, value in settings.items() if value is not None}
    recorded = len(read(os.path.abspath(cassette)).lines)
    try:
        made = verify(cassette, handler, path=search_path(), prewarm=1, status_socket=None, **given)
    except CassetteDrift as drift:
        for text in drift.drifts:
            put("\n".join([*_shown(text), "", ""]), sys.stdout)
        told = f"{len(drift.drifts)} of {drift.calls} calls aren't what {cassette} says"
        put(painted(harmless(told), Colour.RED, sys.stdout) + "\n", sys.stdout)
        return exits.FAULT
    left = recorded - made
    told = f"{made} call{'s' * (made != 1)} answered as {cassette} says"
    if left:
        told += f"; {left} not made, since their arguments are redacted"
    put(painted(harmless(told), Colour.YELLOW if left else Colour.GREEN, sys.stdout) + "\n", sys.stdout)
    return exits.OK


def _shown(drift: str) -> Iterator[str]:
    for line in drift.split("\n"):
        text, begin = harmless(line), line[INDENT:]
        if line[:INDENT].strip():
            yield painted(text, Colour.BOLD, sys.stdout)
        elif begin.startswith(RECORDED):
            yield painted(text, Colour.RED, sys.stdout)
        elif begin.startswith(NOW):
            yield painted(text, Colour.GREEN, sys.stdout)
        else:
            yield text
