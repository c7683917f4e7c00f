"""`status`: what a running application says of its bridge, once.

Rules: nothing of the application's is started or changed. Apart from top.py, which goes on looking.
"""

from __future__ import annotations

import sys

from bridge.cli import exits
from bridge.cli.output import painted, print_json, put
from bridge.cli.reading import in_lines, read
from bridge.errors import ConfigurationError
from bridge.settings import status_path


def run(path: str | None, *, as_json: bool) -> int:
    """Print one reading, and answer the exit code.

    Raises:
        ConfigurationError: Nobody said where.
        NobodyError: Nobody serves there.
    """
    reading = read(where(path))
    if as_json:
        print_json(reading.fields)
    else:
        lines = [line if colour is None else painted(line, colour, sys.stdout) for line, colour in in_lines(reading)]
        put("\n".join([*lines, ""]), sys.stdout)
    return exits.OK


def where(path: str | None) -> str:
    """The path that was named, here or in the environment. Raises ConfigurationError where it was nowhere."""
    found = path or status_path()
    if not found:
        raise ConfigurationError(
            "name the socket: the path that the application has as its setting status_socket, as an argument or in the "
            "variable BRIDGE_STATUS_SOCKET"
        )
    return found
