"""The start of a thread, in a caller's own thread, which a signal may interrupt.

Rules: what a signal handler raises there reaches whoever was interrupted. Apart from those that have threads, since
each of them would write it out.
"""

from __future__ import annotations

import threading
from typing import Final

REFUSED: Final = "new thread"
"""What the interpreter says when the system has none to give, or when it ends."""


def begin(thread: threading.Thread) -> None:
    """Start it.

    Raises:
        RuntimeError: The system has no thread to give, or the interpreter is about to end.
        BaseException: What a signal handler raised, a KeyboardInterrupt above all; the thread may run all the same.
    """
    try:
        thread.start()
    except RuntimeError as error:
        cut = error.__context__
        if cut is None or REFUSED in str(error):
            raise
    else:
        return
    # Within `start` a signal leaves a lock of threading's own in another state than its `with` expects, which says so.
    raise cut
