"""What can't be had behind a launcher: that it is said, and that it is so."""

from __future__ import annotations

import os
import select
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

import bridge
from bridge import Bridge, BridgeSettings, Capability
from bridge.adapters.launched import LaunchedPort
from bridge.assembly import Choice, capabilities_of, choice_of, lacking_of
from bridge.contract import WorkerSpec
from bridge.lacking import BEHIND_A_LAUNCHER
from tests.conftest import HANDLERS
from tests.process.conftest import Connect
from tests.process.waiting import wait_until_gone

HANDLER = f"{HANDLERS}:Echo"
FAR = [sys.executable, str(Path(__file__).parent / "far.py")]
"""As ssh is: the worker is in another session, with another environment."""


@pytest.fixture
def far(connect: Connect) -> Bridge:
    """A bridge whose one worker is far from here."""
    return connect(HANDLER, launcher=FAR, python=sys.executable)


def port_of(b: Bridge) -> LaunchedPort:
    (worker,) = b._source.runtime().supervisor.workers.values()
    assert isinstance(worker.channel, LaunchedPort)
    return worker.channel


def test_each_of_them_is_said_by_the_channel_and_with_what_there_is_instead(far: Bridge) -> None:
    """Fails when a channel claims what its launcher can't carry."""
    far.call("pid")
    lacks = bridge.PythonPortAdapter.lacks(WorkerSpec(HANDLER, launcher=("ssh", "host")))

    assert set(Capability) - port_of(far).capabilities == lacks.keys() == BEHIND_A_LAUNCHER.keys()
    assert bridge.PythonPortAdapter.lacks(WorkerSpec(HANDLER)) == {}
    assert all("worker" in why or "docker" in why or "send" in why for why in lacks.values())


def test_settings_tell_of_what_their_workers_lack_before_any_is_started(tmp_path: Path) -> None:
    """Of hosts, what one of them lacks. Fails when only `worker.launcher` is looked at, or the spec of an adapter that
    was handed in isn't, or when one that records another doesn't ask that."""
    port = Choice("python_port")
    here, there = BridgeSettings(), BridgeSettings(worker={"launcher": "ssh host"})
    hosts = BridgeSettings(pool={"hosts": [{"size": 1}, {"launcher": "nice"}]})
    given = choice_of(bridge.PythonPortAdapter(WorkerSpec(HANDLER, launcher=("nice",))), {})

    assert Capability.KILL in capabilities_of(port, here)
    for choice, values in ((port, there), (port, hosts), (given, here)):
        assert lacking_of(choice, values) == BEHIND_A_LAUNCHER
        assert Capability.KILL not in capabilities_of(choice, values)
    assert lacking_of(Choice("mock"), there) == {}
    recording = Choice("recording", {"cassette": tmp_path / "calls.jsonl", "mode": "record"})
    assert lacking_of(recording, there) == BEHIND_A_LAUNCHER
    assert lacking_of(recording, here) == {}


def test_a_kill_is_no_signal(far: Bridge) -> None:
    """The worker is in no group of ours: it ends since its caller hung up. Fails when `kill` is said to be one, or when
    nothing hangs up."""
    pid, port = far.call("pid"), port_of(far)
    assert os.getpgid(pid) != os.getpgid(port._process.pid)
    assert Capability.KILL not in port.capabilities
    port.kill()

    wait_until_gone({pid}, 20)


def test_the_sentinel_is_the_launchers(far: Bridge) -> None:
    """As is the number that is killed. Fails when `pid` is said to be its process here."""
    pid, port = far.call("pid"), port_of(far)
    assert pid != port._process.pid
    assert Capability.SENTINEL not in port.capabilities
    os.kill(port._process.pid, signal.SIGKILL)

    death = select.poll()
    death.register(port.sentinel(), select.POLLIN)
    assert death.poll(20_000)


def test_memory_that_was_wanted_is_not_told_apart(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the kernel counts here. Fails when the launcher's own cgroup is asked for the worker's."""
    monkeypatch.setattr("bridge.adapters.oom.OomKills.watch", lambda *_: lambda: True)
    b = connect(HANDLER, launcher="nice", python=sys.executable)
    with pytest.raises(bridge.WorkerCrashed) as caught:
        b.call("crash")

    assert not caught.value.out_of_memory
    assert Capability.OUT_OF_MEMORY not in LaunchedPort.capabilities


def test_long_values_go_through_the_pipe(far: Bridge) -> None:
    """Fails when memory is shared with a process that can't have it."""
    assert len(far.call("echo", [b"x" * 1_000_000])) == 1_000_000
    assert port_of(far).arena == -1
    assert Capability.SHARED_MEMORY not in port_of(far).capabilities


@pytest.mark.parametrize(
    ("capability", "setting"),
    [
        (Capability.MAX_RSS, {"max_rss": 2**30}),
        (Capability.ENV_ALLOW, {"env_allow": ["PATH"]}),
        (Capability.ZYGOTE, {"start_method": "zygote"}),
    ],
)
@pytest.mark.parametrize("where", [{"launcher": "nice"}, {"hosts": [{"launcher": "nice"}, {"name": "b"}]}])
def test_whoever_asks_for_it_is_told_what_there_is_instead(
    capability: Capability, setting: dict[str, Any], where: dict[str, Any]
) -> None:
    """In the words of the capability, whatever the adapter. Fails when a setting is silently left out there."""
    for adapter in ("python_port", "mock"):
        with pytest.raises(bridge.ConfigurationError) as caught:
            bridge.connect(HANDLER, adapter=adapter, **setting, **where)

        assert str(caught.value) == f"behind a launcher, {BEHIND_A_LAUNCHER[capability]}"


def test_an_adapter_that_was_made_for_a_worker_is_asked_the_same() -> None:
    """Its own spec wins. Fails when only the settings are looked at: it would launch, and fork nothing."""
    spec = WorkerSpec(HANDLER, launcher=("nice",), start_method="zygote")
    with pytest.raises(bridge.ConfigurationError, match="set start_method='spawn'"):
        bridge.connect(HANDLER, adapter=bridge.PythonPortAdapter(spec))
