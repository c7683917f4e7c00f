"""What is public, and what importing it costs.

The list stands here a second time on purpose: who changes the API changes this file, and the change is seen.
"""

from __future__ import annotations

import ast
import pydoc
import re
import subprocess
import sys
from typing import Final

import pytest

import bridge
from tests.house.sources import OURS

PUBLIC: Final = [
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


def by_kind(name: str) -> tuple[int, str]:
    """The order of sorted names: constants, classes, functions."""
    return 0 if name.isupper() else 1 if name[0].isupper() else 2, name


def test_the_public_names_are_these() -> None:
    """Adding or removing a public name is a change of this list."""
    assert bridge.__all__ == PUBLIC
    assert sorted(PUBLIC, key=by_kind) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_resolves(name: str) -> None:
    """What is promised is there, and star imports don't fail on it."""
    assert getattr(bridge, name) is not None


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    """Misspelling a name says so, in the usual words."""
    with pytest.raises(AttributeError, match="module 'bridge' has no attribute 'conect'"):
        bridge.conect  # noqa: B018


def test_type_checkers_see_the_same_names() -> None:
    """What is loaded lazily is imported under TYPE_CHECKING, name for name."""
    init = next(source for source in OURS if source.name == "bridge")
    seen = [
        alias.asname or alias.name
        for block in init.tree.body
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module != "typing"
        for alias in node.names
    ]

    assert sorted(seen) == sorted(PUBLIC)


def test_dir_lists_the_public_names() -> None:
    """An interactive user is offered every public name, also those that weren't loaded yet."""
    assert set(PUBLIC) <= set(dir(bridge))


def test_importing_bridge_imports_nothing_expensive() -> None:
    """`import bridge` costs a program that never opens one next to nothing. Fails when a name of it is loaded before it
    is asked for, or when it imports `typing`, which takes longer than half the start of an interpreter."""
    code = "import sys; before = set(sys.modules); import bridge; print(*(set(sys.modules) - before))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert set(loaded) - {"__future__"} == {"bridge"}


def test_help_begins_with_what_a_reader_looks_for() -> None:
    """What `help(bridge)` prints: every public name, and first of all where to begin, by names that are there. Fails
    when the docstring names what is gone, or when `__dir__` leaves out what is loaded late."""
    shown = pydoc.plain(pydoc.render_doc(bridge))
    named = set(re.findall(r"`([A-Za-z_]+)`", bridge.__doc__ or "")) - {"__all__"}

    assert named - set(bridge.__all__) == {"call", "submit", "map", "stream", "session", "lease", "proxy"}
    assert all(callable(getattr(bridge.Bridge, verb)) for verb in named - set(bridge.__all__))
    assert shown.index("`connect` gives a `Bridge`") < shown.index("PACKAGE CONTENTS")
    assert [name for name in bridge.__all__ if not re.search(rf"\b{name}\b", shown)] == []
