"""Handlers that run in this very process, for the tests of the mocks."""

from __future__ import annotations

from typing import Any


class Real:
    """What a mock stands for. Making one would load a model, which no test wants."""

    def __init__(self, model: str) -> None:
        raise AssertionError("the real handler was made")

    def predict(self, text: str, *, top: int = 1) -> dict[str, Any]:
        """The command that tests fake."""
        raise AssertionError("the real handler was called")

    @staticmethod
    def version() -> str:
        """A command without self."""
        raise AssertionError("the real handler was called")

    def on_close(self) -> None:
        """A hook is no command."""


class Fake:
    """Stands for it. Takes one of its options."""

    def __init__(self, model: str = "none") -> None:
        self.model = model
        self.seen: list[str] = []

    def predict(self, text: str, *, top: int = 1) -> dict[str, Any]:
        """What it was told, and what it saw before."""
        self.seen.append(text)
        return {"model": self.model, "seen": tuple(self.seen), "top": top}

    def broken(self) -> None:
        """A command that fails."""
        raise LookupError("nothing there")

    def on_reset(self) -> None:
        """After a lease."""
        self.seen.clear()


class Unmakeable:
    """Its `on_start` fails."""

    def on_start(self) -> None:
        """Fail."""
        raise LookupError("no model")
