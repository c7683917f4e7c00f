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


def refused(name: str, *, queued: int, limit: int | None, waited: float, session: str | None) -> str:
    """What a caller is told that isn't let wait, or not any longer."""
    if session is not None:
        why = f"the worker of {name} that has the state of session {session!r} is busy (strict_fail_fast)"
    elif limit is not None:
        why = f"{queued} callers wait already for a worker of {name} (max_waiting={limit})"
    else:
        why = f"the queue of {name} has stood for too long, and this caller waited {waited:.3f} s (queue_target)"
    cure = "Slow down, raise `size`, or raise the limit" if session is None else "Try later, or use strict_queue"
    return f"{why}. {cure}."


def given_up(name: str, last_error: str, retry_in: float) -> str:
    """What a caller is told where the breaker is open."""
    return (
        f"workers of {name} failed to start too often; the next one is tried by itself in {retry_in:.1f} s. "
        f"Mend what made the last one fail: {last_error}"
    )


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


def cancelled(command: str, who: str, why: str, *, started: bool) -> str:
    """What the caller of a call is told that somebody ended.

    Args:
        who: Its worker, if that is known, in brackets.
    """
    when = f"while its worker{who} ran it" if started else "before it was sent"
    then = "It may have run in part" if started else "Nothing ran; repeat it if it is still wanted"
    return f"{command!r} was cancelled {when}{why and f': {why}'}. {then}."


def forgotten(key: str, where: str, why: str) -> str:
    """What a session's next call is told when its state is gone.

    Args:
        where: Which worker had it, if one did, in brackets.
    """
    return (
        f"the state of session {key!r} is gone{where}: {why}. The next call begins with a new one: build it up "
        "again, or open the session with durable=True, which survives its worker"
    )


def poisoned(command: str, deaths: int, how: str) -> str:
    """What the caller of a call is told that has killed too many workers."""
    return (
        f"{command!r} with these arguments killed {deaths} workers, the last one so: {how}. It is not sent again; "
        "mend the handler, or raise `poison_threshold`"
    )


def garbled(who: str, detail: str) -> str:
    """What is told of a worker that sent what is no frame, or not in its turn."""
    return (
        f"{who} broke the protocol: {detail}. Does its code write to file descriptors that it did not open? Does it "
        "run this package's own worker file?"
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
