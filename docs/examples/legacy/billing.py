"""What the application sees of the old code, and the wiring. This is new code, on a new Python."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

from bridge import Bridge, BridgeContainer, BridgeSettings

DEFAULTS = {
    "worker": {
        "handler": "ledger:Ledger",
        "fake": "fake:FakeLedger",
        "python": "python3.9",  # or a path, or venv:PATH; nothing of ours has to be installed there
        "path": [str(Path(__file__).parent)],  # where it finds the old code: it has a sys.path of its own
        "env": {"PYTHONWARNINGS": "ignore::DeprecationWarning"},
    },
    "pool": {"size": 1},
}


class Line(TypedDict):
    """One kind of thing that was sold."""

    cents: int
    count: int


def make_container() -> BridgeContainer:
    """The defaults of the program, overlaid by BRIDGE_* and TEST_MODE."""
    return BridgeContainer(settings=BridgeSettings.load(DEFAULTS))


class Billing:
    """Asks the old code, by calls that look like any other."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    def total(self, lines: list[Line], rate: str = "standard") -> int:
        """What is owed, in cents.

        Raises:
            bridge.RemoteError: Its `type` is KeyError: there is no such rate.
        """
        invoice = {"lines": lines, "rate": rate}
        return self._bridge.call("total", {"invoice": invoice}, timeout=10, idempotent=True, returns=int)

    def python(self) -> tuple[int, int]:
        """The version that the old code runs on."""
        return self._bridge.call("python", returns=tuple[int, int])
