"""The providers of a container: each answers for the scope of whoever asks.

Rules: none of them keeps what a scope decides; nothing is overridden to enter one, since `.override()` is seen by every
thread and task (its last override is one attribute of the provider). Whatever is asked for is found by a `Binding`, of
which each container instance, copies too, has its own. Apart from the container, which is their arrangement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from dependency_injector import providers

from bridge.assembly import Choice, choice_of, listener_of
from bridge.binding import Binding
from bridge.client import Bridge
from bridge.contract import Adapter
from bridge.errors import ConfigurationError
from bridge.runtime import Runtime
from bridge.runtime.courier import Listener
from bridge.runtime.pool import Pool
from bridge.runtime.supervisor import Supervisor
from bridge.runtime.watching import OnCall, on_call_of
from bridge.schema import BridgeSettings
from bridge.settings import forbidding, mode_in_force

if TYPE_CHECKING:
    from bridge.aio import AsyncBridge


class _Copied:
    """How a provider is copied with its container: it belongs to the copy's own binding."""

    def __init__(self, binding: BindingProvider) -> None:
        super().__init__()
        self._binding_provider = binding
        self._binding = binding.binding
        self._peek = self._binding.peek

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        known = memo.get(id(self))
        if known is not None:
            return known
        # In the memo before anything else is copied: whoever depends on it must find this one, not a second copy.
        copied = memo[id(self)] = type(self)(providers.deepcopy(self._binding_provider, memo))
        self._copy_overridings(copied, memo)  # type: ignore[attr-defined]  # of the provider that this is mixed into
        return copied


class BindingProvider(providers.Provider[Binding]):
    """Provides the binding of one container instance; a copy of the container gets another one."""

    def __init__(self) -> None:
        super().__init__()
        self.settings: ScopedProvider | None = None
        self.adapter: ScopedProvider | None = None
        self.on_event: ScopedProvider | None = None
        self.on_call: ScopedProvider | None = None
        self.first_use: Callable[[], None] = bool  # type: ignore[assignment]  # it does nothing
        self.binding = Binding(
            self._base,
            self._choice,
            reopens=True,
            check=lambda: self.first_use(),
            listener=self._listener,
            on_call=self._on_call,
        )
        self.bridge = Bridge(self.binding)

    def __deepcopy__(self, memo: dict[int, Any]) -> BindingProvider:
        copied = memo[id(self)] = type(self)()  # before anything else: whoever is copied along finds this one
        return copied

    def _provide(self, _args: Any, _kwargs: Any) -> Binding:
        return self.binding

    def __call__(self) -> Binding:
        """The binding."""
        return self.binding

    def _base(self) -> BridgeSettings:
        given = self.settings.default() if self.settings is not None else None
        if given is None:
            return BridgeSettings.load()
        if isinstance(given, Mapping):
            given = BridgeSettings(**given)
        if not isinstance(given, BridgeSettings):
            raise ConfigurationError(
                f"settings= takes a BridgeSettings, a mapping or a provider of one of them, not {given!r:.60}"
            )
        changes: dict[str, Any] = {}
        if "test_mode" not in given.model_fields_set and (mode := mode_in_force("")) is not None:
            changes["test_mode"] = mode
        if (changes or given.test_mode is not None) and (forbidden := forbidding()) is not None:
            changes["forbid_test_mode"] = forbidden
        return given.with_changes(changes) if changes else given

    def _choice(self) -> Choice | None:
        provider = None if self.adapter is None else self.adapter.last_overriding
        if provider is None:
            return None
        if isinstance(provider, providers.Factory):  # what it makes is ours to close
            return choice_of(provider, {})
        return choice_of(provider(), {})

    def _listener(self) -> Listener | None:
        return listener_of(None if self.on_event is None else self.on_event.default())

    def _on_call(self) -> OnCall | None:
        return on_call_of(None if self.on_call is None else self.on_call.default())


