"""Several hosts, with real workers: each has its launcher, its size, its breaker. A host here is a launcher of this
machine, which starts a worker, fails, or does nothing, as a file tells it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import bridge
from bridge import Bridge, Event
from bridge.adapters.mock import MockChannel
from bridge.contract import WorkerSpec
from bridge.core.stats import HostStats
from tests.process.conftest import Connect
from tests.process.waiting import wait_until

PLACED = f"{Path(__file__).parent / 'placed_handlers.py'}:Placed"
A = {"name": "a", "launcher": "env HOST=a", "size": 1}


@pytest.fixture(autouse=True)
def _this_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """A launcher finds `python3` if nothing is said, which may be any."""
    monkeypatch.setenv("BRIDGE_WORKER__PYTHON", sys.executable)


def switched(name: str, flag: Path, otherwise: str, size: int = 1) -> dict[str, Any]:
    """A host that is there while the file is; else its launcher does something else."""
    script = f'if test -e "$0"; then HOST={name} exec "$@"; else {otherwise}; fi'
    return {"name": name, "launcher": ["sh", "-c", script, str(flag)], "size": size}


def host(b: Bridge, name: str) -> HostStats:
    return next(each for each in b.stats().hosts if each.name == name)


def pids(b: Bridge, name: str) -> list[int]:
    """Of the workers of a host that can be lent, or are."""
    workers = [each for each in b.stats().workers if each.host == name and each.state in ("ready", "busy")]
    return [each.pid for each in workers if each.pid is not None]


def wait_for_all(b: Bridge) -> None:
    """Each host has its size."""
    wait_until(lambda: all(each.workers == each.size for each in b.stats().hosts), 20, what="all workers of all hosts")


def test_each_host_has_its_workers_and_calls_go_to_the_least_busy_one(connect: Connect) -> None:
    """Of four calls at a time, on three workers and one, none waits; a single one goes where the most is idle. Fails
    when a worker is started by another launcher, or the warmest worker is lent."""
    b = connect(PLACED, hosts=[{**A, "size": 3}, {"name": "b", "launcher": ["env", "HOST=b"], "size": 1}])
    b.call("where")
    wait_for_all(b)

    together = Counter(future.result() for future in [b.submit("pause", [0.3]) for _ in range(4)])
    held = b.submit("pause", [0.5])
    wait_until(lambda: b.stats().busy == 1)

    assert together == {"a": 3, "b": 1}
    busy = next(each.host for each in b.stats().workers if each.state == "busy")
    assert b.call("where") != busy or busy == "a"
    held.result()
    assert b.stats().size == 4
    assert {each.host for each in b.stats().workers} == {"a", "b"}
    assert [(each.name, each.size, each.breaker, each.last_error) for each in b.stats().hosts] == [
        ("a", 3, "closed", None),
        ("b", 1, "closed", None),
    ]


def test_a_host_whose_launcher_fails_costs_its_own_places_alone_and_comes_back(
    connect: Connect, tmp_path: Path
) -> None:
    """`with` waits for the others only, calls go on there, and its breaker opens; once it starts a worker it has all of
    them again. Fails when hosts share a breaker, `warm` waits for a host that fails, or nobody tries again."""
    seen: list[Event] = []
    flag = tmp_path / "b-is-there"
    hosts = [A, switched("b", flag, "echo no route to b >&2; exit 255", size=2)]
    with connect(PLACED, hosts=hosts, max_restarts=1, backoff=0.05, on_event=seen.append) as b:
        assert {b.call("where") for _ in range(20)} == {"a"}
        wait_until(lambda: host(b, "b").breaker != "closed", what="b's breaker")
        assert {b.call("where") for _ in range(20)} == {"a"}

        lost = host(b, "b")
        assert (lost.workers, host(b, "a").breaker) == (0, "closed")
        assert "exit code 255" in (lost.last_error or "")
        assert (b.health().ok, b.health().breaker) == (True, "closed")

        flag.touch()
        wait_for_all(b)
        futures = [b.submit("pause", [0.3]) for _ in range(3)]
        assert Counter(future.result() for future in futures) == {"a": 1, "b": 2}
        assert host(b, "b") == HostStats("b", 2, 2, 0, "closed", None)
    breakers = [event for event in seen if event.name.startswith("breaker.")]
    assert {event.host for event in breakers} == {"b"}
    assert breakers[-1].name == "breaker.closed"


def test_a_host_whose_workers_are_killed_over_and_over_opens_its_own_breaker(connect: Connect, tmp_path: Path) -> None:
    """They never see a call. Fails when a death on one host counts for another, or when callers are refused."""
    flag = tmp_path / "b-is-there"
    flag.touch()
    opened: list[str | None] = []

    def note(event: Event) -> None:
        if event.name == "breaker.open":
            opened.append(event.host)

    def kill_them() -> int:
        for pid in pids(b, "b"):
            with contextlib.suppress(ProcessLookupError):  # it was reaped since
                os.kill(pid, signal.SIGKILL)
        return host(b, "b").workers

    hosts = [A, switched("b", flag, "exit 1")]
    with connect(PLACED, hosts=hosts, max_restarts=2, restart_window=60, backoff=0.01, on_event=note) as b:
        wait_for_all(b)
        wait_until(lambda: (kill_them(), opened)[1], 30, what="b's breaker")
        flag.unlink()
        wait_until(lambda: kill_them() == 0 and host(b, "b").breaker != "closed", 30, what="the end of b")

        assert [b.call("where") for _ in range(20)] == ["a"] * 20
        assert (host(b, "a").breaker, set(opened)) == ("closed", {"b"})
        flag.touch()
        wait_for_all(b)


def test_a_host_that_falls_silent_costs_the_calls_that_it_had(connect: Connect, tmp_path: Path) -> None:
    """Their deadlines end them; a start there isn't answered either, and one is enough for its breaker. Meanwhile the
    other host serves. Fails when a start that isn't answered counts like any other, or when the death of the worker
    that had served closes the breaker."""
    flag = tmp_path / "b-is-there"
    flag.touch()
    hosts = [A, switched("b", flag, "exec sleep 60")]
    b = connect(PLACED, hosts=hosts, startup_timeout=2, max_restarts=100, cancel_grace=0.05)
    b.call("where")
    wait_for_all(b)
    both = [b.submit("pause", [0.2]), b.submit("pause", [0.2])]
    assert {each.result() for each in both} == {"a", "b"}

    flag.unlink()
    (pid,) = pids(b, "b")
    os.kill(pid, signal.SIGSTOP)
    both = [b.submit("pause", [0.1], timeout=1.0), b.submit("pause", [0.1], timeout=1.0)]
    outcomes = [each.exception() or each.result() for each in both]

    assert [type(each) for each in outcomes if each != "a"] == [bridge.CallTimeout]
    assert [b.call("where") for _ in range(20)] == ["a"] * 20
    wait_until(lambda: host(b, "b").breaker != "closed", 20, what="b's breaker")
    assert "printed nothing within 2 s" in (host(b, "b").last_error or "")
    assert (b.call("where"), host(b, "a").breaker) == ("a", "closed")


def test_with_waits_for_a_silent_host_no_longer_than_for_a_start(connect: Connect, tmp_path: Path) -> None:
    """Then it goes on with the other one. Fails when its time being over is an error though a worker is ready."""
    hosts = [A, switched("b", tmp_path / "never", "exec sleep 60")]
    with connect(PLACED, hosts=hosts, startup_timeout=2) as b:
        assert b.call("where") == "a"


def test_with_all_hosts_lost_callers_are_told_so_at_once(connect: Connect, tmp_path: Path) -> None:
    """As in a pool without hosts, and by a host's own error. Fails when one host's breaker is waited for in vain."""
    flag = tmp_path / "none"
    hosts = [switched("a", flag, "exit 255"), switched("b", flag, "exit 254")]
    with pytest.raises(bridge.WorkerStartError, match="exit code 25"):
        connect(PLACED, hosts=hosts, max_restarts=0, backoff=10).__enter__()
    b = connect(PLACED, hosts=hosts, max_restarts=0, backoff=10)
    with pytest.raises((bridge.WorkerStartError, bridge.CircuitOpen), match="exit code 25"):
        b.call("where")

    wait_until(lambda: b.health().breaker == "open")
    with pytest.raises(bridge.CircuitOpen, match="exit code 25"):
        b.call("where")


def test_a_launcher_that_is_missing_is_named(connect: Connect) -> None:
    """Not the interpreter. Fails when the error of a start doesn't look at what was to be run first."""
    b = connect(PLACED, hosts=[{"launcher": "no-such-launcher b", "size": 1}])

    with pytest.raises(bridge.WorkerStartError, match="the launcher 'no-such-launcher'"):
        b.call("where")


