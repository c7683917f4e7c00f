"""At the door: what every face of a bridge asks before it hands on.

Rules: the runtime of the caller is looked up once for each verb. Apart from client.py and aio.py, which share it.
"""

from __future__ import annotations

from enum import Enum
from math import inf, isnan
from typing import Final, Protocol

from bridge.errors import ConfigurationError
from bridge.runtime import Runtime, RuntimeState


class Default(Enum):
    """Stands for "what the settings say", where None has a meaning of its own."""

    DEFAULT = "default"

    def __repr__(self) -> str:
        return "DEFAULT"


DEFAULT: Final = Default.DEFAULT
OPEN: Final = RuntimeState.OPEN  # a look-up in Python, up to 3.11
Timeout = float | Default | None
"""Seconds; None is no limit; DEFAULT is the setting call.timeout."""


class Source(Protocol):
    """Where a bridge finds the runtime of whoever calls it."""

    def runtime(self) -> Runtime:
        """What answers for the caller; not started."""

    def peek(self) -> Runtime:
        """The same, also when it was closed."""

    def start(self) -> Runtime:
        """Start and warm it."""

    def close(self, timeout: float | None = None) -> None:
        """Close it."""


class Fixed:
    """A source that is one runtime, whatever the scope."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def runtime(self) -> Runtime:
        """It."""
        return self._runtime

    peek = runtime

    def start(self) -> Runtime:
        """Start and warm it."""
        self._runtime.warm()
        return self._runtime

    def close(self, timeout: float | None = None) -> None:
        """Close it."""
        self._runtime.close(timeout)


def enter(source: Source, timeout: Timeout) -> tuple[Runtime, float | None]:
    """The runtime that answers for the caller, started, and the seconds of one call on it."""
    runtime = source.runtime()
    if runtime.state is not OPEN:
        runtime.start()
    return runtime, runtime.call_timeout if timeout is DEFAULT else checked(timeout)


def checked(timeout: Timeout) -> float | None:
    """Seconds, or None for no limit. Raises ConfigurationError."""
    if timeout is None:
        return None
    seconds = -1.0
    if isinstance(timeout, (int, float)) and not isinstance(timeout, bool):
        try:
            seconds = float(timeout)
        except OverflowError:
            seconds = inf  # beyond what a clock counts
    if isnan(seconds) or seconds < 0:
        raise ConfigurationError(f"a timeout is seconds (0 or more) or None for no limit, not {timeout!r}")
    return seconds
