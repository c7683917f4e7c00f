"""A handler whose calls are recorded, and whose process may end in the middle of one."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Event
from typing import Any


class Worker:
    """Answers, dies, or takes its time."""

    def echo(self, value: Any) -> Any:
        """Its argument."""
        return value

    def die(self, marker: str = "") -> str:
        """End the process; where a file of that name is, answer."""
        if not marker or not Path(marker).exists():
            if marker:
                Path(marker).touch()
            os._exit(3)
        return "alive"

    def spin(self) -> None:
        """Go on until somebody stops it."""
        for _ in range(20_000):  # a test that fails must not leave it for ever
            Event().wait(0.001)
