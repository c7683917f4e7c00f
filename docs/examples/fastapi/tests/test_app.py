"""The endpoints, in whatever mode the run is in; what is hard to provoke for real is said to a mock."""

from __future__ import annotations

import json
import os

import pytest
from fastapi.testclient import TestClient

from bridge import Bridge, MockAdapter


def test_an_estimate(client: TestClient) -> None:
    """True of the fake and of the real handler."""
    answer = client.post("/estimates", json={"points": 1000, "seed": 1})

    assert answer.status_code == 200
    assert answer.json()["points"] == 1000
    assert 2.8 < answer.json()["pi"] < 3.5


def test_estimates_that_get_better(client: TestClient) -> None:
    """A line for each round."""
    answer = client.post("/estimates/stream", json={"points": 1000, "rounds": 3})

    assert [json.loads(line)["points"] for line in answer.text.splitlines()] == [1000, 2000, 3000]


def test_what_cannot_be_estimated_reaches_no_worker(client: TestClient, bridge_client: Bridge) -> None:
    """FastAPI refuses it."""
    assert client.post("/estimates", json={"points": 0}).status_code == 422
    assert bridge_client.stats().calls == 0


def test_the_workers_are_ready_when_the_application_is(client: TestClient) -> None:
    """The lifespan has waited for them."""
    answer = client.get("/health")

    assert (answer.status_code, answer.json()["ok"], answer.json()["ready"]) == (200, True, 2)


def test_a_crash_is_an_error_of_the_server(client: TestClient, bridge_mock_adapter: MockAdapter) -> None:
    """And the next request is answered."""
    bridge_mock_adapter.answer("estimate", {"points": 1, "pi": 3.0})
    bridge_mock_adapter.crash("estimate", times=1)
    answers = [client.post("/estimates", json={"points": 1}) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [500, 200]
    assert answers[0].json() == {"detail": "WorkerCrashed"}


@pytest.mark.bridge_adapter("mock", size=1, max_waiting=0)
def test_a_busy_server_says_when_to_come_again(client: TestClient, bridge_client: Bridge) -> None:
    """A call that was certainly not started is worth another try."""
    with bridge_client.lease():
        answer = client.post("/estimates", json={"points": 1})

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert answer.json() == {"detail": "PoolOverloaded"}


@pytest.mark.bridge_adapter("python_port", size=1)
def test_the_answer_comes_from_another_process(client: TestClient, bridge_client: Bridge) -> None:
    """Also when the run is in TEST_MODE=mock_adapter."""
    answer = client.post("/estimates", json={"points": 100, "seed": 1})

    assert answer.json()["points"] == 100
    assert bridge_client.stats().workers[0].pid not in (None, os.getpid())
