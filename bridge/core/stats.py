"""Counters and latencies, cheap enough to be kept for every call.

Rules: plain values; the owner's lock guards them. Apart from the pool because the shape of what users read should
not depend on how the pool works inside.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from typing import Final

SUB_BUCKETS = 16
"""Per power of two: a quantile is off by 3 % at the most."""
OFFSET = 24
"""Exponent of the smallest bucket: 2^-24 s, 60 ns."""
BUCKETS = (OFFSET + 16) * SUB_BUCKETS
AT_ONCE = 64
"""Latencies that are sorted in together: 20 us under the pool's lock, now and then."""
SHOWN: Final = range(-16, 9)
"""Powers of two, in seconds, that `Latencies.buckets` has: 15 us to 256 s. Edges of ours, so they are exact."""


_EDGES: Final = tuple(
    2.0 ** (power - OFFSET - 1) * (1 + step / SUB_BUCKETS)
    for power in range(BUCKETS // SUB_BUCKETS)
    for step in range(SUB_BUCKETS)
)[1:]
_bucket = partial(bisect_right, _EDGES)  # a search of ten steps in C costs less than a logarithm in Python
"""The bucket of so many seconds: how many edges aren't above them."""


@dataclass(frozen=True)
class Latencies:
    """How long calls took that were answered, since the bridge was opened."""

    count: int = 0
    sum: float = 0.0
    """Seconds of all of them."""
    buckets: tuple[tuple[float, int], ...] = tuple((2.0**power, 0) for power in SHOWN)
    """Seconds, and how many took less: 15 us to 256 s, each twice the one before. The rest is only in `count`."""


class Histogram:
    """Latencies in seconds, in buckets that grow by a constant factor (as in HdrHistogram)."""

    __slots__ = ("_counts", "_sorted", "_total", "fresh")

    def __init__(self) -> None:
        self._counts = [0] * BUCKETS
        self._sorted, self._total = 0, 0.0  # in these: how many, and their seconds
        self.fresh: list[float] = []
        """Not yet sorted in. Whoever adds to it himself, as most calls do, has AT_ONCE of them sorted in."""

    def note(self, seconds: float) -> None:
        """Count one latency; it is sorted in with others, which costs a call a third."""
        self.fresh.append(seconds)
        if len(self.fresh) >= AT_ONCE:
            self.sort_in()

    def sort_in(self) -> None:
        """Count what is fresh."""
        fresh, self.fresh = self.fresh, []
        counts, self._sorted = self._counts, self._sorted + len(fresh)
        self._total += max(0.0, sum(fresh))  # it never falls, whatever a clock does
        fresh.sort()  # most fall into a few buckets, which are searched for one after the other
        done = 0
        while done < len(fresh):
            index = _bucket(fresh[done])
            end = len(fresh) if index == len(_EDGES) else bisect_left(fresh, _EDGES[index], done)
            counts[index] += end - done
            done = end

    @property
    def count(self) -> int:
        """How many there are."""
        return self._sorted + len(self.fresh)

    @property
    def counts(self) -> list[int]:
        """Of each bucket."""
        self.sort_in()
        return self._counts

    def add(self, seconds: float, times: int = 1) -> None:
        """Count as many latencies as were the same."""
        self._sorted += times
        self._total += max(0.0, seconds) * times
        self._counts[_bucket(seconds)] += times

    def copy(self) -> Histogram:
        """One that stays as this one is now."""
        other = Histogram()
        other._counts, other._sorted, other._total = [*self.counts], self._sorted, self._total
        return other

    @property
    def latencies(self) -> Latencies:
        """For users: fewer buckets, each with all that are below it."""
        counts = self.counts
        below = [0, *accumulate(counts)]
        buckets = tuple((2.0**power, below[(power + OFFSET + 1) * SUB_BUCKETS]) for power in SHOWN)
        return Latencies(self._sorted, self._total, buckets)

    def quantile(self, q: float) -> float | None:
        """The latency in seconds below which the share `q` of all lies; None when there was none."""
        counts = self.counts
        total = sum(counts)
        if not total:
            return None
        below = accumulate(counts)
        exponent, step = divmod(next(i for i, n in enumerate(below) if n and n >= q * total), SUB_BUCKETS)
        return (0.5 + (step + 0.5) / (2 * SUB_BUCKETS)) * 2.0 ** (exponent - OFFSET)


@dataclass(frozen=True)
class WorkerStats:
    """One worker, now."""

    generation: int
    pid: int | None
    python: str | None
    path: str | None
    state: str
    """One of lifecycle.WorkerState: starting, ready, busy, draining, retiring or stopped; or spare: ready, and lent to
    nobody until it takes the place of one that is gone (`pool.spare`)."""
    calls: int
    age: float
    """Seconds since it was started."""
    heartbeat_age: float | None = None
    """Seconds since something was last sent to it or heard of it: how long the call of a busy worker has been out, how
    long ago an idle one last answered, became ready or said how it is. None while it starts."""
    host: str | None = None
    """Where it is, by the names of `pool.hosts`; None without these."""
    launcher_pid: int | None = None
    """Of the launcher that it is behind, a process here: `pid` is a number there then."""


@dataclass(frozen=True)
class HostStats:
    """One of several hosts (`pool.hosts`), now."""

    name: str
    size: int
    """Workers that it should have."""
    workers: int
    """Those that it has, ready or busy."""
    busy: int
    breaker: str
    """closed (starts are allowed there), open (they failed) or half-open (one is being tried)."""
    last_error: str | None
    """Why the last start there failed; None once one succeeded."""


@dataclass(frozen=True)
class Stats:
    """A bridge, now. Counters are since it was opened; times are seconds."""

    name: str
    adapter: str
    state: str
    size: int
    max_overflow: int
    workers: tuple[WorkerStats, ...]
    waiting: int
    """Callers in the queue."""
    calls: int
    """Calls that were answered, with a value or an error of the handler's."""
    timeouts: int
    crashes: int
    restarts: int
    """Workers started in place of one that died."""
    failed_starts: int
    retries: int
    """Calls that were sent again, since a worker had died before it saw them."""
    p50: float | None
    p99: float | None
    test_mode: str | None = None
    """The TEST_MODE that chose the adapter."""
    repeats: int = 0
    """Calls marked idempotent that were sent again after a crash."""
    shed: int = 0
    """Callers that were refused because the queue stood (`queue_target`)."""
    recycled: int = 0
    """Workers that were replaced though they worked."""
    sent_again: Mapping[str, int] = field(default_factory=dict)
    """How the workers had ended whose calls were sent again (`retries` and `repeats`), and how many calls that were:
    {"killed by SIGKILL": 3}. Those of a worker that is being reaped just now come later."""
    sessions: int = 0
    """Sessions that have begun and not ended."""
    events_dropped: int = 0
    """Events that `on_event` was not told, since too many waited for it."""
    hosts: tuple[HostStats, ...] = ()
    """By `pool.hosts`, in its order."""
    refused: int = 0
    """Callers that were refused because the queue was full (`max_waiting`)."""
    breaker: str = "closed"
    """closed (starts are allowed), open (they failed too often) or half-open (one is being tried)."""
    latencies: Latencies = Latencies()
    """How long `calls` took, for a histogram."""

    @property
    def idle(self) -> int:
        """Workers that wait for a call."""
        return sum(worker.state == "ready" for worker in self.workers)

    @property
    def busy(self) -> int:
        """Workers that are lent."""
        return sum(worker.state == "busy" for worker in self.workers)


@dataclass(frozen=True)
class Health:
    """Whether calls can be served, in one look."""

    ok: bool
    """At least one worker is ready, or none was asked for yet."""
    state: str
    """new, starting, open, closing or closed."""
    ready: int
    size: int
    breaker: str
    """closed (starts are allowed), open (they failed too often) or half-open (one is being tried)."""
    last_error: str | None
    """Why the last start failed; None once one succeeded."""
    test_mode: str | None = None
    """The TEST_MODE that chose the adapter: no real work is done, unless it says full_integration."""
    stuck_for: float = 0.0
    """Seconds for which the supervisor has been in one step; 0 while it sleeps. More than some: what it calls blocks, a
    log handler above all, and no worker is started or ended meanwhile. Infinity: its thread has died."""
