"""The exposition: its syntax by a strict reader, its values by what `stats()` says."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

import pytest

import bridge
from bridge.core.stats import Histogram, HostStats, Stats, WorkerStats
from bridge.metrics import prometheus
from bridge.metrics.exposition import FAMILIES
from bridge.testing import CRASH, ScriptedAdapter
from tests.metrics.exposition import read

STATES: Final = ("ready", "busy", "busy", "starting", "spare")
PLAIN: Final = Stats(
    name="shop",
    adapter="python_port",
    state="open",
    size=5,
    max_overflow=2,
    workers=tuple(WorkerStats(n, 100 + n, None, None, state, 0, 9.0, 1.5 * n) for n, state in enumerate(STATES)),
    waiting=7,
    calls=3,
    timeouts=1,
    crashes=2,
    restarts=4,
    failed_starts=6,
    retries=5,
    p50=None,
    p99=None,
    repeats=8,
    shed=9,
    recycled=10,
    sent_again={"killed by SIGKILL": 11, "exit code 3": 2},
    sessions=12,
    events_dropped=13,
    refused=14,
    breaker="half-open",
)
ODD: Final = 'a "quoted" back\\slash,\nnew} line {le="1"} \\n é ☃ \r \ud800'


def value(text: str, name: str, **labels: str) -> float:
    """Of one series."""
    family = next(family for full, family in read(text).items() if name.startswith(full))
    return family.samples[name, frozenset(labels.items())]


def test_each_figure_is_one_series() -> None:
    """Every counter and gauge says what `stats()` says. Fails when a family reads another field."""
    found = {
        (name, *sorted(text for key, text in labels if key != "bridge")): number
        for family in read(prometheus(PLAIN)).values()
        for (name, labels), number in family.samples.items()
        if family.kind != "histogram"
    }
    zeros = {key for key, number in found.items() if not number}

    assert {key: number for key, number in found.items() if number} == {
        ("bridge_info", "", "python_port"): 1,
        ("bridge_state", "open"): 1,
        ("bridge_breaker_state", "half-open"): 1,
        ("bridge_pool_size",): 5,
        ("bridge_pool_max_overflow",): 2,
        ("bridge_workers", "ready"): 1,
        ("bridge_workers", "busy"): 2,
        ("bridge_workers", "starting"): 1,
        ("bridge_workers", "spare"): 1,
        ("bridge_queue_length",): 7,
        ("bridge_sessions",): 12,
        ("bridge_longest_call_seconds",): 3.0,
        ("bridge_calls_total",): 3,
        ("bridge_call_timeouts_total",): 1,
        ("bridge_call_crashes_total",): 2,
        ("bridge_call_retries_total",): 5,
        ("bridge_call_repeats_total",): 8,
        ("bridge_calls_sent_again_total", "killed by SIGKILL"): 11,
        ("bridge_calls_sent_again_total", "exit code 3"): 2,
        ("bridge_queue_refused_total",): 14,
        ("bridge_queue_shed_total",): 9,
        ("bridge_worker_restarts_total",): 4,
        ("bridge_worker_failed_starts_total",): 6,
        ("bridge_worker_recycled_total",): 10,
        ("bridge_events_dropped_total",): 13,
    }
    assert {("bridge_workers", "draining"), ("bridge_state", "closed"), ("bridge_breaker_state", "open")} <= zeros


def test_durations_are_a_histogram_with_its_sum() -> None:
    """Cumulative buckets, the last one with all. Fails when a bucket counts only its own calls."""
    histogram = Histogram()
    for seconds, times in ((0.001, 2), (0.3, 1), (1000.0, 1)):
        histogram.add(seconds, times)

    text = prometheus(replace(PLAIN, latencies=histogram.latencies))

    name = "bridge_call_duration_seconds"
    at = {le: value(text, f"{name}_bucket", bridge="shop", le=le) for le in ("0.0009765625", "0.25", "0.5", "+Inf")}
    assert at == {"0.0009765625": 0, "0.25": 2, "0.5": 3, "+Inf": 4}
    assert value(text, f"{name}_sum", bridge="shop") == pytest.approx(1000.302)
    assert value(text, f"{name}_count", bridge="shop") == 4


def test_several_bridges_share_their_families() -> None:
    """One HELP and one TYPE for each name, and the label `bridge`. Fails when each bridge is written out in turn."""
    text = prometheus(PLAIN, replace(PLAIN, name="other", size=1), replace(PLAIN, name="third", size=0))

    assert [value(text, "bridge_pool_size", bridge=name) for name in ("shop", "other", "third")] == [5, 1, 0]
    assert text.count("# TYPE bridge_pool_size ") == 1


def test_anything_may_stand_in_a_name() -> None:
    """Quotes, backslashes, line ends, what looks like another label, what no UTF-8 can say: the reader gets it back.
    Fails when one of the three escapes goes, or a lone surrogate reaches the encoder."""
    hosts = (HostStats(ODD, 2, 1, 1, "open", None),)
    text = prometheus(replace(PLAIN, name=ODD, adapter=ODD, sent_again={ODD: 1}, hosts=hosts))

    heard = ODD.replace("\ud800", "?")
    text.encode()
    assert value(text, "bridge_host_size", bridge=heard, host=heard) == 2
    assert value(text, "bridge_host_breaker_closed", bridge=heard, host=heard) == 0
    assert value(text, "bridge_calls_sent_again_total", bridge=heard, how=heard) == 1
    assert value(text, "bridge_info", bridge=heard, adapter=heard, test_mode="") == 1


def test_two_of_one_name_are_refused() -> None:
    """Their series would be one, twice, which a scraper refuses as a whole. Fails when the check goes."""
    with pytest.raises(bridge.ConfigurationError, match="2 bridges are named 'shop': give each its own"):
        prometheus(PLAIN, replace(PLAIN, adapter="mock"))


@pytest.mark.parametrize(
    "text",
    [
        "# TYPE a counter\na 1\n",
        "# HELP a x\n# TYPE a counter\na 1\n",
        "# HELP a_total x\n# TYPE a_total counter\na_total -1\n",
        "# HELP a x\n# TYPE a gauge\na 1\na 1\n",
        '# HELP a x\n# TYPE a gauge\na{b="1\\q"} 1\n',
        '# HELP a x\n# TYPE a gauge\na{b="1",b="2"} 1\n',
        "# HELP a x\n# TYPE a gauge\na one\n",
        "# HELP a x\n# TYPE a gauge\na 1",
        "# HELP a x\n# TYPE a gauge\nb 1\n",
        "# HELP a x\n# TYPE a gauge\na 1\n# HELP b x\n# TYPE b gauge\nb 1\na 2\n",
        '# HELP h x\n# TYPE h histogram\nh_bucket{le="1"} 3\nh_bucket{le="+Inf"} 2\nh_sum 1\nh_count 2\n',
        '# HELP h x\n# TYPE h histogram\nh_bucket{le="+Inf"} 2\nh_sum 1\nh_count 3\n',
    ],
)
def test_the_reader_is_strict(text: str) -> None:
    """What these tests rely on refuses what a scraper would. Fails when one of its checks goes."""
    with pytest.raises(ValueError, match=r"."):
        read(text)


def test_what_a_bridge_did_is_what_is_exposed() -> None:
    """From calls to text: an answer, and a crash whose worker was replaced. Fails when `stats()` leaves one out."""
    adapter = ScriptedAdapter([("a", 1), ("a", CRASH)], [])
    with bridge.connect("x", adapter=adapter, size=1, name="shop") as b:
        b.call("a")
        with pytest.raises(bridge.WorkerCrashed):
            b.call("a")
        text = bridge.metrics.prometheus(b.stats())

    assert value(text, "bridge_calls_total", bridge="shop") == 1
    assert value(text, "bridge_call_duration_seconds_count", bridge="shop") == 1
    assert value(text, "bridge_call_duration_seconds_sum", bridge="shop") > 0
    assert value(text, "bridge_call_crashes_total", bridge="shop") == 1
    assert value(text, "bridge_worker_restarts_total", bridge="shop") == 1
    assert value(text, "bridge_workers", bridge="shop", state="ready") == 1


def test_a_full_queue_and_an_open_breaker_show() -> None:
    """Both are the operator's first question. Fails when `stats()` leaves one out."""
    broken = bridge.WorkerStartError("crashed", "it can't be imported", handler="x")
    with bridge.connect("x", adapter=ScriptedAdapter([]), size=1, max_waiting=0, name="full") as full:
        with full.lease(), pytest.raises(bridge.PoolOverloaded):
            full.call("a")
        shut = bridge.connect("x", adapter=ScriptedAdapter(broken), size=1, max_restarts=0, backoff=30, name="shut")
        with pytest.raises(bridge.BridgeError):
            shut.call("a")
        text = prometheus(full.stats(), shut.stats())
        shut.close()

    assert value(text, "bridge_queue_refused_total", bridge="full") == 1
    assert value(text, "bridge_breaker_state", bridge="full", state="closed") == 1
    assert value(text, "bridge_breaker_state", bridge="shut", state="open") == 1
    assert value(text, "bridge_worker_failed_starts_total", bridge="shut") == 1


def test_looking_starts_nothing() -> None:
    """A bridge that nobody has called yet is `new`, and stays so. Fails when looking warms it."""
    adapter = ScriptedAdapter([("a", 1)])
    b = bridge.connect("x", adapter=adapter, size=1, name="shop")

    assert value(prometheus(b.stats()), "bridge_state", bridge="shop", state="new") == 1
    assert adapter.opened == 0
    b.close()


def test_names_and_help_are_well_formed() -> None:
    """No unit is missing its name, and a help is one plain sentence: it needs no escaping."""
    for family in FAMILIES:
        assert re.fullmatch(r"bridge_[a-z_]+", family.name)
        assert family.help.endswith(".")
        assert not set(family.help) & {"\n", "\\"}
