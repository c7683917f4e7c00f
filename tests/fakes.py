"""Fakes that only our own tests need."""

from __future__ import annotations

from bridge.runtime.claims import Claim
from bridge.testing import Gate


class AnnouncedClaim(Claim):
    """A claim that arrives at a gate when it is queued, so that a test can wait for that and needn't nap."""

    def __init__(self, queued: Gate) -> None:
        super().__init__()
        self._queued: Gate | None = queued

    def sleep(self, seconds: float) -> None:
        """The owner is in the queue, and about to sleep."""
        queued, self._queued = self._queued, None
        if queued is not None:
            queued.then(lambda: None)
        super().sleep(seconds)
