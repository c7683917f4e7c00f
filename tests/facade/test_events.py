"""Who hears of what: a connected bridge's callback, a container's, and the scopes in between."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from dependency_injector import containers, providers

import bridge
from bridge import BridgeContainer, ConfigurationError, Event, with_adapter
from tests.facade.conftest import MakeContainer
from tests.named import PATIENCE, Maker, Named


class Heard:
    """A callback that can wait for the ends of several bridges."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._ends = threading.Semaphore(0)

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if event.name == "bridge.closed":
            self._ends.release()

    def after(self, ends: int) -> list[str]:
        """On which adapters workers became ready, once so many more bridges were closed."""
        assert all(self._ends.acquire(timeout=PATIENCE) for _ in range(ends)), f"only {self.events}"
        return [event.adapter for event in self.events if event.name == "worker.ready"]


def test_a_connected_bridge_tells_of_its_scopes_too() -> None:
    """Whatever answers for it, its callback hears of that. Fails when `build_in` forgets the callback."""
    heard = Heard()
    b = bridge.connect("math", adapter=None, size=1, on_event=heard, name="b")
    with with_adapter(Maker("inner")):
        assert b.call("who") == "inner"

    assert heard.after(1) == ["inner"]
    assert {event.bridge for event in heard.events} == {"b"}
    b.close(0)


def test_an_explicit_adapter_has_its_callback() -> None:
    """`connect(adapter=...)`, which no scope changes."""
    heard = Heard()
    with bridge.connect("math", adapter=Named("explicit"), on_event=heard, size=1):
        pass

    assert heard.after(1) == ["explicit"]


@pytest.mark.parametrize("wrap", [lambda found: found, providers.Object], ids=["function", "provider"])
def test_a_container_tells_of_its_default_and_of_its_scopes(make_container: MakeContainer, wrap: Any) -> None:
    """As a function or as a provider of one. Fails when `_build_default` or `build_in` forgets the callback."""
    heard = Heard()
    container = make_container(adapter=Maker("outer"), on_event=wrap(heard))
    with container, with_adapter(Maker("inner"), container=container):
        pass

    assert sorted(heard.after(2)) == ["inner", "outer"]  # each has a thread of its own
    assert container.on_event() is heard


@pytest.mark.parametrize(
    "wrap", [lambda found: lambda event: found(event), lambda found: providers.Callable(lambda: found)]
)
def test_a_copy_inside_an_applications_container_has_it_as_well(wrap: Any) -> None:
    """`providers.Container` copies what it is given: a function is itself after that, and so is what one returns."""
    heard = Heard()

    class App(containers.DeclarativeContainer):
        ml = providers.Container(
            BridgeContainer, settings={"pool": {"size": 1}}, adapter=Named("copied"), on_event=wrap(heard)
        )

    App().ml.bridge().close(0)
    with App().ml.bridge():
        pass

    assert heard.after(1) == ["copied"]


def test_another_callback_counts_from_the_next_use(make_container: MakeContainer) -> None:
    """What told the old one closes, as after any other override."""
    first, second = Heard(), Heard()
    container = make_container(adapter=Maker(), on_event=first)
    container.bridge().call("who")
    with container.on_event.override(second):
        container.bridge().call("who")
        assert first.after(1) == ["made"]

    assert second.after(1) == ["made"]


async def coroutine(event: Event) -> None:
    """Nobody would await it."""


@pytest.mark.parametrize("given", [3, "print", coroutine])
def test_what_cannot_be_called_is_refused(make_container: MakeContainer, given: Any) -> None:
    """At once by `connect`, at first use by a container."""
    with pytest.raises(ConfigurationError, match="on_event takes a plain function"):
        bridge.connect("math", adapter="mock", on_event=given)
    with pytest.raises(ConfigurationError, match="on_event takes a plain function"):
        make_container(on_event=providers.Object(given)).bridge().health()
