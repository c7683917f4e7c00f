"""Bridge and Lease as their user sees them, on scripted workers."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import bridge
from bridge.testing import CRASH, HANG, Gate, ScriptedAdapter


def test_with_starts_warms_and_closes() -> None:
    """Inside the block the workers are ready; after it they are gone, and a call is refused."""
    adapter = ScriptedAdapter([("a", 1)])

    with bridge.connect("x", adapter=adapter, size=2) as b:
        assert b.health().ready == 2
        assert b.call("a") == 1
    with pytest.raises(bridge.PoolClosed):
        b.call("a")
    assert all(channel.killed for channel in adapter.channels)


def test_the_first_call_starts_what_with_did_not() -> None:
    """A bridge is usable at once; nothing is started before that."""
    adapter = ScriptedAdapter([("a", 1)])
    b = bridge.connect("x", adapter=adapter, size=1)

    assert adapter.opened == 0
    assert b.call("a") == 1
    b.close()


def test_a_bridge_dropped_unclosed_warns_and_closes() -> None:
    """ResourceWarning, and its workers go."""
    adapter = ScriptedAdapter([("a", 1)])
    b = bridge.connect("x", adapter=adapter, size=1)
    b.call("a")

    bridges = [b]
    del b
    with pytest.warns(ResourceWarning, match="dropped without close"):
        bridges.clear()
    assert adapter.channels[0].killed


def test_a_bridge_that_was_used_by_tasks_is_closed_at_once_too() -> None:
    """There is one AsyncBridge for each, and they make no circle: dropped unclosed, it doesn't wait for the collector.
    Fails when one is made each time, or holds the bridge that holds it; and the other way round, when its owner may
    be gone."""
    adapter = ScriptedAdapter([("a", 1), ("a", 2)])
    b = bridge.connect("x", adapter=adapter, size=1)
    ab = b.aio
    assert ab is b.aio
    assert asyncio.run(ab.call("a")) == 1
    del b
    assert asyncio.run(ab.call("a")) == 2
    gc.disable()
    try:
        kept = [ab]
        del ab
        with pytest.warns(ResourceWarning, match="dropped without close"):
            kept.clear()
    finally:
        gc.enable()
    assert adapter.channels[0].killed


def test_what_a_closed_bridge_leaves_is_freed_with_it() -> None:
    """At once, and not by the collector in the middle of something else, where a Ctrl-C in its finaliser would be
    swallowed. Fails when what refuses its calls is a method of what it holds."""
    b = bridge.connect("x", adapter=ScriptedAdapter([("a", 1)]), size=1)
    b.call("a")
    b.close()
    source = weakref.ref(b._source)
    gc.disable()
    try:
        del b
        assert source() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("timeout", ["5", -1, float("nan"), True])
def test_a_timeout_that_is_none_is_refused(timeout: object) -> None:
    """Text, negative numbers, nan and booleans: a ConfigurationError before anything happens."""
    b = bridge.connect("x", adapter=ScriptedAdapter([]), size=1)

    with pytest.raises(bridge.ConfigurationError, match="a timeout is seconds"):
        b.call("a", timeout=timeout)  # type: ignore[call-overload]
    b.close()


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({"sise": 2}, TypeError, "did you mean 'size'"),
        ({"adapter": "pythn_port"}, bridge.ConfigurationError, "did you mean 'python_port'"),
        (
            {"adapter": "python_port", "adapter_options": {"a": 1}},
            bridge.ConfigurationError,
            "'python_port' has no option 'a'",
        ),
        ({"adapter": "recording"}, bridge.ConfigurationError, "'recording' needs the option 'cassette'"),
        ({"size": 0}, bridge.ConfigurationError, r"pool\.size"),
        ({"handler": "statistics"}, bridge.ConfigurationError, r"worker\.handler is given twice"),
        ({"worker": {"handler": "statistics"}}, bridge.ConfigurationError, r"worker\.handler is given twice"),
        ({"adapter": "python_port", "spec": 5}, bridge.ConfigurationError, "spec is a bridge.WorkerSpec, not 5"),
        ({"python": ""}, bridge.ConfigurationError, r"worker\.python is empty"),
        ({"python": "/bin/p\0"}, bridge.ConfigurationError, r"worker\.python has a NUL"),
        ({"cwd": "a\0b"}, bridge.ConfigurationError, r"worker\.cwd has a NUL"),
        ({"path": ["a\0b"]}, bridge.ConfigurationError, r"worker\.path\.0 has a NUL"),
        ({"env": {"A=B": "x"}}, bridge.ConfigurationError, "'A=B' can't be the name of a variable"),
        ({"env": {"": "x"}}, bridge.ConfigurationError, "'' can't be the name of a variable"),
        ({"env": {"A": "x\0"}}, bridge.ConfigurationError, r"worker\.env\.A has a NUL"),
        ({"env": {"A": "\ud800"}}, bridge.ConfigurationError, r"worker\.env\.A has a character"),
        ({"adapter": "python_port", "size": 3000, "max_overflow": 4000}, bridge.ConfigurationError, "RLIMIT_NOFILE"),
    ],
)
def test_a_wrong_keyword_of_connect_is_told_the_cure(
    keywords: dict[str, object], error: type[Exception], message: str
) -> None:
    """Misspelt settings and adapters, values out of range, more workers than descriptors: nothing is started."""
    with pytest.raises(error, match=message):
        bridge.connect("math", **keywords)  # type: ignore[arg-type]


@pytest.mark.parametrize("handler", ["", None, 3, "no/such/file.py:Handler", "some/dir"])
def test_a_handler_that_cannot_be_named_so_is_refused_at_once(handler: object) -> None:
    """Before a process is started."""
    with pytest.raises(bridge.ConfigurationError, match="handler"):
        bridge.connect(handler)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("python", "expected"),
    [
        ("./bin/python", "{here}/bin/python"),
        ("bin/../python", "{here}/python"),
        ("venv:.venv", "{here}/.venv/bin/python"),
        ("/usr/bin/python3", "/usr/bin/python3"),
        ("python3", "python3"),
    ],
)
def test_a_relative_interpreter_is_that_of_the_directory_it_was_named_in(
    python: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither `cwd=` nor a later chdir changes which one it is; a bare name is looked up on PATH. Fails when
    `_interpreter` leaves it as it is."""
    monkeypatch.chdir(tmp_path)
    b = bridge.connect("math", python=python, cwd="/")

    assert b._source.peek().spec.python == expected.format(here=tmp_path)


