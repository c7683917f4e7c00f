"""How a sample is taken.

Rules: the clock is read around each call, and the median of many is the sample: a call that was interrupted doesn't
count for more than one. Apart from the sections, all of which measure so.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from time import perf_counter


def p50(call: Callable[[], object], calls: int) -> float:
    """Microseconds of one call, the median of many."""
    times = []
    for _ in range(calls):
        began = perf_counter()
        call()
        times.append(perf_counter() - began)
    return median(times) * 1e6


def mean(call: Callable[[], object], calls: int) -> float:
    """Nanoseconds of one call, for what is too short to look at the clock before and after each."""
    turns = range(calls)
    began = perf_counter()
    for _ in turns:
        call()
    return (perf_counter() - began) / calls * 1e9


def once(call: Callable[[], object]) -> float:
    """Milliseconds."""
    began = perf_counter()
    call()
    return (perf_counter() - began) * 1e3


def per_second(call: Callable[[], object], count: int) -> float:
    """How many in a second, when one `call` does so many."""
    began = perf_counter()
    call()
    return count / (perf_counter() - began)


@contextmanager
def one_core() -> Iterator[None]:
    """This thread, and all threads and processes that are started in it, stay on one core; after it, as before."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
