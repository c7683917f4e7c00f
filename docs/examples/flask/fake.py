"""What stands for the handler in tests: the same command, no computing."""

from __future__ import annotations


class FakeDarts:
    """Is sure that pi is 3, give or take the seed."""

    def estimate(self, points: int, seed: int = 0) -> float:
        """At once."""
        return 3 + seed / 1000
