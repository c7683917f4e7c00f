"""Context variables that travel with calls, to every adapter that serves a handler."""

from __future__ import annotations

import asyncio
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest

import bridge
from tests.process.conftest import Connect

ADAPTERS: Final = ("mock", "bridge_mock", "python_port")
TENANTS: Final = """
from contextvars import ContextVar

TENANT = ContextVar("tenant", default="nobody")
OTHER = 3


class Desk:
    def whose(self, *, context):
        return [TENANT.get(), dict(context)]

    async def whose_later(self, *, context):
        return [TENANT.get(), dict(context)]

    def stream(self):
        for _ in range(2):
            yield TENANT.get()
"""


@pytest.fixture
def tenants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module with a variable and a handler."""
    (tmp_path / "tenants_here.py").write_text(TENANTS)
    monkeypatch.syspath_prepend(tmp_path)
    yield import_module("tenants_here")
    del sys.modules["tenants_here"]


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_variable_is_set_where_it_can_be_imported(connect: Connect, tenants: Any, adapter: str) -> None:
    """While the method runs, a coroutine and a generator too; one without a value doesn't travel, and nothing is left
    of a value for the next call. Fails when the method doesn't run in a context of its own."""
    path = "tenants_here.TENANT"
    b = connect("tenants_here:Desk", adapter=adapter, fake="tenants_here:Desk", propagate=[path])
    assert b.call("whose") == ["nobody", {}]
    token = tenants.TENANT.set("acme")
    for command in ("whose", "whose_later"):
        assert b.call(command) == ["acme", {path: "acme"}]
    assert list(b.stream("stream")) == ["acme", "acme"]
    assert asyncio.run(b.aio.call("whose")) == ["acme", {path: "acme"}]
    tenants.TENANT.reset(token)
    assert b.call("whose") == ["nobody", {}]


def test_what_travels_with_a_call_counts_for_its_size(connect: Connect, tenants: Any) -> None:
    """Together they have to fit into a frame. Fails when the arguments are measured alone, by threads or by tasks."""
    b = connect("tenants_here:Desk", propagate=["tenants_here.TENANT"], max_frame_bytes=2048)
    args = ["x" * 1500]
    token = tenants.TENANT.set("y" * 1000)
    for call in (b.call, lambda *args: asyncio.run(b.aio.call(*args))):
        with pytest.raises(bridge.CallError, match="over max_frame_bytes=") as refused:
            call("whose", args)
        assert refused.value.side == "caller"
    tenants.TENANT.reset(token)


def test_what_cannot_be_imported_there_is_in_the_context(connect: Connect, tmp_path: Path) -> None:
    """A handler of another place has the value by its path. Fails when the failed import leaves the worker."""
    handler = tmp_path / "elsewhere.py"
    handler.write_text("class Desk:\n    def see(self, *, context):\n        return dict(context)\n")
    module = sys.modules["only_here"] = ModuleType("only_here")
    exec("from contextvars import ContextVar\nV = ContextVar('v')\nV.set([1])", module.__dict__)
    try:
        b = connect(f"{handler}:Desk", propagate=["only_here.V"])
        assert [b.call("see") for _ in range(2)] == [{"only_here.V": [1]}] * 2
        module.V.set({1})
        with pytest.raises(bridge.CallError, match=r"only_here\.V"):
            b.call("see")
    finally:
        del sys.modules["only_here"]


@pytest.mark.parametrize(
    ("name", "message"),
    [("no_such_module.X", "can't be found"), ("tenants_here.OTHER", "no ContextVar"), ("TENANT", "can't be found")],
)
def test_a_name_that_is_no_variable_is_an_error(connect: Connect, tenants: Any, name: str, message: str) -> None:
    """At the first call, with the name."""
    del tenants
    b = connect("tenants_here:Desk", propagate=[name])
    with pytest.raises(bridge.ConfigurationError, match=message):
        b.call("whose")


def test_the_span_travels_where_opentelemetry_is_loaded(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """As its own propagators write it; without it nothing does. Fails when it is looked for by importing it."""
    b = connect(f"{Path(__file__).parent / 'seeing_handlers.py'}:Seeing", propagate=["traceparent"])
    assert b.call("see") == {}
    package, propagate = ModuleType("opentelemetry"), ModuleType("opentelemetry.propagate")
    propagate.inject = lambda carrier: carrier.update(traceparent="00-1-2-01")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "opentelemetry", package)
    monkeypatch.setitem(sys.modules, "opentelemetry.propagate", propagate)
    assert b.call("see") == {"traceparent": "00-1-2-01"}
