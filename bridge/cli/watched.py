"""What can be typed of the commands that watch a running application.

Rules: those of parser.py. Apart from it for its length.
"""

from __future__ import annotations

import argparse
from typing import Any


def add(commands: Any) -> None:
    """Add them to argparse's subcommands."""
    status = commands.add_parser("status", help="what a running application says of its bridge (status_socket)")
    status.add_argument("path", metavar="PATH", nargs="?", help="of its socket (default: BRIDGE_STATUS_SOCKET)")
    status.add_argument("--json", action="store_true", help="print one JSON object in place of the table")
    status.set_defaults(run=_status)

    top = commands.add_parser("top", help="the same, again and again, until q or Ctrl-C")
    top.add_argument("path", metavar="PATH", nargs="?", help="of its socket (default: BRIDGE_STATUS_SOCKET)")
    top.add_argument("--interval", metavar="S", type=_interval, default=1.0, help="seconds between two looks (1)")
    top.set_defaults(run=_top)


def _status(options: argparse.Namespace) -> int:
    from bridge.cli import status

    return status.run(options.path, as_json=options.json)


def _top(options: argparse.Namespace) -> int:
    from bridge.cli import top

    return top.run(options.path, interval=options.interval)


def _interval(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r:.60} is no number of seconds from 0.1 to 3600")
    return seconds
