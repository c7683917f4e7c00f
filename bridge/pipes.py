"""Writing to a pipe whose reader may be dead, in a process where that would be deadly.

Rules: the standard library only. Python ignores SIGPIPE, but many command-line programs give it its default back.
Apart from the channel because the adapter writes to a pipe too, and knows nothing of channels' drivers.
"""

from __future__ import annotations

import os
from signal import SIG_BLOCK, SIG_SETMASK, SIGPIPE, pthread_sigmask, sigtimedwait


def write_quietly(fd: int, data: bytes | memoryview) -> int:
    """os.write, for a process whose SIGPIPE has its default action: a dead reader is an error, not our own death."""
    before = pthread_sigmask(SIG_BLOCK, {SIGPIPE})
    broken = False
    try:
        count = os.write(fd, data)
        broken = count < len(data)  # the reader may have died in the middle; then there is a signal, but no error
        return count
    except BrokenPipeError:
        broken = True
        raise
    finally:
        if broken and SIGPIPE not in before:
            sigtimedwait({SIGPIPE}, 0)  # the signal is for this thread alone; take it back
        pthread_sigmask(SIG_SETMASK, before)
