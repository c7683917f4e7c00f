"""Scopes that run side by side never see each other: tasks, threads, loops, containers.

Each of these mutations was made, and failed the tests beside it (and others):

- CURRENT a global variable (`get`, `set`, `reset` on one attribute): the 1,000 tasks, 64 threads and eight loops
- CURRENT a `threading.local`: the 1,000 tasks, the eight loops
- no `frame.closed` and no `check()` (frames.py, binding.py): test_whoever_carries_a_scope_that_has_ended_is_told
- no closed check on the hot path (`Binding.peek`): test_every_scope_that_the_caller_is_in_counts
- the parent map dropped (`parent.pins`, or `parent.default`): test_scopes_for_two_containers_compose
- a pin that is for all (`plan.key` not looked at in Frame): test_a_scope_for_one_container_is_for_no_other
- no memo in `_Copied.__deepcopy__`: test_container.py, test_a_part_that_comes_back_to_itself_is_copied_once
- `.override()` beats a scope: test_overrides.py, test_an_override_replaces_the_default_and_never_beats_a_scope
- no lock where a runtime is built: test_container.py, the two tests of thirty-two first calls
- no reset after a job of a ScopedExecutor: test_scope_leaks.py, test_an_idle_executor_keeps_no_scope
"""

from __future__ import annotations

import asyncio
import threading
from contextvars import Context, copy_context
from typing import Any

import pytest

from bridge import Bridge, ScopeClosedError, ScopedThread, carry, current_scope, with_adapter
from bridge.testing import Gate
from tests.facade.conftest import MakeContainer
from tests.named import PATIENCE, Named, a_turn, all_at_once, in_plain_thread


async def ask(client: Bridge, name: str, turns: int) -> list[str]:
    """Whose adapters answered, in a scope of this name, with others running between."""
    found = []
    with with_adapter(Named(name)):
        for _ in range(turns):
            await a_turn()
            found.append(client.call("who"))
    return found


def test_a_thousand_tasks_have_an_adapter_each(make_container: MakeContainer) -> None:
    """One loop, one bridge: each task is answered by its own adapter, whoever runs between."""
    client = make_container(adapter=Named("default")).bridge()

    async def main() -> list[list[str]]:
        return await asyncio.gather(*(ask(client, f"{number}", 1 + number % 3) for number in range(1000)))

    assert asyncio.run(main()) == [[f"{number}"] * (1 + number % 3) for number in range(1000)]
    assert client.call("who") == "default"


def test_sixty_four_threads_have_an_adapter_each(make_container: MakeContainer) -> None:
    """All are inside their scopes at one time, held there by a barrier, three times."""
    client = make_container(adapter=Named("default")).bridge()
    inside = threading.Barrier(64)

    def work(number: int) -> list[str]:
        found = []
        for turn in range(3):
            with with_adapter(Named(f"{number}.{turn}")):
                inside.wait(PATIENCE)
                found.append(client.call("who"))
                inside.wait(PATIENCE)
        return found

    assert all_at_once(64, work) == [[f"{number}.{turn}" for turn in range(3)] for number in range(64)]


def test_eight_loops_of_fifty_tasks_have_an_adapter_each(make_container: MakeContainer) -> None:
    """Loops in threads, tasks in loops, and `to_thread` from each task: the scope goes along."""
    client = make_container(adapter=Named("default")).bridge()

    async def task(name: str) -> tuple[str, str, str]:
        async with with_adapter(Named(name)):
            await a_turn()
            before = client.call("who")
            beside = await asyncio.to_thread(client.call, "who")
            return before, beside, client.call("who")

    async def main(loop: int) -> list[tuple[str, str, str]]:
        return await asyncio.gather(*(task(f"{loop}.{number}") for number in range(50)))

    found = all_at_once(8, lambda loop: asyncio.run(main(loop)))

    assert found == [[(f"{loop}.{number}",) * 3 for number in range(50)] for loop in range(8)]


def test_a_task_that_enters_a_scope_changes_nothing_around_it(make_container: MakeContainer) -> None:
    """A child task's scope is its own: the parent goes on in the one that it has."""
    client = make_container(adapter=Named("default")).bridge()

    async def main() -> tuple[list[str], Any]:
        with with_adapter(Named("parent")):
            await asyncio.gather(ask(client, "child", 2), ask(client, "other", 3))
            return await ask(client, "inner", 1), client.call("who")

    assert asyncio.run(main()) == (["inner"], "parent")


