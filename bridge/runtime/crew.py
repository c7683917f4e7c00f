"""Threads that do what was handed in: made on demand, as many as the pool may have workers.

Rules: the threads are daemons, since interpreter exit must not wait for a call, and they hold no runtime, so that one
that nobody wants any longer can end. A job that has to wait behind others is watched by one thread more, the clerk: it
ends at its deadline, or at once when the crew does. `end` takes no lock. Apart from what the jobs are.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from math import inf
from queue import Empty, SimpleQueue
from typing import Final, Protocol

from bridge.errors import PoolClosed, WorkerStartError
from bridge.runtime.journal import log, say
from bridge.runtime.threads import begin

GONE: Final = "shutdown"
"""In what Python says when no thread can be started any more, since the interpreter is exiting."""


class Job(Protocol):
    """Something to do, once. Of `run`, `expire` and `refuse` the first one counts."""

    deadline: float
    """In the clock's seconds: it must have begun by then."""

    @property
    def begun(self) -> bool:
        """Whether one of the three was called."""

    def run(self) -> None:
        """Do it."""

    def expire(self) -> None:
        """Its deadline passed while it waited."""

    def refuse(self) -> None:
        """The crew ended while it waited."""


class Crew:
    """Threads, and the jobs that wait for one.

    Args:
        name: Labels threads and errors.
        most: Threads, at the most; without the clerk.
        clock: Monotonic seconds.
    """

    def __init__(self, name: str, most: int, clock: Callable[[], float]) -> None:
        self._name, self._most, self._clock = name, most, clock
        self._inbox: SimpleQueue[Job | None] = SimpleQueue()  # its `put` may interrupt itself
        self._bell: SimpleQueue[None] = SimpleQueue()  # has the clerk look
        self._look_at = inf  # when the clerk looks without being rung for
        self._looking = False  # the clerk is
        self._fresh: deque[float] = deque()  # deadlines of what came meanwhile
        self._jobs: dict[Job, None] = {}  # that wait or run, in their order
        self._threads: list[threading.Thread] = []
        self._clerks: list[threading.Thread] = []
        self._starting = threading.RLock()  # a signal handler may hand in a job, too
        self._over = False
        self._pid = os.getpid()

    def give(self, job: Job) -> None:
        """Have it done.

        Raises:
            PoolClosed: The crew has ended.
            WorkerStartError: The system has no thread to give; it isn't done.
        """
        if self._over:
            raise PoolClosed(self._name)
        self._jobs[job] = None
        try:
            with self._starting:
                self._staff()
            self._inbox.put(job)
        except BaseException:
            self._jobs.pop(job, None)
            raise
        if self._looking:
            self._fresh.append(job.deadline)
        if self._clerks and job.deadline < self._look_at:
            self._bell.put(None)
        if self._over:
            self._refuse_waiting()  # else nobody might: the threads end

    def end(self) -> None:
        """Refuse what waits; the threads end when what runs has. From any thread, also in a finaliser."""
        self._over = True
        self._inbox.put(None)
        self._bell.put(None)

    def _staff(self) -> None:
        try:
            if len(self._threads) < min(len(self._jobs), self._most):
                self._start(self._threads, self._work, "crew")
            if len(self._jobs) > self._most and not self._clerks:
                self._start(self._clerks, self._watch, "clerk")
        except RuntimeError as error:
            if GONE in str(error):
                raise PoolClosed(self._name) from error
            if not self._threads:  # else those that run do all the work
                detail = f"{error}. The system refused a thread; raise its limits"
                raise WorkerStartError("spawn", detail, handler=self._name) from error

    def _start(self, kind: list[threading.Thread], target: Callable[[], None], word: str) -> None:
        thread = threading.Thread(target=target, name=f"bridge-{word}-{self._name}", daemon=True)
        kind.append(thread)
        try:
            begin(thread)
        except BaseException:
            if not thread.is_alive():  # else a signal came after the start
                kind.remove(thread)
            raise

    def _work(self) -> None:
        while (job := self._inbox.get()) is not None:
            self._do(job.run)
            self._jobs.pop(job, None)
            if os.getpid() != self._pid:
                return  # a callback forked, and this is the child: what waits here is its parent's
            del job  # an idle thread keeps nothing alive
        self._inbox.put(None)  # for the next one

    def _watch(self) -> None:
        while not self._over:
            seconds = self._expire() - self._clock()
            try:
                self._bell.get(timeout=min(max(seconds, 0.0), threading.TIMEOUT_MAX))
            except Empty:
                continue
        self._refuse_waiting()

    def _expire(self) -> float:
        """End what is late; answers when to look again."""
        # What comes in the middle of this look leaves its deadline: to look again for each of many would be in vain.
        # What comes as it ends compares its own with what was found, which is told before.
        self._looking = True
        now, first = self._clock(), inf
        for job in self._waiting():
            if job.deadline <= now:
                self._do(job.expire)
            else:
                first = min(first, job.deadline)
        self._look_at = first
        self._looking = False
        while self._fresh:
            first = min(first, self._fresh.popleft())
        self._look_at = first
        return first

    def _refuse_waiting(self) -> None:
        for job in self._waiting():
            self._do(job.refuse)

    def _waiting(self) -> list[Job]:
        return [job for job in [*self._jobs] if not job.begun]

    def _do(self, step: Callable[[], None]) -> None:
        try:
            step()
        except BaseException:  # of a callback of the application's
            say(log.exception, "a callback of a future of %s raised; the crew goes on", self._name)
