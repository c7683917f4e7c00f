"""The application, made anew for each test, inside the test's scope."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from app import make_app
from fastapi import FastAPI
from fastapi.testclient import TestClient

from bridge import BridgeContainer


@pytest.fixture
def app() -> FastAPI:
    """Nothing runs before its lifespan begins."""
    return make_app()


@pytest.fixture
def bridge_container(app: FastAPI) -> BridgeContainer:
    """In place of the plugin's own: its `bridge_client` is then the application's bridge."""
    container: BridgeContainer = app.state.container
    return container


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    """Inside its lifespan."""
    with TestClient(app) as opened:
        yield opened
