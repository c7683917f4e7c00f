"""The handler: estimates of pi. It runs in worker processes, and imports nothing from `bridge`."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

Estimate = dict[str, float]


def hits(random: Random, points: int) -> int:
    """Of so many darts in a square, how many are in its circle: computing that would block a server's loop."""
    return sum(random.random() ** 2 + random.random() ** 2 < 1 for _ in range(points))


class Darts:
    """Estimates pi by throwing darts. What it prints goes to the logger `bridge.worker`."""

    def estimate(self, points: int, seed: int = 0) -> Estimate:
        """One estimate, of so many points."""
        try:
            print("begins: estimate")
            return {"points": points, "pi": 4 * hits(Random(seed), points) / points}
        finally:  # also when the caller has given up
            print("ends: estimate")

    def refine(self, points: int, rounds: int, seed: int = 0) -> Iterator[Estimate]:
        """An estimate after each round of so many points."""
        random, inside = Random(seed), 0
        try:
            print("begins: refine")
            for thrown in range(points, points * rounds + 1, points):
                inside += hits(random, points)
                yield {"points": thrown, "pi": 4 * inside / thrown}
        finally:
            print("ends: refine")
