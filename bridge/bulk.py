"""map: many calls of one command, a bounded number at a time.

Rules: items are taken in the consumer's thread, as results are asked for; the window bounds both what runs and what
waits to be fetched; leaving early cancels what runs. The threads are daemons, since interpreter exit must not wait
for a call, and its own: on the runtime's crew, a map in the callback of a future would wait for its own thread. Apart
from client.py because it owns threads.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Generator, Iterable
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final

from bridge.errors import PoolClosed, WorkerStartError
from bridge.runtime import calls
from bridge.runtime.claims import Claim

if TYPE_CHECKING:
    from bridge.runtime import Runtime

AHEAD: Final = 2
"""Items per worker that are under way or fetched ahead: one runs, one is ready to follow."""
JOIN_TIMEOUT: Final = 2.0


class _Job:
    """One item."""

    __slots__ = ("args", "claim", "done", "error", "value")

    def __init__(self, args: Any) -> None:
        self.args = args
        self.claim = Claim()
        self.value: Any = None
        self.error: BaseException | None = None
        self.done = False


class _Crew:
    """Threads that call, one per worker that the pool may have."""

    def __init__(self, runtime: Runtime, command: str, timeout: float | None, width: int) -> None:
        self._runtime, self._command, self._timeout, self._width = runtime, command, timeout, width
        self._inbox: SimpleQueue[_Job | None] = SimpleQueue()
        self.finished: SimpleQueue[_Job] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._pid = os.getpid()

    def give(self, job: _Job) -> None:
        """Have one item called."""
        self._inbox.put(job)
        if len(self._threads) < self._width:
            thread = threading.Thread(target=self._work, name=f"bridge-map-{self._command}", daemon=True)
            self._threads.append(thread)
            try:
                thread.start()
            except RuntimeError as error:
                self._threads.remove(thread)
                if not self._threads:  # else those that run do all the work
                    detail = f"{error}. The system refused a thread; raise its limits"
                    raise WorkerStartError("spawn", detail, handler=self._runtime.spec.handler) from error

    def _work(self) -> None:
        while (job := self._inbox.get()) is not None:
            try:
                job.value = calls.call(self._runtime, self._command, job.args, self._timeout, job.claim)
            except BaseException as error:
                job.error = error  # raised, or handed over, in the consumer's thread
            job.done = True
            self.finished.put(job)

    def await_end(self, job: _Job) -> None:
        """Wait for one item. A function, since from Python 3.12 on a Ctrl-C at the end of a bare `while` in the
        caller's `try` would leave it without passing its `finally`: no handler covers the jump back."""
        while not job.done:
            self.next_finished()

    def next_finished(self) -> _Job:
        """Wait for any item."""
        if self._pid != os.getpid():
            raise PoolClosed(self._runtime.name)  # in a forked child nobody works for this map
        return self.finished.get()

    def dismiss(self, running: Iterable[_Job]) -> None:
        """End: what still runs is cancelled."""
        if self._pid != os.getpid():
            return
        for job in running:
            if not job.done:
                self._runtime.pool.cancel(job.claim)
        for _ in self._threads:
            self._inbox.put(None)
        for thread in self._threads:
            if thread.ident is not None:  # else a signal cut its start short
                thread.join(JOIN_TIMEOUT)


def run(
    runtime: Runtime,
    command: str,
    items: Iterable[Any],
    timeout: float | None,
    *,
    ordered: bool,
    return_exceptions: bool,
    owner: object,
) -> Generator[Any, None, None]:
    """The results of one command for many args; see Bridge.map.

    Args:
        owner: Kept alive until the end: a bridge that nobody holds would close under its own map.
    """
    size = runtime.pool.policy.size + runtime.pool.policy.max_overflow
    crew = _Crew(runtime, command, timeout, size)
    under_way: deque[_Job] = deque()  # in the order of the items
    source = iter(items)
    try:
        while True:
            while len(under_way) < AHEAD * size:
                try:
                    job = _Job(next(source))
                except StopIteration:
                    break
                under_way.append(job)
                crew.give(job)
            if not under_way:
                return
            if ordered:
                crew.await_end(under_way[0])
                job = under_way.popleft()
            else:
                job = crew.next_finished()
                under_way.remove(job)
            if job.error is not None and not return_exceptions:
                raise job.error
            yield job.value if job.error is None else job.error
    finally:
        crew.dismiss(under_way)
        del owner
