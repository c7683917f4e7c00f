"""What a scope changes: an adapter, settings, or both, for one container or all.

Rules: a plan is made when `with_adapter` is called and never changes; a mistake in it is told there and then, not at
the first call inside; it can be entered any number of times, each time into a frame of its own. Apart from binding.py,
which lays plans over a container's settings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from bridge.assembly import Choice, of_mode
from bridge.errors import ConfigurationError
from bridge.frames import Frame
from bridge.schema import BridgeSettings
from bridge.settings import TestMode

if TYPE_CHECKING:
    from bridge.binding import Binding

FOR_AN_INSTANCE: Final = frozenset({"pool", "call", "session", "supervisor", "status_socket"})
"""What can change under an adapter that exists already."""

Entry = Callable[["ScopePlan", Frame], None]


@dataclass(frozen=True, eq=False)
class ScopePlan:
    """One `with_adapter`, `with_settings` or `with_test_mode`."""

    label: str
    key: Binding | None = None
    choice: Choice | TestMode | None = None
    settings: BridgeSettings | None = None
    """In place of all that is outside."""
    changes: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    entry: Entry | None = None
    """Starts and warms what can be known when the scope is entered."""
    exit: Entry | None = None
    """Undoes what `entry` did outside the frame."""

    @property
    def handler(self) -> str | None:
        """The handler that it sets."""
        found: str | None = self.changes.get("worker", {}).get("handler")
        return found or (None if self.settings is None else self.settings.worker.handler)

    def enter(self, frame: Frame) -> None:
        """Start and warm what can be known now."""
        if self.entry is not None:
            self.entry(self, frame)

    def leave(self, frame: Frame) -> None:
        """Undo what `enter` did outside the frame."""
        if self.exit is not None:
            self.exit(self, frame)

    def applied_to(self, values: BridgeSettings) -> BridgeSettings:
        """Settings, with these changes."""
        base = values if self.settings is None else self.settings
        return base.with_changes(self.changes) if self.changes else base

    def choice_for(self, values: BridgeSettings) -> Choice | None:
        """The adapter that it chooses, given the merged settings."""
        return of_mode(self.choice, values) if isinstance(self.choice, TestMode) else self.choice

    def check_for_instance(self, choice: Choice) -> None:
        """Raise ConfigurationError when it changes what an adapter that exists can't take any more."""
        if self.settings is None and (beyond := sorted(self.changes.keys() - FOR_AN_INSTANCE)):
            raise ConfigurationError(
                f"{self.label}: {', '.join(beyond)} can't change for {choice.source!r:.60}, which exists already; only "
                f"{', '.join(sorted(FOR_AN_INSTANCE))} can. Give the adapter's class or name instead of an instance"
            )