def test_an_instance_takes_no_options_of_its_own() -> None:
    """What is no setting can't go to an adapter that exists already."""
    with pytest.raises(TypeError, match="'spam' is no setting"):
        bridge.connect("x", adapter=ScriptedAdapter([]), spam=1)


# -- map ---------------------------------------------------------------------------------------------------


def test_map_yields_in_the_order_of_the_items() -> None:
    """Whatever the order of the answers."""
    steps = [("double", lambda args: args["n"] * 2) for _ in range(20)]
    with bridge.connect("x", adapter=ScriptedAdapter(steps, steps), size=2) as b:
        assert list(b.map("double", ({"n": n} for n in range(20)))) == [n * 2 for n in range(20)]


def test_map_with_arg_takes_plain_values() -> None:
    """`arg` names the one parameter that the items are values of."""
    steps = [("double", lambda args: args["n"] * 2) for _ in range(4)]
    with bridge.connect("x", adapter=ScriptedAdapter(steps), size=1) as b:
        assert sorted(b.map("double", range(4), arg="n", ordered=False)) == [0, 2, 4, 6]


def test_map_is_lazy_and_bounded_in_flight() -> None:
    """Of an endless iterable, at most two items for each worker are taken ahead. Fails when the window is not kept."""
    taken = []

    def endless() -> Iterator[list[int]]:
        number = 0
        while True:
            taken.append(number)
            yield [number]
            number += 1

    steps = [("echo", lambda args: args[0]) for _ in range(50)]
    with bridge.connect("x", adapter=ScriptedAdapter(steps, steps), size=2) as b:
        results = b.map("echo", endless())
        assert taken == []
        assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
        results.close()
    assert len(taken) <= 5 + 2 * 2


