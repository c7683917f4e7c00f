"""How a process ended, in words.

Rules: nothing is guessed: what isn't known is said to be unknown. Apart from errors.py, which has a class for each
thing that can go wrong.
"""

from __future__ import annotations

import signal as _signal


def ending(
    exit_code: int | None, signal: int | None, *, out_of_memory: bool = False, why: str = "", launcher: str = ""
) -> str:
    """How a process ended, in words, with the reason if one is known.

    Args:
        launcher: That is what was killed, and not the worker behind it.
    """
    how = "its exit status is unknown"
    if launcher:
        how = f"its connection was cut, since the launcher, `{launcher}`, was killed by {signal_name(signal)}"
    elif signal is not None:
        how = f"killed by {signal_name(signal)}"
    elif exit_code is not None:
        how = f"exit code {exit_code}"
    if out_of_memory:
        how += ", out of memory: its cgroup counted an oom_kill. Give it more, or have it need less"
    return f"{how}; {why}" if why else how


def lost(who: str, command: str, how: str, *, hung_up: bool, guess: bool) -> str:
    """What a call is told whose worker is gone.

    Args:
        how: Its ending, in words.
        hung_up: It only closed its end of the conversation.
        guess: It may have been out of memory.
    """
    text = f"{who} died during {command!r}: {how}."
    if hung_up:
        text = (
            f"{who} closed its end of the conversation during {command!r} and lived on, so it was ended. Does its code "
            "close descriptors that it did not open, or exec another program?"
        )
    elif guess:
        text += " If nobody killed it, it was possibly out of memory."
    return text + " Its place is being filled; repeat the call if running it twice does no harm."


def late(command: str, timeout: float, who: str) -> str:
    """What a call is told that wasn't answered in time."""
    return (
        f"{command!r} gave no answer within its {timeout:.3f} s. Its worker ({who}) is told to stop, and is replaced "
        "if it doesn't within `cancel_grace`. Give it a longer `timeout`, or make the handler faster."
    )


def tail(stderr: str) -> str:
    """The last that it wrote to stderr, if it did, for the end of an error's text."""
    return f"\n\nThe last it wrote to stderr:\n{stderr.rstrip()}" if stderr else ""


def at(host: str | None) -> str:
    """Where that was, if there are several hosts."""
    return "" if host is None else f" on host {host!r}"


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
