"""100 clients of one wired application at once, each in a scope of its own: nobody hears another one's answer.

Each client's mock says who it is. All scopes are open before the first request is made, so that the requests overlap.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest
from fastapi.testclient import TestClient

from bridge import MockAdapter, Scope, with_adapter
from tests.interop import wired

CLIENTS: Final = 100
PATHS: Final = ("/sync", "/async")
HEARD: Final = 6
"""How often the bridge is asked for one answer."""


@pytest.fixture(autouse=True)
def container() -> Iterator[wired.App]:
    """Wiring is of a module, for all threads: it happens once, outside every scope."""
    made = wired.App()
    made.wire(modules=[wired])
    yield made
    made.unwire()
    wired.AFTERWARDS.clear()


def scope_of(number: int) -> Scope:
    """What a client is in."""
    return with_adapter(MockAdapter({"who": number}))


def check(answers: dict[int, list[Any]], count: int = CLIENTS) -> None:
    """Everybody heard themselves, each time."""
    assert answers == {number: [[number] * HEARD] * len(PATHS) for number in range(count)}
    assert len(wired.AFTERWARDS) == 2 * len(PATHS) * count
    assert [pair for pair in wired.AFTERWARDS if pair[0] != pair[1]] == []


def test_tasks_of_one_loop_are_isolated() -> None:
    """httpx's ASGITransport: 100 tasks, the application in the same loop, its sync parts in anyio's threads."""
    answers: dict[int, list[Any]] = {}

    async def client(number: int, opened: list[int], all_open: asyncio.Event) -> None:
        transport = httpx.ASGITransport(wired.app)
        async with scope_of(number), httpx.AsyncClient(transport=transport, base_url="http://app") as http:
            opened.append(number)
            if len(opened) == CLIENTS:
                all_open.set()
            await all_open.wait()
            answers[number] = [answer.json() for answer in await asyncio.gather(*[http.get(path) for path in PATHS])]

    async def clients() -> None:
        opened: list[int] = []
        all_open = asyncio.Event()
        await asyncio.gather(*[client(number, opened, all_open) for number in range(CLIENTS)])

    asyncio.run(clients())
    check(answers)


def in_threads(answers: dict[int, list[Any]], ask: Any) -> None:
    """Run 100 threads, which all are in their scope before one of them asks."""
    barrier = threading.Barrier(CLIENTS)
    problems: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with scope_of(number):
                barrier.wait(60)
                answers[number] = ask()
        except BaseException as error:
            barrier.abort()
            problems.append(error)

    threads = [threading.Thread(target=work, args=[number]) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


def test_threads_with_a_client_and_a_loop_each_are_isolated() -> None:
    """TestClient: 100 threads, and the application in a loop of each request's own."""
    answers: dict[int, list[Any]] = {}
    in_threads(answers, lambda: [TestClient(wired.app).get(path).json() for path in PATHS])
    check(answers)


def test_threads_that_share_a_client_and_its_loop_are_isolated() -> None:
    """TestClient, opened once outside all scopes: 100 threads, one loop, as in many tests."""
    answers: dict[int, list[Any]] = {}
    with TestClient(wired.app) as client:
        in_threads(answers, lambda: [client.get(path).json() for path in PATHS])
    check(answers)


def test_a_scope_ends_with_its_client(container: wired.App) -> None:
    """Afterwards the container is as it was: the wiring kept nothing of any scope."""
    with scope_of(7):
        assert TestClient(wired.app).get("/async").json() == [7] * HEARD
    with scope_of(8):
        assert TestClient(wired.app).get("/async").json() == [8] * HEARD
    assert container.ml.bridge().stats().adapter == "python_port"
