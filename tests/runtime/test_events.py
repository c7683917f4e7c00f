"""Events without processes: what is told in which order; a callback that raises, blocks, closes, or gets no thread."""

from __future__ import annotations

import contextlib
import gc
import logging
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator

import pytest

from bridge import Event
from bridge.errors import PoolOverloaded, WorkerStartError
from bridge.runtime import calls, courier
from bridge.runtime.announcer import Announcer
from bridge.runtime.claims import Claim
from bridge.runtime.supervisor import SupervisorPolicy
from bridge.testing import FakeClock, Gate, ScriptedAdapter
from tests.runtime.conftest import MakeRuntime

BROKEN = WorkerStartError("handler", "ImportError: no", handler="scripted:Handler")
PATIENCE = 10.0
"""Seconds after which a test that hangs fails."""


class Heard:
    """A callback that keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.closed = threading.Event()

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if event.name == "bridge.closed":
            self.closed.set()

    def names(self) -> list[str]:
        """Of all events, once the last one is there."""
        assert self.closed.wait(PATIENCE), f"the last event isn't there, only {self.events}"
        return [event.name for event in self.events]


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A place where a callback blocks; open after the test, so that its thread ends."""
    found = Gate(timeout=3 * PATIENCE)
    yield found
    found.open()


def couriers() -> list[threading.Thread]:
    """The threads of callbacks."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("bridge-events-")]


def test_a_life_is_told_from_the_opening_to_the_end(make_runtime: MakeRuntime) -> None:
    """In its order, with who and why; a call is no event."""
    heard = Heard()
    runtime = make_runtime(ScriptedAdapter([("go", 1)]), on_event=heard)
    runtime.start()
    calls.call(runtime, "go", None, 5)
    runtime.close()

    assert heard.names() == [
        "bridge.open",
        "worker.starting",
        "worker.ready",
        "bridge.closing",
        "worker.retiring",
        "worker.stopped",
        "bridge.closed",
    ]
    ready, retiring = heard.events[2], heard.events[4]
    assert (ready.bridge, ready.adapter, ready.generation, ready.before, ready.after) == (
        *("scripted", "scripted", 1, "starting", "ready"),
    )
    assert (retiring.before, retiring.reason, retiring.detail) == ("ready", "closing", "the pool is closing")
    assert [event.at for event in heard.events] == sorted(event.at for event in heard.events)
    assert runtime.stats().events_dropped == 0


def test_failed_starts_and_the_breaker_are_told(make_runtime: MakeRuntime) -> None:
    """Each failure with its reason, then what follows from it."""
    heard, clock = Heard(), FakeClock()
    adapter = ScriptedAdapter(BROKEN, [("go", 1)])
    runtime = make_runtime(adapter, supervisor=SupervisorPolicy(max_restarts=0), clock=clock, on_event=heard)
    runtime.start()
    clock.advance(1)
    runtime.supervisor.notice()
    runtime.close()

    assert heard.names()[1:9] == [
        *("worker.starting", "worker.stopped", "worker.failed", "breaker.open"),
        *("breaker.half-open", "worker.starting", "worker.ready", "breaker.closed"),
    ]
    failed = heard.events[3]
    assert (failed.reason, failed.detail) == ("handler", "ImportError: no")


def test_callers_that_are_refused_are_told_together(make_runtime: MakeRuntime) -> None:
    """Once a second at the most, however many they are, and the rest at the end. Fails when `look` tells each, or when
    `end` forgets those since the last look."""
    heard, clock = Heard(), FakeClock()
    runtime = make_runtime(ScriptedAdapter([]), max_waiting=0, clock=clock, on_event=heard)
    runtime.start()
    holder = Claim()
    runtime.pool.checkout(holder, float("inf"))
    for refused in (3, 1, 1):
        for _ in range(refused):
            with pytest.raises(PoolOverloaded):
                calls.call(runtime, "go", None, 5)
        runtime.supervisor.notice()
    runtime.pool.checkin(holder)
    runtime.close()
    heard.names()

    told = [(event.reason, event.count) for event in heard.events if event.name == "pool.overloaded"]
    assert told == [("max_waiting", 3), ("max_waiting", 2)]


def test_a_callback_that_raises_is_told_of_the_next_event_too(
    make_runtime: MakeRuntime, caplog: pytest.LogCaptureFixture
) -> None:
    """And its error is logged, once for each kind. Fails when `_run` doesn't catch, or `_complain` forgets what it has
    said."""
    heard = Heard()
    kinds: list[type[BaseException]] = [ValueError, SystemExit]

    def broken(event: Event) -> None:
        heard(event)
        raise kinds[len(heard.events) % 2]("no")

    with caplog.at_level(logging.ERROR, "bridge"):
        runtime = make_runtime(ScriptedAdapter([]), on_event=broken)
        runtime.start()
        runtime.close()

    assert len(heard.names()) == 7
    complaints = [record.getMessage() for record in caplog.records if record.name == "bridge.events"]
    assert len(complaints) == len(kinds)
    assert complaints[0] == "on_event of scripted raised at bridge.open; it goes on"


def test_a_callback_that_blocks_blocks_nobody(
    make_runtime: MakeRuntime, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls go on, the end is bounded, what doesn't fit is counted, the oldest is kept; and once it goes on, it hears
    of the end. Fails when `post` calls it, when the queue has no bound, when `await_end` waits without one, or when the
    last event has no place of its own."""
    monkeypatch.setattr(courier, "MOST_WAITING", 3)
    monkeypatch.setattr(courier, "LAST_WORDS", 0.01)
    heard = Heard()

    def blocked(event: Event) -> None:
        gate.wait()
        heard(event)

    runtime = make_runtime(ScriptedAdapter([("go", 1)]), size=4, on_event=blocked)
    runtime.start()
    gate.await_arrivals()
    assert calls.call(runtime, "go", None, 5) == 1
    runtime.close()
    dropped = runtime.stats().events_dropped

    assert heard.events == []
    gate.open()
    assert heard.names()[0] == "bridge.open"
    assert heard.names()[-1] == "bridge.closed"
    assert len(heard.names()) + dropped == 3 + 4 * 4  # each of 4 workers: starting, ready, retiring, stopped
    assert dropped >= 4 * 4 - 4


