"""Spans of calls, made by OpenTelemetry's own SDK in an `on_call`, as the guide shows it; and what the worker sees."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, format_span_id, format_trace_id

import bridge


class Desk:
    """A handler that says in which span it is called."""

    def traced(self, n: int = 0, *, context: Any = None) -> Any:
        """The header that came along."""
        return context["traceparent"]

    def fail(self) -> None:
        """An error of its own."""
        raise ValueError("no")


EXPORTER = InMemorySpanExporter()
PROVIDER = TracerProvider()
PROVIDER.add_span_processor(SimpleSpanProcessor(EXPORTER))
TRACER = PROVIDER.get_tracer("tests")


@contextmanager
def traced(call: bridge.Call) -> Iterator[None]:
    """The guide's."""
    with TRACER.start_as_current_span(f"{call.bridge} {call.command}", kind=SpanKind.CLIENT) as span:
        try:
            yield
        finally:
            span.set_attributes({"bridge.sent": call.sent, "bridge.waited": call.waited})
            if call.pid is not None:
                span.set_attribute("bridge.pid", call.pid)


@pytest.fixture
def b() -> Iterator[bridge.Bridge]:
    """A bridge whose calls are spans, and nothing of another test's."""
    EXPORTER.clear()
    adapter = bridge.BridgeMockAdapter(Desk)
    with bridge.connect("x", adapter=adapter, size=1, name="desk", on_call=traced, propagate=["traceparent"]) as opened:
        yield opened


async def task_calls(b: bridge.Bridge) -> Any:
    """A task's call."""
    return await b.aio.call("traced")


@pytest.mark.parametrize(
    "call",
    [
        lambda b: b.call("traced"),
        lambda b: list(b.map("traced", [1], arg="n"))[-1],
        lambda b: asyncio.run(task_calls(b)),
    ],
)
def test_a_call_is_a_span_and_the_workers_parent(b: bridge.Bridge, call: Any) -> None:
    """Below the caller's own, with its id in what travels. Fails when the header is of the span around it."""
    with TRACER.start_as_current_span("request") as request:
        heard = call(b)
    span, outer = EXPORTER.get_finished_spans()

    assert (span.name, outer.name) == ("desk traced", "request")
    assert span.parent is not None
    assert span.parent.span_id == request.get_span_context().span_id
    assert span.attributes is not None
    assert span.attributes["bridge.sent"] == 1
    context = span.get_span_context()
    assert heard.startswith(f"00-{format_trace_id(context.trace_id)}-{format_span_id(context.span_id)}-")


def test_an_error_is_the_spans(b: bridge.Bridge) -> None:
    """Recorded by OpenTelemetry, since it leaves the block. Fails when the manager isn't told."""
    with pytest.raises(bridge.RemoteError):
        b.call("fail")
    (span,) = EXPORTER.get_finished_spans()

    assert span.status.status_code is StatusCode.ERROR
    assert [event.name for event in span.events] == ["exception"]
