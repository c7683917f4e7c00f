"""What tests of sessions share: their handler, and a call that is in a worker for as long as the test wants.

Rules: nobody sleeps; the call is held by a fifo that the test closes. Apart from waiting.py, which knows no bridges.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bridge import Bridge
from tests.process.waiting import held_open

HANDLER = f"{Path(__file__).parent}/session_handlers.py:Counting"


@contextmanager
def busy(b: Bridge, tmp_path: Path, call: Callable[[str], Any]) -> Iterator[None]:
    """One call is in a worker until the end of the block."""
    fifo = tmp_path / "fifo"
    if not fifo.exists():
        os.mkfifo(fifo)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(call, str(fifo))
        with held_open(fifo):
            yield
        running.result(10)


def waits(b: Bridge) -> Callable[[], bool]:
    """Whether somebody waits."""
    return lambda: b.stats().waiting == 1
