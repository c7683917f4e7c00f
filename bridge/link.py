"""What a driver of a channel is to whoever holds its worker.

Rules: protocols and what a call on one can end in, nothing that runs. A link is clean exactly when no reply is
outstanding on it. Apart from the drivers because there are several.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from bridge.wire import CALL


class DeadlinePassed(Exception):
    """No reply came before the deadline. `started` is as for WorkerGone."""

    def __init__(self, *, started: bool) -> None:
        self.started = started


class Left(Exception):
    """Another thread has cancelled the call."""


class Cancellable(Protocol):
    """Whose call it is, where other threads may cancel it."""

    cancelled: bool


ClaimRef = Callable[[], Cancellable | None]
"""A weak reference to one: what an interruption left must not seem to be held."""


class Link(Protocol):
    """How the holder of a lease talks to its worker."""

    @property
    def clean(self) -> bool:
        """No reply is outstanding: the next holder can't be given somebody else's."""

    @property
    def call_id(self) -> int:
        """Of the request that is out, or was last."""

    @property
    def cancellable(self) -> bool:
        """Whether the worker can be asked to end the request that is out: it was wholly written."""

    def call(
        self,
        command: str,
        body: bytes,
        deadline: float,
        kind: int = CALL,
        claim: ClaimRef | None = None,
    ) -> Any:
        """One request and its one reply."""

    def interrupt(self) -> None:
        """The call was cancelled, by another thread than its own."""

    def abort(self) -> None:
        """The worker is dead: whoever waits for its reply need not any longer."""
