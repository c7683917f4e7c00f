"""What a native library's crashes and leaks cost: real ones, in whatever mode the run is in."""

from __future__ import annotations

from queue import SimpleQueue

import pytest

import bridge
from bridge import Bridge, Event, PoisonCall, WorkerCrashed

HANDLER = "codec:Codec"
GOOD, BAD = b"a picture", b"BAD header"
MIB = 1024 * 1024

pytestmark = pytest.mark.bridge_adapter("python_port", handler=HANDLER, size=2, limits={"core": False})


def test_a_crash_fails_one_call(bridge_client: Bridge) -> None:
    """The error says how the worker ended. The other pictures are decoded, by the other worker and by a new one."""
    pictures = [GOOD, GOOD, BAD, GOOD, GOOD, GOOD]
    results = list(bridge_client.map("decode", pictures, arg="picture", chunksize=1, return_exceptions=True))
    crash = results.pop(2)

    assert isinstance(crash, WorkerCrashed)
    assert (crash.signal_name, crash.started) == ("SIGSEGV", True)
    assert results == [len(GOOD)] * 5


def test_a_crash_is_not_noticed_by_others(bridge_client: Bridge) -> None:
    """A worker that is lent to somebody else is lent to them still."""
    with bridge_client.lease() as lease:
        with pytest.raises(WorkerCrashed):
            bridge_client.call("decode", [BAD])
        assert lease.call("decode", [GOOD]) == len(GOOD)
    assert bridge_client.stats().crashes == 1


@pytest.mark.bridge_adapter("python_port", handler=HANDLER, size=1, options={"worn_out_at": 3}, limits={"core": False})
class TestWornOut:
    """A library that every third picture in one process is too much for."""

    def test_a_call_that_may_have_run_is_not_made_again(self, bridge_client: Bridge) -> None:
        """Whether it may run twice is for its caller to know."""
        assert [bridge_client.call("decode", [GOOD]) for _ in range(2)] == [len(GOOD)] * 2
        with pytest.raises(WorkerCrashed, match="SIGABRT"):
            bridge_client.call("decode", [GOOD])

    def test_a_call_that_may_run_twice_is_made_again(self, bridge_client: Bridge) -> None:
        """Of ten pictures every one is decoded; four of them needed a second worker."""
        decoded = [bridge_client.call("decode", [GOOD], idempotent=True) for _ in range(10)]

        assert decoded == [len(GOOD)] * 10
        assert (bridge_client.stats().repeats, bridge_client.stats().crashes) == (4, 4)


@pytest.mark.bridge_adapter("python_port", handler=HANDLER, size=1, poison_threshold=2, limits={"core": False})
def test_what_kills_is_refused(bridge_client: Bridge) -> None:
    """After two deaths no third worker gets that picture; others are decoded."""
    for _ in range(2):
        with pytest.raises(WorkerCrashed):
            bridge_client.call("decode", [BAD])
    for _ in range(2):
        with pytest.raises(PoisonCall) as refused:
            bridge_client.call("decode", [BAD])
        assert (refused.value.deaths, refused.value.how) == (2, "killed by SIGSEGV")

    assert bridge_client.call("decode", [GOOD]) == len(GOOD)
    assert bridge_client.stats().crashes == 2


def test_a_worker_that_leaks_is_replaced() -> None:
    """Between two calls, when its successor is ready: no call fails."""
    events: SimpleQueue[Event] = SimpleQueue()
    leak, most = {"leak": 8 * MIB}, 96 * MIB
    with bridge.connect(HANDLER, adapter="python_port", size=1, options=leak, max_rss=most, on_event=events.put) as b:
        assert [b.call("decode", [GOOD]) for _ in range(20)] == [len(GOOD)] * 20
        seen: list[tuple[str, str | None]] = []
        while "worker.stopped" not in dict(seen):  # `queue.Empty` if it never is
            event = events.get(timeout=60)
            seen.append((event.name, event.reason))

        assert ("worker.recycling", "memory") in seen
        assert b.call("decode", [GOOD]) == len(GOOD)
        assert (b.stats().crashes, b.stats().restarts) == (0, 0)