def lease_on(b: Bridge, leases: contextlib.ExitStack) -> str | None:
    """Hold one more worker; where that is."""
    before = {each.generation for each in b.stats().workers if each.state == "busy"}
    leases.enter_context(b.lease())
    return next(each.host for each in b.stats().workers if each.state == "busy" and each.generation not in before)


def test_the_pool_lends_the_least_busy_host() -> None:
    """Seen through leases. Fails when the pool of a bridge with hosts lends the warmest worker of all."""
    hosts = [{"name": "a", "size": 3}, {"name": "b", "size": 1}]
    mock = bridge.MockAdapter({"where": "nowhere"})
    with bridge.connect(PLACED, adapter=mock, hosts=hosts) as b, contextlib.ExitStack() as leases:
        assert [lease_on(b, leases) for _ in range(4)] == ["a", "b", "a", "a"]


class Noting(bridge.MockAdapter):
    """A mock that remembers what it was to start."""

    def __init__(self) -> None:
        super().__init__({"where": "nowhere"})
        self.specs: dict[tuple[str, ...], WorkerSpec] = {}

    def open(self, spec: WorkerSpec, *, deadline: float) -> MockChannel:
        """A worker."""
        self.specs[spec.launcher] = spec
        return super().open(spec, deadline=deadline)


