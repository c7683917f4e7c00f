"""Where this package can't run, and what to do there.

Rules: asked when an adapter is made, and when something can't be imported. Apart from the rest because it explains
their failed imports.
"""

from __future__ import annotations

import importlib
import os
import select
import signal
import sys
from contextlib import suppress
from typing import Final

from bridge.errors import ConfigurationError

INTERPRETERS: Final = ("_interpreters", "_xxsubinterpreters")
"""The private module that numbers interpreters, by version; the public one came with 3.14."""

IN_A_SUBINTERPRETER: Final = (
    "can't be used in a subinterpreter, which has neither daemon threads nor pydantic: call it from the main "
    "interpreter (mod_wsgi: WSGIApplicationGroup %{GLOBAL})"
)


def explain(error: BaseException) -> None:
    """Raise a ConfigurationError, if a part of the package can't be loaded because of where it runs."""
    if os.name != "posix":
        raise ConfigurationError(
            f"scoped-bridge runs on Linux, not on {sys.platform}: use a container, a virtual machine or WSL"
        ) from error
    if _interpreter() > 0:
        raise ConfigurationError(f"scoped-bridge {IN_A_SUBINTERPRETER}") from error


def need_processes(adapter: str) -> None:
    """Raise a ConfigurationError where workers can't be watched."""
    if not (hasattr(os, "pidfd_open") and hasattr(signal, "pidfd_send_signal")):
        raise ConfigurationError(f"{adapter} needs Linux 5.4 or newer: it watches its workers through pidfds")
    need_descriptors(adapter)


def need_descriptors(adapter: str) -> None:
    """Raise a ConfigurationError where descriptors can't be watched, or not by a thread."""
    if _interpreter() > 0:
        raise ConfigurationError(f"{adapter} {IN_A_SUBINTERPRETER}")
    if not (hasattr(select, "epoll") and hasattr(os, "eventfd")):
        raise ConfigurationError(f"{adapter} needs Linux: it waits by epoll and eventfd. The adapter mock does without")


def _interpreter() -> int:
    """Of the interpreter that runs this; 0 is the main one, and what can't be found out."""
    for name in INTERPRETERS:
        with suppress(ImportError, AttributeError):
            current = importlib.import_module(name).get_current()
            return int(current[0] if isinstance(current, tuple) else current)
    return 0
