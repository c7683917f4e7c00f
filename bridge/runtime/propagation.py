"""Context variables that travel with each call.

Rules: what a name means is looked up once, at the first call; a variable that has no value there doesn't travel.
OpenTelemetry is used if the application has loaded it, and never imported for this. Apart from follow.py, which encodes
what is found here.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar
from importlib import import_module
from typing import Any, Final

from bridge.errors import ConfigurationError

TRACEPARENT: Final = "traceparent"
UNSET: Final = object()


class Propagation:
    """The variables that the setting `worker.propagate` names.

    Args:
        names: Dotted paths of ContextVars, or "traceparent".

    Raises:
        ConfigurationError: One of them isn't there.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self._traced = TRACEPARENT in names
        self._variables = [(name, _variable(name)) for name in names if name != TRACEPARENT]

    def values(self) -> dict[str, Any]:
        """Those that have a value in the caller's context."""
        found = {name: variable.get(UNSET) for name, variable in self._variables}
        found = {name: value for name, value in found.items() if value is not UNSET}
        if self._traced and "opentelemetry" in sys.modules:
            import_module("opentelemetry.propagate").inject(found)
        return found


def _variable(name: str) -> ContextVar[Any]:
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(
            f"worker.propagate names {name!r}, which can't be found ({error}); name it as 'package.module.VARIABLE'"
        ) from error
    if not isinstance(found, ContextVar):
        raise ConfigurationError(f"worker.propagate names {name!r}, which is no ContextVar but {found!r:.60}; name one")
    return found
