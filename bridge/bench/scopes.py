"""`scope`: what it costs to find the caller's adapter, and a call that goes to no worker.

Rules: by the container's own provider, inside a scope. Apart from the calls, whose cost is that of a worker.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from functools import partial

import bridge
from bridge import BridgeContainer, MockAdapter, with_adapter
from bridge.bench.found import Effort, Found
from bridge.bench.subjects import HANDLER, PAYLOAD
from bridge.bench.timing import mean, p50


def scope(effort: Effort, found: Found) -> None:
    """The look-up, and the mock."""
    turns = effort.of(100_000, 200)
    variable: ContextVar[object] = ContextVar("variable")
    variable.set(None)
    container = BridgeContainer(settings={"adapter": "mock"})
    try:
        with with_adapter("mock"):
            subjects: dict[str, Callable[[], object]] = {
                "ContextVar.get()": variable.get,
                "container.adapter()": container.adapter,
            }
            for look in subjects.values():
                mean(look, turns // 4)
            found.rounds(effort, "ns", {name: partial(mean, look, turns) for name, look in subjects.items()})
    finally:
        container.shutdown_resources()
    calls = effort.of(2000, 20)
    with bridge.connect(HANDLER, adapter=MockAdapter({"echo": "answer"}), size=1) as b:
        call = partial(b.call, "echo", {"value": dict(PAYLOAD)})
        p50(call, calls)
        found.rounds(effort, "us", {"call on the mock": partial(p50, call, calls)})