def test_map_raises_at_the_item_that_failed_or_yields_its_error() -> None:
    """The results before it arrive; with return_exceptions the ones behind it do too."""
    steps = [("a", 0), ("a", CRASH)]
    with bridge.connect("x", adapter=ScriptedAdapter(steps, [("a", 2)]), size=1) as b:
        outcomes = list(b.map("a", [None] * 3, return_exceptions=True))
    assert (outcomes[0], type(outcomes[1]), outcomes[2]) == (0, bridge.WorkerCrashed, 2)

    with bridge.connect("x", adapter=ScriptedAdapter(steps, [("a", 2)]), size=1) as b:
        results = b.map("a", [None] * 3)
        assert next(results) == 0
        with pytest.raises(bridge.WorkerCrashed):
            next(results)


def test_leaving_a_map_early_cancels_what_runs() -> None:
    """Nobody waits for a call whose result nobody wants. Fails (hangs) when `dismiss` doesn't cancel."""
    adapter = ScriptedAdapter([("a", 1), ("a", HANG)], [("a", HANG), ("a", HANG)], [("b", 3)])
    with bridge.connect("x", adapter=adapter, size=1) as b:
        results = b.map("a", [None] * 9)
        assert next(results) == 1
        results.close()
        assert b.stats().busy == 0


def test_an_item_that_cannot_be_encoded_fails_alone() -> None:
    """Its error says where; the others are answered."""
    with bridge.connect("x", adapter=ScriptedAdapter([("a", 1), ("a", 2)]), size=1) as b:
        outcomes = list(b.map("a", [None, {"when": {1}}, None], return_exceptions=True))

    assert isinstance(outcomes[1], bridge.CallError)
    assert [outcomes[0], outcomes[2]] == [1, 2]


# -- lease -------------------------------------------------------------------------------------------------


def test_a_lease_keeps_one_worker_for_several_calls() -> None:
    """Both calls meet the same worker, and nobody else gets it meanwhile."""
    adapter = ScriptedAdapter([("load", None), ("use", 2)])
    with bridge.connect("x", adapter=adapter, size=1) as b:
        with b.lease() as worker:
            worker.call("load", {"path": "x"})
            with pytest.raises(bridge.PoolTimeout):
                b.call("use", timeout=0.01)
            assert worker.call("use") == 2
        assert b.stats().idle == 1


def test_a_lease_that_was_given_back_or_is_spent_says_so() -> None:
    """A call on it is a WorkerError that names the way out."""
    adapter = ScriptedAdapter([("a", HANG)], [])
    with bridge.connect("x", adapter=adapter, size=1) as b:
        worker = b.lease()
        with pytest.raises(bridge.CallTimeout):
            worker.call("a", timeout=0.01)
        with pytest.raises(bridge.WorkerError, match="was lost by an earlier call"):
            worker.call("a")
        worker.close()
        with pytest.raises(bridge.WorkerError, match="was given back"):
            worker.call("a")
        assert b.stats().idle == 1


def test_a_lease_that_is_cancelled_ends_its_call() -> None:
    """From another thread: CallCancelled there, and the worker is replaced."""
    gate = Gate()
    adapter = ScriptedAdapter([("a", gate)], [("b", 2)])
    with bridge.connect("x", adapter=adapter, size=1) as b:
        with b.lease() as worker:

            def cancel() -> None:
                gate.await_arrivals()
                worker.cancel()

            canceller = threading.Thread(target=cancel)
            canceller.start()
            with pytest.raises(bridge.CallCancelled):
                worker.call("a")
            canceller.join(5)
            with pytest.raises(bridge.WorkerError, match="was lost"):
                worker.call("a")
        assert b.call("b") == 2


