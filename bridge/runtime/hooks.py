"""What happens to all runtimes when the interpreter exits, and when a process forks.

Rules: installed once, at import; in parallel and bounded, so that neither ever hangs on a worker. Apart from the
runtime, which knows nothing of the others.
"""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from bridge.runtime import Runtime

FORK_WAIT: Final = 1.0
"""Seconds that a fork waits at the most for all supervisors to have their descriptors in order; a spawn takes 1 ms."""


def install(live: Callable[[], list[Runtime]]) -> None:
    """Have them closed at exit, and their supervisors wait at a fork, whose child forgets them.

    Args:
        live: Answers which there are.
    """

    def close_all() -> None:
        for runtime, until in [(runtime, runtime.request_close()) for runtime in live()]:
            runtime.await_closed(until)

    def before_fork() -> None:
        until = time.monotonic() + FORK_WAIT
        for runtime in live():
            runtime.supervisor.at_fork.hold(until)

    def after_fork_in_parent() -> None:
        for runtime in live():
            runtime.supervisor.at_fork.release()

    def after_fork_in_child() -> None:
        for runtime in live():
            runtime.forget()

    atexit.register(close_all)
    os.register_at_fork(before=before_fork, after_in_parent=after_fork_in_parent, after_in_child=after_fork_in_child)