def test_a_block_that_fails_puts_back_what_was_before(make_container: MakeContainer) -> None:
    """Nested scopes end one by one, and an error changes nothing of that. Fails without the reset."""
    client = make_container(adapter=Named("default")).bridge()

    with with_adapter(Named("outer")):
        with pytest.raises(KeyError, match="inner"), with_adapter(Named("inner")):
            raise KeyError(client.call("who"))
        assert client.call("who") == "outer"
    assert client.call("who") == "default"
    assert current_scope() is None


def test_a_scope_for_one_container_is_for_no_other(make_container: MakeContainer) -> None:
    """`container=` pins it. Fails when a frame has one answer for all."""
    one, other = make_container(adapter=Named("one")), make_container(adapter=Named("other"))

    pool = other.pool()

    with with_adapter(Named("mine"), container=one):
        assert other.pool() is pool
        assert (one.bridge().call("who"), other.bridge().call("who")) == ("mine", "other")


def test_scopes_for_two_containers_compose(make_container: MakeContainer) -> None:
    """The inner one for another container hides neither the outer one nor what is for all. Fails without parents."""
    one, other, third = (make_container(adapter=Named(name)) for name in ("one", "other", "third"))

    with with_adapter(Named("all")), with_adapter(Named("mine"), container=one):
        with with_adapter(Named("yours"), container=other):
            found = [each.bridge().call("who") for each in (one, other, third)]

        assert found == ["mine", "yours", "all"]
        assert [each.bridge().call("who") for each in (one, other, third)] == ["mine", "all", "all"]


def test_the_innermost_wins_pinned_or_not(make_container: MakeContainer) -> None:
    """One for all inside one that is pinned hides it, and the other way round."""
    one = make_container(adapter=Named("one"))
    client = one.bridge()

    with with_adapter(Named("pinned"), container=one), with_adapter(Named("all")):
        assert client.call("who") == "all"
        with with_adapter(Named("again"), container=one):
            assert client.call("who") == "again"
        assert client.call("who") == "all"


@pytest.mark.parametrize("used", [True, False], ids=["used", "unused"])
def test_whoever_carries_a_scope_that_has_ended_is_told(make_container: MakeContainer, used: bool) -> None:
    """A callback or a thread that runs too late is refused: never a silent call of the real adapter."""
    client, gate = make_container(adapter=Named("default")).bridge(), Gate()
    told: list[BaseException] = []

    def call_late() -> None:
        gate.wait()
        try:
            client.call("who")
        except ScopeClosedError as error:
            told.append(error)

    with with_adapter(Named("scope")):
        assert not used or client.call("who") == "scope"
        carried, thread = carry(client.call), ScopedThread(target=call_late)
        thread.start()
    gate.open()
    thread.join(PATIENCE)

    with pytest.raises(ScopeClosedError, match=r"the scope with_adapter\(Named\(\.\.\.\)\) has ended"):
        carried("who")
    with pytest.raises(ScopeClosedError):
        in_plain_thread(lambda: carried("who"))
    assert len(told) == 1


def test_every_scope_that_the_caller_is_in_counts(make_container: MakeContainer) -> None:
    """One that has ended is told even if it isn't the one that answers, inside as well as outside of that."""
    client, other = make_container(adapter=Named("default")).bridge(), make_container()
    outer, context = with_adapter(Named("outer")), copy_context()
    context.run(outer.__enter__)
    inner = copy_within(context)
    scope = with_adapter(Named("inner"), container=other)
    inner.run(scope.__enter__)
    carried = inner.run(copy_context)
    assert inner.run(client.call, "who") == carried.run(client.call, "who") == "outer"

    inner.run(scope.__exit__, None, None, None)
    assert inner.run(client.call, "who") == "outer"
    with pytest.raises(ScopeClosedError):
        carried.run(client.call, "who")
    again = with_adapter(Named("again"), container=other)
    inner.run(again.__enter__)
    context.run(outer.__exit__, None, None, None)
    with pytest.raises(ScopeClosedError):
        inner.run(client.call, "who")
    inner.run(again.__exit__, None, None, None)


def copy_within(context: Context) -> Context:
    """A copy of another context, as a task has one."""
    return context.run(copy_context)


def test_a_task_that_first_runs_after_the_end_is_told(make_container: MakeContainer) -> None:
    """It was created inside, so it carries the scope; that has ended when its turn comes."""
    client = make_container(adapter=Named("default")).bridge()

    async def main() -> None:
        async def call() -> Any:
            return client.call("who")

        with with_adapter(Named("scope")):
            task = asyncio.create_task(call())
        with pytest.raises(ScopeClosedError):
            await task

    asyncio.run(main())
