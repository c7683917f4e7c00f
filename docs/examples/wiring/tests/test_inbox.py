"""The service, in whatever mode the run is in; and tests that say themselves what they run on."""

from __future__ import annotations

import os

import pytest
from shop.container import App
from shop.worker import Labeller

import bridge


def test_complaints_are_counted(app: App) -> None:
    """True of the fake and of the real handler: this test runs in every mode."""
    assert app.inbox().count_complaints(["bad!", "fine", "broken!"]) == 2


def test_what_the_service_makes_of_a_crash(app: App, bridge_mock_adapter) -> None:  # type: ignore[no-untyped-def]
    """What is hard to provoke for real is said to a mock."""
    bridge_mock_adapter.crash("label", times=1)

    with pytest.raises(bridge.WorkerCrashed):
        app.inbox().label("hello")


@pytest.mark.bridge_adapter(bridge.MockAdapter({"label": {"label": "praise"}}, spec=Labeller))
def test_an_answer_of_its_own(app: App) -> None:
    """`spec` keeps the mock from answering what the real handler doesn't have."""
    assert app.inbox().label("anything") == "praise"


@pytest.mark.bridge_adapter("python_port", handler="shop.worker:Labeller", size=1, share="module")
class TestForReal:
    """On a worker process, also when the run is in TEST_MODE=mock_adapter; the worker serves both tests."""

    def test_the_answer_comes_from_another_process(self, bridge_client: bridge.Bridge) -> None:
        """A real pid."""
        assert bridge_client.call("label", {"text": "late"})["pid"] not in (None, os.getpid())

    def test_the_service_is_in_the_same_scope(self, app: App, bridge_client: bridge.Bridge) -> None:
        """Whoever calls inside the test."""
        assert app.inbox().label("all good") == "praise"
        assert bridge_client.stats().size == 1
