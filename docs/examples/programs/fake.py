"""What stands for the handler in tests: the same commands, no model."""

from __future__ import annotations

from server import ProgramServer


class Echo:
    """A model that says only what it was asked for."""

    def complete(self, field: str, instructions: str, inputs: dict[str, str]) -> str:
        """The name of the field."""
        return f"some {field}"


class FakeProgramServer(ProgramServer):
    """Keeps programs as the real one does."""

    def __init__(self) -> None:
        self._model = Echo()
