"""What the adapter over an engine does beyond the suite that all adapters pass."""

from __future__ import annotations

import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import bridge
from bridge.adapters.executor import ExecutorAdapter
from tests.contract import engines
from tests.contract.engines import HANDLER, Counted, all_at_once, opened

# -- Whose it is -------------------------------------------------------------------------------------------


def test_an_executor_that_is_handed_in_stays_its_owners(threads: Counted) -> None:
    """It runs on after the bridge is closed. Fails when closing shuts it down."""
    with opened(threads) as b:
        assert b.call("keep") == 1
    assert threads.submit(int, "7").result() == 7


def test_what_is_made_is_ended(tmp_path: Path) -> None:
    """A context manager is left, an executor shut down. Fails when its threads outlive the bridge, which every test of
    this suite looks for, or when the context manager isn't left."""
    diary = str(tmp_path / "diary")
    for make, arguments in [(ThreadPoolExecutor, {"max_workers": 1}), (engines.inside, {"diary": diary})]:
        with bridge.connect(HANDLER, adapter="executor", executor=make, arguments=arguments) as b:
            assert b.call("keep") == 1
            assert not Path(diary).exists()
    assert Path(diary).read_text() == "left"


def test_settings_alone_choose_it(monkeypatch: pytest.MonkeyPatch, threads: Counted) -> None:
    """Texts in the environment name what makes an executor, or one. Fails when the text isn't imported, or when the
    one that it names is ended as if it had been made."""
    monkeypatch.setattr(engines, "HELD", threads, raising=False)
    monkeypatch.delenv("TEST_MODE", raising=False)
    monkeypatch.setenv("BRIDGE_ADAPTER", "executor")
    for options in (
        '{"executor": "concurrent.futures:ThreadPoolExecutor", "arguments": {"max_workers": 1}}',
        '{"executor": "tests.contract.engines:HELD"}',
    ):
        monkeypatch.setenv("BRIDGE_ADAPTER_OPTIONS", options)
        with bridge.connect(HANDLER) as b:
            assert (b.call("keep"), b.stats().adapter) == (1, "executor")
    assert threads.submit(int, "7").result() == 7


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "no executor is named"),
        ({"executor": 3}, "executor=3 is none"),
        ({"executor": "futures"}, "name it as 'package.module:name'"),
        ({"executor": "no_such_module:make"}, "can't be imported: No module named 'no_such_module'"),
        ({"executor": "tests.contract.engines:missing"}, "has no attribute 'missing'"),
        ({"executor": ThreadPoolExecutor(1), "arguments": {"max_workers": 1}}, "this is one"),
        (
            {"executor": ThreadPoolExecutor, "handler": type("Local", (), {"__qualname__": "f.<locals>.L"})},
            "by its name",
        ),
    ],
)
def test_what_can_be_no_executor_is_refused_at_once(options: dict[str, Any], words: str) -> None:
    """A ConfigurationError with the cure, before anything starts. Fails when it is found out at the first call."""
    with pytest.raises(bridge.ConfigurationError, match=words):
        ExecutorAdapter(**options)


def test_a_handler_may_be_a_class_or_a_module() -> None:
    """It goes by its name, in place of the settings' own."""
    for handler in (engines.Worker, HANDLER):
        adapter = ExecutorAdapter(ThreadPoolExecutor, handler=handler)
        b = bridge.connect("no.such:Handler", adapter=adapter)
        with b:
            assert b.call("keep") == 1
        adapter.close()
    assert ExecutorAdapter(ThreadPoolExecutor, handler=engines)._handler == "tests.contract.engines"


# -- What it can't do --------------------------------------------------------------------------------------


