"""What the fleet decides: what is to be done to one worker, and why one is ended.

Rules: plain values; only fleet.py makes effects, only the supervisor's shell performs them. Apart from fleet.py, since
whoever performs a decision need not know how it is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from bridge.errors import BridgeError


class Why(str, Enum):
    """Why a member is ended."""

    STARTUP_TIMEOUT = "startup timeout"
    START_FAILED = "its start failed"
    DIRTY = "a call was left unfinished on it"
    CANCEL_GRACE = "it did not end a cancelled call in time"
    UNHEALTHY = "it did not answer in time when it was asked how it is"
    SHUTDOWN_TIMEOUT = "it did not stop in time"
    CLOSING = "the pool is closing"
    MAX_IDLE = "it was idle for too long"


@dataclass(frozen=True)
class Spawn:
    """Start a worker."""

    generation: int
    host: str = ""
    """Where; nothing where there is no choice."""


@dataclass(frozen=True)
class Admit:
    """Hand a ready worker to the pool."""

    generation: int


@dataclass(frozen=True)
class Cancel:
    """Ask a worker to end the call that its holder has left."""

    generation: int


@dataclass(frozen=True)
class Ping:
    """Ask an idle worker how it is."""

    generation: int


@dataclass(frozen=True)
class Retire:
    """Take a worker out of the pool, and stop it once nobody holds it: its successor is ready."""

    generation: int


@dataclass(frozen=True)
class Stop:
    """Ask an idle worker to end."""

    generation: int


@dataclass(frozen=True)
class Kill:
    """End a worker and its group, now."""

    generation: int
    why: Why


@dataclass(frozen=True)
class Refuse:
    """Tell everybody who waits that no worker will come."""

    error: BridgeError


Effect = Spawn | Admit | Cancel | Ping | Retire | Stop | Kill | Refuse
