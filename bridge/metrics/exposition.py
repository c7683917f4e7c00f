"""What Prometheus reads: the text exposition format, version 0.0.4.

Rules: a pure function of `Stats`; the names are a promise, and docs/guides/operations.md lists them. No worker has a
series of its own, since each start would leave one behind. Apart from core/stats.py, which knows of no format.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import inf, isnan
from types import MappingProxyType
from typing import Final

from bridge.core.lifecycle import WorkerState
from bridge.core.stats import HostStats, Stats
from bridge.errors import ConfigurationError

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
WORKER_STATES: Final = tuple(state.value for state in WorkerState)
BRIDGE_STATES: Final = ("new", "starting", "open", "closing", "closed")
BREAKER_STATES: Final = ("closed", "open", "half-open")
UNLABELLED: Final[Mapping[str, str]] = MappingProxyType({})

Point = tuple[str, Mapping[str, str], float]
"""What stands behind the family's name, the labels besides `bridge`, and the value."""
Points = Callable[[Stats], Iterable[Point]]


@dataclass(frozen=True)
class Family:
    """All series of one name."""

    name: str
    kind: str
    help: str
    points: Points


def _one(value: Callable[[Stats], float]) -> Points:
    return lambda stats: [("", UNLABELLED, value(stats))]


def _each(label: str, known: tuple[str, ...], found: Callable[[Stats], Iterable[str]]) -> Points:
    """How many there are of each, zeros too: a series that came and went would leave holes in a graph."""

    def points(stats: Stats) -> Iterator[Point]:
        counts = Counter(found(stats))
        return (("", {label: name}, counts[name]) for name in known)

    return points


def _of_hosts(value: Callable[[HostStats], float]) -> Points:
    return lambda stats: [("", {"host": host.name}, value(host)) for host in stats.hosts]


def _info(stats: Stats) -> list[Point]:
    return [("", {"adapter": stats.adapter, "test_mode": stats.test_mode or ""}, 1)]


def _longest_call(stats: Stats) -> float:
    return max((each.heartbeat_age or 0.0 for each in stats.workers if each.state == "busy"), default=0.0)


def _sent_again(stats: Stats) -> list[Point]:
    return [("", {"how": how}, count) for how, count in stats.sent_again.items()]


def _durations(stats: Stats) -> Iterator[Point]:
    taken = stats.latencies
    for bound, count in (*taken.buckets, (inf, taken.count)):
        yield "_bucket", {"le": _number(bound)}, count
    yield "_sum", UNLABELLED, taken.sum
    yield "_count", UNLABELLED, taken.count


