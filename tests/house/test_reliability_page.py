"""docs/design/reliability.md names tests; they have to exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "design" / "reliability.md"
NAMED = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE.read_text())


def test_the_page_names_tests() -> None:
    """An empty list would make the next test vacuous."""
    assert len(NAMED) > 15


@pytest.mark.parametrize(("file", "function"), NAMED)
def test_each_test_that_the_page_names_exists(file: str, function: str) -> None:
    """A promise without its test is noticed when the test is renamed or removed."""
    assert f"def {function}" in (ROOT / file).read_text()
