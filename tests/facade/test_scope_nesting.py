"""What counts in a scope: the nearest choice of an adapter, over the merged settings of all scopes around it."""

from __future__ import annotations

from typing import Any

import pytest

from bridge import (
    BridgeSettings,
    ConfigurationError,
    ScopeError,
    current_scope,
    with_adapter,
    with_settings,
    with_test_mode,
)
from bridge.scope import Scope
from tests.facade.conftest import MakeContainer
from tests.named import Maker, Named


def test_settings_of_nested_scopes_are_merged(make_container: MakeContainer) -> None:
    """The inner ones win field by field; what nobody changed is the container's."""
    container = make_container(settings={"pool": {"size": 1, "max_overflow": 2}, "name": "mine"})

    with with_settings(size=3, timeout=7), with_settings(pool={"max_waiting": 5}, timeout=9) as scope:
        values = container.settings()
        assert scope is not None
    assert (values.pool.size, values.pool.max_overflow, values.pool.max_waiting) == (3, 2, 5)
    assert (values.call.timeout, values.name) == (9.0, "mine")
    assert container.settings().pool.size == 1


def test_a_whole_settings_object_replaces_what_is_outside(make_container: MakeContainer) -> None:
    """Not merged over it; `changes` are merged over the object, and its adapter is chosen."""
    container = make_container(settings={"name": "mine", "pool": {"size": 2}})

    with with_settings(size=5), with_settings(BridgeSettings(call={"timeout": 3}), max_overflow=1):
        values = container.settings()
    assert values == BridgeSettings(call={"timeout": 3}, pool={"max_overflow": 1})


def test_an_adapter_that_exists_is_used_again_inside(make_container: MakeContainer) -> None:
    """with_settings in a scope of an instance: the same adapter, in a pool of its own."""
    container, adapter = make_container(), Named("instance")

    with with_adapter(adapter):
        outer = container.pool()
        with with_settings(size=3):
            assert container.adapter() is adapter
            assert container.pool() is not outer
            assert container.bridge().stats().size == 3
            assert container.bridge().call("who") == "instance"
    assert not adapter.closed


def test_an_adapter_that_is_made_is_made_anew_inside(make_container: MakeContainer) -> None:
    """with_settings in a scope of a class or name: another one, closed with the inner scope."""
    container, maker = make_container(), Maker()

    with with_adapter(maker):
        container.bridge().call("who")
        with with_settings(size=3):
            container.bridge().call("who")
            assert len(maker.made) == 2
        assert [each.closed for each in maker.made] == [False, True]
    assert [each.closed for each in maker.made] == [True, True]


@pytest.mark.usefixtures("_named")
def test_a_name_is_resolved_with_its_options(make_container: MakeContainer) -> None:
    """What is no setting goes to the constructor of a named adapter; `with_settings` takes them as adapter_options."""
    container = make_container()

    with with_adapter("named", says="by name", size=2):
        assert container.bridge().call("who") == "by name"
        assert container.bridge().stats().size == 2
    with with_settings(adapter="named", adapter_options={"says": "by setting"}):
        assert container.bridge().call("who") == "by setting"


@pytest.mark.parametrize("keywords", [{"handler": "math"}, {"max_idle": 3}, {"name": "x"}, {"worker": {"cwd": "/"}}])
def test_only_what_is_the_runtimes_changes_for_an_instance(
    keywords: dict[str, Any], make_container: MakeContainer
) -> None:
    """It exists already, so that a worker's settings would be ignored: told at once, or where it is met."""
    with pytest.raises(ConfigurationError, match="only call, pool, session, status_socket, supervisor can"):
        with_adapter(Named(), **keywords)

    with with_adapter(Named(), size=2, timeout=1, startup_timeout=1):
        container = make_container()
        with (
            with_settings(**keywords),
            pytest.raises(ConfigurationError, match="only call, pool, session, status_socket, supervisor can"),
        ):
            container.bridge().call("who")


def test_another_handler_is_no_scope_for_a_container(make_container: MakeContainer) -> None:
    """`handler=` for all containers, and one of them has another: a ConfigurationError that says container=."""
    mine, other, none = (make_container(settings={"worker": {"handler": each}}) for each in ("math", "json", None))
    maker = Maker()

    with with_adapter(maker, handler="math", size=2):
        assert len(maker.made) == 1
        assert maker.made[0].opened == 2, "what entry can know is warm"
        assert mine.bridge().call("serves") == none.bridge().call("serves") == "math"
        assert mine.pool() is none.pool()
        with pytest.raises(ConfigurationError, match=r"'math', but json calls 'json'\. Say which .*container="):
            other.bridge().call("serves")
        with with_adapter(maker, container=other):
            assert other.bridge().call("serves") == "json"
    assert len(maker.made) == 2
    assert all(each.closed for each in maker.made)


def test_what_entry_cannot_know_starts_at_first_use(make_container: MakeContainer) -> None:
    """Without `container=` or `handler=` nothing is made at entry, and nothing for who doesn't call."""
    container, silent, maker = make_container(), make_container(adapter=Named()), Maker()

    with with_adapter(maker):
        assert maker.made == []
        container.bridge().call("who")
        assert len(maker.made) == 1
    assert silent.bridge().health().state == "new"


def test_a_pinned_scope_is_warm_at_entry(make_container: MakeContainer) -> None:
    """With `container=`, that container's workers are ready before the body runs."""
    container, maker = make_container(), Maker()

    with with_adapter(maker, container=container, size=3):
        assert maker.made[0].opened == 3
        assert container.bridge().health().ready == 3


def test_current_scope_tells_where_the_caller_is(make_container: MakeContainer) -> None:
    """Label, depth, whether it is pinned, whether it has ended; None outside."""
    assert current_scope() is None
    with with_adapter(Named()), with_settings(size=2, container=make_container(adapter=Named())):
        info = current_scope()
        assert info is not None
        assert (info.label, info.depth, info.pinned, info.closed) == ("with_settings(...)", 1, True, False)
    assert current_scope() is None


@pytest.mark.parametrize("scope", [lambda: with_adapter(Named()), lambda: with_test_mode("full_integration")])
def test_a_scope_is_for_one_use(scope: Any) -> None:
    """Entered again, also after its end: ScopeError. What it is made of isn't there before."""
    one: Scope = scope()
    with pytest.raises(ScopeError, match="was not entered"):
        one.spawn(print)
    with one, pytest.raises(ScopeError, match="was used before"):
        one.__enter__()
    with pytest.raises(ScopeError, match="was used before"):
        one.run(print)
