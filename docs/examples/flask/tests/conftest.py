"""The application, made anew for each test, inside the test's scope."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from app import make_app
from flask import Flask
from flask.testing import FlaskClient

from bridge import BridgeContainer


@pytest.fixture
def app() -> Iterator[Flask]:
    """A program needn't close it: its bridge closes while the program ends."""
    made = make_app()
    yield made
    made.extensions["bridge"].shutdown_resources()


@pytest.fixture
def bridge_container(app: Flask) -> BridgeContainer:
    """In place of the plugin's own: its `bridge_client` is then the application's bridge."""
    container: BridgeContainer = app.extensions["bridge"]
    return container


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """Calls the application in the test's own thread."""
    return app.test_client()
