"""A handler to be recorded, and one that answers otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class Shop:
    """Says what it is asked for."""

    def __init__(self) -> None:
        self._turn = 0

    def greet(self, name: str) -> str:
        """Its argument, in a sentence."""
        return f"Hello, {name}"

    def turn(self) -> int:
        """How often it was asked."""
        self._turn += 1
        return self._turn

    def login(self, user: str, password: str) -> dict[str, Any]:
        """What is nobody's business, under its name and elsewhere."""
        if user == "nobody":
            raise PermissionError(f"{user} has not the password {password}")
        return {"token": "t0ken", "url": f"https://{user}:{password}@host/?t=t0ken", password: 1}

    def same(self, value: Any) -> Any:
        """Its argument."""
        return value

    def double(self, value: int) -> int:
        """Twice as much; an error for what is odd."""
        if value % 2:
            raise ValueError(f"{value} is odd")
        return 2 * value

    def count(self, items: int) -> Iterator[int]:
        """So many numbers."""
        yield from range(items)

    def work(self, steps: int, *, progress: Any) -> int:
        """Report each step."""
        for step in range(steps):
            progress({"step": step})
        return steps

    def ask(self, name: str, *, parent: Any) -> Any:
        """Ask the caller, and say what comes of it."""
        try:
            return {"answer": parent.call(name, [2])}
        except parent.Error as error:
            return {"kind": error.kind, "message": error.message}

    def pages(self, items: int, *, parent: Any) -> Iterator[Any]:
        """Ask the caller for each item."""
        for number in range(items):
            yield parent.call("page", [number])

    def remember(self, value: Any, *, session: Any) -> list[Any]:
        """All that was remembered in this session."""
        session.setdefault("kept", []).append(value)
        return list(session["kept"])


class Changed(Shop):
    """The same with another greeting, one page more, and another error."""

    def greet(self, name: str) -> str:
        """Another sentence."""
        return f"Hi, {name}"

    def count(self, items: int) -> Iterator[int]:
        """One more."""
        yield from range(items + 1)

    def double(self, value: int) -> int:
        """Another error."""
        raise TypeError(f"{value} can't be doubled")
