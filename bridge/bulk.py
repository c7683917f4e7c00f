"""map, for threads: chunks of calls, a bounded number at a time.

Rules: items are taken in the consumer's thread, as results are asked for; the window bounds both what runs and what
waits to be fetched; leaving early cancels what runs. The threads are daemons, since interpreter exit must not wait
for a call, and its own: on the runtime's crew, a map in the callback of a future would wait for its own thread. Apart
from client.py because it owns threads, and from chunks.py, which decides what is called.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextvars import copy_context
from functools import partial
from itertools import islice
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final

from bridge.chunks import AHEAD, Chunk, Outcomes, Pace, Request, Steps, Task, Window, steps
from bridge.contract import Capability
from bridge.core.messages import encode_chunk
from bridge.errors import PoolClosed, WorkerStartError
from bridge.runtime import calls
from bridge.runtime.claims import Claim
from bridge.runtime.follow import Follow, follow_chunk, follow_item, propagated
from bridge.runtime.threads import begin

if TYPE_CHECKING:
    from bridge.runtime import Runtime

JOIN_TIMEOUT: Final = 2.0


class _Crew:
    """Threads that call, one per worker that the pool may have."""

    def __init__(self, runtime: Runtime, command: str, width: int, call: Callable[[Request, Chunk], Any]) -> None:
        self._runtime, self._command, self._width, self._call = runtime, command, width, call
        self._inbox: SimpleQueue[tuple[Chunk, Steps] | None] = SimpleQueue()
        self._heard: SimpleQueue[Chunk] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._pid = os.getpid()

    def give(self, chunk: Chunk, steps: Steps) -> None:
        """Have the calls of one chunk made."""
        self._inbox.put((chunk, steps))
        if len(self._threads) < self._width:
            # Watched, in the context of the map: that is where the parent of a call's span is.
            work = self._work if self._runtime.watcher is None else partial(copy_context().run, self._work)
            thread = threading.Thread(target=work, name=f"bridge-map-{self._command}", daemon=True)
            self._threads.append(thread)
            try:
                begin(thread)
            except RuntimeError as error:
                self._threads.remove(thread)
                if not self._threads:  # else those that run do all the work
                    detail = f"{error}. The system refused a thread; raise its limits"
                    raise WorkerStartError("spawn", detail, handler=self._runtime.spec.handler) from error

    def _work(self) -> None:
        while (found := self._inbox.get()) is not None:
            chunk, steps = found
            try:
                request = next(steps)
                while True:
                    try:
                        value = self._call(request, chunk)
                    except BaseException as error:
                        request = steps.throw(error)
                    else:
                        request = steps.send(value)
                    self.tell(chunk)
            except StopIteration:
                pass  # all its calls were made
            except BaseException as error:
                chunk.fail(error)
            chunk.ended = True
            self.tell(chunk)

    def tell(self, chunk: Chunk) -> None:
        """Something of it has come."""
        self._heard.put(chunk)

    def listen(self) -> Chunk:
        """Wait until something has come of any chunk."""
        if self._pid != os.getpid():
            raise PoolClosed(self._runtime.name)  # in a forked child nobody works for this map
        return self._heard.get()

    def await_front(self, chunk: Chunk) -> None:
        """Wait until something has come of one. A function, since from Python 3.12 on a Ctrl-C at the end of a bare
        `while` in the caller's `try` would leave it without passing its `finally`: no handler covers the jump back."""
        while not (chunk.outcomes or chunk.ended):
            self.listen()
        while not self._heard.empty():  # what it says is in the chunks: kept, it would keep all of them
            self._heard.get()

    def dismiss(self, running: Iterable[Chunk]) -> None:
        """End: what still runs is cancelled."""
        if self._pid != os.getpid():
            return
        for chunk in running:
            if not chunk.ended:
                self._runtime.pool.cancel(chunk.claim)
        for _ in self._threads:
            self._inbox.put(None)
        for thread in self._threads:
            if thread.is_alive():  # else it is over, or a signal cut its start short
                thread.join(JOIN_TIMEOUT)


