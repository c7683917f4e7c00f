"""How processes, calls and waiting ended, in words.

Rules: nothing is guessed: what isn't known is said to be unknown; the text says what to do next. Apart from errors.py,
which has a class for each thing that can go wrong.
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


def in_vain(name: str, waited: float, *, queued: int, workers: int, starting: int, session: str | None) -> str:
    """What a caller is told that got no worker in time."""
    if session is not None:
        why = f"the one that has the state of session {session!r} is busy"
        cure = "Shorten the calls, or wait longer (`checkout_timeout`)"
    elif workers:
        why = f"all {workers} workers are busy"
        cure = "Raise `size` or `max_overflow`, shorten the calls, or wait longer (`checkout_timeout`)"
    else:
        why = f"no worker is ready yet ({starting} starting)"
        cure = "Give the call a longer timeout, or open the bridge with `with`, which waits until it is warm"
    return f"no worker of {name} came free in {waited:.3f} s: {why}, {queued} other callers wait. {cure}."


def lost(who: str, command: str, how: str, *, hung_up: bool, guess: bool, replaced: bool) -> str:
    """What a call is told whose worker is gone.

    Args:
        how: Its ending, in words.
        hung_up: It only closed its end of the conversation.
        guess: It may have been out of memory.
        replaced: Another one is started by itself.
    """
    text = f"{who} died during {command!r}: {how}."
    if hung_up:
        text = (
            f"{who} closed its end of the conversation during {command!r} and lived on, so it was ended. Does its code "
            "close descriptors that it did not open, or exec another program?"
        )
    elif guess:
        text += " If nobody killed it, it was possibly out of memory."
    place = "Its place is being filled" if replaced else "Nothing takes its place, since what broke was handed in"
    return f"{text} {place}; repeat the call if running it twice does no harm."


def late(command: str, timeout: float, who: str, *, started: bool, adapter: str | None) -> str:
    """What a call is told that wasn't answered in time.

    Args:
        adapter: One that can't stop it.
    """
    cure = "Give it a longer `timeout`, or make the handler faster"
    if not started:
        return (
            f"{command!r} was not begun within its {timeout:.3f} s, and won't be: others were before it. {cure}; to "
            "send it again can't run it twice."
        )
    if adapter is not None:
        return (
            f"{command!r} gave no answer within its {timeout:.3f} s. The adapter {adapter} can't stop it, so it may "
            f"run on. {cure}; python_port stops calls."
        )
    return (
        f"{command!r} gave no answer within its {timeout:.3f} s. Its worker ({who}) is told to stop, and is replaced "
        f"if it doesn't within `cancel_grace`. {cure}."
    )


def traced(remote_traceback: str) -> str:
    """The worker's own traceback, if there is one, for the end of an error's text."""
    return f"\n\nIn the worker:\n{remote_traceback.rstrip()}" if remote_traceback else ""


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
