"""What the runtime says to `logging`.

Rules: tell the fleet first, and log last; whatever a handler or a filter of the application raises ends here, as what a
handler's own `emit` raises ends in logging, so that it never costs a worker. Apart from the supervisor, whose duties
must not depend on it.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any

log = logging.getLogger("bridge.supervisor")
stderr_log = logging.getLogger("bridge.worker")
logging.getLogger("bridge").addHandler(logging.NullHandler())  # silent, unless the application asks to hear


def say(speak: Callable[..., None], text: str, *values: Any, **options: Any) -> None:
    """Log with one of a logger's methods; a handler that raises is told on stderr, if logging tells such things."""
    try:
        speak(text, *values, **options)
    except Exception:
        if logging.raiseExceptions and sys.stderr is not None:
            with suppress(Exception):  # a stderr that can't be written either
                traceback.print_exc(file=sys.stderr)
