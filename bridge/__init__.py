"""Call Python in another process: a warm, supervised pool whose adapter follows the scope of its caller.

    import bridge

    with bridge.connect("myapp.worker:Handler", size=4) as b:
        b.call("predict", {"text": "hi"}, timeout=5)

General layout, from the ground up (a file imports only lower floors): errors and worker (F0), core (F1), contract
(F2), channel (F3), runtime (F4), client (F5), settings, registry and assembly (F6), cli and testing (F7). What isn't
listed in `__all__` may move.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bridge.adapters.bridge_mock import BridgeMockAdapter
    from bridge.adapters.mock import MockAdapter
    from bridge.assembly import connect
    from bridge.client import DEFAULT, Bridge, Lease
    from bridge.contract import (
        Adapter,
        Capability,
        Channel,
        ExitStatus,
        Reply,
        Request,
        WorkerInfo,
        WorkerSpec,
    )
    from bridge.core.stats import Health, Stats, WorkerStats
    from bridge.errors import (
        BridgeError,
        CallCancelled,
        CallError,
        CallTimeout,
        CapabilityError,
        CircuitOpen,
        ConfigurationError,
        PoolClosed,
        PoolError,
        PoolOverloaded,
        PoolTimeout,
        ProtocolError,
        RemoteError,
        UnexpectedCall,
        WorkerCrashed,
        WorkerError,
        WorkerStartError,
    )
    from bridge.settings import BridgeSettings

_HOMES = (
    ("bridge.adapters.bridge_mock", ("BridgeMockAdapter",)),
    ("bridge.adapters.mock", ("MockAdapter",)),
    ("bridge.assembly", ("connect",)),
    ("bridge.client", ("Bridge", "DEFAULT", "Lease")),
    (
        "bridge.contract",
        ("Adapter", "Capability", "Channel", "ExitStatus", "Reply", "Request", "WorkerInfo", "WorkerSpec"),
    ),
    ("bridge.core.stats", ("Health", "Stats", "WorkerStats")),
    ("bridge.settings", ("BridgeSettings",)),
)
"""Where the names live that are loaded on first use; all others are errors."""

__all__ = [
    "DEFAULT",
    "Adapter",
    "Bridge",
    "BridgeError",
    "BridgeMockAdapter",
    "BridgeSettings",
    "CallCancelled",
    "CallError",
    "CallTimeout",
    "Capability",
    "CapabilityError",
    "Channel",
    "CircuitOpen",
    "ConfigurationError",
    "ExitStatus",
    "Health",
    "Lease",
    "MockAdapter",
    "PoolClosed",
    "PoolError",
    "PoolOverloaded",
    "PoolTimeout",
    "ProtocolError",
    "RemoteError",
    "Reply",
    "Request",
    "Stats",
    "UnexpectedCall",
    "WorkerCrashed",
    "WorkerError",
    "WorkerInfo",
    "WorkerSpec",
    "WorkerStartError",
    "WorkerStats",
    "connect",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        home = next((module for module, names in _HOMES if name in names), "bridge.errors")
        return getattr(import_module(home), name)
    raise AttributeError(f"module 'bridge' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
