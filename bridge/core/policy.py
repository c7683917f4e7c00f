"""When to start again after starts failed.

Rules: a pure function of what happened and `now`. Only failed starts count (never ready, or dead before the first
call): native code that crashes under a call is what a pool is for, and never opens the breaker. The words are
OTP's (intensity, window) and those of a circuit breaker (closed, open, half-open); taking `now` as an argument is
psycopg's AttemptWithBackoff. Apart from fleet.py because it has one question to answer.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Final

from bridge.core.events import Event

MAX_BACKOFF: Final = 30.0
"""Seconds between two starts, at the most."""


class Breaker(str, Enum):
    """Guards starts, never calls: with a live worker calls go on."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class RestartPolicy:
    """Counts failed starts and says when the next one is allowed.

    Args:
        max_restarts: Failed starts within the window that are still answered with another start.
        window: Seconds.
        backoff: Seconds before the second attempt; doubles with each failure, up to 30 s.
        of_host: It is that of one host of several: whoever doesn't answer there takes long to fail. So failures in a
            row count, however long each took; one that wasn't answered in time is enough; and that a worker served
            before its host was lost says nothing of the host.
    """

    def __init__(self, *, max_restarts: int, window: float, backoff: float, of_host: bool = False) -> None:
        self._max_restarts, self._window, self._backoff = max_restarts, window, backoff
        self._of_host = of_host
        self._failures: deque[float] = deque()
        self._in_a_row = 0
        self._last_failure = self._resumed_at = float("-inf")
        self.breaker = Breaker.CLOSED
        self.not_before = float("-inf")
        self.events: deque[Event] = deque()
        """What the breaker did, until somebody takes it away."""

    def failed(
        self, started_at: float, now: float, chance: float, *, unanswered: bool = False, for_good: bool = False
    ) -> None:
        """A start failed. Starts that were under way together count once: they share their cause.

        Args:
            chance: A random number in [0, 1): the jitter, so that a fleet doesn't come back at once.
            unanswered: It was given up, for its time was over.
            for_good: Nothing that changes by itself made it fail: one is enough, and the next is tried late.
        """
        if started_at <= self._last_failure:
            return
        self._last_failure = now
        while self._failures and self._failures[0] <= now - self._window:
            self._failures.popleft()
        if self.breaker is Breaker.CLOSED and started_at - self._resumed_at > self._window:
            self._in_a_row = 0  # a quiet window: our own pause, or a start that takes long, isn't one
        self._failures.append(now)
        self._in_a_row += 1
        many = unanswered or self._in_a_row > self._max_restarts if self._of_host else False
        if for_good or many or len(self._failures) > self._max_restarts or self.breaker is not Breaker.CLOSED:
            self._turn(Breaker.OPEN)
        pause = MAX_BACKOFF if for_good else min(MAX_BACKOFF, self._backoff * 2 ** min(self._in_a_row - 1, 30))
        self.not_before = self._resumed_at = now + pause * (0.75 + chance / 2)

    def became_ready(self) -> None:
        """A start succeeded. It closes the breaker; failures are forgotten only by `served` or by time."""
        if self.breaker is not Breaker.CLOSED:
            self._forget()
        self.not_before = float("-inf")

    def served(self) -> None:
        """A worker lived to see a call: whatever kills it then is not a failed start."""
        if not self._of_host or self.breaker is Breaker.CLOSED:
            self._forget()

    def _forget(self) -> None:
        self._turn(Breaker.CLOSED)
        self.not_before = float("-inf")  # it is replaced at once, whatever became of other starts
        self._failures.clear()
        self._in_a_row = 0

    def allows(self, now: float, starting: int) -> int:
        """How many starts may begin now: any number, one (while the last one failed), or none."""
        if now < self.not_before:
            return 0
        if self.breaker is Breaker.OPEN:
            self._turn(Breaker.HALF_OPEN)
        if self.not_before > float("-inf"):
            return 0 if starting else 1
        return 1 << 30

    def _turn(self, breaker: Breaker) -> None:
        if breaker is not self.breaker:
            before, after = self.breaker.value, breaker.value
            self.events.append(Event(f"breaker.{after}", before=before, after=after))
            self.breaker = breaker


@dataclass(frozen=True)
class SupervisorPolicy:
    """How starts are made and given up. Seconds."""

    startup_timeout: float = 30.0
    shutdown_timeout: float = 5.0
    max_restarts: int = 3
    restart_window: float = 5.0
    backoff: float = 0.1
    max_idle: float = 60.0
    """Until a worker above `size` is let go."""
    cancel_grace: float = 2.0
    """That a worker has for ending a cancelled call."""
    health_interval: float | None = None
    """For which a worker has to be idle before it is asked how it is."""

    def of_restarts(self, *, of_host: bool = False) -> RestartPolicy:
        """Its part that says when to start again."""
        return RestartPolicy(
            max_restarts=self.max_restarts, window=self.restart_window, backoff=self.backoff, of_host=of_host
        )
