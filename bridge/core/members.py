"""One start, and a fleet at one moment: what fleet.py keeps, and what others may know of it.

Rules: values; only the fleet changes a member. Apart from fleet.py, since those who look at them decide nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import inf

from bridge.core.lifecycle import WorkerState
from bridge.core.policy import Breaker
from bridge.core.recycling import Worn
from bridge.errors import BridgeError, ConfigurationError, WorkerStartError


class Asked(str, Enum):
    """What a member that is draining owes."""

    CANCEL = "to end the call that its holder has left"
    HEALTH = "to say how it is"


def told(error: WorkerStartError) -> BridgeError:
    """What callers get who can't have a worker for that reason: where the adapter found its own configuration to be at
    fault, just that. No worker failed then."""
    return error.__cause__ if isinstance(error.__cause__, ConfigurationError) else error


@dataclass
class Member:
    """One start."""

    started_at: float
    deadline: float
    """When its state has lasted too long; infinity for a ready one."""
    state: WorkerState = WorkerState.STARTING
    killed: bool = False
    expires_at: float = inf
    """When it has lived for long enough; infinity before it is ready."""
    worn: Worn | None = None
    """Why it is to be replaced."""
    successor: int | None = None
    """Generation of the start that replaces it."""
    why: Enum | None = None
    """Why it is where it is: what it was asked, or why it is ended."""
    spare: bool = False
    """It has no place: once it is ready it is kept back, for one that is to be filled."""

    @property
    def shown(self) -> WorkerState:
        """Where it stands for whoever looks: a start that is being ended stays a start to the fleet."""
        return WorkerState.RETIRING if self.killed else self.state

    @property
    def ending(self) -> str | None:
        """Why it is being ended, as its last event says it; None when it isn't."""
        why = self.why if self.shown is WorkerState.RETIRING else None
        return None if why is None else why.name.lower()


@dataclass(frozen=True)
class HostView:
    """One of several hosts, at one moment."""

    name: str
    size: int
    ready: int
    starting: int
    breaker: Breaker
    last_error: WorkerStartError | None


@dataclass(frozen=True)
class View:
    """A fleet at one moment, for other threads."""

    ready: int = 0
    starting: int = 0
    can_grow: bool = False
    """A waiter should ask for one more worker."""
    unavailable: bool = False
    """Starts failed too often and nobody is alive: callers are to be refused at once."""
    probe_at: float = 0.0
    """When the next start is allowed, in monotonic seconds."""
    breaker: Breaker = Breaker.CLOSED
    last_error: WorkerStartError | None = None
    """Why the last start failed; None once one succeeded."""
    restarts: int = 0
    failed_starts: int = 0
    recycled: int = 0
    hopeless: bool = False
    """Nothing that is under way will help: whoever waits for workers to be ready is to be told the last error."""
    hosts: tuple[HostView, ...] = ()
    """By `pool.hosts`."""
    failing: frozenset[str] = frozenset()
    """Names of the hosts whose last start failed."""

    @property
    def refusal(self) -> BridgeError | None:
        """What those are told who can't have a worker; None where the last start succeeded."""
        return None if self.last_error is None else told(self.last_error)

    @property
    def lost(self) -> int:
        """Places on hosts that can't be counted on now."""
        return sum(host.size for host in self.hosts if host.name in self.failing)
