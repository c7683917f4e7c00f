"""proxy and returns= with a real worker."""

from __future__ import annotations

from typing import Protocol

import pytest

import bridge


class Echo(Protocol):
    """What this file needs of the handler Echo, which it can't import."""

    def add(self, a: int, b: int = 1) -> int:
        """The sum."""

    def greet(self, name: str) -> int:
        """Says that it returns a number, and doesn't."""


def test_a_stub_calls_a_real_worker(shared_echo: bridge.Bridge) -> None:
    """The default that isn't sent is the worker's own, and what returns is checked. Fails with apply_defaults, or
    without the check."""
    echo = shared_echo.proxy(Echo)

    assert echo.add(1) == 2
    assert echo.add(1, b=2) == 3
    with pytest.raises(bridge.CallError, match="Input should be a valid integer"):
        echo.greet("you")
    assert shared_echo.call("add", [1, 2], returns=float) == 3.0
