"""Histogram and the values that users read."""

from __future__ import annotations

from random import Random

import pytest

from bridge.core.stats import AT_ONCE, Histogram, Latencies, Stats, WorkerStats


@pytest.mark.parametrize("q", [0.01, 0.5, 0.9, 0.99, 0.999, 1.0])
def test_a_quantile_is_off_by_at_most_four_per_cent(q: float) -> None:
    """From a microsecond to an hour, against the exact quantile of the same data."""
    random = Random(7)
    data = sorted(10 ** random.uniform(-6, 3.5) for _ in range(5000))
    histogram = Histogram()
    for seconds in data:
        histogram.add(seconds)

    exact = data[min(len(data) - 1, max(0, -int(-q * len(data) // 1) - 1))]

    assert histogram.quantile(q) == pytest.approx(exact, rel=0.04)


def test_each_latency_alone_is_found_again() -> None:
    """Every bucket gives back what was put into it. Fails when a bucket's middle is taken for its edge."""
    for step in range(1000):
        seconds = 1e-6 * 1.02**step
        histogram = Histogram()
        histogram.add(seconds)

        assert histogram.quantile(0.5) == pytest.approx(min(seconds, 2.0**15), rel=0.04)


@pytest.mark.parametrize("seconds", [0.0, -1e-9, -5.0, 1e-12, 5e-324, 3.1e-8])
def test_nothing_is_shorter_than_the_first_bucket(seconds: float) -> None:
    """A clock that didn't move, or went back, counts as no time. Fails when only the index is clamped."""
    histogram = Histogram()
    histogram.add(seconds)

    value = histogram.quantile(0.5)
    assert value is not None
    assert 0 < value < 1e-7


@pytest.mark.parametrize("seconds", [1e6, 1e300])
def test_nothing_is_longer_than_the_last_bucket(seconds: float) -> None:
    """Days count as the longest time there is: 9 hours. Fails when the upper clamp goes."""
    histogram = Histogram()
    histogram.add(seconds)

    assert histogram.quantile(0.5) == pytest.approx(2.0**15, rel=0.04)


def test_an_empty_histogram_has_no_quantile() -> None:
    """None, not zero: nobody was fast. Fails when the total isn't looked at."""
    assert Histogram().quantile(0.5) is None


def test_the_lowest_quantile_is_the_shortest_latency() -> None:
    """Share 0 skips the empty buckets. Fails when it doesn't."""
    histogram = Histogram()
    histogram.add(1.0)
    histogram.add(2.0)

    assert histogram.quantile(0) == pytest.approx(1.0, rel=0.04)


def test_what_users_get_counts_exactly_below_each_edge() -> None:
    """Against the same data, compared with each edge; and its sum. Fails when an edge is one bucket off."""
    random = Random(11)
    data = [2.0 ** random.uniform(-20, 12) for _ in range(3000)] + [2.0**power for power in range(-16, 9)]
    histogram = Histogram()
    for seconds in data:
        histogram.note(seconds)

    taken = histogram.latencies

    assert [bound for bound, _ in taken.buckets] == [2.0**power for power in range(-16, 9)]
    assert [count for _, count in taken.buckets] == [sum(s < bound for s in data) for bound, _ in taken.buckets]
    assert taken.count == len(data)
    assert taken.sum == pytest.approx(sum(data))


def test_many_that_were_the_same_are_summed() -> None:
    """The items of a chunk. Fails when their time counts once."""
    histogram = Histogram()
    histogram.add(0.5, 4)

    assert (histogram.latencies.count, histogram.latencies.sum) == (4, 2.0)


def test_a_sum_never_falls() -> None:
    """Whatever a clock does: who reads a counter takes a fall for a new beginning. Fails without the clamps."""
    histogram = Histogram()
    histogram.add(3.0)
    histogram.add(-1.0)
    for _ in range(AT_ONCE):
        histogram.note(-1.0)

    assert histogram.latencies.sum == 3.0


def test_a_copy_stays_as_it_is() -> None:
    """What is noted afterwards isn't in it. Fails when it shares the counts."""
    histogram = Histogram()
    histogram.note(1.0)
    copy = histogram.copy()
    histogram.note(2.0)

    assert histogram.latencies.count == 2
    assert (copy.latencies.count, copy.latencies.sum) == (1, 1.0)
    assert copy.quantile(1.0) == pytest.approx(1.0, rel=0.04)


def test_without_calls_the_buckets_are_the_same() -> None:
    """A scraper sees every series from the beginning."""
    assert Histogram().latencies == Latencies()


def test_stats_count_idle_and_busy_workers() -> None:
    """By their states; a starting or stopping one is neither."""
    states = ("ready", "busy", "busy", "starting", "stopping")
    workers = tuple(WorkerStats(i, None, None, None, state, 0, 0.0) for i, state in enumerate(states))
    stats = Stats(
        name="n",
        adapter="a",
        state="open",
        size=5,
        max_overflow=0,
        workers=workers,
        waiting=0,
        calls=0,
        timeouts=0,
        crashes=0,
        restarts=0,
        failed_starts=0,
        retries=0,
        p50=None,
        p99=None,
    )

    assert (stats.idle, stats.busy) == (1, 2)


def test_a_call_of_days_is_counted_with_others() -> None:
    """Above the last edge there is one more bucket. Fails when its end is looked for among the edges."""
    histogram = Histogram()
    for seconds in (1.0, 1e6, 1e7, 1.0):
        histogram.note(seconds)

    assert histogram.count == sum(histogram.counts) == 4
    assert histogram.counts[-1] == 2