def test_closing_waits_for_a_callback_that_keeps_up(
    make_runtime: MakeRuntime, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What still waits is delivered when `close` returns. Fails when `await_closed` doesn't wait for the delivery: the
    gate opens in nothing but this wait."""
    heard, wait = Heard(), courier.Courier.await_end

    def blocked(event: Event) -> None:
        gate.wait()
        heard(event)

    def open_and_wait(self: courier.Courier, seconds: float) -> None:
        gate.open()
        wait(self, PATIENCE)

    monkeypatch.setattr(courier.Courier, "await_end", open_and_wait)
    runtime = make_runtime(ScriptedAdapter([]), on_event=blocked)
    runtime.start()
    runtime.close()

    assert len(heard.events) == 7


def test_a_callback_can_close_its_own_bridge(make_runtime: MakeRuntime) -> None:
    """It doesn't wait for itself. Fails when `await_end` joins the thread that calls it."""
    heard = Heard()
    faults: list[BaseException] = []

    def closing(event: Event) -> None:
        heard(event)
        if event.name == "worker.ready":
            try:
                runtime.close()
            except BaseException as fault:
                faults.append(fault)

    runtime = make_runtime(ScriptedAdapter([]), on_event=closing)
    runtime.start()

    assert heard.names()[-1] == "bridge.closed"
    assert faults == []


def test_nobody_who_listens_no_thread(make_runtime: MakeRuntime) -> None:
    """The queue and its thread are there for a callback only, from the start to the end of its bridge."""
    silent = make_runtime(ScriptedAdapter([]))
    silent.start()
    assert couriers() == []
    heard = Heard()
    runtime = make_runtime(ScriptedAdapter([]), on_event=heard)
    assert couriers() == []
    runtime.start()
    (thread,) = couriers()
    runtime.close()
    heard.names()
    thread.join(PATIENCE)

    assert not thread.is_alive()
    assert thread.daemon


def test_the_thread_of_a_bridge_that_was_dropped_ends(make_runtime: MakeRuntime) -> None:
    """Also where nobody is left to see the bridge to its end. Fails when a dropped announcer leaves its courier waiting
    for a last event."""
    heard = Heard()
    pool = make_runtime(ScriptedAdapter([])).pool
    announcer = Announcer("dropped", "mock", deque([Event("bridge.open")]), pool, heard, clock=FakeClock())
    announcer.begin()
    announcer.collect()
    (thread,) = couriers()
    del announcer
    gc.collect()
    thread.join(PATIENCE)

    assert not thread.is_alive()
    assert [event.name for event in heard.events] == ["bridge.open"]


def test_a_system_without_a_thread_to_give_costs_the_events_alone(
    make_runtime: MakeRuntime, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The bridge opens, and counts what it couldn't tell. Fails when `begin` lets the error out."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR, "bridge"):
        patch.setattr(threading.Thread, "start", refuse)
        runtime = make_runtime(ScriptedAdapter([("go", 1)]), on_event=Heard())
        runtime.start()
    assert calls.call(runtime, "go", None, 5) == 1
    runtime.close()

    assert runtime.stats().events_dropped == 7
    assert [record.name for record in caplog.records if record.levelno >= logging.ERROR] == ["bridge.events"]


def test_a_start_that_was_repeated_tells_in_one_thread() -> None:
    """A signal may cut a start short, and the next one can't know whether the thread is there. Fails when `_run`
    doesn't look whether it is the first: two threads take turns, and the order is lost."""
    heard = Heard()
    found = courier.Courier(heard, "twice")
    found.begin()
    again = threading.Thread(target=found._run)
    again.start()
    again.join(PATIENCE)
    in_vain = not again.is_alive()
    for _ in range(2):  # one of them would be for the second thread
        found.post(Event("bridge.closed"), last=True)
    found.await_end(PATIENCE)

    assert in_vain
    assert heard.names() == ["bridge.closed"]


def test_a_log_handler_that_exits_keeps_no_event_from_the_callback_nor_from_the_log(
    make_runtime: MakeRuntime, loud: Callable[[logging.Handler], None]
) -> None:
    """Each is told to the callback before it is logged, and the next one is logged all the same. Fails when `speak`
    doesn't go on after a handler that exits, or when `collect` is left to the log's end."""

    class Exits(logging.Handler):
        seen = 0

        def emit(self, record: logging.LogRecord) -> None:
            self.seen += 1
            raise SystemExit(record.getMessage())

    handler, heard = Exits(), Heard()
    loud(handler)
    runtime = make_runtime(ScriptedAdapter([]), on_event=heard)
    with pytest.raises(SystemExit):
        runtime.start()  # no thread of ours: the step, and what the handler does, is the caller's
    with pytest.raises(SystemExit):
        runtime.close()
    runtime.close()

    assert len(heard.names()) == 7
    assert handler.seen == 7


def test_a_log_handler_that_exits_leaves_no_cycle(
    make_runtime: MakeRuntime, loud: Callable[[logging.Handler], None]
) -> None:
    """The error goes with whoever caught it, and with it all that its frames hold: at a garbage collection the
    runtime's weak references would be called back anywhere. Fails when `speak` keeps what it raises in a variable."""

    class Leaves(BaseException):
        def __init__(self) -> None:
            refs.append(weakref.ref(self))

    class Exits(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise Leaves

    refs: list[weakref.ref[Leaves]] = []
    loud(Exits())
    runtime = make_runtime(ScriptedAdapter([]))
    gc.disable()
    try:
        with contextlib.suppress(Leaves):
            runtime.start()

        assert [ref() for ref in refs] == [None] * len(refs) != []
    finally:
        gc.enable()
        logging.getLogger("bridge.supervisor").handlers.clear()


@pytest.fixture
def loud() -> Iterator[Callable[[logging.Handler], None]]:
    """Adds a handler that hears all that the runtime says, for one test."""
    log = logging.getLogger("bridge.supervisor")
    before = log.level, [*log.handlers]

    def add(handler: logging.Handler) -> None:
        log.addHandler(handler)
        log.setLevel(logging.DEBUG)

    yield add
    log.setLevel(before[0])
    log.handlers = before[1]


def test_a_record_has_the_fields_of_its_event(make_runtime: MakeRuntime, caplog: pytest.LogCaptureFixture) -> None:
    """Each event is one record, with words for people and attributes for machines."""
    heard = Heard()
    with caplog.at_level(logging.DEBUG, "bridge.supervisor"):
        runtime = make_runtime(ScriptedAdapter([]), on_event=heard)
        runtime.start()
        runtime.close()
    names = [getattr(record, "bridge_event", None) for record in caplog.records]
    ready = caplog.records[2]

    assert names == heard.names()
    assert ready.getMessage() == "worker #1 of scripted is ready"
    assert vars(ready).items() >= {
        ("bridge_event", "worker.ready"),
        ("bridge_name", "scripted"),
        ("bridge_generation", 1),
        ("bridge_before", "starting"),
        ("bridge_after", "ready"),
        ("bridge_reason", None),
    }
