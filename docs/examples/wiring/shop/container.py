"""The wiring."""

from __future__ import annotations

from dependency_injector import containers, providers

from bridge import BridgeContainer, BridgeSettings
from shop.service import Inbox

DEFAULTS = {
    "worker": {"handler": "shop.worker:Labeller", "fake": "shop.fake:FakeLabeller"},
    "pool": {"size": 2},
}


class App(containers.DeclarativeContainer):
    """The application: what is built here can be told apart by tests that run side by side."""

    # Read once, at first use: the defaults of the program, overlaid by BRIDGE_* and TEST_MODE.
    bridge = providers.Container(BridgeContainer, settings=providers.Callable(BridgeSettings.load, DEFAULTS))
    inbox = providers.Singleton(Inbox, bridge=bridge.bridge)
