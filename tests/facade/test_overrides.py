"""What an application overrides, and what a scope does: a scope always wins, and the override is the default."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from dependency_injector import containers, providers

import bridge
from bridge import BridgeContainer, ConfigurationError, with_adapter, with_settings
from tests.facade.conftest import MakeContainer
from tests.named import Maker, Named, in_plain_thread


@pytest.mark.parametrize(
    "given",
    [Named("new"), lambda: Named("new"), providers.Object(Named("new")), providers.Singleton(Named, "new")],
    ids=["instance", "factory function", "Object", "Singleton"],
)
@pytest.mark.parametrize("way", ["keyword", "override"])
def test_an_override_replaces_the_default_and_never_beats_a_scope(
    make_container: MakeContainer, given: Any, way: str
) -> None:
    """In every form. Fails when the global override is looked for first."""
    container = make_container(**({"adapter": given} if way == "keyword" else {}))
    client = container.bridge()
    if way == "override":
        container.adapter.override(given)

    assert client.call("who") == "new"
    with with_adapter(Named("scope")):
        assert (client.call("who"), container.adapter().name) == ("scope", "scope")
        container.adapter.override(Named("later"))
        assert client.call("who") == "scope"
    assert client.call("who") == "later"


def test_an_override_ends_where_it_is_reset(make_container: MakeContainer) -> None:
    """`with`, reset_last_overriding, reset_override: what was built for it is closed, and the one before answers."""
    container = make_container(adapter=Named("first"))
    client, maker = container.bridge(), Maker("second")

    with container.adapter.override(providers.Factory(maker)):
        assert client.call("who") == "second"
        container.adapter.override(Named("third"))
        assert client.call("who") == "third"
        container.adapter.reset_last_overriding()
        assert client.call("who") == "second"
    assert client.call("who") == "first"
    assert all(each.closed for each in maker.made)
    container.adapter.reset_override()
    with pytest.raises(ConfigurationError, match="no handler is set"):
        client.call("who")


def test_settings_are_overridden_like_the_adapter(make_container: MakeContainer) -> None:
    """What is built next has them; a scope's changes lie over them."""
    container = make_container(adapter=Named())
    assert container.bridge().stats().size == 1
    with container.settings.override({"pool": {"size": 3, "max_overflow": 2}}):
        assert container.bridge().stats().size == 3
        with with_settings(size=5):
            values = container.settings()
        assert (values.pool.size, values.pool.max_overflow) == (5, 2)
    assert container.bridge().stats().size == 1


def test_an_adapter_provider_that_is_overridden_makes_or_shares(make_container: MakeContainer) -> None:
    """What a Factory makes is closed with the container; what a Singleton holds is somebody else's."""
    maker, holder = Maker(), providers.Singleton(Named, "held")
    made, held = make_container(adapter=providers.Factory(maker)), make_container(adapter=holder)
    for container in (made, held):
        container.bridge().call("who")
        container.shutdown_resources()

    assert maker.made[0].closed
    assert not holder().closed


def test_an_async_override_leaves_no_futures_behind(make_container: MakeContainer) -> None:
    """It is refused where it is met, and the default answers with adapters again, not with futures for ever. Fails when
    the provider's own `__call__` runs."""
    container = make_container(adapter=Named("default"))

    async def main() -> Any:
        with container.adapter.override(providers.Callable(asyncio.get_running_loop().create_future)):
            with pytest.raises(ConfigurationError, match="an adapter is a name, an instance, a class or a factory"):
                container.adapter()
            with with_adapter(Named("scope")):
                inside = container.adapter()
        return inside, container.adapter()

    inside, after = asyncio.run(main())
    assert (inside.name, after.name, container.bridge().call("who")) == ("scope", "default", "default")


class App(containers.DeclarativeContainer):
    """With a class-level override, the container's own way to replace defaults for all instances made later."""

    ml = providers.Container(BridgeContainer, settings={"pool": {"size": 1}})


def test_an_override_of_a_class_is_for_instances_made_inside() -> None:
    """dependency_injector's own rule; scopes aren't concerned."""
    before = App()
    with App.ml.adapter.override(Named("class")):
        inside = App()
        before.ml.adapter.override(Named("own"))
        assert (before.ml.bridge().call("who"), inside.ml.bridge().call("who")) == ("own", "class")
        with with_adapter(Named("scope"), container=inside.ml):
            assert (before.ml.bridge().call("who"), inside.ml.bridge().call("who")) == ("own", "scope")
    assert inside.ml.bridge().call("who") == "class"
    with pytest.raises(ConfigurationError, match="no handler is set"):
        App().ml.bridge().call("who")
    for app in (before, inside):
        app.shutdown_resources()


