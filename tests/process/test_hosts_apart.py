"""Two network namespaces as two hosts, with a delay where the kernel has netem, and a cable that is pulled in mid-call.

Rules: needs the right to make namespaces, and is skipped without it. The launcher is relay.py. Apart from
test_hosts.py, whose hosts are programs of this machine.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import bridge
from bridge import Event
from tests.process import relay
from tests.process.test_hosts import PLACED, host, wait_for_all
from tests.process.waiting import wait_until

PORT = "7000"


def ip(*arguments: str, tool: str = "ip") -> None:
    subprocess.run([tool, *arguments], check=True, capture_output=True, timeout=20)


class Namespace:
    """A host at the other end of a cable. 198.18.0.0/15 is for tests of networks, and is nobody's."""

    def __init__(self, name: str, number: int) -> None:
        self.name, self.here, self.there = name, f"sbh{number}-{os.getpid()}", f"sbt{number}-{os.getpid()}"
        self.space = f"sb-{name}-{os.getpid()}"
        self.address = f"198.18.{os.getpid() % 250}.{4 * number + 2}"
        self.gateway = f"198.18.{os.getpid() % 250}.{4 * number + 1}"

    @contextlib.contextmanager
    def up(self) -> Iterator[None]:
        """It exists, 2 ms away if that can be, and its agent listens."""
        with contextlib.ExitStack() as undo:
            ip("netns", "add", self.space)
            undo.callback(ip, "netns", "del", self.space)  # its end of the cable goes with it, and so does ours
            ip("link", "add", self.here, "type", "veth", "peer", "name", self.there, "netns", self.space)
            ip("address", "add", f"{self.gateway}/30", "dev", self.here)
            ip("link", "set", self.here, "up")
            ip("-n", self.space, "address", "add", f"{self.address}/30", "dev", self.there)
            self.plug("up")
            with contextlib.suppress(OSError, subprocess.CalledProcessError):  # not every kernel has netem
                ip("qdisc", "add", "dev", self.here, "root", "netem", "delay", "2ms", tool="tc")
            within = ["ip", "netns", "exec", self.space, "env", f"HOST={self.name}"]
            command = [*within, sys.executable, relay.HERE, "agent", self.address, PORT]
            agent = undo.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True))
            undo.callback(agent.kill)
            assert agent.stdout is not None
            assert agent.stdout.readline() == b"listening\n"
            yield

    def plug(self, state: str) -> None:
        """In (up) or out (down), at the other end: here nobody is told anything."""
        ip("-n", self.space, "link", "set", self.there, state)

    def setting(self, size: int) -> dict[str, Any]:
        """As an entry of `pool.hosts`."""
        launcher = [sys.executable, relay.HERE, "launch", self.address, PORT]
        return {"name": self.name, "launcher": launcher, "size": size}


@pytest.fixture
def namespaces() -> Iterator[tuple[Namespace, Namespace]]:
    """Two hosts, a and b."""
    a, b = Namespace("a", 0), Namespace("b", 1)
    with contextlib.ExitStack() as both:
        try:
            both.enter_context(a.up())
            both.enter_context(b.up())
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"network namespaces can't be made here: {error}")
        yield a, b


@pytest.mark.deep
def test_a_cable_that_is_pulled_in_mid_call_costs_the_calls_beyond_it(
    namespaces: tuple[Namespace, Namespace], tmp_path: Path
) -> None:
    """The reply never comes and nobody says so. The calls end at their deadline, the idle worker by the health check;
    that host's breaker opens, and the other one serves all the while. Once the cable is plugged in again, so does this
    one. Fails when anything waits for the end of the connection, or a host's loss is the pool's."""
    a, b = namespaces
    seen: list[Event] = []
    handler = tmp_path / "placed.py"
    handler.write_text(Path(PLACED.rpartition(":")[0]).read_text())
    pool = bridge.connect(
        f"{handler}:Placed",
        adapter="python_port",
        python=sys.executable,
        hosts=[a.setting(2), b.setting(3)],
        startup_timeout=4,
        cancel_grace=0.2,
        health_interval=1,
        on_event=seen.append,
    )
    with pool:
        wait_for_all(pool)
        futures = [pool.submit("pause", [1.0], timeout=3) for _ in range(4)]
        wait_until(lambda: pool.stats().busy == 4, what="four calls under way")
        there = Counter(worker.host for worker in pool.stats().workers if worker.state == "busy")
        assert there["a"] == there["b"] == 2

        b.plug("down")
        outcomes = [future.exception() or future.result() for future in futures]

        assert Counter("lost" if isinstance(each, bridge.CallTimeout) else each for each in outcomes) == {
            "a": 2,
            "lost": 2,
        }
        wait_until(lambda: host(pool, "b").workers == 0, 20, what="the health check of the idle one")
        wait_until(lambda: host(pool, "b").breaker != "closed", 20, what="b's breaker")
        assert {pool.call("where", timeout=5) for _ in range(20)} == {"a"}
        assert host(pool, "a").breaker == "closed"
        assert [event.host for event in seen if event.reason == "unhealthy" and event.name == "worker.killed"] == ["b"]

        b.plug("up")
        wait_until(lambda: host(pool, "b").workers == 3, 60, what="b")
        futures = [pool.submit("pause", [0.5], timeout=10) for _ in range(5)]
        assert Counter(future.result() for future in futures) == {"a": 2, "b": 3}
        assert host(pool, "b").breaker == "closed"
    assert {event.host for event in seen if event.name.startswith("breaker.")} == {"b"}