def test_what_is_missing_is_refused_with_the_alternative(threads: Counted) -> None:
    """A CapabilityError names an adapter that can. Fails when one is left without a way out."""
    with opened(threads) as b:
        for call in (
            lambda: b.call("keep", session="a"),
            lambda: b.stream("keep"),
            lambda: b.call("keep", on_progress=print),
            lambda: next(iter(b._source.runtime().supervisor.workers.values())).channel.cancel(1),
            lambda: opened(threads, codec="pickle").call("keep"),
        ):
            with pytest.raises(bridge.CapabilityError, match=r"python_port|bridge_mock"):
                call()
        b.expose("double", lambda value: value * 2)
        kind, message = b.call("ask")
        assert kind == "bridge.CapabilityError"
        assert "on python_port and bridge_mock it can" in message


# -- Handlers ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("server")
def test_a_handler_is_made_once_in_each_process(tmp_path: Path) -> None:
    """And ended with the bridge or with that process. Fails when each call or each place makes one."""
    diary = tmp_path / "diary"
    adapter = ExecutorAdapter(engines.processes, arguments={"workers": 2})
    with bridge.connect(HANDLER, adapter=adapter, size=4, options={"diary": str(diary)}) as b:
        pids = {pid for pid, _ in all_at_once(b, tmp_path)}
        assert pids >= set(b.map("pid", [0.0] * 20, arg="seconds"))
    adapter.close()
    lines = Counter(diary.read_text().splitlines())

    assert len(pids) == 2
    assert lines == Counter(f"{hook} {pid}" for hook in ("on_start", "on_close") for pid in pids)


def test_a_handler_serves_one_call_at_a_time(threads: Counted, tmp_path: Path) -> None:
    """In threads two calls at once have two, which the next ones find again. Fails when they share one, or when each
    call has its own."""
    with opened(threads, 2) as b:
        both = {handler for _, handler in all_at_once(b, tmp_path)}
        assert len(both) == 2
        assert {b.call("who") for _ in range(10)} <= both


def test_each_handler_is_reset_once_a_lease_has_ended(threads: Counted, caplog: pytest.LogCaptureFixture) -> None:
    """Before its next call, whichever that is; plain calls reset none; one that can't be reset is made anew. Fails when
    a lease's traces are found."""
    for name in ("", "unresettable"):
        with opened(threads, 2, options={"name": name}) as b:
            assert [b.call("keep"), b.call("keep")] == [1, 2]
            with b.lease() as lease:
                assert lease.call("keep") == 3
            assert [b.call("keep"), b.call("keep")] == [1, 2]
    assert "made anew" in caplog.text


def test_closing_awaits_the_end_of_handlers(threads: Counted, tmp_path: Path) -> None:
    """Also where the executor goes on. Fails when `on_close` may come after the end of its adapter."""
    diary, adapter = tmp_path / "diary", ExecutorAdapter(threads)
    with bridge.connect(HANDLER, adapter=adapter, size=1, options={"name": "slow", "diary": str(diary)}) as b:
        assert b.call("keep") == 1
    adapter.close()
    assert [line.split()[0] for line in diary.read_text().splitlines()] == ["on_start", "on_close"]


def test_an_on_close_that_fails_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """In the log, and closing goes on."""
    caplog.set_level(logging.WARNING)
    with bridge.connect(HANDLER, adapter="executor", executor=ThreadPoolExecutor, options={"name": "unclosable"}) as b:
        assert b.call("keep") == 1
    assert "can't be closed" in caplog.text


def test_async_commands_share_a_loop(threads: Counted) -> None:
    """The one of their handler. Fails when each call has a new one."""
    with opened(threads) as b:
        assert len({b.call("loop") for _ in range(3)}) == 1


def test_context_travels(threads: Counted) -> None:
    """What `worker.propagate` names. Fails when the ContextVar keeps its default there."""
    name = "tests.contract.engines.TENANT"
    with opened(threads, propagate=(name,)) as b:
        token = engines.TENANT.set("ada")
        try:
            assert b.call("told") == [{name: "ada"}, "ada"]
        finally:
            engines.TENANT.reset(token)
