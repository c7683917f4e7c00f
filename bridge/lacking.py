"""What can't be had behind a launcher, of what a worker of this machine has: why, and what there is instead.

Rules: sentences, which errors and people are told as they are. Apart from adapters/launched.py, whose channels lack
these, since settings are checked before there is an adapter.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from bridge.contract import Capability

BEHIND_A_LAUNCHER: Final[Mapping[Capability, str]] = MappingProxyType(
    {
        Capability.KILL: (
            "a kill is no signal to the worker but a hang-up, upon which a guard there kills it: give a launcher that "
            "may lose its connection a keep-alive, and a container an init (docker run --init)"
        ),
        Capability.SENTINEL: (
            "what is watched is the launcher: a worker has ended when that has, its exit code is the launcher's, and "
            "its pid is a number there"
        ),
        Capability.OUT_OF_MEMORY: (
            "that a worker was killed for want of memory isn't told apart from another SIGKILL: set "
            "worker.limits={'address_space': ...}, beyond which the handler gets a MemoryError"
        ),
        Capability.SHARED_MEMORY: (
            "there is no memory that both ends have, so long values go through the pipe: send names of files there, or "
            "less"
        ),
        Capability.MAX_RSS: (
            "recycle.max_rss would have to be measured there: set worker.limits={'address_space': ...}, or have "
            "workers replaced by recycle.max_calls"
        ),
        Capability.ENV_ALLOW: (
            "worker.env_allow is kept by nobody there: leave it out, and name in worker.env what is to be sent"
        ),
        Capability.ZYGOTE: "start_method='zygote' forks workers of a process here: set start_method='spawn'",
    }
)
