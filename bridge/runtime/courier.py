"""Takes events to one callback of the application, in a thread of its own.

Rules: posting waits for nothing and takes no lock of Python's, so that a finaliser or a signal handler may do it;
whatever the callback does, it does to this thread alone; what doesn't fit is dropped and counted, the newest first,
since the first ones say how it began. Apart from the announcer, which knows what the events are.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Final

from bridge.core.events import Event
from bridge.runtime.journal import say
from bridge.runtime.threads import begin

log = logging.getLogger("bridge.events")

Listener = Callable[[Event], object]
"""A callback: it gets each event, in their order; what it returns is nobody's."""

MOST_WAITING: Final = 1000
"""Events that wait for the callback, at the most; the last one of a bridge has a place beyond."""
LAST_WORDS: Final = 1.0
"""Seconds that `close` gives the callback for what still waits."""


class Courier:
    """One callback, its queue and its thread."""

    def __init__(self, listener: Listener, name: str) -> None:
        self.dropped = 0
        self._listener, self._name = listener, name
        self._queue: SimpleQueue[Event | None] = SimpleQueue()  # its `put` may interrupt itself
        self._told: set[type[BaseException]] = set()  # what the callback has raised so far
        self._pid = os.getpid()
        self._threads: list[threading.Thread] = []
        self._idents: list[int] = []  # of those that run; the first one is ours, others were started in vain

    def begin(self) -> None:
        """Start the thread. Idempotent; where the system has none to give, what happens is dropped and counted."""
        if any(thread.is_alive() for thread in self._threads):
            return
        # Daemon: interpreter exit doesn't wait for a callback that blocks.
        thread = threading.Thread(target=self._run, name=f"bridge-events-{self._name}", daemon=True)
        self._threads.append(thread)  # first: a signal may cut the start short
        try:
            begin(thread)
        except RuntimeError:
            self._threads.remove(thread)
            say(log.exception, "on_event of %s gets no thread: the system has none", self._name)

    def post(self, event: Event, *, last: bool = False) -> None:
        """One more, which may be dropped; after the last one the thread ends."""
        if not self._threads or (not last and self._queue.qsize() >= MOST_WAITING):
            self.dropped += 1
            return
        self._queue.put(event)
        if last:
            self.stop()

    def stop(self) -> None:
        """End the thread once it has delivered what waits."""
        self._queue.put(None)

    def await_end(self, seconds: float) -> None:
        """Wait until all is delivered, for LAST_WORDS and for so many seconds at the most."""
        until = time.monotonic() + min(seconds, LAST_WORDS)
        for thread in self._threads:
            if thread is not threading.current_thread():  # a callback may close its own bridge
                thread.join(max(0.0, until - time.monotonic()))

    def _run(self) -> None:
        self._idents.append(threading.get_ident())
        if self._idents[0] != threading.get_ident():
            return  # this start was repeated
        while (event := self._queue.get()) is not None:
            try:
                self._listener(event)
            except BaseException as error:
                with suppress(BaseException):  # a log handler that exits
                    self._complain(error, event)
            if os.getpid() != self._pid:
                return  # the callback forked, and this is the child: what waits here is its parent's

    def _complain(self, error: BaseException, event: Event) -> None:
        if type(error) not in self._told:  # once for each kind: a callback that is broken is so at each event
            self._told.add(type(error))
            say(log.error, "on_event of %s raised at %s; it goes on", self._name, event.name, exc_info=error)
