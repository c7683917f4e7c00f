"""The container: one runtime, started once, by whoever comes first; and what it takes and refuses."""

from __future__ import annotations

import asyncio
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from dependency_injector import containers, providers

from bridge import BridgeContainer, BridgeSettings, ConfigurationError, PoolClosed, ScopedThread, with_adapter
from bridge.binding import Binding
from bridge.contract import Capability
from bridge.testing import Gate
from tests.facade.conftest import MakeContainer
from tests.named import PATIENCE, Maker, Named, all_at_once


def test_thirty_two_first_calls_at_once_make_one_runtime(make_container: MakeContainer) -> None:
    """One adapter, one pool, one set of workers. Fails when a runtime is built without the lock."""
    maker, asked = Maker(dawdle=0.05), []

    def settings() -> BridgeSettings:
        asked.append(1)
        return BridgeSettings(pool={"size": 1})

    container = make_container(settings=providers.Callable(settings), adapter=providers.Factory(maker))

    found = all_at_once(32, lambda _: (container.bridge().call("who"), container.pool(), container.supervisor()))

    assert {who for who, _, _ in found} == {"made"}
    assert len({id(pool) for _, pool, _ in found}) == len({id(supervisor) for _, _, supervisor in found}) == 1
    assert [each.opened for each in maker.made] == [1]
    assert len(asked) == 1, "the settings are read once"


def test_a_default_that_is_replaced_while_somebody_asks_for_it_answers_them_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`.override()` in another thread, right after the lock was released. Fails when a field is read again after it."""
    binding = Binding(lambda: BridgeSettings(adapter="mock"))
    lock = binding._lock

    @contextmanager
    def replaced_at_once() -> Iterator[None]:
        with lock():
            yield
        binding._default = binding._settings = None

    monkeypatch.setattr(binding, "_lock", replaced_at_once)

    assert binding.base.adapter == "mock"
    assert binding.runtime().adapter.name == "mock"


def test_thirty_two_first_calls_in_one_scope_make_one_runtime(make_container: MakeContainer) -> None:
    """The same inside a scope that all of them carry. Fails without the frame's lock."""
    maker, container = Maker(dawdle=0.05), make_container()

    with with_adapter(maker) as scope:
        start = threading.Barrier(32)

        def work() -> Any:
            start.wait(PATIENCE)
            return container.bridge().call("who"), id(container.pool())

        found = [scope.spawn(work) for _ in range(32)]
        assert len({each.result(PATIENCE) for each in found}) == 1
    assert [each.opened for each in maker.made] == [1]


def test_starting_beside_a_first_call_never_hangs(make_container: MakeContainer) -> None:
    """`init_resources` in one thread, a call in another, in one scope. Fails (hangs) when the one takes the container's
    lock before the frame's, and the other after it."""
    container = make_container()
    starting, answered = threading.Event(), threading.Event()

    def check() -> None:
        if threading.current_thread().name == "starts":
            starting.set()
            answered.wait(0.1)

    def call() -> None:
        container.bridge().call("who")
        answered.set()

    provider: Any = container.binding
    provider.first_use = check
    with with_adapter(Maker()):
        first = ScopedThread(target=container.init_resources, name="starts", daemon=True)
        second = ScopedThread(target=call, daemon=True)
        first.start()
        assert starting.wait(PATIENCE)
        second.start()
        for thread in (first, second):
            thread.join(2)
            assert not thread.is_alive(), "each waits for the other"


