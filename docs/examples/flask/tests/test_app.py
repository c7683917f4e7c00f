"""The pages, in whatever mode the run is in, and behind a server with threads."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.serving import make_server

from bridge import Bridge, MockAdapter

CLIENTS = 8
POINTS = 9973


@contextmanager
def served(app: Flask) -> Iterator[int]:
    """The application behind a server that has a thread for each request, on a port of this machine's."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, name="server")
    thread.start()
    try:
        yield server.port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def ask(port: int, order: dict[str, int]) -> Any:
    """What a client over the wire is answered."""
    client = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        client.request("POST", "/estimates", json.dumps(order), {"Content-Type": "application/json"})
        return json.loads(client.getresponse().read())
    finally:
        client.close()


def test_an_estimate(client: FlaskClient) -> None:
    """True of the fake and of the real handler."""
    answer = client.post("/estimates", json={"points": 1000, "seed": 1})
    estimate: Any = answer.json

    assert (answer.status_code, estimate["points"]) == (200, 1000)
    assert 2.8 < estimate["pi"] < 3.5


def test_each_thread_gets_its_own_answer(app: Flask, client: FlaskClient) -> None:
    """Clients at once, whose requests share the bridge, hear what each would hear alone; in every mode."""
    orders = [{"points": POINTS, "seed": seed} for seed in range(CLIENTS)]
    alone: list[Any] = [client.post("/estimates", json=order).json for order in orders]
    with served(app) as port, ThreadPoolExecutor(CLIENTS) as clients:
        together = list(clients.map(ask, [port] * CLIENTS, orders))

    assert together == alone
    assert len({answer["pi"] for answer in alone}) == CLIENTS


def test_requests_are_served_at_the_same_time(app: Flask, bridge_mock_adapter: MockAdapter) -> None:
    """As many as there are workers: each of these two is answered only when the other one has begun."""
    both = threading.Barrier(2)

    def estimate(points: int, seed: int) -> float:
        both.wait(30)
        return float(seed)

    bridge_mock_adapter.answer("estimate", estimate)
    orders = [{"points": 1, "seed": seed} for seed in (1, 2)]
    with served(app) as port, ThreadPoolExecutor(2) as clients:
        assert [answer["pi"] for answer in clients.map(ask, [port] * 2, orders)] == [1.0, 2.0]


def test_what_cannot_be_estimated_reaches_no_worker(client: FlaskClient, bridge_client: Bridge) -> None:
    """It is refused before."""
    assert client.post("/estimates", json={"points": 0}).status_code == 422
    assert bridge_client.stats().calls == 0


def test_a_crash_is_an_error_of_the_server(client: FlaskClient, bridge_mock_adapter: MockAdapter) -> None:
    """And the next request is answered."""
    bridge_mock_adapter.answer("estimate", 3.0)
    bridge_mock_adapter.crash("estimate", times=1)
    answers = [client.post("/estimates", json={"points": 1}) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [500, 200]
    assert answers[0].json == {"detail": "WorkerCrashed"}


@pytest.mark.bridge_adapter("mock", size=1, max_waiting=0)
def test_a_busy_server_says_when_to_come_again(client: FlaskClient, bridge_client: Bridge) -> None:
    """A call that was certainly not started is worth another try."""
    with bridge_client.lease():
        answer = client.post("/estimates", json={"points": 1})

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert answer.json == {"detail": "PoolOverloaded"}


@pytest.mark.bridge_adapter("python_port", size=1)
def test_the_answer_comes_from_another_process(client: FlaskClient, bridge_client: Bridge) -> None:
    """Also when the run is in TEST_MODE=mock_adapter."""
    assert client.post("/estimates", json={"points": 100}).status_code == 200
    assert client.get("/health").status_code == 200
    assert bridge_client.stats().workers[0].pid not in (None, os.getpid())