FAMILIES: Final = (
    Family("bridge_info", "gauge", "Always 1; the labels say which adapter it runs on, and by which TEST_MODE.", _info),
    Family(
        "bridge_state",
        "gauge",
        "1 for the state that the bridge is in, 0 for the others.",
        _each("state", BRIDGE_STATES, lambda stats: [stats.state]),
    ),
    Family(
        "bridge_breaker_state",
        "gauge",
        "1 for the state of the breaker, 0 for the others; it is open while starts fail too often.",
        _each("state", BREAKER_STATES, lambda stats: [stats.breaker]),
    ),
    Family("bridge_pool_size", "gauge", "Workers that there should be.", _one(lambda stats: stats.size)),
    Family("bridge_pool_max_overflow", "gauge", "Workers that may be added on demand.", _one(lambda s: s.max_overflow)),
    Family(
        "bridge_workers",
        "gauge",
        "Workers, by their state.",
        _each("state", (*WORKER_STATES, "spare"), lambda stats: [worker.state for worker in stats.workers]),
    ),
    Family("bridge_queue_length", "gauge", "Callers that wait for a worker.", _one(lambda stats: stats.waiting)),
    Family("bridge_sessions", "gauge", "Sessions that have begun and not ended.", _one(lambda stats: stats.sessions)),
    Family(
        "bridge_longest_call_seconds",
        "gauge",
        "For how long the call has been out that is longest.",
        _one(_longest_call),
    ),
    Family(
        "bridge_call_duration_seconds",
        "histogram",
        "From sending a call to its answer, a value or an error of the handler's.",
        _durations,
    ),
    Family(
        "bridge_calls_total",
        "counter",
        "Calls that were answered, by a value or the handler's error.",
        _one(lambda s: s.calls),
    ),
    Family("bridge_call_timeouts_total", "counter", "Calls that got no answer in time.", _one(lambda s: s.timeouts)),
    Family("bridge_call_crashes_total", "counter", "Calls whose worker died in them.", _one(lambda s: s.crashes)),
    Family(
        "bridge_call_retries_total",
        "counter",
        "Calls sent again because a worker had died before it saw them.",
        _one(lambda stats: stats.retries),
    ),
    Family(
        "bridge_call_repeats_total",
        "counter",
        "Calls marked idempotent that were sent again after a crash.",
        _one(lambda stats: stats.repeats),
    ),
    Family(
        "bridge_calls_sent_again_total",
        "counter",
        "Retries and repeats, by how the worker had ended.",
        _sent_again,
    ),
    Family(
        "bridge_queue_refused_total",
        "counter",
        "Callers refused because the queue was full (max_waiting).",
        _one(lambda stats: stats.refused),
    ),
    Family(
        "bridge_queue_shed_total",
        "counter",
        "Callers refused because the queue stood (queue_target).",
        _one(lambda stats: stats.shed),
    ),
    Family(
        "bridge_worker_restarts_total",
        "counter",
        "Workers started in place of one that died.",
        _one(lambda stats: stats.restarts),
    ),
    Family(
        "bridge_worker_failed_starts_total", "counter", "Starts that failed.", _one(lambda stats: stats.failed_starts)
    ),
    Family(
        "bridge_worker_recycled_total",
        "counter",
        "Workers replaced though they worked.",
        _one(lambda stats: stats.recycled),
    ),
    Family(
        "bridge_events_dropped_total",
        "counter",
        "Events that on_event was not told, since too many waited for it.",
        _one(lambda stats: stats.events_dropped),
    ),
    Family("bridge_host_size", "gauge", "Workers that the host should have.", _of_hosts(lambda host: host.size)),
    Family("bridge_host_workers", "gauge", "Workers ready or busy there.", _of_hosts(lambda host: host.workers)),
    Family("bridge_host_busy", "gauge", "Workers busy there.", _of_hosts(lambda host: host.busy)),
    Family(
        "bridge_host_breaker_closed",
        "gauge",
        "1 while starts are allowed there, 0 while they fail.",
        _of_hosts(lambda host: host.breaker == "closed"),
    ),
)


def prometheus(stats: Stats, /, *more: Stats) -> str:
    """What `bridge.stats()` says, as Prometheus and its kin scrape it (text format 0.0.4).

    Args:
        more: Of other bridges; the label `bridge` has the name of each.

    Raises:
        ConfigurationError: Two have the same name, so their series would be the same; or one is no Stats.
    """
    every = (stats, *more)
    for one in every:
        if not isinstance(one, Stats):
            raise ConfigurationError(f"prometheus() takes what stats() of a bridge says, not {one!r:.99}")
    for name, times in Counter(one.name for one in every).items():
        if times > 1:
            raise ConfigurationError(f"{times} bridges are named {name!r}: give each its own, by the setting `name`")
    return "".join(line for family in FAMILIES for line in _lines(family, every))


def _lines(family: Family, every: tuple[Stats, ...]) -> Iterator[str]:
    points = [(one.name, point) for one in every for point in family.points(one)]
    if points:
        yield f"# HELP {family.name} {family.help}\n# TYPE {family.name} {family.kind}\n"
    for name, (suffix, labels, value) in points:
        pairs = ",".join(f'{key}="{_escaped(text)}"' for key, text in {"bridge": name, **labels}.items())
        yield f"{family.name}{suffix}{{{pairs}}} {_number(value)}\n"


def _escaped(text: str) -> str:
    """Anything may stand in a name; what UTF-8 can't say becomes a question mark."""
    text = text.encode(errors="replace").decode()
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    if isinstance(value, int):
        return str(int(value))  # also True
    return "NaN" if isnan(value) else "+Inf" if value == inf else "-Inf" if value == -inf else repr(value)
