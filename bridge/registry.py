"""Adapter names: ours, and those that other distributions bring by the entry point group `bridge.adapters`.

Rules: nothing is imported until its name is asked for. Apart from assembly.py because third parties look here,
for executor.py, which has no settings, and for an adapter that is told the name of another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Any, Final

from bridge.errors import ConfigurationError

GROUP: Final = "bridge.adapters"
BUILT_IN: Final[Mapping[str, str]] = MappingProxyType(
    {
        "bridge_mock": "bridge.adapters.bridge_mock:BridgeMockAdapter",
        "executor": "bridge.adapters.executor:ExecutorAdapter",
        "mock": "bridge.adapters.mock:MockAdapter",
        "python_port": "bridge.adapters.python_port:PythonPortAdapter",
        "recording": "bridge.adapters.recording:RecordingAdapter",
    }
)


def find(name: str) -> Any:
    """The class or factory of a named adapter.

    Raises:
        ConfigurationError: No such name, or it can't be imported.
    """
    if name in BUILT_IN:
        module, _, attribute = BUILT_IN[name].partition(":")
        return getattr(import_module(module), attribute)
    others = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in others:
        known = sorted({*BUILT_IN, *others})
        close = get_close_matches(name, known, 1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ConfigurationError(f"there is no adapter {name!r}; {hint}Known are {', '.join(known)}")
    try:
        return others[name].load()
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(
            f"the adapter {name!r} ({others[name].value}) can't be imported: {error}. Install in this "
            "interpreter what it needs, or name another one"
        ) from error
