"""A scope around a function: as a decorator of the four kinds, with `run`, and what its caller sees of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing
from typing import Any

import pytest

from bridge import Bridge, ScopeError, carry, current_scope, with_adapter
from bridge.frames import Function
from tests.facade.conftest import MakeContainer
from tests.named import PATIENCE, Maker, Named, a_turn


@pytest.fixture
def client(make_container: MakeContainer) -> Bridge:
    """Answers with "default" outside every scope."""
    return make_container(adapter=Named("default")).bridge()


@pytest.fixture
def maker() -> Maker:
    """Makes the adapters of the scopes."""
    return Maker("scope")


def scoped(function: Function, maker: Maker) -> Function:
    """The function in a scope."""
    return with_adapter(maker)(function)


def test_a_function_has_a_fresh_scope_for_each_call(client: Bridge, maker: Maker) -> None:
    """Two calls, two adapters, both closed; nested calls of the same function too."""

    @with_adapter(maker)
    def ask(again: bool) -> list[Any]:
        return [client.call("who"), *(ask(False) if again else [])]

    assert ask(True) == ["scope", "scope"]
    assert [each.closed for each in maker.made] == [True, True]
    assert client.call("who") == "default"
    assert ask.__name__ == "ask"


def test_a_coroutine_has_a_fresh_scope_for_each_call(client: Bridge, maker: Maker) -> None:
    """From call to end, across awaits, with others running beside."""

    @with_adapter(maker)
    async def ask() -> Any:
        await a_turn()
        return client.call("who")

    async def main() -> list[Any]:
        return [*await asyncio.gather(ask(), ask()), client.call("who")]

    assert asyncio.run(main()) == ["scope", "scope", "default"]
    assert [each.closed for each in maker.made] == [True, True]


def test_a_generator_hides_its_scope_from_its_consumer(client: Bridge, maker: Maker) -> None:
    """Each step runs inside, each `yield` is outside. Fails when the variable stays set between the steps."""

    @with_adapter(maker)
    def steps() -> Generator[Any, Any, Any]:
        sent = yield client.call("who")
        try:
            yield sent, client.call("who")
        except KeyError:
            yield "caught", client.call("who")
        return client.call("who")

    generator, found = steps(), []
    found.append((next(generator), client.call("who")))
    found.append((generator.send("sent"), client.call("who")))
    found.append((generator.throw(KeyError()), client.call("who")))
    with pytest.raises(StopIteration) as end:
        next(generator)

    assert found == [("scope", "default"), (("sent", "scope"), "default"), (("caught", "scope"), "default")]
    assert end.value.value == "scope"
    assert [each.closed for each in maker.made] == [True]


def test_two_interleaved_generators_keep_their_scopes(client: Bridge) -> None:
    """However their steps are mixed. Fails with a plain `with` around the yield."""

    def steps() -> Generator[Any, None, None]:
        while True:
            yield client.call("who")

    one, other = with_adapter(Named("one"))(steps)(), with_adapter(Named("other"))(steps)()
    found = [next(one), next(other), next(one), next(other)]
    one.close()
    found += [next(other), client.call("who")]
    other.close()

    assert found == ["one", "other", "one", "other", "other", "default"]
    assert client.call("who") == "default"


def test_a_generator_that_is_closed_early_cleans_up_inside(client: Bridge, maker: Maker) -> None:
    """Its `finally` still runs in the scope, which ends after it."""
    found = []

    def steps() -> Generator[int, None, None]:
        try:
            yield 1
        finally:
            found.append(client.call("who"))

    for _ in scoped(steps, maker)():
        break

    assert found == ["scope"]
    assert maker.made[0].closed


def test_an_async_generator_hides_its_scope_from_its_consumer(client: Bridge, maker: Maker) -> None:
    """asend, athrow and its end, like the plain one."""

    @with_adapter(maker)
    async def steps() -> AsyncGenerator[Any, Any]:
        await a_turn()
        sent = yield client.call("who")
        try:
            yield sent, client.call("who")
        except KeyError:
            await a_turn()
            yield "caught", client.call("who")

    async def main() -> list[Any]:
        generator, found = steps(), []
        found.append((await anext(generator), client.call("who")))
        found.append((await generator.asend("sent"), client.call("who")))
        found.append((await generator.athrow(KeyError()), client.call("who")))
        with pytest.raises(StopAsyncIteration):
            await anext(generator)
        return found

    expected = [("scope", "default"), (("sent", "scope"), "default"), (("caught", "scope"), "default")]
    assert asyncio.run(main()) == expected
    assert [each.closed for each in maker.made] == [True]


@pytest.mark.parametrize("closed_by_hand", [True, False], ids=["aclose", "break and the loop's end"])
def test_an_async_generator_left_early_cleans_up_inside(client: Bridge, maker: Maker, closed_by_hand: bool) -> None:
    """Closed by hand, or finalised by the loop in a context of its own: no ValueError of another context."""
    found = []

    async def steps() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            await a_turn()
            found.append(client.call("who"))
            cleaned.set()

    async def main() -> None:
        generator = scoped(steps, maker)()
        if closed_by_hand:
            async with aclosing(generator):
                async for _ in generator:
                    break
        else:
            async for _ in generator:
                break
            del generator
            await asyncio.wait_for(cleaned.wait(), PATIENCE)

    cleaned = asyncio.Event()
    asyncio.run(main())

    assert found == ["scope"]
    assert maker.made[0].closed


def test_an_error_ends_the_scope_of_every_kind(client: Bridge, maker: Maker) -> None:
    """The error arrives as it was raised, and the adapter is closed."""

    def plain() -> None:
        client.call("who")
        raise KeyError("plain")

    async def coroutine() -> None:
        client.call("who")
        raise KeyError("coroutine")

    def generator() -> Generator[int, None, None]:
        yield client.call("who")
        raise KeyError("generator")

    async def async_generator() -> AsyncGenerator[int, None]:
        yield client.call("who")
        raise KeyError("async generator")

    async def all_of(steps: AsyncGenerator[int, None]) -> None:
        async for _ in steps:
            pass

    calls: list[Callable[[], Any]] = [
        scoped(plain, maker),
        lambda: asyncio.run(scoped(coroutine, maker)()),
        lambda: list(scoped(generator, maker)()),
        lambda: asyncio.run(all_of(scoped(async_generator, maker)())),
    ]
    for number, call in enumerate(calls):
        with pytest.raises(KeyError):
            call()
        assert [each.closed for each in maker.made] == [True] * (number + 1)
    assert current_scope() is None


def test_run_is_a_scope_around_one_call(client: Bridge) -> None:
    """Plain or async; arguments and result pass through."""

    async def ask(*args: Any, **keywords: Any) -> Any:
        await a_turn()
        return client.call("who"), args, keywords

    assert with_adapter(Named("run")).run(client.call, "who", timeout=5) == "run"
    assert asyncio.run(with_adapter(Named("run")).run(ask, 1, b=2)) == ("run", (1,), {"b": 2})
    assert client.call("who") == "default"


def test_a_coroutine_that_would_run_outside_is_refused(client: Bridge) -> None:
    """A plain function that returns one: ScopeError instead of a body on the real adapter. Fails without the look at
    the result."""

    async def coroutine() -> Any:
        return client.call("who")

    def ask() -> Any:
        return coroutine()

    with pytest.raises(ScopeError, match="would run after the scope has ended"):
        with_adapter(Named())(ask)()
    with pytest.raises(ScopeError, match="would run after the scope has ended"):
        with_adapter(Named()).run(ask)


@pytest.mark.parametrize("thing", [3, Named, None])
def test_only_functions_are_decorated(thing: Any) -> None:
    """A class or a value: TypeError at once."""
    with pytest.raises(TypeError, match="decorates functions"):
        with_adapter(Named())(thing)


def test_carry_binds_every_kind_to_the_callers_scope(client: Bridge) -> None:
    """Called later and elsewhere; without a scope, it binds to none."""

    def generator() -> Generator[Any, None, None]:
        yield client.call("who")

    async def coroutine() -> Any:
        return client.call("who")

    async def async_generator() -> AsyncGenerator[Any, None]:
        yield client.call("who")

    async def all_of(steps: AsyncGenerator[Any, None]) -> list[Any]:
        return [step async for step in steps]

    free = carry(client.call)
    with with_adapter(Named("carried")):
        plain, one, two, three = carry(client.call), carry(generator), carry(coroutine), carry(async_generator)
        with with_adapter(Named("inner")):
            found = [plain("who"), *one(), asyncio.run(two()), *asyncio.run(all_of(three())), free("who")]

    assert found == ["carried"] * 4 + ["default"]
