"""The wire's JSON: the same under every interpreter, and as strict as it says."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from bridge import wire
from bridge.wire import NotEncodable, decode_json, encode_json
from tests.core import wire_values
from tests.house.interpreters import EACH, find


def test_json_is_the_standard_librarys() -> None:
    """Same bytes, same values, same refusals, from seeds; and what can't travel is found where it was put."""
    wire_values.check(wire, 1000)


@pytest.mark.parametrize("minor", EACH)
def test_json_is_the_same_under_every_interpreter(minor: int) -> None:
    """A worker may run on any Python from 3.8."""
    if (python := find(minor)) is None:
        pytest.skip(f"there is no Python 3.{minor}")
    assert compare(python) == "same\n"


def test_json_is_the_same_without_the_accelerator() -> None:
    """An interpreter may have been built without it."""
    assert compare(sys.executable, "without-accelerator") == "same\n"


def compare(python: str, *options: str) -> str:
    command = [python, "-I", wire_values.__file__, str(wire.__file__), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    return done.stdout + done.stderr


def test_a_value_too_deep_for_its_fault_to_be_found_is_refused() -> None:
    """At any depth around the interpreter's limit. Fails when the search for the fault isn't guarded too."""
    value: Any = object()
    for depth in range(1100):
        value = [value]
        if depth > 200 and depth % 13 == 0:
            with pytest.raises(NotEncodable):
                encode_json(value, "root")


@pytest.mark.parametrize("body", [b"", b"[1", b"nul", b"1 ", b"Infinit", b"{'a':1}", b"\xff", b"[]]"])
def test_what_is_not_json_is_a_value_error(body: bytes) -> None:
    """StopIteration doesn't get out, and nothing may follow the value. Fails when either look goes."""
    with pytest.raises(ValueError):
        decode_json(body)
