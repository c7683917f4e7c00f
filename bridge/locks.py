"""A file that one program writes at a time.

Rules: `flock`, which ends with its holder. A program that is killed while it starts another process leaves that one a
copy of all its files, until it calls exec: some milliseconds, in which a dead program's lock seems to be somebody's. So
whoever is refused asks again for a while. Apart from those who have one: cassettes, `map --resume`, status sockets.
"""

from __future__ import annotations

import fcntl
from time import monotonic, sleep
from typing import Final

PATIENCE: Final = 1.0
"""Seconds; starts under load took 30 ms until exec."""
PAUSE: Final = 0.005


def lock_alone(fd: int, patience: float = PATIENCE) -> None:
    """Have it locked until it is closed. Raises BlockingIOError when somebody else has it, and keeps it for so many
    seconds."""
    until = monotonic() + patience
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if monotonic() >= until:
                raise
        sleep(PAUSE)
