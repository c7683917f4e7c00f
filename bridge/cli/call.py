"""`call`: one call from the command line.

Rules: one worker, started for this call and stopped after it; the process's own environment (BRIDGE_*) still counts,
but for the adapter: a call from a shell is a real one. Apart from the parser so that --help need not import a pool.
"""

from __future__ import annotations

import os
from typing import Any

from bridge.cli import exits
from bridge.cli.output import print_result
from bridge.door import DEFAULT
from bridge.errors import ConfigurationError
from bridge.opening import connect
from bridge.settings import BridgeSettings


def run(handler: str, command: str, args: Any, *, timeout: float | None, python: str | None) -> int:
    """Call, print the result as JSON, and answer the exit code.

    Args:
        timeout: Seconds; None is what the settings say.
    """
    bridge = connect(
        handler,
        size=1,
        adapter="python_port",
        adapter_options={},
        prewarm=1,
        python=python,
        path=search_path(),
        status_socket=None,  # that of the variable is an application's
    )
    with bridge as b:
        result = b.call(command, args, timeout=DEFAULT if timeout is None else timeout)
    print_result(result, command)
    return exits.OK


def search_path() -> tuple[str, ...]:
    """The current directory first, as with `python -m`: an installed script doesn't have it on its sys.path."""
    try:
        return (os.getcwd(), *BridgeSettings.load().worker.path)
    except FileNotFoundError:
        raise ConfigurationError("the current directory was removed; go to another one") from None
