"""What stands for the handler in tests: the same commands and parameters, no computing."""

from __future__ import annotations

from collections.abc import Iterator

from darts import Estimate


class FakeDarts:
    """Is sure that pi is 3."""

    def estimate(self, points: int, seed: int = 0) -> Estimate:
        """At once."""
        return {"points": points, "pi": 3.0}

    def refine(self, points: int, rounds: int, seed: int = 0) -> Iterator[Estimate]:
        """The same, several times."""
        for number in range(1, rounds + 1):
            yield {"points": points * number, "pi": 3.0}
