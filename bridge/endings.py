"""How a process ended, in words.

Rules: nothing is guessed: what isn't known is said to be unknown. Apart from errors.py, which has a class for each
thing that can go wrong.
"""

from __future__ import annotations

import signal as _signal


def ending(exit_code: int | None, signal: int | None, *, out_of_memory: bool = False, why: str = "") -> str:
    """How a process ended, in words, with the reason if one is known."""
    how = "its exit status is unknown"
    if signal is not None:
        how = f"killed by {signal_name(signal)}"
    elif exit_code is not None:
        how = f"exit code {exit_code}"
    if out_of_memory:
        how += ", out of memory: its cgroup counted an oom_kill. Give it more, or have it need less"
    return f"{how}; {why}" if why else how


def signal_name(number: int | None) -> str | None:
    """SIGKILL for 9, and so on; a number without a name as `signal 64`."""
    if number is None:
        return None
    try:
        return _signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def is_sigkill(number: int | None) -> bool:
    """Whether a signal is the one that nobody can catch."""
    return number == _signal.SIGKILL
