"""Where a call comes from, and where its container was built: what answers. The guide's table is what is observed here.

Each place is asked with a scope around the request, the container having been built at import, in the test before the
scope, inside the scope, or at import with a scope that is for everybody.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient

from bridge import MockAdapter, Scope, ScopedExecutor, UnscopedAccessError, with_adapter
from tests.interop.application import DEFAULT, ERRORS, IMPORTED, IMPORTED_SCOPED, make_app

ROOT: Final = Path(__file__).parents[2]
SCOPED: Final = "the scope's mock"


def the_scope(**options: Any) -> Scope:
    """What is around each request."""
    return with_adapter(MockAdapter({"whose": SCOPED}), **options)


# -- How an application is asked ---------------------------------------------------------------------------


def endpoint(path: str) -> Callable[[FastAPI], str]:
    """Ask through the test client, which runs the application in a thread of its own."""

    def ask(app: FastAPI) -> str:
        with TestClient(app) as client:
            return str(client.get(path).json())

    return ask


def background(app: FastAPI) -> str:
    """Ask a background task, which runs after the answer was sent."""
    with TestClient(app) as client:
        assert client.get("/background").json() is None
    return str(app.state.heard.pop())


@contextmanager
def served(app: Any, **options: Any) -> Iterator[str]:
    """The application behind uvicorn, in a thread that is started plainly."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # Not uvloop, which keeps a pipe for the whole process.
        server = uvicorn.Server(uvicorn.Config(app, loop="asyncio", log_level="error", **options))
        thread = threading.Thread(target=server.run, args=([listener],), name="uvicorn")
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def behind_a_server(app: FastAPI) -> str:
    """Ask over the wire: the scope stays with the caller. Each way into the application hears the same."""
    with served(app) as url:
        answers = {httpx.get(f"{url}/{path}").json() for path in ("sync", "async", "to_thread", "lifespan_task")}
    (answer,) = answers
    return str(answer)


PLACES: Final[dict[str, Callable[[FastAPI], str]]] = {
    "a sync endpoint": endpoint("/sync"),
    "an async endpoint": endpoint("/async"),
    "`asyncio.to_thread`": endpoint("/to_thread"),
    "`run_in_executor`, the loop's default executor": endpoint("/default_executor"),
    "the same, the default executor being a `ScopedExecutor`": endpoint("/default_executor"),
    "`run_in_executor`, an executor of the application's": endpoint("/own_executor"),
    "a background task": background,
    "a task started in the lifespan": endpoint("/lifespan_task"),
    "any endpoint, behind a server in a plain thread": behind_a_server,
}


def imported(place: str, *, made: bool = False) -> FastAPI:
    """The application for a place, made at import or now."""
    scoped = "ScopedExecutor" in place
    if made:
        return make_app(ScopedExecutor) if scoped else make_app()
    return IMPORTED_SCOPED if scoped else IMPORTED


def at_import(place: str) -> str:
    """As in most applications, and their tests."""
    with the_scope():
        return PLACES[place](imported(place))


def before_the_scope(place: str) -> str:
    """In the test, or a fixture of its own; the scope is opened afterwards."""
    app = imported(place, made=True)
    with the_scope():
        return PLACES[place](app)


def inside_the_scope(place: str) -> str:
    """An application factory, called where the scope is open."""
    with the_scope():
        return PLACES[place](imported(place, made=True))


def for_everybody(place: str) -> str:
    """The scope answers threads that are in none."""
    app = imported(place)
    with the_scope(container=app.state.container, everywhere=True):
        return PLACES[place](app)


BUILT: Final[dict[str, Callable[[str], str]]] = {
    "built at import": at_import,
    "in the test, before the scope": before_the_scope,
    "inside the scope": inside_the_scope,
    "at import, `everywhere=True`": for_everybody,
}


# -- The table ---------------------------------------------------------------------------------------------


def read_table() -> tuple[list[str], dict[str, list[str]]]:
    """The guide's table: its columns, and the cells of each row."""
    section = (ROOT / "docs/guides/testing.md").read_text().partition("## FastAPI\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return rows[0][1:], {row[0]: row[1:] for row in rows[2:]}


COLUMNS, TABLE = read_table()


def test_the_guide_lists_what_is_tried_here() -> None:
    """No row or column of the table is there that nobody observed, and none is missing."""
    assert (COLUMNS, list(TABLE)) == (list(BUILT), list(PLACES))


@pytest.mark.parametrize("column", BUILT)
@pytest.mark.parametrize("place", PLACES)
def test_the_guide_says_who_answers(place: str, column: str) -> None:
    """The mock of the scope or an error; never the container's default, which a test's scope was to replace."""
    observed = BUILT[column](place)

    assert observed == TABLE[place][list(BUILT).index(column)].strip("`")
    assert observed in (SCOPED, "UnscopedAccessError")


def test_the_error_names_the_thread_and_what_helps() -> None:
    """Whoever meets it first in a test of an application reads which thread it was and the ways out."""
    with the_scope():
        assert endpoint("/default_executor")(IMPORTED) == "UnscopedAccessError"
    error = ERRORS[-1]

    assert isinstance(error, UnscopedAccessError)
    assert f"thread '{error.thread}'" in str(error)
    for remedy in ("inside the fixture", "ScopedExecutor", "ScopedThread", "carry", "everywhere=True"):
        assert remedy in str(error)


@pytest.mark.parametrize("path", ["/sync", "/async", "/to_thread"])
def test_an_asgi_transport_is_as_the_test_client(path: str) -> None:
    """The application runs in the test's own loop; no lifespan runs there."""

    async def ask() -> Any:
        transport = httpx.ASGITransport(IMPORTED)
        async with the_scope(), httpx.AsyncClient(transport=transport, base_url="http://app") as client:
            return (await client.get(path)).json()

    assert asyncio.run(ask()) == SCOPED


@pytest.fixture(scope="module")
def shared_client() -> Iterator[TestClient]:
    """One client, and so one lifespan, for all tests of a module: common, since an application may start slowly."""
    with TestClient(IMPORTED) as client:
        yield client


@pytest.mark.leaks  # a thread of anyio's, which belongs to the client
def test_requests_of_a_shared_client_are_in_the_test_and_its_lifespan_is_not(shared_client: TestClient) -> None:
    """A request carries its caller's scope; what the lifespan started lives outside all tests, on the default."""
    with the_scope():
        answers = {path: shared_client.get(path).json() for path in ("/sync", "/async", "/lifespan_task")}

    assert answers == {"/sync": SCOPED, "/async": SCOPED, "/lifespan_task": DEFAULT}


def test_without_a_scope_and_without_pytest_everybody_gets_the_default() -> None:
    """In production no thread is refused."""
    code = (
        "from fastapi.testclient import TestClient\n"
        "from tests.interop.application import IMPORTED as app\n"
        "paths = ['sync', 'async', 'to_thread', 'default_executor', 'own_executor', 'lifespan_task', 'background']\n"
        "with TestClient(app) as client:\n"
        "    print(*[client.get(path).json() for path in paths[:-1]], sep='\\n')\n"
        "    client.get(paths[-1])\n"
        "    print(*app.state.heard)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)

    assert (done.stdout.splitlines(), done.stderr) == ([DEFAULT] * 7, "")
