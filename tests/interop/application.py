"""One FastAPI application that calls a bridge from every place that an application calls from.

Rules: no place knows of scopes; each answers with what the bridge said, or with the name of the error that it raised.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Final

from fastapi import BackgroundTasks, FastAPI

from bridge import Bridge, BridgeContainer, BridgeError, MockAdapter, ScopedExecutor

DEFAULT: Final = "the default"
"""What the container's own adapter answers."""

ERRORS: Final[list[BridgeError]] = []
"""What was raised, for those who read the messages."""


def ask(bridge: Bridge) -> str:
    """Whose adapter answers here."""
    try:
        return str(bridge.call("whose"))
    except BridgeError as error:
        ERRORS.append(error)
        return type(error).__name__


class Desk:
    """A task that was started in the lifespan, and answers questions of endpoints."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._questions: asyncio.Queue[asyncio.Future[str]] = asyncio.Queue()

    async def run(self) -> None:
        """Answer until it is cancelled."""
        while True:
            question = await self._questions.get()
            question.set_result(ask(self._bridge))

    async def ask(self) -> str:
        """Put a question to the task."""
        question: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        await self._questions.put(question)
        return await question


def make_app(default_executor: Callable[[], ThreadPoolExecutor] | None = None) -> FastAPI:
    """Make the application with its container.

    Args:
        default_executor: Makes the one that the loop gets; None leaves it as it is.
    """
    container = BridgeContainer(settings={}, adapter=MockAdapter({"whose": DEFAULT}))
    bridge = container.bridge()
    heard: list[str] = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if default_executor is not None:
            asyncio.get_running_loop().set_default_executor(default_executor())
        app.state.desk = Desk(bridge)
        task = asyncio.create_task(app.state.desk.run())
        with ThreadPoolExecutor(1) as app.state.executor:
            yield
        task.cancel()

    app = FastAPI(lifespan=lifespan)
    app.state.container, app.state.heard = container, heard

    @app.get("/sync")
    def sync_endpoint() -> str:
        return ask(bridge)

    @app.get("/async")
    async def async_endpoint() -> str:
        return ask(bridge)

    @app.get("/to_thread")
    async def to_thread() -> str:
        return await asyncio.to_thread(ask, bridge)

    @app.get("/default_executor")
    async def in_default_executor() -> str:
        return await asyncio.get_running_loop().run_in_executor(None, ask, bridge)

    @app.get("/own_executor")
    async def in_own_executor() -> str:
        return await asyncio.get_running_loop().run_in_executor(app.state.executor, ask, bridge)

    @app.get("/lifespan_task")
    async def in_lifespan_task() -> str:
        return str(await app.state.desk.ask())

    @app.get("/background")
    async def in_background(tasks: BackgroundTasks) -> None:
        tasks.add_task(lambda: heard.append(ask(bridge)))

    return app


IMPORTED: Final = make_app()
IMPORTED_SCOPED: Final = make_app(ScopedExecutor)