def test_a_call_after_shutdown_starts_nothing(make_container: MakeContainer) -> None:
    """PoolClosed until `init_resources`, which starts it anew; whatever was asked of it meanwhile."""
    maker = Maker()
    container = make_container(adapter=providers.Factory(maker))
    client = container.bridge()
    client.call("who")
    container.shutdown_resources()

    with pytest.raises(PoolClosed):
        client.call("who")
    assert client.health().state == "closed"
    container.shutdown_resources()
    with container.adapter.override(Named("other")), pytest.raises(PoolClosed):
        client.call("who")
    with pytest.raises(PoolClosed):
        client.call("who")
    with with_adapter(Named("scope")):
        assert client.call("who") == "scope", "a scope has a runtime of its own"
    assert sum(each.opened for each in maker.made) == 1
    assert maker.made[0].closed

    container.init_resources()
    assert client.call("who") == "made"
    assert sum(each.opened for each in maker.made) == 2


def test_a_shutdown_before_the_first_call_counts(make_container: MakeContainer) -> None:
    """Nothing was started, and nothing is."""
    maker = Maker()
    container = make_container(adapter=providers.Factory(maker))
    container.shutdown_resources()

    with pytest.raises(PoolClosed):
        container.bridge().call("who")
    assert sum(each.opened for each in maker.made) == 0


def test_with_starts_warms_and_closes(make_container: MakeContainer) -> None:
    """`with` and `async with`; again and again."""
    container = make_container(settings={"pool": {"size": 2}}, adapter=Named("it"))
    client = container.bridge()

    async def main() -> None:
        async with container as entered:
            assert entered is container
            assert (client.call("who"), client.health().ready) == ("it", 2)

    with container as entered:
        assert entered is container
        assert (client.call("who"), client.health().ready) == ("it", 2)
    assert client.health().state == "closed"
    asyncio.run(main())
    assert client.health().state == "closed"


def test_a_plain_with_warns_where_it_blocks_a_loop(make_container: MakeContainer) -> None:
    """Of an adapter with processes, in a running loop: RuntimeWarning; not of others, and not elsewhere."""

    class Slow(Named):
        capabilities = frozenset({Capability.PROCESSES})

    slow = make_container(settings={"worker": {"handler": "x"}}, adapter=providers.Factory(Slow))
    quick = make_container(adapter=Named())

    async def enter(container: BridgeContainer) -> None:
        with container:
            pass

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeWarning, match="blocks the event loop; use `async with`"):
            asyncio.run(enter(slow))
        asyncio.run(enter(quick))


def test_an_async_entry_that_is_cancelled_leaves_it_closed(make_container: MakeContainer) -> None:
    """Its thread goes on, and what it starts is closed. Fails when nobody looks after it."""
    gate = Gate()

    class Slow(Named):
        def open(self, *args: Any, **keywords: Any) -> Any:
            gate.wait()
            return super().open(*args, **keywords)

    container = make_container(adapter=providers.Factory(Slow))
    adapter: Any = container.adapter()

    async def main() -> None:
        entry = asyncio.create_task(container.__aenter__())
        await asyncio.to_thread(gate.await_arrivals)
        entry.cancel()
        opening = asyncio.create_task(asyncio.to_thread(gate.open))
        with pytest.raises(asyncio.CancelledError):
            await entry
        await opening

    asyncio.run(main())
    assert container.bridge().health().state == "closed"
    assert adapter.closed


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        (
            {"adaptor": "mock"},
            "has no provider 'adaptor'; it has adapter, async_bridge, bridge, on_call, on_event, pool",
        ),
        ({"handler": "math"}, "has no provider 'handler'"),
        ({"pool": {"size": 2}}, r"pool follows from .* settings=\{\.\.\.\}"),
        ({"supervisor": 3}, "supervisor follows from"),
    ],
)
def test_a_keyword_that_is_none_is_a_type_error(keywords: dict[str, Any], message: str) -> None:
    """Misspelt, or no default that could be replaced: never ignored."""
    with pytest.raises(TypeError, match=message):
        BridgeContainer(**keywords)


@pytest.mark.parametrize("settings", [3, "x", providers.Object(3)])
def test_settings_that_are_none_are_refused(settings: Any) -> None:
    """At first use: a provider is asked then."""
    with pytest.raises(ConfigurationError, match="settings= takes a BridgeSettings, a mapping or a provider"):
        BridgeContainer(settings=settings).settings()


