"""The handler: estimates of pi. It runs in worker processes, and imports nothing from `bridge`."""

from __future__ import annotations

from random import Random


class Darts:
    """Estimates pi by throwing darts: computing that would hold the server's GIL."""

    def estimate(self, points: int, seed: int = 0) -> float:
        """An estimate of so many points."""
        random = Random(seed)
        return 4 * sum(random.random() ** 2 + random.random() ** 2 < 1 for _ in range(points)) / points
