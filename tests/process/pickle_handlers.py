"""A handler whose commands take and give what JSON can't carry, and functions that are sent by reference."""

from __future__ import annotations

import os
import pickle
import select
import sys
import threading
from typing import Any


class Odd(Exception):
    """Can be pickled, with its arguments."""


class Shut(Exception):
    """Can be pickled, but not unpickled."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one)
        self.two = two


class Block:
    """Memory that is pickled as a buffer, as NumPy's arrays are."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Block, (pickle.PickleBuffer(self.data),)


class Shapes:
    """A handler."""

    def turned(self, block: Block) -> Block:
        """The same memory, its first byte changed."""
        block.data[0] = 7
        return block

    def union(self, left: set[int], right: set[int]) -> set[int]:
        """Of two sets."""
        return left | right

    def fail(self, kind: str) -> None:
        """Raise what was asked for."""
        raise Odd("odd", 7) if kind == "odd" else Shut("one", "two")

    def lock(self) -> Any:
        """What can't travel."""
        return threading.Lock()

    def loaded(self) -> list[str]:
        """The worker's modules."""
        return sorted(sys.modules)

    def many(self, count: int) -> Any:
        """A stream."""
        yield from range(count)


def pid() -> int:
    """Of the process that runs it."""
    return os.getpid()


def add(left: int, right: int = 0) -> int:
    """The sum."""
    return left + right


def fail(*args: object) -> None:
    """Raise."""
    raise Odd(*args)


def crash() -> None:
    """End the process, as a fault in C code does."""
    os._exit(9)


def wait(started: str) -> None:
    """Say so through a FIFO, then wait for ever."""
    with open(started, "w") as fifo:
        fifo.write("x")
    select.select([], [], [])  # a signal reaches it there, so its worker needn't be killed


class Shrinking(Exception):
    """Arrives as a number."""

    def __reduce__(self) -> tuple[type[int], tuple[str]]:
        return int, ("5",)


class Unwilling(Exception):
    """Takes no attribute once it is made."""

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)


def fail_with(name: str) -> None:
    """Raise the exception of that name."""
    raise globals()[name]