@pytest.mark.parametrize("container", [3, App, "ml", None.__class__])
def test_a_scope_is_for_a_container_of_ours(container: Any) -> None:
    """Anything else: a ConfigurationError when it is made."""
    with pytest.raises(ConfigurationError, match="container= takes a BridgeContainer, or the"):
        with_adapter(Named(), container=container)


@pytest.mark.parametrize(
    ("adapter", "options", "error", "message"),
    [
        (3, {}, ConfigurationError, "an adapter is a name, an instance, a class or a factory, not 3"),
        ("nonesuch", {}, ConfigurationError, "there is no adapter 'nonesuch'"),
        ("python_prot", {}, ConfigurationError, "did you mean 'python_port'"),
        (Named, {"sise": 3}, TypeError, "'sise' is neither a setting nor an option of .*; did you mean 'size'"),
        (Named(), {"sise": 3}, TypeError, "'sise' is no setting; did you mean 'size'"),
        (Named, {"size": 0}, ConfigurationError, r"pool\.size: .*greater than or equal to 1"),
        (Named, {"size": 1, "pool": {"size": 1}}, ConfigurationError, "is given twice"),
        (Named, {"adapter": "x"}, ConfigurationError, "takes the adapter as its first argument"),
    ],
)
def test_a_mistake_is_told_when_the_scope_is_made(
    adapter: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    """Not when it is entered, and not at the first call."""
    with pytest.raises(error, match=message):
        with_adapter(adapter, **options)


def test_a_setting_that_is_none_is_told_when_the_scope_is_made() -> None:
    """with_settings takes no options of adapters."""
    with pytest.raises(TypeError, match="'sise' is no setting; did you mean 'size'"):
        with_settings(sise=3)
    with pytest.raises(ConfigurationError, match="takes a BridgeSettings or keywords"):
        with_settings(3)  # type: ignore[arg-type]


def test_a_factory_that_makes_no_adapter_is_told() -> None:
    """At the first use in the scope, by whoever meets it."""
    scope = with_adapter(lambda: 3)  # type: ignore[arg-type,return-value]
    with scope, pytest.raises(ConfigurationError, match="made 3, which is no adapter"):
        bridge.connect("y")


# -- two containers ----------------------------------------------------------------------------------------


@pytest.fixture
def two(make_container: MakeContainer) -> list[Any]:
    """Two bridges of one application, with a handler each, on one kind of adapter."""
    names = ("math", "json")
    return [make_container(settings={"worker": {"handler": name}, "pool": {"size": 1}}) for name in names]


def served(two: list[Any]) -> list[str]:
    """Whose handlers answer the two."""
    return [container.bridge().call("serves") for container in two]


def test_none_of_two_containers_calls_the_others_handler(two: list[Any]) -> None:
    """Unpinned, pinned, nested either way; warm at entry or at first use; from threads that carry nothing too."""
    one, other = two
    for pinned in (None, one, other):
        for inner in (None, one, other):
            with with_adapter(Named, container=pinned), with_adapter(Named, container=inner, size=2):
                asked = [each for each in two if None in (pinned, inner) or each in (pinned, inner)]
                assert [served([each])[0] for each in asked] == [each.settings().worker.handler for each in asked]
    with with_adapter(Named, container=one, everywhere=True), with_adapter(Named, container=other, everywhere=True):
        assert in_plain_thread(lambda: served(two)) == ["math", "json"]


@pytest.mark.parametrize("scope", ["adapter", "settings"])
def test_a_scope_for_one_handler_is_not_for_another(two: list[Any], scope: str) -> None:
    """With `handler=`, or settings that name one: the other container is refused, until it has a scope of its own."""
    one, other = two
    settings = bridge.BridgeSettings(worker={"handler": "math"}, pool={"size": 1})
    outer = with_adapter(Named, handler="math") if scope == "adapter" else with_settings(settings)

    with with_adapter(Named), outer:
        assert one.bridge().call("serves") == "math"
        with pytest.raises(ConfigurationError, match=r"container="):
            other.bridge().call("serves")
        with with_settings(size=2), pytest.raises(ConfigurationError, match=r"container="):
            other.bridge().call("serves")
        with with_adapter(Named, container=other):
            assert served(two) == ["math", "json"]
        with with_adapter(Named):
            assert other.bridge().call("serves") == "json"
