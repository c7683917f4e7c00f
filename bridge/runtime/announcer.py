"""Tells what happened: the fleet's events, completed, to `logging` and to the application's callback.

Rules: on the supervisor's thread, or in whoever makes its step; the callback's queue first and the log last, since a
log handler may block or raise. An event leaves its list only when it was told. Apart from the fleet, which notes the
events, and from the roster, which has its hands full.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import inf
from types import MappingProxyType
from typing import Final
from weakref import finalize

from bridge.core.effects import Why
from bridge.core.events import Event, fields_of, said
from bridge.runtime.courier import Courier, Listener
from bridge.runtime.journal import log, say
from bridge.runtime.pool import Pool
from bridge.runtime.worker import Worker

OVERLOAD_EVERY: Final = 1.0
"""Seconds between two reports of callers that were refused, at the least: there may be thousands."""

QUIET: Final = frozenset({"worker.starting", "worker.draining", "worker.retiring"})
LOUD: Final = frozenset({"worker.failed", "breaker.open", "pool.overloaded"})
EXPECTED: Final = frozenset(why.name.lower() for why in (Why.CLOSING, Why.START_FAILED, Why.SHUTDOWN_TIMEOUT))
"""Reasons of kills that need nobody's attention, or that another event tells of."""
REFUSED: Final = MappingProxyType({"max_waiting": "the queue is full", "queue_target": "the queue stands"})
"""Why callers are refused, and how that is said."""


class Announcer:
    """What is to be told of one bridge.

    Args:
        name: The bridge's.
        noted: The events, as they are decided.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        name: str,
        adapter: str,
        noted: deque[Event],
        pool: Pool,
        listener: Listener | None,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._name, self._adapter, self._noted, self._pool = name, adapter, noted, pool
        self._courier = None if listener is None else Courier(listener, name)
        if self._courier is not None:
            # Of a bridge that is dropped, and has no thread that would see to its end. No `__del__`: each bridge would
            # pay for it with moments in which an interruption gets lost.
            finalize(self, self._courier.stop).atexit = False
        self._clock = clock
        self._unsaid: deque[Event] = deque()
        self._workers: dict[int, Worker] = {}  # by generation, until its last event
        self._overloads_at = -inf
        self._refused = dict.fromkeys(REFUSED, 0)  # that were told
        self._ended = False

    @property
    def dropped(self) -> int:
        """Events that the callback was not told."""
        return 0 if self._courier is None else self._courier.dropped

    def begin(self) -> None:
        """The bridge opens. Idempotent."""
        if self._courier is not None:
            self._courier.begin()

    def meet(self, worker: Worker) -> None:
        """Whose pid is to be told."""
        self._workers[worker.generation] = worker

    def collect(self) -> None:
        """Complete what was noted; the callback hears it at once."""
        while self._noted:
            event = self._completed(self._noted[0])
            if self._courier is not None:
                self._courier.post(event, last=event.name == "bridge.closed")
            self._unsaid.append(event)
            self._noted.popleft()

    def look(self, now: float) -> None:
        """Note callers that were refused since the last look, all in one event."""
        if now < self._overloads_at:
            return
        for reason, total in (("max_waiting", self._pool.tally.refused), ("queue_target", self._pool.tally.shed)):
            count = total - self._refused[reason]
            if count:
                self._noted.append(Event("pool.overloaded", reason=reason, detail=REFUSED[reason], count=count))
                self._refused[reason] = total
                self._overloads_at = now + OVERLOAD_EVERY

    def end(self) -> None:
        """The bridge is closed. Idempotent."""
        self._overloads_at = -inf
        self.look(0.0)
        if not self._ended:
            self._noted.append(Event("bridge.closed", before="closing", after="closed"))
            self._ended = True
        self.speak()

    def await_delivery(self, seconds: float) -> None:
        """Give the callback a moment for what waits, so many seconds at the most."""
        if self._courier is not None:
            self._courier.await_end(seconds)

    def speak(self) -> None:
        """Log what wasn't logged yet."""
        self.collect()
        fault: BaseException | None = None
        while self._unsaid:
            event = self._unsaid.popleft()
            if event.name == "worker.stopped":
                self._workers.pop(event.generation or 0, None)  # no event of its follows
            try:
                level = _level(event)
                if log.isEnabledFor(level):
                    say(partial(log.log, level), "%s", said(event), extra=fields_of(event))
            except BaseException as error:  # a handler that exits: the other events count all the same
                fault = error
        if fault is not None:
            try:
                raise fault
            finally:
                del fault  # else it and this frame keep each other, and the bridge, until a garbage collection

    def _completed(self, event: Event) -> Event:
        worker = self._workers.get(event.generation or 0)
        detail = event.detail
        if worker is not None and event.name == "worker.stopped":
            detail = worker.how_it_ended() if worker.process is not None else None
        pid = None if worker is None else worker.info.pid
        return replace(event, bridge=self._name, adapter=self._adapter, at=time.time(), pid=pid, detail=detail)


def _level(event: Event) -> int:
    if event.name in QUIET:
        return logging.DEBUG
    killed = event.name == "worker.killed" and event.reason not in EXPECTED
    died = event.name == "worker.stopped" and event.reason == "died"
    return logging.WARNING if killed or died or event.name in LOUD else logging.INFO
