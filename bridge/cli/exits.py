"""What an exit code means.

Rules: one row per code, the same in docs/reference/cli.md, which a test compares; an error's code is that of the first
class in CLASSES that fits. Apart from the subcommands because scripts branch on these, so they never change.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from bridge import errors

OK: Final = 0
FAULT: Final = 1
UNWRITABLE: Final = 11
NOBODY: Final = 12
INTERRUPTED: Final = 130
UNREAD: Final = 141

MEANINGS: Final[Mapping[int, str]] = MappingProxyType(
    {
        OK: "it worked",
        FAULT: "a fault: an item of `map` that failed, or what `verify`, `doctor`, the demo or `bench --check` found",
        2: "the command line can't be used, or `ConfigurationError`",
        3: "`CallError`: unknown command, wrong arguments, or a value that can't travel",
        4: "`RemoteError`: the handler raised",
        5: "`CallTimeout`: no answer in time",
        6: "`WorkerCrashed`: the worker died during the call",
        7: "`WorkerStartError`: the worker could not start",
        8: "`PoolError`: `PoolTimeout`, `PoolOverloaded`, `CircuitOpen` or `PoolClosed`",
        9: "`ProtocolError`: the worker sent bytes that are not ours",
        10: "any other `BridgeError`",
        UNWRITABLE: "the output can't be written, for instance on a full disk",
        NOBODY: "nobody serves that status socket, or not to this user",
        INTERRUPTED: "Ctrl-C",
        UNREAD: "whoever read the output went away, for instance `head`",
    }
)

CLASSES: Final[tuple[tuple[type[errors.BridgeError], int], ...]] = (
    (errors.ConfigurationError, 2),
    (errors.CallError, 3),
    (errors.RemoteError, 4),
    (errors.CallTimeout, 5),
    (errors.WorkerCrashed, 6),
    (errors.WorkerStartError, 7),
    (errors.PoolError, 8),
    (errors.ProtocolError, 9),
    (errors.BridgeError, 10),
)


def code_of(error: errors.BridgeError) -> int:
    """The exit code of an error."""
    return next(code for kind, code in CLASSES if isinstance(error, kind))
