"""Where settings come from: the one reader of the environment.

Rules: the standard library only, since the pytest plugin is loaded in every test run of whoever has the package
installed (pydantic costs 100 ms); nothing is remembered, each function reads when it is called. The models and what is
legal in them are in schema.py, and can be imported from here; they are loaded on first use. Apart from schema.py for
that reason.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from difflib import SequenceMatcher
from enum import Enum
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from bridge.errors import ConfigurationError

if TYPE_CHECKING:
    from bridge.schema import GROUPS, LEAVES, BridgeSettings, closest, sort_keywords

__all__ = ["GROUPS", "LEAVES", "BridgeSettings", "TestMode", "closest", "sort_keywords"]

SIMILAR: Final = 0.8
"""An unknown variable this close to one of ours is a misspelling; anything else is somebody else's."""
TEST_MODE: Final = "TEST_MODE"
"""Read with a bridge's own prefix, and without one: it speaks to all bridges of a test run."""


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("bridge.schema"), name)
    raise AttributeError(f"module 'bridge.settings' has no attribute {name!r}")


class Codec(str, Enum):
    """How calls and results become bytes."""

    JSON = "json"
    PICKLE = "pickle"


class StartMethod(str, Enum):
    """How worker processes come to be."""

    SPAWN = "spawn"
    ZYGOTE = "zygote"


class TestMode(str, Enum):
    """What tests run on."""

    __test__ = False  # for pytest, which collects classes by their names

    MOCK_ADAPTER = "mock_adapter"
    """The adapter mock: answers, no bytes."""
    BRIDGE_MOCK = "bridge_mock"
    """The adapter bridge_mock: the real protocol, no process."""
    FULL_INTEGRATION = "full_integration"
    """The adapter that the settings name; python_port when they name a mock."""

    @classmethod
    def of(cls, value: object) -> TestMode:
        """The mode that a text names.

        Raises:
            ConfigurationError: There is no such mode; lists the three.
        """
        try:
            return cls(value)
        except ValueError:
            known = ", ".join(mode.value for mode in cls)
            raise ConfigurationError(f"TEST_MODE is one of {known}, or not set at all; not {value!r}") from None


def mode_in_force(prefix: str = "BRIDGE_") -> TestMode | None:
    """The test mode that the environment asks for; None when it says nothing.

    Raises:
        ConfigurationError: Empty, misspelt, in capitals; lists the three values.
    """
    variable = mode_variable(prefix)
    text = None if variable is None else os.environ.get(variable)
    return None if text is None else TestMode.of(text)


def mode_variable(prefix: str = "BRIDGE_") -> str | None:
    """Which variable asks for a test mode; None when none does."""
    return next((name for name in (prefix + TEST_MODE, TEST_MODE) if name in os.environ), None)


class Variable(NamedTuple):
    """One of the environment, as it is spelt."""

    name: str
    value: str


def variables_of(prefix: str = "BRIDGE_") -> dict[str, Variable]:
    """The variables that begin with a prefix, by their names as settings have them: without it, and in capitals."""
    return {
        name[len(prefix) :].upper(): Variable(name, os.environ.get(name, ""))
        for name in os.environ
        if name.upper().startswith(prefix.upper())
    }


def forbidding(prefix: str = "BRIDGE_") -> str | None:
    """What the environment says of forbid_test_mode, for settings that aren't read from it."""
    return os.environ.get(prefix + "FORBID_TEST_MODE")


def ask_for_test_mode(mode: str) -> Callable[[], None]:
    """Set TEST_MODE for this process and those it starts, before anything reads it. Answers how to take it back.

    Raises:
        ConfigurationError: There is no such mode; nothing was set.
    """
    before, os.environ[TEST_MODE] = os.environ.get(TEST_MODE), TestMode.of(mode).value

    def take_back() -> None:
        os.environ.pop(TEST_MODE, None)
        if before is not None:
            os.environ[TEST_MODE] = before

    return take_back


def status_path(prefix: str = "BRIDGE_") -> str | None:
    """What the environment says of status_socket, for those who look from outside."""
    return os.environ.get(prefix + "STATUS_SOCKET")


def is_dumb() -> bool:
    """Whether the terminal, if there is one, can only take one line after the other."""
    return os.environ.get("TERM", "dumb") in ("dumb", "")


def wants_no_colour() -> bool:
    """Whether the user wants plain text on a terminal, too: NO_COLOR (no-color.org), or a terminal without colours."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def variables_with(prefix: str, text: str) -> list[str]:
    """The variables that have that value."""
    return [variable.name for variable in variables_of(prefix).values() if variable.value == text]


def refuse_misspelt(
    prefix: str, ours: AbstractSet[str], mappings: AbstractSet[str], variables: Iterable[str] | None = None
) -> None:
    """Look for variables that were probably meant for us.

    Args:
        ours: Names of settings and their groups, in capitals, nested by two underscores.
        mappings: Those of them whose value is a mapping.
        variables: Names to look at; the environment's own if not given.

    Raises:
        ConfigurationError: One is close to a setting without being one, or names a key of a mapping, whose capitals
            would get lost on the way.
    """
    for variable in os.environ if variables is None else variables:
        if not variable.upper().startswith(prefix.upper()):
            continue
        name = variable[len(prefix) :].upper()
        for mapping in mappings:
            if name.startswith(mapping + "__"):
                key = variable[len(prefix + mapping + "__") :]
                raise ConfigurationError(
                    f"{variable} names a key of a mapping; write that as JSON: {prefix}{mapping}='{{\"{key}\": ...}}'"
                )
        if name.partition("__")[0] in ours:
            continue  # a group or a mapping: what is inside pydantic checks
        near = max(ours, key=lambda setting: SequenceMatcher(None, name, setting).ratio())
        if SequenceMatcher(None, name, near).ratio() >= SIMILAR:
            raise ConfigurationError(f"{variable} is no setting; did you mean {prefix}{near}? Rename or unset it")
