"""What a type checker knows of the public API: `mypy --strict` reads this file, nobody runs it.

Rules: each line is right, or says by `type: ignore` what is wrong with it; strict mypy reports an ignore that isn't
needed, so both what must be known and what must be refused are kept.
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass

import bridge


@dataclass
class Order:
    """A result."""

    number: int


class Shop:
    """A handler."""

    def order(self, number: int) -> Order:
        """A command."""
        return Order(number)


def calls(b: bridge.Bridge, session: bridge.Session) -> None:
    """`returns=` gives the result its type."""
    order: Order = b.call("order", [1], returns=Order)
    begun: Future[Order] = b.submit("order", [1], returns=Order)
    kept: Order = session.call("order", [1], returns=Order)
    wrong: int = b.call("order", [1], returns=Order)  # type: ignore[assignment]
    print(order, begun, kept, wrong)


def stubs(b: bridge.Bridge) -> None:
    """A proxy is typed as its handler."""
    order: Order = b.proxy(Shop).order(1)
    b.proxy(Shop).order("one")  # type: ignore[arg-type]
    b.proxy(Shop).ordr(1)  # type: ignore[attr-defined]
    print(order)


async def tasks(ab: bridge.AsyncBridge) -> None:
    """The awaited verbs have the same types."""
    order: Order = await ab.call("order", [1], returns=Order)
    wrong = await ab.call("order", [1], returns=Order)
    number: int = wrong  # type: ignore[assignment]
    print(order, number)


def streams(b: bridge.Bridge, ab: bridge.AsyncBridge) -> None:
    """Each is for its own kind of loop."""
    for item in b.stream("items"):
        print(item)
    for item in ab.stream("items"):  # type: ignore[attr-defined]
        print(item)


@bridge.with_adapter("mock")
def decorated(number: int) -> str:
    """A decorated function keeps its signature."""
    return str(number)


def uses(text: str) -> None:
    """So a wrong argument is seen."""
    print(decorated(1))
    decorated(text)  # type: ignore[arg-type]
