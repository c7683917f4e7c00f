"""Handlers that stubs are made of; the mocks run them in this process."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from fractions import Fraction as Unknown


@dataclass
class Order:
    """What is ordered, and when."""

    number: int
    at: datetime


class Clerk:
    """A handler with a method of each kind."""

    def order(self, number: int, at: str = "2026-01-02T03:04:05") -> Order:
        """Take an order."""
        return {"number": number, "at": at}  # type: ignore[return-value]

    def given(self, first: Any, second: Any = "default", **others: Any) -> Any:
        """What it was called with."""
        return [first, second, others]

    def all_of(self, first: int, *rest: int) -> int:
        """Takes any number."""
        return first + sum(rest)

    def by_place(self, first: int, /, second: int = 2) -> list[int]:
        """Its first one has no name."""
        return [first, second]

    def mixed(self, first: int, /, *, second: int) -> int:
        """Can't be sent."""
        return first + second

    def sessions(self, value: int, *, session: Any = "none", parent: Any = None) -> Any:
        """Has what the worker fills."""
        return [value, session]

    def wants_context(self, *, context: Any) -> None:
        """Has what the worker must fill."""

    async def later(self, value: int) -> int:
        """Is awaited over there."""
        return value

    def counts(self, values: Sequence[int]) -> int:
        """A parameter's type is known to type checkers alone."""
        return len(values)

    def wrong(self) -> int:
        """Doesn't return what it says."""
        return "many"  # type: ignore[return-value]

    def unknown(self) -> Unknown:
        """Says what nobody knows."""
        return Unknown(1)

    def anything(self):  # type: ignore[no-untyped-def]
        """Says nothing."""
        return [1, "a"]

    def nothing(self) -> None:
        """Returns nothing."""

    def numbers(self) -> Iterator[int]:
        """Streams."""
        yield 1

    @functools.lru_cache  # noqa: B019
    def cached(self, value: int) -> int:
        """Isn't a plain function."""
        return value

    @staticmethod
    def static(value: int) -> int:
        """Has no self."""
        return value

    @classmethod
    def by_class(cls, value: int) -> int:
        """Has a class for one."""
        return value

    def on_reset(self) -> None:
        """A hook, and never a command."""

    def _hidden(self) -> None:
        """Nobody's."""