def test_what_is_known_here_is_not_meant_behind_a_launcher() -> None:
    """This interpreter and its path are for the host without one. Fails when all hosts have one description of a
    worker."""
    noting = Noting()
    hosts = [{"size": 1}, {"launcher": "ssh b", "size": 1}]
    with bridge.connect(PLACED, adapter=noting, hosts=hosts, path=["lib"], busy_poll_us=5) as b:
        b.call("where")

    here, there = noting.specs[()], noting.specs[("ssh", "b")]
    assert (here.replace_path, here.path[0], here.elsewhere) == (True, os.path.abspath("lib"), None)
    assert (there.replace_path, there.path, there.elsewhere) == (False, ("lib",), None)
    assert (there.handler, there.busy_poll_us, there.generation) == (here.handler, 5, 2)


def test_some_workers_are_here_and_some_are_behind_a_launcher(connect: Connect) -> None:
    """One handler, two ways to start it. Fails when the way of one host is that of all."""
    b = connect(PLACED, hosts=[{"size": 1}, {"name": "b", "launcher": "env HOST=b", "size": 1}])
    with b:
        both = [b.submit("pause", [0.3]) for _ in range(2)]

        assert {each.result() for each in both} == {"here", "b"}


class Failing(bridge.MockAdapter):
    """A mock whose launcher `bad` fails once it is told so."""

    fails = False

    def open(self, spec: WorkerSpec, *, deadline: float) -> MockChannel:
        """A worker, or an error."""
        if self.fails and spec.launcher == ("bad",):
            raise bridge.WorkerStartError("spawn", "no route", handler=spec.handler)
        return super().open(spec, deadline=deadline)


def test_a_host_whose_last_start_failed_is_lent_last() -> None:
    """Though more of it is idle. Fails when the pool isn't told which hosts fail."""
    hosts = [{"name": "good", "size": 3}, {"launcher": "bad", "size": 3}]
    mock = Failing({"where": "nowhere"})
    with bridge.connect(PLACED, adapter=mock, hosts=hosts) as b, contextlib.ExitStack() as leases:
        mock.fails = True
        mock.crash("where")
        while all(each.last_error is None for each in b.stats().hosts):
            with pytest.raises(bridge.WorkerCrashed):
                b.call("where")
        assert (host(b, "bad").workers, host(b, "good").workers) == (2, 3)

        assert [lease_on(b, leases) for _ in range(5)] == ["good"] * 3 + ["bad"] * 2


def test_a_mock_has_the_workers_of_all_hosts() -> None:
    """The same settings, and nothing is launched. Fails when the size of a mock's pool isn't that of its hosts."""
    mock = bridge.MockAdapter({"where": "nowhere"})
    with bridge.connect(PLACED, adapter=mock, hosts=[A, {"launcher": "ssh b", "size": 2}]) as b:
        assert b.call("where") == "nowhere"
        assert b.stats().size == 3
        assert [each.name for each in b.stats().hosts] == ["a", "ssh b"]
