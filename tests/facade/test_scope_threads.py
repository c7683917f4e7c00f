"""Threads: who carries the caller's scope, and what answers those who carry none."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import bridge
from bridge import (
    Bridge,
    ScopeClosedError,
    ScopedExecutor,
    ScopedThread,
    UnscopedAccessError,
    current_scope,
    with_adapter,
    with_settings,
)
from bridge.frames import Active, Frame, Kind
from tests.facade.conftest import MakeContainer
from tests.named import PATIENCE, Named, in_plain_thread


@pytest.fixture
def client(make_container: MakeContainer) -> Bridge:
    """Answers with "default" outside every scope."""
    return make_container(adapter=Named("default")).bridge()


def ask_plainly(client: Bridge) -> Any:
    """Whose adapter answers in a thread that carries nothing."""
    return in_plain_thread(lambda: client.call("who"))


# -- who carries it ----------------------------------------------------------------------------------------


def test_a_scoped_thread_runs_in_the_scope_of_who_starts_it(client: Bridge) -> None:
    """Not of who makes it; with a target or as a subclass."""
    found: list[Any] = []

    class Asking(ScopedThread):
        def run(self) -> None:
            found.append(client.call("who"))

    with with_adapter(Named("maker")):
        threads = [Asking(), ScopedThread(target=lambda: found.append(client.call("who")))]
    with with_adapter(Named("starter")):
        for thread in threads:
            thread.start()
            thread.join(PATIENCE)
    outside = Asking()
    outside.start()
    outside.join(PATIENCE)

    assert found == ["starter", "starter", "default"]


def test_a_scoped_executor_sets_and_resets_for_each_job(client: Bridge) -> None:
    """One worker thread, jobs from here and there: nothing bleeds from one into the next, also after an error."""

    def fail() -> None:
        raise KeyError(client.call("who"))

    with ScopedExecutor(1) as executor:
        with with_adapter(Named("one")):
            jobs = [executor.submit(client.call, "who"), executor.submit(fail)]
            mapped = executor.map(client.call, ["who", "who"])
            with with_adapter(Named("two")):
                jobs.append(executor.submit(client.call, "who"))
                assert isinstance(jobs[1].exception(PATIENCE), KeyError)
                assert [jobs[0].result(PATIENCE), *mapped, jobs[2].result(PATIENCE)] == ["one", "one", "one", "two"]
        assert executor.submit(client.call, "who").result(PATIENCE) == "default"
        assert executor.submit(current_scope).result(PATIENCE) is None


def test_a_job_that_enters_a_scope_leaves_a_plain_worker_clean(client: Bridge) -> None:
    """In an ordinary executor too: a scope is reset where it was entered."""
    with ThreadPoolExecutor(1) as executor:
        inside = executor.submit(with_adapter(Named("job"))(client.call), "who").result(PATIENCE)

        assert inside == "job"
        assert executor.submit(client.call, "who").result(PATIENCE) == "default"


@pytest.mark.parametrize("executor", [ScopedExecutor, ThreadPoolExecutor])
def test_a_default_executor_can_carry_the_scope(executor: type[ThreadPoolExecutor], client: Bridge) -> None:
    """`run_in_executor` with a ScopedExecutor as the loop's own; `to_thread` with any."""

    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(executor(1))
        with with_adapter(Named("scope")):
            return [await loop.run_in_executor(None, client.call, "who"), await asyncio.to_thread(client.call, "who")]

    assert asyncio.run(main()) == ["scope" if executor is ScopedExecutor else "default", "scope"]


# -- who carries none: the frame in which it was built -----------------------------------------------------

Build = Callable[[], Bridge]


def _build(make_container: MakeContainer, how: str) -> Bridge:
    if how == "container":
        return make_container(adapter=Named("default")).bridge()
    return bridge.connect("x", size=1)


def test_without_any_frame_the_default_answers(client: Bridge) -> None:
    """Production; also while somebody else is in a scope."""
    assert ask_plainly(client) == "default"
    with with_adapter(Named("scope")):
        assert ask_plainly(client) == "default"


@pytest.mark.parametrize("how", ["container", "connect"])
def test_what_was_built_in_a_scope_answers_with_it(make_container: MakeContainer, how: str) -> None:
    """An application made by a factory inside it works whole, and is refused when the scope has ended."""
    with with_adapter(Named("birth")):
        client = _build(make_container, how)
        assert ask_plainly(client) == "birth"
        with with_adapter(Named("inner")):
            assert client.call("who") == "inner"
            assert ask_plainly(client) == "birth"
    with pytest.raises(ScopeClosedError):
        ask_plainly(client)


def test_what_was_built_in_a_test_answers_with_its_default_unless_a_scope_is_open(
    make_container: MakeContainer,
) -> None:
    """UnscopedAccessError names the thread, the scope that is open, and the cures. Fails when open scopes are not
    counted, or not taken out again."""
    with Active(Frame(Kind.TEST, "tests/test_app.py::test_it")):
        client = make_container(adapter=Named("default")).bridge()
        assert ask_plainly(client) == "default"
        with with_settings(size=2), with_adapter(Named("scope")):
            with pytest.raises(UnscopedAccessError) as caught:
                ask_plainly(client)
            assert client.call("who") == "scope"
        assert ask_plainly(client) == "default"

    error = caught.value
    assert error.thread == "plain"
    for part in ("'plain'", "with_settings(...), with_adapter(Named(...)) is open", "carry", "everywhere=True"):
        assert part in str(error)


