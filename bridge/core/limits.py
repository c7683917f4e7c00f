"""What a worker process may use: the names that people give to limits, and what the system calls them.

Rules: names become numbers here, in the caller, so that the worker's file knows none of them; nothing is read and
nothing is set. Apart from schema.py, which says what values are legal, since an adapter needs this without it.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from signal import SIGABRT, SIGKILL, SIGSEGV, SIGXCPU
from types import MappingProxyType
from typing import Final

RLIMITS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "cpu_seconds": resource.RLIMIT_CPU,
        "open_files": resource.RLIMIT_NOFILE,
        "core": resource.RLIMIT_CORE,
        "address_space": resource.RLIMIT_AS,
    }
)
"""In the order in which they are set: with too little memory, the others are in force all the same."""
NAMES: Final = (*RLIMITS, "niceness")
NO_MEMORY: Final = (
    "MemoryError",
    "Cannot allocate memory",
    "failed to map segment",
    "can't start new thread",
    "returned NULL without setting an exception",
)
"""What Python, the system, the dynamic linker and thread libraries say when there is none; the last is the compiler of
Python 3.13, which had none for an error either."""
CPU_GRACE: Final = 1
"""Seconds between SIGXCPU, which tells what happened, and SIGKILL, which doesn't. The kernel counts whole ones."""


def rlimits_of(limits: Mapping[str, int]) -> list[tuple[int, int, int]]:
    """Number, soft and hard limit of each. The hard one goes down with the soft one: a handler can't raise it back."""
    found = []
    for name, number in RLIMITS.items():
        value = limits.get(name)
        if name == "core":
            value = 0 if value is not None and not value else None
        if value is not None:
            found.append((number, value, value + CPU_GRACE if name == "cpu_seconds" else value))
    return found


def fault_of(limits: Mapping[str, int], hard_limit: Callable[[int], int]) -> str | None:
    """Why a worker can't be given these, or None.

    Args:
        hard_limit: Of this process, by the system's number. A worker inherits it, and can't go above.
    """
    for name, value in limits.items():
        if name not in NAMES:
            near = get_close_matches(name, NAMES, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(NAMES)}"
            return f"worker.limits: {name!r} is no limit; {hint}"
        if not isinstance(value, int) or value < 0:
            return f"worker.limits: {name} is a whole number from 0, not {value!r:.60}"
    names = {number: name for name, number in RLIMITS.items()}
    for number, soft, hard in rlimits_of(limits):
        most = hard_limit(number)
        if most != resource.RLIM_INFINITY and hard > most:
            more = f" (and {hard - soft} s more)" if hard > soft else ""
            return (
                f"worker.limits: {names[number]}={soft}{more} is above this process's hard limit, {most}. Lower it, or "
                "start this process with a higher one"
            )
    return None


def is_no_memory(text: str) -> bool:
    """Whether an error says that there wasn't memory enough."""
    return any(sign in text for sign in NO_MEMORY)


def cause_of(signal: int, limits: Mapping[str, int], cpu_used: float | None) -> str:
    """What is known, from its limits, of why a signal that wasn't ours ended a worker; nothing if nothing is.

    Args:
        cpu_used: Seconds that it had computed; None when that isn't known.
    """
    cpu, space = limits.get("cpu_seconds"), limits.get("address_space")
    killed = signal == SIGKILL and cpu is not None and cpu_used is not None and cpu_used >= cpu
    if cpu is not None and (signal == SIGXCPU or killed):
        return (
            f"it had used up the cpu_seconds={cpu} of worker.limits, which count for all its calls together: raise "
            "that, or have workers replaced earlier (`max_calls`)"
        )
    if space is not None and signal in (SIGABRT, SIGSEGV):
        return f"native code can end so when it gets no more memory, and worker.limits has address_space={space}"
    return ""
