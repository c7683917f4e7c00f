"""What finding the caller's runtime costs: `python -m tests.benchmarks.lookup`. Prints ns for each, best of seven."""

from __future__ import annotations

import timeit
from collections.abc import Callable
from typing import Final

from bridge import BridgeContainer, with_adapter, with_settings
from bridge.frames import CURRENT

ROUNDS: Final = 300_000


def cost(function: Callable[[], object]) -> str:
    """Nanoseconds for one call."""
    return f"{min(timeit.repeat(function, number=ROUNDS, repeat=7)) / ROUNDS * 1e9:4.0f} ns"


def main() -> None:
    """Measure, and print."""
    container = BridgeContainer(settings={"adapter": "mock"})
    find = container.binding().runtime
    find()
    print("ContextVar.get()                ", cost(CURRENT.get))
    print("outside: a bridge's look-up     ", cost(find))
    print("outside: container.adapter()    ", cost(container.adapter))
    with with_adapter("mock"):
        find()
        print("one scope: a bridge's look-up   ", cost(find))
        print("one scope: container.adapter()  ", cost(container.adapter))
        with with_settings(size=1):
            find()
            print("two scopes: a bridge's look-up  ", cost(find))
    container.shutdown_resources()


if __name__ == "__main__":
    main()