def test_scopes_of_another_test_do_not_count(make_container: MakeContainer) -> None:
    """Tests that run side by side in threads know nothing of each other's."""
    with Active(Frame(Kind.TEST, "one")):
        client = make_container(adapter=Named("default")).bridge()
    with Active(Frame(Kind.TEST, "other")), with_adapter(Named("scope")):
        assert ask_plainly(client) == "default"
        assert client.call("who") == "scope"


def test_what_was_built_in_a_test_that_has_ended_is_refused(make_container: MakeContainer) -> None:
    """A thread that goes on after its test gets nothing any more, and not the next test's."""
    test = Frame(Kind.TEST, "one")
    with Active(test):
        client = make_container(adapter=Named("default")).bridge()
    test.close()

    with pytest.raises(ScopeClosedError, match="one"):
        ask_plainly(client)
    with Active(Frame(Kind.TEST, "next")):
        assert client.call("who") == "default"


@pytest.mark.parametrize("how", ["container", "connect"])
def test_what_was_built_in_no_test_is_refused_under_the_plugin(make_container: MakeContainer, how: str) -> None:
    """Import time and wide fixtures: no test is known to be the caller's. It works in tests' own threads."""
    with Active(Frame(Kind.ROOT, "the run")):
        client = _build(make_container, how)
    with Active(Frame(Kind.TEST, "test")), with_adapter(Named("scope")):
        with pytest.raises(UnscopedAccessError, match="import time or in a wider fixture"):
            ask_plainly(client)
        assert client.call("who") == "scope"


def test_a_run_that_is_not_strict_answers_with_the_default(make_container: MakeContainer) -> None:
    """Whether it is strict is what the container saw at its building."""
    with Active(Frame(Kind.ROOT, "the run", strict=False)):
        client = make_container(adapter=Named("default")).bridge()
    assert ask_plainly(client) == "default"


def test_connect_with_an_adapter_is_for_everybody() -> None:
    """It beats every scope, so that it needs no frame either."""
    with Active(Frame(Kind.ROOT, "the run")), bridge.connect("x", adapter=Named("mine"), size=1) as client:
        assert ask_plainly(client) == "mine"


# -- everywhere --------------------------------------------------------------------------------------------


def test_everywhere_answers_threads_without_a_frame(make_container: MakeContainer) -> None:
    """Of that container only, while it is open; its own scopes are asked first."""
    with Active(Frame(Kind.ROOT, "the run")):
        mine, other = (make_container(adapter=Named("default")) for _ in range(2))
    clients = [mine.bridge(), other.bridge()]

    with Active(Frame(Kind.TEST, "test")), with_adapter(Named("server"), container=mine, everywhere=True):
        assert ask_plainly(clients[0]) == "server"
        assert in_plain_thread(lambda: with_adapter(Named("own")).run(clients[0].call, "who")) == "own"
        with pytest.raises(UnscopedAccessError):
            ask_plainly(clients[1])
    with pytest.raises(UnscopedAccessError):
        ask_plainly(clients[0])


def test_only_one_scope_of_a_container_is_everywhere(make_container: MakeContainer) -> None:
    """The second one is a ScopeError that names the first; that goes on, and its end lets the next one in."""
    container, other = make_container(adapter=Named("default")), make_container()

    with with_adapter(Named("first"), container=container, everywhere=True):
        with pytest.raises(bridge.ScopeError, match=r"with_adapter\(Named\(\.\.\.\)\) answers threads .* already"):
            with_adapter(Named("second"), container=container, everywhere=True).__enter__()
        with with_adapter(Named("other"), container=other, everywhere=True):
            assert (ask_plainly(container.bridge()), ask_plainly(other.bridge())) == ("first", "other")
        assert current_scope() is not None
    with with_adapter(Named("next"), container=container, everywhere=True):
        assert ask_plainly(container.bridge()) == "next"


def test_everywhere_ends_with_an_error_too(make_container: MakeContainer) -> None:
    """Whatever leaves the block."""
    container = make_container(adapter=Named("default"))
    with pytest.raises(KeyError), with_adapter(Named("scope"), container=container, everywhere=True):
        raise KeyError
    assert ask_plainly(container.bridge()) == "default"


def test_everywhere_needs_to_know_where() -> None:
    """Without `container=`: a ConfigurationError when it is made."""
    with pytest.raises(bridge.ConfigurationError, match="everywhere=True needs container="):
        with_adapter(Named(), everywhere=True)


def test_scopes_that_come_and_go_disturb_no_thread(make_container: MakeContainer) -> None:
    """A thread without a frame is refused or answered while the test's scopes change under its eyes."""
    stop = threading.Event()
    with Active(Frame(Kind.TEST, "test")):
        client = make_container(adapter=Named("default")).bridge()

        def come_and_go() -> None:
            while not stop.is_set():
                with with_adapter(Named("scope")), with_settings(size=2):
                    continue

        thread = ScopedThread(target=come_and_go)
        thread.start()
        found = set()
        for _ in range(20):
            try:
                found.add(ask_plainly(client))
            except UnscopedAccessError as error:
                found.add(error.why.partition(" is ")[2])
        stop.set()
        thread.join(PATIENCE)
    assert found <= {"default", "open in the test that built it"}