@pytest.mark.parametrize(
    "settings",
    [
        {"pool": {"size": 3}},
        BridgeSettings(pool={"size": 3}),
        providers.Singleton(BridgeSettings, pool={"size": 3}),
        providers.Object({"pool": {"size": 3}}),
    ],
    ids=["mapping", "model", "provider of a model", "provider of a mapping"],
)
def test_settings_come_in_four_forms(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """And none of them reads what is in the environment."""
    monkeypatch.setenv("BRIDGE_POOL__SIZE", "7")
    assert BridgeContainer(settings=settings).settings().pool.size == 3


def test_no_settings_are_the_environments_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """At first use, not at import; later changes are for the next container."""
    container = BridgeContainer()
    monkeypatch.setenv("BRIDGE_POOL__SIZE", "3")
    first = container.settings()
    monkeypatch.setenv("BRIDGE_POOL__SIZE", "5")

    assert first.pool.size == container.settings().pool.size == 3
    assert BridgeContainer().settings().pool.size == 5


class App(containers.DeclarativeContainer):
    """An application with a bridge in it, and one more."""

    ml = providers.Container(BridgeContainer, settings={"name": "ml", "pool": {"size": 1}}, adapter=Named("ml"))
    ocr = providers.Container(BridgeContainer, settings={"name": "ocr", "pool": {"size": 1}}, adapter=Named("ocr"))
    service: providers.Singleton[Any] = providers.Singleton(dict, bridge=ml.bridge)
    each_time: providers.Factory[Any] = providers.Factory(dict, adapter=ml.adapter, pool=ml.pool, settings=ml.settings)


def test_a_composed_container_has_one_binding() -> None:
    """Whatever depends on a part of it gets the same container's."""
    app, other = App(), App()

    made = app.each_time()
    assert made["adapter"] is app.ml.adapter()
    assert made["pool"] is app.ml.pool()
    assert made["settings"] is app.ml.settings()
    assert app.service()["bridge"] is app.ml.bridge()
    assert app.ml.bridge() is not other.ml.bridge()
    assert app.ml.binding() is not app.ocr.binding()
    with with_adapter(Named("mine"), container=app.ml):
        assert app.each_time()["adapter"].name == "mine"
        assert app.service()["bridge"].call("who") == "mine"
        assert other.service()["bridge"].call("who") == "ml"
    other.shutdown_resources()


def test_a_part_that_comes_back_to_itself_is_copied_once() -> None:
    """An adapter's override is handed the adapter's own provider, for later. Fails without the memo in
    `_Copied.__deepcopy__`: there are two copies then, and an override of the one isn't seen by the other."""
    handed: list[Any] = []

    def make(provider: Any) -> Named:
        handed.append(provider)
        return Named("override")

    class Wrapped(containers.DeclarativeContainer):
        ml = providers.Container(BridgeContainer, settings={"pool": {"size": 1}})
        ml.adapter.override(providers.Callable(make, ml.adapter.provider))

    for app in (Wrapped(), Wrapped()):
        assert app.ml.bridge().call("who") == "override"
        assert handed[-1]() is app.ml.adapter()
        app.ml.adapter.override(Named("later"))
        assert app.ml.bridge().call("who") == "later"
        app.shutdown_resources()


def test_an_application_starts_and_closes_its_bridges_as_resources() -> None:
    """`init_resources` and `shutdown_resources` of the outermost container reach them; twice is once."""
    app = App()
    clients = [app.ml.bridge(), app.ocr.bridge()]

    app.init_resources()
    assert [client.health().state for client in clients] == ["open", "open"]
    assert [client.call("who") for client in clients] == ["ml", "ocr"]
    app.init_resources()
    app.shutdown_resources()
    assert [client.health().state for client in clients] == ["closed", "closed"]
    app.shutdown_resources()
