"""The application's container, made anew for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pipeline import make_container

from bridge import BridgeContainer


@pytest.fixture
def bridge_container() -> Iterator[BridgeContainer]:
    """In place of the plugin's own: its `bridge_client` is then the application's bridge."""
    container = make_container()
    yield container
    container.shutdown_resources()