def test_repr_shows_the_whole_state() -> None:
    """Name, adapter, state, workers, queue: in one line."""
    with bridge.connect("x", adapter=ScriptedAdapter([]), size=2) as b:
        assert repr(b) == "<Bridge x on scripted: open, 2 of 2 workers, 0 busy, 0 waiting>"


# -- what a bridge outlives --------------------------------------------------------------------------------


def test_a_map_and_a_lease_keep_their_bridge() -> None:
    """A bridge that nobody else holds is open until they are through. Fails when they hold its runtime alone."""
    steps = [("a", 1), ("a", 2)]

    with pytest.warns(ResourceWarning):
        results = list(bridge.connect("x", adapter=ScriptedAdapter(steps), size=1).map("a", [None] * 2))
    assert results == [1, 2]
    leases = [bridge.connect("x", adapter=ScriptedAdapter(steps), size=1).lease()]
    assert leases[0].call("a") == 1
    leases[0].close()
    with pytest.warns(ResourceWarning):
        leases.clear()


def test_a_closed_bridge_is_told_by_its_lease() -> None:
    """Not a crash: PoolClosed. Fails when a lease doesn't look at the state."""
    with bridge.connect("x", adapter=ScriptedAdapter([("a", 1)]), size=1) as b:
        lease = b.lease()
        b.close(0)
        with pytest.raises(bridge.PoolClosed):
            lease.call("a")
        lease.close()


@pytest.mark.parametrize("seconds", [1e12, float("inf"), 10**400])
def test_a_time_beyond_every_clock_is_no_limit(seconds: float) -> None:
    """Never an OverflowError. Fails when a wait isn't clamped to what the standard library takes."""
    b = bridge.connect("x", adapter=ScriptedAdapter([("a", 1)]), size=1)
    assert b.call("a", timeout=seconds) == 1
    b.close(seconds)
    assert b.health().state == "closed"


# -- Overload ----------------------------------------------------------------------------------------------


def test_a_caller_that_waits_while_the_queue_stands_is_shed() -> None:
    """A queue that is never empty only delays: who has waited for longer than the target is told at once, and nothing
    was sent. Fails when `_wait` doesn't ask."""
    adapter = ScriptedAdapter([("a", 1)])
    with (
        bridge.connect("x", adapter=adapter, size=1, queue_target=0.01, queue_interval=0.02) as b,
        b.lease() as lease,
    ):
        with pytest.raises(bridge.PoolOverloaded, match="queue_target") as shed:
            b.call("a", timeout=30)
        assert shed.value.retryable
        assert b.stats().shed == 1
        assert lease.call("a") == 1


def test_a_cancelled_lease_ends_with_its_call_and_no_earlier() -> None:
    """Cancelling a lease that isn't calling spends it; its worker is clean, and is lent again when it is given back."""
    adapter = ScriptedAdapter([("a", 1), ("a", 2)])
    with bridge.connect("x", adapter=adapter, size=1) as b:
        with b.lease() as lease:
            assert lease.call("a") == 1
            lease.cancel()
            with pytest.raises(bridge.CallCancelled, match="before it was sent: its lease was") as caught:
                lease.call("a")
            assert caught.value.retryable
        assert b.call("a") == 2


def test_spare_workers_and_those_of_a_zygote_count_among_the_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bridge that could never be whole is refused. Fails when `spare` isn't counted, or each as a spawned one."""
    monkeypatch.setattr("resource.getrlimit", lambda _: (664, 664))
    settings: dict[str, Any] = {"adapter": "python_port", "size": 100}
    bridge.connect("math", **settings)
    more: dict[str, Any]
    for more in ({"spare": 1}, {"start_method": "zygote"}):
        with pytest.raises(bridge.ConfigurationError, match="RLIMIT_NOFILE"):
            bridge.connect("math", **settings, **more)
