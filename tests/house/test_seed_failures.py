"""docs/design/seed-failures.md and tests/seed: the same 45 failures, in the same order."""

from __future__ import annotations

import re
from types import ModuleType
from typing import Final

import pytest

from tests.house.sources import ROOT, TESTS, functions
from tests.seed import (
    test_adapter_resolution,
    test_bridge_not_running,
    test_checkout_timeouts,
    test_exit_cascades,
    test_port_connection,
)
from tests.seed.application import named
from tests.seed.test_all_at_once import ALL

PAGE: Final = (ROOT / "docs" / "design" / "seed-failures.md").read_text()
CATEGORIES: Final = (
    (test_port_connection, 12),
    (test_exit_cascades, 15),
    (test_checkout_timeouts, 8),
    (test_adapter_resolution, 5),
    (test_bridge_not_running, 5),
)
BY_FILE: Final = pytest.mark.parametrize(
    ("module", "count"), CATEGORIES, ids=lambda value: getattr(value, "__name__", "")
)


def on_the_page(file: str) -> list[str]:
    """The failures in the table below the line that names a file."""
    _, _, rest = PAGE.partition(f"\n`{file}`\n")
    return re.findall(r"^\| `(\w+)` \|", rest.partition("\n## ")[0], re.MULTILINE)


@BY_FILE
def test_a_category_has_as_many_tests_as_the_post_mortem_counted(module: ModuleType, count: int) -> None:
    """12 + 15 + 8 + 5 + 5, none of them twice, and the page's first table says the same numbers."""
    assert len({*map(named, module.FAILURES)}) == len(module.FAILURES) == count
    assert [int(number) for number in re.findall(r"^\| \[.*?\) \| (\d+) \|", PAGE, re.MULTILINE)] == [
        number for _, number in CATEGORIES
    ]


@BY_FILE
def test_the_page_lists_the_failures_of_a_file(module: ModuleType, count: int) -> None:
    """Whoever renames, adds or drops one changes the page too."""
    assert on_the_page(f"{module.__name__.replace('.', '/')}.py") == [*map(named, module.FAILURES)]


@BY_FILE
def test_each_of_them_says_by_which_change_it_fails(module: ModuleType, count: int) -> None:
    """A test that can't fail proves nothing."""
    silent = [named(failure) for failure in module.FAILURES if "Fails when" not in (failure.__doc__ or "")]

    assert silent == []


def test_all_of_them_run_at_once() -> None:
    """None is left out of the run in which they meet."""
    assert [*ALL] == [failure for module, _ in CATEGORIES for failure in module.FAILURES]


def test_the_files_and_tests_that_the_page_names_exist() -> None:
    """What moves is followed."""
    tests = {function.name for source in TESTS for function in functions(source)}

    assert [name for name in re.findall(r"`(test_\w+)`", PAGE) if name not in tests] == []
    assert [file for file in re.findall(r"`([\w/]+\.py)`", PAGE) if not (ROOT / file).exists()] == []
