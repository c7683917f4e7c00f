"""The command line: `python -m bridge`, installed as `scoped-bridge`.

Rules: results go to stdout, all else to stderr; a user's mistake is told in words, never by a traceback of ours.
Apart from the library, which knows nothing of terminals and exit codes.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TextIO

from bridge.cli import exits
from bridge.cli.output import NobodyError, UnwritableError, put
from bridge.cli.parser import PROGRAM, build
from bridge.errors import BridgeError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line, and answer its exit code. argparse's own SystemExit (0 or 2) passes."""
    try:
        return _run(argv)
    except BrokenPipeError:
        _abandon(sys.stdout, sys.stderr)  # whichever of the two was cut off
        return exits.UNREAD
    except UnwritableError as error:
        _say(str(error))
        _abandon(sys.stdout, sys.stderr)
        return exits.UNWRITABLE


def _run(argv: Sequence[str] | None) -> int:
    try:
        options = build().parse_args(argv)
        if sys.stdout is None:  # and the next file that is opened would get its number
            raise UnwritableError("stdout is closed, so there is no place for results; unwanted ones go to /dev/null")
        with _few_logs():
            return int(options.run(options))
    except BridgeError as error:
        _say(f"{type(error).__name__}: {error}")
        return exits.code_of(error)
    except UnwritableError:
        _abandon(sys.stdout)  # else it fails again below, and that would be told in place of this
        raise
    except NobodyError as error:
        _say(str(error))
        return exits.NOBODY
    except KeyboardInterrupt:
        _say("interrupted")
        return exits.INTERRUPTED
    finally:
        put("", sys.stdout)  # a reader that went away is noticed here, not while the interpreter ends


@contextlib.contextmanager
def _few_logs() -> Iterator[None]:
    """Only defects of ours are logged to stderr: that a worker died is told by the error, or by the demo."""
    import logging

    log, handler = logging.getLogger("bridge"), logging.StreamHandler()
    handler.setLevel(logging.ERROR)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


def _say(text: str) -> None:
    try:
        put(f"{PROGRAM}: {text}\n", sys.stderr)
    except UnwritableError:  # the exit code is all that is left
        _abandon(sys.stderr)


def _abandon(*streams: TextIO | None) -> None:
    """Let the interpreter's last flush succeed."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        if stream is not None:
            os.dup2(null, stream.fileno())
    os.close(null)
