"""The application, built anew for each test: whatever runs in it belongs to that test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from shop.container import App


@pytest.fixture
def app() -> Iterator[App]:
    """The whole application."""
    made = App()
    yield made
    made.shutdown_resources()


@pytest.fixture
def bridge_container(app: App):  # type: ignore[no-untyped-def]
    """The plugin's fixtures, `bridge_client` for one, then mean the application's own bridge."""
    return app.bridge
