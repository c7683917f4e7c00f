"""The graph check: who would keep what a scope decides, found at first use; and who doesn't, left in peace."""

from __future__ import annotations

from typing import Any

import pytest
from dependency_injector import containers, providers

from bridge import BridgeContainer, ConfigurationError, check
from tests.named import Named

S, F = providers.Singleton, providers.Factory


def ml() -> Any:
    """A bridge inside an application."""
    return providers.Container(BridgeContainer, settings={"pool": {"size": 1}}, adapter=Named("ml"))


def application(**more: Any) -> Any:
    """An application's container with these providers."""
    return type("App", (containers.DeclarativeContainer,), more)


def resource(value: Any) -> Any:
    """A generator for providers.Resource."""
    yield value


def first_use(app: Any) -> Any:
    """Whatever is asked of it first."""
    return app.ml.bridge().call("who")


@pytest.mark.parametrize(
    ("keeper", "message"),
    [
        (lambda ml: S(dict, a=ml.adapter), r"service is a Singleton and .*'adapter': .* `ml\.adapter\.provider`"),
        (lambda ml: S(dict, a=ml.pool), r"service is a Singleton and depends on the scoped provider 'pool'"),
        (lambda ml: S(dict, a=ml.supervisor), "'supervisor'"),
        (lambda ml: S(dict, a=ml.settings), "'settings'"),
        (lambda ml: S(dict, a=ml.settings.provided.pool.size), "'settings' through"),
        (lambda ml: S(dict, a=F(dict, b=F(dict, c=ml.adapter))), "'adapter' through <.*> through <"),
        (lambda ml: S(dict, a=providers.List(ml.adapter)), "'adapter' through <.*List"),
        (lambda ml: S(dict, ml.adapter), "'adapter'"),
        (lambda ml: providers.ThreadSafeSingleton(dict, a=ml.adapter), "is a ThreadSafeSingleton"),
        (lambda ml: providers.ThreadLocalSingleton(dict, a=ml.adapter), "is a ThreadLocalSingleton"),
        (lambda ml: providers.ContextLocalSingleton(dict, a=ml.adapter), "is a ContextLocalSingleton"),
        (lambda ml: providers.Resource(resource, ml.adapter), "service is a Resource"),
        (lambda ml: F(dict, a=S(dict, b=ml.adapter)), r"is a Singleton and .* 'adapter'"),
    ],
)
def test_who_would_keep_what_a_scope_decides_is_told(keeper: Any, message: str) -> None:
    """Directly, through factories, as an attribute, in a list: at first use, and again at each, and by hand."""
    bridge = ml()
    app = application(ml=bridge, service=keeper(bridge))()

    for _ in range(2):
        with pytest.raises(ConfigurationError, match=message):
            first_use(app)
    with pytest.raises(ConfigurationError, match=r"asks again at each call; or .* or make it a Factory"):
        check(app)
    with pytest.raises(ConfigurationError):
        app.init_resources()


@pytest.mark.parametrize(
    "user",
    [
        lambda ml: S(dict, bridge=ml.bridge),
        lambda ml: S(dict, bridge=F(dict, b=ml.bridge)),
        lambda ml: F(dict, a=ml.adapter, b=F(dict, c=ml.pool)),
        lambda ml: S(dict, adapter=ml.adapter.provider),
        lambda ml: S(dict, make=F(dict, a=ml.adapter).provider),
        lambda ml: S(dict, ml=ml),
        lambda ml: providers.Resource(resource, ml.bridge),
        lambda ml: providers.Callable(dict, a=ml.settings),
        lambda ml: S(dict, nothing="at all"),
    ],
)
def test_who_asks_again_is_left_in_peace(user: Any) -> None:
    """The bridge, a factory, a provider that is handed over as one, a container."""
    bridge = ml()
    app = application(ml=bridge, service=user(bridge))()

    check(app)
    assert first_use(app) == "ml"
    app.shutdown_resources()


def test_containers_around_it_are_looked_at() -> None:
    """The graph of the outermost one, wherever the bridge is in it, and whichever part is asked first."""
    bridge = ml()
    infra = application(ml=bridge)
    inner: Any = providers.Container(infra)
    outer = application(infra=inner, service=S(dict, a=inner.ml.adapter))()

    with pytest.raises(ConfigurationError, match=r"service is a Singleton .*`infra\.ml\.adapter\.provider`"):
        outer.infra.ml.adapter()


def test_what_a_dependency_is_given_is_looked_at() -> None:
    """A container of services that is handed the adapter as a `Dependency`."""
    bridge = ml()
    needed: Any = providers.Dependency()
    services = application(adapter=needed, service=S(dict, a=needed))
    app = application(ml=bridge, services=providers.Container(services, adapter=bridge.adapter))()

    with pytest.raises(ConfigurationError, match=r"services\.service is a Singleton"):
        first_use(app)


def test_containers_joined_by_hand_are_checked_by_hand() -> None:
    """`bridge.check` for what no `.parent` leads to; first use alone can't know it."""
    alone = BridgeContainer(settings={"pool": {"size": 1}}, adapter=Named("alone"))
    joined = containers.DynamicContainer()
    joined.service = S(dict, a=alone.adapter)

    assert alone.bridge().call("who") == "alone"
    with pytest.raises(ConfigurationError, match="service is a Singleton"):
        check(joined)
    alone.shutdown_resources()


def test_shared_factories_are_looked_at_once() -> None:
    """Thirty layers of two factories each: a thousand million ways, sixty providers. Fails (hangs) when every way is
    walked."""
    bridge = ml()
    layer: list[Any] = [F(dict, b=bridge.bridge)] * 2
    for _ in range(30):
        layer = [F(dict, a=layer[0], b=layer[1]), F(dict, a=layer[0], b=layer[1])]
    app = application(ml=bridge, service=S(dict, *layer))()

    check(app)
