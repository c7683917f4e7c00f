"""A handler for one test: its worker dies in the middle of a call, once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from server import ProgramServer


class Mortal(ProgramServer):
    """Counts the run, asks the model, and dies before it answers, if the file is there."""

    def __init__(self, fuse: str) -> None:
        super().__init__()
        self._fuse = Path(fuse)

    def execute_program(self, name: str, inputs: dict[str, str], *, session: dict[str, Any]) -> dict[str, str]:
        """As ever, apart from that."""
        outputs = super().execute_program(name, inputs, session=session)
        if self._fuse.exists():
            self._fuse.unlink()
            os._exit(1)
        return outputs
