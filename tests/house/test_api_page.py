"""docs/reference/api.md is made from the docstrings, and has every public name."""

from __future__ import annotations

from collections import Counter
from itertools import chain

import bridge
from tests.house.api_page import CHAPTERS, page
from tests.house.sources import ROOT


def test_the_reference_is_made_from_the_docstrings() -> None:
    """What the page says of a signature, an argument or an error is what help() says. Fails when a docstring or a
    signature is changed and the page isn't made anew.
    """
    made = page() == (ROOT / "docs/reference/api.md").read_text()

    assert made, "run: python -m tests.house.api_page > docs/reference/api.md"


def test_every_public_name_has_one_place() -> None:
    """On that page, or, if it is an error, on the page of the errors."""
    placed = Counter(chain.from_iterable(CHAPTERS.values()))
    names = {name: getattr(bridge, name) for name in bridge.__all__}
    errors = {name for name, it in names.items() if isinstance(it, type) and issubclass(it, bridge.BridgeError)}

    assert set(placed) == names.keys() - errors, "CHAPTERS of tests/house/api_page.py has the order of the page"
    assert {name for name, times in placed.items() if times > 1} == set()
