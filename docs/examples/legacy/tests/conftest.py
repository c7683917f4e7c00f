"""The application, made anew for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from billing import Billing, make_container

from bridge import BridgeContainer, WorkerStartError


@pytest.fixture
def bridge_container() -> Iterator[BridgeContainer]:
    """In place of the plugin's own: its `bridge_client` is then the application's bridge."""
    container = make_container()
    yield container
    container.shutdown_resources()


@pytest.fixture
def billing(bridge_container: BridgeContainer) -> Billing:
    """What is tested. Where the old interpreter is needed and isn't there, the test is skipped, and says why."""
    try:
        bridge_container.init_resources()
    except WorkerStartError as error:
        if error.reason not in ("interpreter", "crashed"):  # not there, or only a version manager's stand-in for it
            raise
        pytest.skip(str(error))
    return Billing(bridge_container.bridge())
