"""Events for a supervisor: anybody may post one, at any moment, and one thread at a time handles them.

Rules: posting takes no lock that anybody holds for long, so finalisers and signal handlers may do it; where no thread
is in charge, whoever posts handles what there is, and who finds another at it leaves it to him. Apart from the
supervisor, which knows what the events mean.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable


class Inbox:
    """What has happened and wasn't handled yet."""

    def __init__(self) -> None:
        self._events: deque[Callable[[], object]] = deque()
        self._lock = threading.RLock()  # guards `_stepper`
        self._stepper: list[int] | None = None  # whoever is at it: its thread

    def __bool__(self) -> bool:
        return bool(self._events)

    def add(self, event: Callable[[], object]) -> None:
        """One more."""
        self._events.append(event)

    def empty(self) -> None:
        """Handle them all, in their order."""
        while self._events:
            self._events.popleft()()

    def drive(self, step: Callable[[], None]) -> None:
        """Make steps, each of which empties it, until there is nothing left; not if somebody else does already."""
        while self._events:
            token = [threading.get_ident()]
            try:
                with self._lock:
                    if self._stepper is not None:
                        return  # it looks again before it is through; who posts never waits for a step (or an `open`)
                    self._stepper = token
                while self._events:
                    step()
            finally:
                if self._stepper is token:
                    self._stepper = None

    @property
    def interrupted_here(self) -> bool:
        """Whether the caller interrupted a step in its own thread, which can't go on before it returns."""
        stepper = self._stepper
        return stepper is not None and stepper[0] == threading.get_ident()