class Errand:
    """How the calls of one map are made, by threads or by tasks. It is made where the results are taken.

    Args:
        column: The parameter that items are values of; None: each is the arguments of its call.
    """

    def __init__(
        self, runtime: Runtime, command: str, timeout: float | None, column: str | None, pace: Pace, *, idempotent: bool
    ) -> None:
        self._runtime, self._timeout, self._column, self._pace = runtime, timeout, column, pace
        self._context = propagated(runtime)
        self._one = follow_item(runtime, self._context)
        limit = runtime.spec.max_frame_bytes - len(self._follow(lambda _: None).head)
        self._task = Task(command, column, idempotent, lambda items: encode_chunk(command, items, limit))

    def _follow(self, heard: Callable[[Any], None]) -> Follow:
        patience, each = self._pace.patience, self._timeout
        return follow_chunk(self._runtime, self._context, heard, column=self._column, patience=patience, each=each)

    def steps(self, chunk: Chunk) -> Steps:
        """The calls that it takes."""
        return steps(self._task, chunk, self._pace, self._runtime.clock)

    def terms(self, request: Request, tell: Callable[[], object]) -> tuple[bool, Follow | None]:
        """Whether it may be sent again after a crash, and what it is followed by.

        Args:
            tell: Called when something has come of a chunk.
        """
        hear = request.heard
        if hear is None:
            return self._task.idempotent, self._one

        def heard(said: Any) -> None:
            hear(said)
            tell()

        return False, self._follow(heard)


def fetched(outcomes: Outcomes, *, return_exceptions: bool) -> Iterable[Any]:
    """The results; an error is raised in its turn, or takes its place."""
    return outcomes.values if not outcomes.errors else _one_by_one(outcomes, return_exceptions=return_exceptions)


def _one_by_one(outcomes: Outcomes, *, return_exceptions: bool) -> Iterator[Any]:
    for place, value in enumerate(outcomes.values):
        error = outcomes.errors.get(place)
        if error is not None and not return_exceptions:
            raise error
        yield value if error is None else error


def goes_together(runtime: Runtime) -> bool:
    """Whether items may share a frame: to a worker of ours, and where no call has to be known by its bytes."""
    plain = runtime.spec.pickle is None and runtime.pool.policy.poison_threshold is None
    return plain and Capability.FDS in runtime.adapter.capabilities


def run(
    runtime: Runtime,
    command: str,
    items: Iterable[Any],
    timeout: float | None,
    *,
    arg: str | None,
    chunksize: int | None,
    ordered: bool,
    return_exceptions: bool,
    idempotent: bool,
    owner: object,
) -> Generator[Any, None, None]:
    """The results of one command for many items; see Bridge.map.

    Args:
        chunksize: None: as measured.
        owner: Kept alive until the end: a bridge that nobody holds would close under its own map.
    """
    width = runtime.pool.policy.size + runtime.pool.policy.max_overflow
    pace = Pace(chunksize)
    errand = Errand(runtime, command, timeout, arg, pace, idempotent=idempotent)

    def call(request: Request, chunk: Chunk) -> Any:
        again, follow = errand.terms(request, lambda: crew.tell(chunk))
        claim, args, body = chunk.claim, request.args, request.body
        return calls.call(runtime, command, args, timeout, claim, idempotent=again, follow=follow, body=body)

    def give(chunk: Chunk) -> None:
        crew.give(chunk, errand.steps(chunk))

    crew, window = _Crew(runtime, command, width, call), Window(AHEAD * width, pace, Claim)
    source = iter(items)
    try:
        while True:
            while (wanted := window.wants) and (some := list(islice(source, wanted))):
                give(window.add(some))
            if not window.under_way:
                return
            if ordered:
                chunk = window.under_way[0]
                crew.await_front(chunk)
            else:
                chunk = crew.listen()
            ended = chunk.ended  # before the look: it may end behind it
            while chunk.outcomes:
                yield from fetched(chunk.outcomes.popleft(), return_exceptions=return_exceptions)
            if ended and chunk in window.under_way:
                for fresh in window.take(chunk):
                    give(fresh)
    finally:
        crew.dismiss(window.under_way)
        del owner
