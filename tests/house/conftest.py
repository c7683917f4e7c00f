"""What the tests of the house share: the parsed files, for as long as they run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.house.sources import parsed


@pytest.fixture(autouse=True, scope="package")
def _trees() -> Iterator[None]:
    """A million objects: each garbage collection of the leak guard would look through them."""
    yield
    parsed.cache_clear()
