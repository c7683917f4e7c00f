"""What sessions cost the parent: bytes for each, and lines for a call, however many there are."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from types import FrameType
from typing import Any, Final

import pytest

from bridge.core import sessions
from bridge.core.sessions import SessionBook, SessionPolicy
from tests.core.test_pool_state import Worker
from tests.core.test_sessions import Book

WORKERS: Final = 8
MANY: Final = 100_000


def filled(count: int, most: int) -> tuple[Book, list[Worker]]:
    """So many sessions, spread over the workers."""
    book: Book = SessionBook(SessionPolicy(max_sessions=most))
    workers = [Worker(str(number)) for number in range(WORKERS)]
    for number in range(count):
        record = book.find(f"user-{number:07}", number / 1000)
        book.land(record, workers[number % WORKERS], strict=False, durable=False)
        book.leave(record, number / 1000 + 0.0005)
    return book, workers


def lines_of_a_call(book: Book, worker: Worker, key: str) -> int:
    """That run in sessions.py for its work in the book."""
    lines = 0

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal lines
        if frame.f_code.co_filename != sessions.__file__:
            return None
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        record = book.find(key, 200)
        book.land(record, worker, strict=False, durable=False)
        book.leave(record, 200)
    finally:
        sys.settrace(before)
    return lines


@pytest.mark.deep
@pytest.mark.parametrize("key", ["user-0000000", "user-0000008", "new"])
@pytest.mark.parametrize("full", [True, False])
def test_a_calls_work_does_not_grow_with_the_number_of_sessions(full: bool, key: str) -> None:
    """Known and new ones, below the limit and at it. Fails when anything of a call looks at each session."""
    few, many = (filled(count, count if full else 2 * MANY) for count in (10, MANY))

    of_few, of_many = (lines_of_a_call(book, workers[0], key) for book, workers in (few, many))

    assert 10 < of_few == of_many < 100


@pytest.mark.deep
@pytest.mark.thread_unsafe
def test_a_session_costs_less_than_half_a_kilobyte() -> None:
    """Its key, its place and its order counted in. Fails when each has a table of its own."""
    filled(10, 10)
    gc.collect()
    tracemalloc.start()
    try:
        book, workers = filled(MANY, MANY)
        gc.collect()
        each = tracemalloc.get_traced_memory()[0] / MANY
    finally:
        tracemalloc.stop()

    print(f"{each:.0f} bytes for each session")
    assert (len(book.records), len(workers)) == (MANY, WORKERS)
    assert 100 < each < 500
