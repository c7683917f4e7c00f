"""One word, one field: what makes flat keywords possible, and what keeps the reference true.

Apart from the tests of what the settings do, which change with them; these rules don't.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from bridge.schema import GROUPS, LEAVES, BridgeSettings, _EnvSettings
from tests.house.settings_page import is_model, page
from tests.house.sources import ROOT


def leaves() -> list[tuple[str, Any]]:
    """Every field that holds a value, with its name; groups are looked into."""
    found: list[tuple[str, Any]] = []
    for name, field in BridgeSettings.model_fields.items():
        model: Any = field.annotation
        found += model.model_fields.items() if name in GROUPS else [(name, field)]
    return found


def inner_leaves() -> list[tuple[str, Any]]:
    """The fields of fields that are groups themselves."""
    return [
        inner for _, field in leaves() if is_model(field.annotation) for inner in field.annotation.model_fields.items()
    ]


def test_a_leaf_name_means_one_field() -> None:
    """`connect(size=8)` can't mean two things: no leaf is there twice, and none has the name of a group."""
    names = Counter(name for name, _ in leaves())

    assert [name for name, count in names.items() if count > 1] == []
    assert GROUPS.isdisjoint(names)
    assert set(LEAVES) == set(names)


def test_a_name_inside_a_leaf_means_nothing_else() -> None:
    """Nobody has to know where a word stands to know what it means."""
    inner = Counter(name for name, _ in inner_leaves())

    assert inner
    assert [name for name, count in inner.items() if count > 1] == []
    assert inner.keys().isdisjoint({*LEAVES, *GROUPS})


def test_every_field_is_described() -> None:
    """Each field says what it does, so that the reference can."""
    assert [name for name, field in leaves() + inner_leaves() if not field.description] == []


def test_the_reader_of_the_environment_has_the_same_fields() -> None:
    """Whatever can be set in the program can be set by a variable, with the same type and default."""
    ours, readers = BridgeSettings.model_fields, _EnvSettings.model_fields

    assert {name: (field.annotation, field.default) for name, field in ours.items()} == {
        name: (field.annotation, field.default) for name, field in readers.items()
    }


def test_a_variable_can_say_null(monkeypatch: pytest.MonkeyPatch) -> None:
    """What may be null can be set to it from outside: a call without a time limit, a queue without an end."""
    monkeypatch.setenv("BRIDGE_CALL__TIMEOUT", "null")

    assert BridgeSettings.load({"call": {"timeout": 5}}).call.timeout is None


def test_the_reference_is_made_from_the_model() -> None:
    """docs/reference/settings.md lists the fields, ranges and defaults that the code has."""
    assert (ROOT / "docs/reference/settings.md").read_text() == page()
