"""`map`: many small items.

Rules: both sides give their results as they come; the chunk size is ours to choose, and the peer's is one that suits
it. Apart from crowds.py, whose callers wait for each result.
"""

from __future__ import annotations

from collections import deque
from functools import partial

from bridge.bench.found import Effort, Found
from bridge.bench.subjects import echo, opened, pool
from bridge.bench.timing import per_second


def bulk(effort: Effort, found: Found) -> None:
    """20,000 of them."""
    items = range(effort.of(20_000, 512))
    with pool(2) as processes, opened(2) as b:

        def ours() -> None:
            deque(b.map("echo", items, arg="value", ordered=False), maxlen=0)

        def theirs() -> None:
            deque(processes.imap_unordered(echo, items, chunksize=256), maxlen=0)

        subjects = {"Pool.imap_unordered": theirs, "Bridge.map": ours}
        rates = {name: partial(per_second, work, len(items)) for name, work in subjects.items()}
        found.rounds(effort, "items/s", rates)
