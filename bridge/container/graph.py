"""Look for providers of an application that would keep what a scope decides.

Rules: looks only; says which provider it is, and the cure. Apart from the container because it is about the providers
of others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from dependency_injector import providers

from bridge.container.providers import RuntimeResource, ScopedProvider
from bridge.errors import ConfigurationError

KEEPERS: Final = (providers.BaseSingleton, providers.BaseResource)
HAND_OVER: Final = (providers.Delegate, providers.Container, providers.Self)
"""What is injected of these is a provider or a container, which is asked again at each use."""


def root_of(container: Any) -> Any:
    """The outermost container that a container is part of."""
    while (parent := getattr(container, "parent", None)) is not None:
        container = parent
    return container


def check(container: Any) -> None:
    """Check that nothing in a container keeps the settings, adapter, supervisor or pool of the first scope it meets.

    A container of ours does it by itself at its first use, for the application's containers around it too. Containers
    that were joined by hand are checked by calling this.

    Raises:
        ConfigurationError: A singleton or a resource does; says which, through what, and the cure.
    """
    for keeper in providers.traverse(*container.providers.values(), types=list(KEEPERS)):
        if isinstance(keeper, RuntimeResource):
            continue
        for scoped, way in _reached(keeper, (), set()):
            name, role = _name(container, keeper), scoped.role
            through = "".join(f" through {_name(container, step)}" for step in way)
            raise ConfigurationError(
                f"{name} is a {type(keeper).__name__} and depends on the scoped provider {role!r}{through}: it would "
                f"keep the {role} of the first scope that it meets, in every scope after. Give it the bridge, which "
                f"asks again at each call; or `{_name(container, scoped)}.provider`, and call that where it is used; "
                "or make it a Factory"
            )


def _reached(
    provider: providers.Provider[Any], way: tuple[providers.Provider[Any], ...], seen: set[int]
) -> Iterator[tuple[ScopedProvider, tuple[providers.Provider[Any], ...]]]:
    """The scoped providers whose values a provider is given, and the providers between."""
    for related in provider.related:
        if isinstance(related, ScopedProvider):
            yield related, way
        elif not isinstance(related, (*KEEPERS, *HAND_OVER)) and id(related) not in seen:
            seen.add(id(related))  # once is enough: the ways through shared factories double with each layer
            yield from _reached(related, (*way, related), seen)


def _name(container: Any, wanted: Any) -> str:
    """Dotted, as the application's author writes it."""
    return next(_names(container, wanted, ""), repr(wanted))


def _names(container: Any, wanted: Any, prefix: str) -> Iterator[str]:
    for name, provider in container.providers.items():
        if provider is wanted:
            yield prefix + name
        elif isinstance(provider, providers.Container):
            yield from _names(provider, wanted, f"{prefix}{name}.")
