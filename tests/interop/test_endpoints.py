"""The endpoints inside an application of FastAPI's, and alone behind uvicorn."""

from __future__ import annotations

import httpx
from fastapi import FastAPI

import bridge
from bridge.metrics import asgi
from tests.interop.test_fastapi import served
from tests.metrics.exposition import read


def test_an_application_mounts_them() -> None:
    """Below a path of the application's, over the wire, while the bridge serves. Fails when the mount's path counts."""
    with bridge.connect("x", adapter=bridge.MockAdapter({"price": 3}), size=1, name="shop") as b:
        app = FastAPI()
        app.mount("/bridge", asgi(b))

        @app.get("/price")
        async def price() -> int:
            return int(await b.aio.call("price"))

        with served(app) as url, httpx.Client(base_url=url) as client:
            assert client.get("/price").json() == 3
            metrics = client.get("/bridge/metrics")
            ready, missing = client.get("/bridge/readyz"), client.get("/bridge/none")
            head, posted = client.head("/bridge/healthz"), client.post("/bridge/healthz")

    assert read(metrics.text)["bridge_calls_total"].samples["bridge_calls_total", frozenset({("bridge", "shop")})] == 1
    assert (ready.status_code, ready.text) == (200, "ok\n")
    assert (missing.status_code, head.status_code, posted.status_code) == (404, 200, 405)
    assert head.headers["content-length"] == "3"


def test_a_server_runs_them_alone() -> None:
    """With its lifespan. Fails when that isn't answered: uvicorn would wait for it, or complain."""
    with bridge.connect("x", adapter=bridge.MockAdapter({}), size=1, name="shop") as b:
        with served(asgi(b), lifespan="on") as url:
            assert httpx.get(f"{url}/readyz").text == "ok\n"
        b.close()
        with served(asgi(b), lifespan="on") as url:
            assert httpx.get(f"{url}/readyz").text == "shop: it is closed\n"