class ScopedProvider(_Copied, providers.Provider[Any]):
    """Answers for the scope of whoever calls it.

    `__call__` is overridden, not `_provide`: the base's looks for a global override first, which must not beat a scope,
    and once it has met an awaitable it returns futures for ever. Overriding it replaces the default, what answers
    outside all scopes.
    """

    role = ""

    @property
    def related(self) -> Iterator[providers.Provider[Any]]:
        """The providers that it depends on."""
        yield self._binding_provider
        yield from super().related

    def _provide(self, _args: Any, _kwargs: Any) -> Any:
        return self()

    def default(self) -> Any:
        """What was set in place of the default; None when nothing was."""
        provider = self.last_overriding
        return None if provider is None else provider()

    # What was built for the old default must not answer any longer.

    def override(self, provider: Any) -> Any:
        """Replace the default."""
        context: Any = super().override(provider)
        self._binding.drop_default()
        return context

    def reset_last_overriding(self) -> None:
        """Put back the default before the last one."""
        super().reset_last_overriding()
        self._binding.drop_default()

    def reset_override(self) -> None:
        """Put back the first default."""
        super().reset_override()
        self._binding.drop_default()


class SettingsProvider(ScopedProvider):
    """The settings that count for the caller."""

    role = "settings"

    def __init__(self, binding: BindingProvider) -> None:
        super().__init__(binding)
        binding.settings = self

    def __call__(self) -> BridgeSettings:
        """They are frozen; in a scope, with its changes."""
        return self._binding.settings()


class AdapterProvider(ScopedProvider):
    """The adapter of the caller's scope."""

    role = "adapter"

    def __init__(self, binding: BindingProvider) -> None:
        super().__init__(binding)
        binding.adapter = self

    def __call__(self) -> Adapter:
        """It is not started by this."""
        return self._peek().adapter


class ListenerProvider(ScopedProvider):
    """The container's callback for events; the same in every scope."""

    role = "on_event"

    def __init__(self, binding: BindingProvider) -> None:
        super().__init__(binding)
        binding.on_event = self

    def __call__(self) -> Listener | None:
        """None when there is none."""
        return listener_of(self.default())


class OnCallProvider(ScopedProvider):
    """The container's callback for calls; the same in every scope."""

    role = "on_call"

    def __init__(self, binding: BindingProvider) -> None:
        super().__init__(binding)
        binding.on_call = self

    def __call__(self) -> OnCall | None:
        """None when there is none."""
        return on_call_of(self.default())


class SupervisorProvider(ScopedProvider):
    """The supervisor of the caller's scope; there is one on every adapter."""

    role = "supervisor"

    def __call__(self) -> Supervisor:
        """It is not started by this."""
        return self._peek().supervisor


class PoolProvider(ScopedProvider):
    """The pool of the caller's scope."""

    role = "pool"

    def __call__(self) -> Pool:
        """It is not started by this."""
        return self._peek().pool


class BridgeProvider(_Copied, providers.Provider[Bridge]):
    """Provides the one Bridge of a container, which may be kept for ever: it resolves the scope at each call."""

    def __init__(self, binding: BindingProvider) -> None:
        super().__init__(binding)
        self._bridge = binding.bridge

    def _provide(self, _args: Any, _kwargs: Any) -> Bridge:
        return self._bridge


class AsyncBridgeProvider(_Copied, providers.Provider[Any]):
    """Provides the same bridge for asyncio; `async with` starts what answers for the caller, and closes it."""

    def _provide(self, _args: Any, _kwargs: Any) -> AsyncBridge:
        return self._binding_provider.bridge.aio


class RuntimeResource(_Copied, providers.Resource[Runtime]):
    """Starts and closes what answers for the caller, when the container's resources are; keeps nothing itself.

    A bare Resource would start eight runtimes for eight simultaneous first calls, and would not close one that a call
    had started.
    """

    def __call__(self) -> Runtime:
        """Start it, and wait until it is warm. Idempotent."""
        return self._binding.start()

    def init(self) -> Runtime:
        """Start it, and wait until it is warm. Idempotent."""
        return self._binding.start()

    @property
    def initialized(self) -> bool:
        """Whether there is something to shut down."""
        return not self._binding.is_over

    def shutdown(self) -> None:
        """Close it: calls are refused until `init`."""
        self._binding.close()
