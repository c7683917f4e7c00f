"""What the sections measured: named series, one sample for each round.

Rules: a figure is never made up: what couldn't be measured is noted with its reason. Apart from the rows, which make
figures of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

FRESH: Final = 3
"""Rounds that the same processes are measured in."""


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    rounds: int
    quick: bool = False
    """Enough to see that everything works; the figures are worth nothing."""

    def of(self, full: int, quick: int) -> int:
        """How many calls, items or tasks make a sample."""
        return quick if self.quick else full

    def parts(self) -> Iterator[Effort]:
        """The same in parts of FRESH rounds, each for processes of its own.

        Where the system happens to have put the memory of two that talk may decide, for as long as they live, whether
        a call takes 24 us or 45 (Curtsinger and Berger, Stabilizer, ASPLOS 2013): the median is to be of several.
        """
        for left in range(self.rounds, 0, -FRESH):
            yield replace(self, rounds=min(FRESH, left))


@dataclass
class Series:
    """Samples of the same thing, in the order of the rounds."""

    unit: str
    """us, ns, ms, MB, GB/s, calls/s or items/s."""
    samples: list[float] = field(default_factory=list)


@dataclass
class Found:
    """Everything that was measured, and why some of it wasn't."""

    series: dict[str, Series] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, unit: str, sample: float) -> None:
        """One more round."""
        self.series.setdefault(name, Series(unit)).samples.append(sample)

    def miss(self, names: str | Iterable[str], reason: str) -> None:
        """These can't be measured here, or not yet."""
        for name in (names,) if isinstance(names, str) else names:
            self.missing[name] = reason

    def rounds(self, effort: Effort, unit: str, subjects: Mapping[str, Callable[[], float]]) -> None:
        """Sample all subjects in turn, in so many rounds, so that each has the same machine.

        Every second round goes backwards: nobody is always the one who comes after the same neighbour.
        """
        for number in range(effort.rounds):
            for name in list(subjects)[:: -1 if number % 2 else 1]:
                self.add(name, unit, subjects[name]())
