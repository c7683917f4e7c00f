"""Runs the suite from its end: `python -m pytest -p tests.reversed_order`.

A test that needs what an earlier one left behind passes in one order only.
"""

from __future__ import annotations

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The last one first."""
    items.reverse()
