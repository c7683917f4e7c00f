"""Ctrl-C in two steps: the first one asks for an orderly end, the second one ends at once.

Rules: the handler only notes and says so; it writes past Python's buffers, in the middle of whose work it may be.
Where somebody else answers SIGINT, or it is ignored, that stays so. Apart from map.py, which decides what is in order.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Final

from bridge.cli.bells import Bell

SAID: Final = "finishing what is in flight; Ctrl-C again ends at once"


class Stop:
    """Whether the end was asked for; `with` listens to SIGINT.

    Args:
        program: Whose name stands before what is said.
    """

    def __init__(self, program: str) -> None:
        self.asked = False
        self._program = program
        self._listens = False
        self.bell = Bell()
        """Ends a wait; then it may have been asked for."""

    def _hear(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self.asked = True
        try:
            if sys.stderr is not None:
                os.write(sys.stderr.fileno(), f"\n{self._program}: {SAID}\n".encode())
        except (OSError, ValueError):
            pass  # nobody can be told

    def __enter__(self) -> Stop:
        self.bell.__enter__()
        ours = threading.current_thread() is threading.main_thread()
        if ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._listens = True
            signal.signal(signal.SIGINT, self._hear)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._listens:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        self.bell.__exit__()
