"""The application: `uvicorn --factory app:make_app`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from disconnects import while_connected
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, PositiveInt

from bridge import AsyncBridge, BridgeContainer, BridgeError, BridgeSettings

DEFAULTS = {
    "worker": {"handler": "darts:Darts", "fake": "fake:FakeDarts"},
    "pool": {"size": 2, "max_waiting": 100},  # beyond that a request is refused at once
}


class Order(BaseModel):
    """What a client asks for."""

    points: PositiveInt
    seed: int = 0


class LongOrder(Order):
    """The same, bit by bit."""

    rounds: PositiveInt


class Estimate(BaseModel):
    """What a client gets."""

    points: int
    pi: float


def workers_of(request: Request) -> AsyncBridge:
    """The application's bridge: made once by the container, and in each call obedient to the caller's scope."""
    bridge: AsyncBridge = request.app.state.container.async_bridge()
    return bridge


Workers = Annotated[AsyncBridge, Depends(workers_of)]
router = APIRouter()


@router.post("/estimates")
async def estimate(order: Order, request: Request, workers: Workers) -> Estimate:
    """One estimate; a client that hangs up stops it."""
    call = workers.call("estimate", order.model_dump(), timeout=30, returns=Estimate)
    return await while_connected(request, call)


@router.post("/estimates/stream")
async def refine(order: LongOrder, workers: Workers) -> StreamingResponse:
    """Estimates that get better, one JSON a line; a client that hangs up stops them."""

    async def lines() -> AsyncIterator[str]:
        async with workers.stream("refine", order.model_dump()) as estimates:
            async for each in estimates:
                yield json.dumps(each) + "\n"

    return StreamingResponse(lines(), media_type="application/x-ndjson")


@router.get("/health")
async def health(workers: Workers, response: Response) -> dict[str, Any]:
    """For a load balancer."""
    found = workers.health()
    response.status_code = 200 if found.ok else 503
    return {"ok": found.ok, "ready": found.ready, "breaker": found.breaker, "test_mode": found.test_mode}


async def answer_for(request: Request, error: BridgeError) -> JSONResponse:
    """What is the matter with the workers is no fault of the client's: come again, it took too long, it broke."""
    status = 503 if error.retryable else 504 if isinstance(error, TimeoutError) else 500
    return JSONResponse({"detail": type(error).__name__}, status, {"Retry-After": "1"} if status == 503 else None)


def make_app(container: BridgeContainer | None = None) -> FastAPI:
    """Make the application.

    Args:
        container: The bridge's; if not given, one of the defaults above, overlaid by BRIDGE_* and TEST_MODE.
    """
    bridges = container or BridgeContainer(settings=BridgeSettings.load(DEFAULTS))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with bridges:  # starts the workers, and waits until they are ready; ends them
            yield

    app = FastAPI(lifespan=lifespan)
    app.state.container = bridges
    app.include_router(router)
    app.exception_handler(BridgeError)(answer_for)
    return app
