"""Call Python in another process: a warm, supervised pool whose adapter follows the scope of its caller.

    import bridge

    with bridge.connect("myapp.worker:Handler", size=4) as b:
        b.call("predict", {"text": "hi"}, timeout=5)

- To call: `connect` gives a `Bridge` (`call`, `submit`, `map`, `stream`, `session`, `lease`, `proxy`), and in
  `async with` an `AsyncBridge` with the same verbs.
- To wire: `BridgeContainer` for dependency-injector, `BridgeSettings` from the environment, `check` for a graph.
- To choose for a block, a test or a task: `with_adapter`, `with_settings`, `with_test_mode`; to take that along:
  `carry`, `ScopedThread`, `ScopedExecutor`.
- Adapters: `PythonPortAdapter`, `MockAdapter`, `BridgeMockAdapter`, `RecordingAdapter`, `ExecutorAdapter`.
- To catch: `BridgeError`, and what is derived from it.
- To watch: `Stats`, `Health`, `Event`, `Call`, and `metrics`.

`bridge.testing` is for tests, `python -m bridge --help` for the shell. What isn't listed in `__all__` is private, and
may move; docs/design/architecture.md says where things are.
"""

from __future__ import annotations

TYPE_CHECKING = False  # not that of typing, whose import takes ten times as long as all else here
if TYPE_CHECKING:
    from typing import Any

    from bridge import metrics
    from bridge.adapters.bridge_mock import BridgeMockAdapter
    from bridge.adapters.executor import ExecutorAdapter
    from bridge.adapters.mock import MockAdapter
    from bridge.adapters.python_port import PythonPortAdapter
    from bridge.adapters.recording import RecordingAdapter
    from bridge.aio import AsyncBridge, AsyncLease
    from bridge.async_sessions import AsyncSession
    from bridge.client import Bridge
    from bridge.container import BridgeContainer, check
    from bridge.contract import (
        Adapter,
        Capability,
        Channel,
        ExitStatus,
        Reply,
        Request,
        SessionEntry,
        WorkerInfo,
        WorkerSpec,
    )
    from bridge.core.events import Event
    from bridge.core.sessions import Affinity
    from bridge.core.stats import Health, HostStats, Latencies, Stats, WorkerStats
    from bridge.door import DEFAULT
    from bridge.drift import CassetteDrift
    from bridge.errors import (
        BridgeError,
        CallCancelled,
        CallError,
        CallTimeout,
        CapabilityError,
        CircuitOpen,
        ConfigurationError,
        PoisonCall,
        PoolClosed,
        PoolError,
        PoolOverloaded,
        PoolTimeout,
        ProtocolError,
        RemoteError,
        ScopeClosedError,
        ScopeError,
        SessionLost,
        UnexpectedCall,
        UnscopedAccessError,
        WorkerCrashed,
        WorkerError,
        WorkerStartError,
    )
    from bridge.executor import BridgeExecutor, BridgeFuture
    from bridge.leasing import Lease
    from bridge.opening import connect
    from bridge.overrides import with_adapter, with_settings, with_test_mode
    from bridge.runtime.async_streams import AsyncStream
    from bridge.runtime.streams import Stream
    from bridge.runtime.watching import Call
    from bridge.schema import BridgeSettings
    from bridge.scope import Scope, ScopedExecutor, ScopedThread, ScopeInfo, carry, current_scope
    from bridge.sessions import Session
    from bridge.settings import TestMode

_HOMES = (
    ("bridge.adapters.bridge_mock", ("BridgeMockAdapter",)),
    ("bridge.adapters.executor", ("ExecutorAdapter",)),
    ("bridge.adapters.mock", ("MockAdapter",)),
    ("bridge.adapters.python_port", ("PythonPortAdapter",)),
    ("bridge.adapters.recording", ("RecordingAdapter",)),
    ("bridge.aio", ("AsyncBridge", "AsyncLease")),
    ("bridge.async_sessions", ("AsyncSession",)),
    ("bridge.client", ("Bridge",)),
    ("bridge.door", ("DEFAULT",)),
    ("bridge.drift", ("CassetteDrift",)),
    ("bridge.leasing", ("Lease",)),
    ("bridge.runtime.async_streams", ("AsyncStream",)),
    ("bridge.runtime.streams", ("Stream",)),
    ("bridge.runtime.watching", ("Call",)),
    ("bridge.container", ("BridgeContainer", "check")),
    (
        "bridge.contract",
        (
            "Adapter",
            "Capability",
            "Channel",
            "ExitStatus",
            "Reply",
            "Request",
            "SessionEntry",
            "WorkerInfo",
            "WorkerSpec",
        ),
    ),
    ("bridge.core.events", ("Event",)),
    ("bridge.core.sessions", ("Affinity",)),
    ("bridge.core.stats", ("Health", "HostStats", "Latencies", "Stats", "WorkerStats")),
    ("bridge.executor", ("BridgeExecutor", "BridgeFuture")),
    ("bridge.opening", ("connect",)),
    ("bridge.overrides", ("with_adapter", "with_settings", "with_test_mode")),
    ("bridge.schema", ("BridgeSettings",)),
    ("bridge.scope", ("Scope", "ScopeInfo", "ScopedExecutor", "ScopedThread", "carry", "current_scope")),
    ("bridge.sessions", ("Session",)),
    ("bridge.settings", ("TestMode",)),
)
"""Where the names live that are loaded on first use; all others are errors."""

__all__ = [
    "DEFAULT",
    "Adapter",
    "Affinity",
    "AsyncBridge",
    "AsyncLease",
    "AsyncSession",
    "AsyncStream",
    "Bridge",
    "BridgeContainer",
    "BridgeError",
    "BridgeExecutor",
    "BridgeFuture",
    "BridgeMockAdapter",
    "BridgeSettings",
    "Call",
    "CallCancelled",
    "CallError",
    "CallTimeout",
    "Capability",
    "CapabilityError",
    "CassetteDrift",
    "Channel",
    "CircuitOpen",
    "ConfigurationError",
    "Event",
    "ExecutorAdapter",
    "ExitStatus",
    "Health",
    "HostStats",
    "Latencies",
    "Lease",
    "MockAdapter",
    "PoisonCall",
    "PoolClosed",
    "PoolError",
    "PoolOverloaded",
    "PoolTimeout",
    "ProtocolError",
    "PythonPortAdapter",
    "RecordingAdapter",
    "RemoteError",
    "Reply",
    "Request",
    "Scope",
    "ScopeClosedError",
    "ScopeError",
    "ScopeInfo",
    "ScopedExecutor",
    "ScopedThread",
    "Session",
    "SessionEntry",
    "SessionLost",
    "Stats",
    "Stream",
    "TestMode",
    "UnexpectedCall",
    "UnscopedAccessError",
    "WorkerCrashed",
    "WorkerError",
    "WorkerInfo",
    "WorkerSpec",
    "WorkerStartError",
    "WorkerStats",
    "carry",
    "check",
    "connect",
    "current_scope",
    "metrics",
    "with_adapter",
    "with_settings",
    "with_test_mode",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module  # not above: it imports `warnings`

    if name == "metrics":
        return import_module("bridge.metrics")
    if name in __all__:
        home = next((module for module, names in _HOMES if name in names), "bridge.errors")
        try:
            return getattr(import_module(home), name)
        except (ImportError, AttributeError) as error:
            import_module("bridge.platforms").explain(error)
            raise
    raise AttributeError(f"module 'bridge' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
