"""The container: what an application wires, and where a scope takes hold of it.

Rules: this package is the only importer of dependency_injector; here is the arrangement, the providers themselves are
in providers.py. Apart from binding.py, which works without a container.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from dependency_injector import containers
from dependency_injector.providers import Provider

from bridge.container.graph import check, root_of
from bridge.container.providers import (
    AdapterProvider,
    AsyncBridgeProvider,
    BindingProvider,
    BridgeProvider,
    ListenerProvider,
    OnCallProvider,
    PoolProvider,
    RuntimeResource,
    SettingsProvider,
    SupervisorProvider,
)

__all__ = ["BridgeContainer", "BridgeContainerInstance", "check"]


FOLLOWING: Final = frozenset({"binding", "pool", "supervisor", "runtime"})
"""Providers that can't be replaced by themselves."""


class BridgeContainerInstance(containers.DynamicContainer):
    """A container: `with` and `async with` start and warm it, and close it."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if isinstance(value, BindingProvider):
            value.first_use = lambda: check(root_of(self))

    def override_providers(self, **overriding: Any) -> Any:
        """Replace defaults, as `BridgeContainer(adapter=...)` does.

        Raises:
            TypeError: There is no such provider, or it follows from the others.
        """
        for name, value in overriding.items():
            if name not in self.providers:
                known = ", ".join(sorted(self.providers.keys() - {"binding"}))
                raise TypeError(f"a BridgeContainer has no provider {name!r}; it has {known}")
            if name in FOLLOWING and not isinstance(value, Provider):  # those come along with a container's override
                raise TypeError(f"{name} follows from the settings and the adapter: give those, as in settings={{...}}")
        return super().override_providers(**overriding)

    def __enter__(self) -> BridgeContainerInstance:
        self.bridge().__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bridge().__exit__(kind, error, trace)

    async def __aenter__(self) -> BridgeContainerInstance:
        await self.async_bridge().__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.async_bridge().__aexit__(kind, error, trace)


class BridgeContainer(containers.DeclarativeContainer):
    """A bridge as a container: on its own, or as a `providers.Container` inside the application's.

    Args:
        settings: A BridgeSettings, a mapping (validated), or a provider of one; if not given, the environment is read
            once, at first use (`BridgeSettings.load()`).
        adapter: In place of the adapter that the settings name, outside all scopes: a name, an instance (not closed
            by us), a class, or a provider.
        on_event: A function (or a provider of one) that is called with each `Event` of the bridge, also of those that
            scopes put in its place, in a thread of its own. `providers.Container` copies what it is given, an object
            with its methods too: there, give a function or a provider.
        on_call: A function (or a provider of one) that is called with each `Call`, where that is made, and returns a
            context manager that is entered when the call begins and left at its end.

    Raises:
        TypeError: There is no such keyword.
    """

    instance_type = BridgeContainerInstance

    binding = BindingProvider()
    settings = SettingsProvider(binding)
    adapter = AdapterProvider(binding)
    on_event = ListenerProvider(binding)
    on_call = OnCallProvider(binding)
    supervisor = SupervisorProvider(binding)
    pool = PoolProvider(binding)
    runtime = RuntimeResource(binding)
    bridge = BridgeProvider(binding)
    async_bridge = AsyncBridgeProvider(binding)

    if TYPE_CHECKING:  # an instance is in truth one of `instance_type`

        def __enter__(self) -> BridgeContainer: ...
        def __exit__(self, *_: object) -> None: ...
        async def __aenter__(self) -> BridgeContainer: ...
        async def __aexit__(self, *_: object) -> None: ...
