"""docs/reference/errors.md, compared with the classes: every error, its fields, its bases, a message that it has.

Apart from the tests of the pages in general, since this page is a list that has to be whole.
"""

from __future__ import annotations

import re
from typing import Final

import pytest

import bridge
from bridge.runtime.tally import Counting
from tests.house.sources import ROOT

PAGE: Final = (ROOT / "docs" / "reference" / "errors.md").read_text()
SECTIONS: Final = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL))
NOBODYS: Final = "it was built at import time or in a wider fixture, so that no test is known to be the caller's"
DRIFT: Final = 'line 2: price {"item": "tea"}\n    recorded: result 250\n    now:      result 300'
STARTED: Final = "crashed: its process (pid 4242) died before its first call: exit code 3"

SAMPLES: Final[dict[str, bridge.BridgeError]] = {
    "CallCancelled": bridge.CallCancelled("price", pid=4242, why="the bridge was closed"),
    "CallError": bridge.CallError(
        "arguments", "missing a required argument: 'item'; it takes (item)", command="price", side="caller"
    ),
    "CallTimeout": bridge.CallTimeout("price", 5.0, pid=4242),
    "CassetteDrift": bridge.CassetteDrift("/srv/shop/prices.jsonl", [DRIFT], calls=2),
    "CircuitOpen": bridge.CircuitOpen("shop", last_error=STARTED, retry_in=3.2),
    "PoisonCall": bridge.PoisonCall("price", deaths=2, how="killed by SIGSEGV"),
    "PoolClosed": bridge.PoolClosed("shop"),
    "PoolError": Counting(None, "shop", lambda: 0.0).interrupted(),
    "PoolOverloaded": bridge.PoolOverloaded("shop", queued=100, limit=100),
    "PoolTimeout": bridge.PoolTimeout(30.0, queued=3, workers=4, starting=0, name="shop"),
    "ProtocolError": bridge.ProtocolError(r"b'hello\n' is no frame", pid=4242),
    "RemoteError": bridge.RemoteError("KeyError", "'plum'", command="price"),
    "ScopeClosedError": bridge.ScopeClosedError("with_adapter('mock')"),
    "SessionLost": bridge.SessionLost("user-42", pid=4242, why="its worker is gone: killed by SIGKILL"),
    "UnexpectedCall": bridge.UnexpectedCall("price", answered=("stock",)),
    "UnscopedAccessError": bridge.UnscopedAccessError("Thread-1", name="shop", why=NOBODYS),
    "WorkerCrashed": bridge.WorkerCrashed(pid=4242, exit_code=None, signal=11, command="price"),
    "WorkerStartError": bridge.WorkerStartError(
        "handler", "ModuleNotFoundError: No module named 'numpy'", handler="shop:Prices"
    ),
}
"""One of each that makes its message itself. The texts of the others stand where they are raised."""


def kind_of(name: str) -> type[bridge.BridgeError]:
    """The class of an error."""
    found: type[bridge.BridgeError] = getattr(bridge, name)
    return found


def message(section: str) -> str:
    """The example in a section, as one line; empty if it has none."""
    block = re.search(r"```text\n(.*?)```", section, re.DOTALL)
    return " ".join(block[1].split()) if block else ""


def code_in(section: str, label: str) -> set[str]:
    """What is set as code in one of the four points of a section."""
    point = re.search(rf"- \*\*{label}:\*\*(.*?)(?=\n- |\Z)", section, re.DOTALL)
    assert point, f"no point {label!r}"
    return set(re.findall(r"`(\w+)`", point[1]))


def test_the_page_has_each_error_once() -> None:
    """Who adds a class, or takes one away, is told to say so there."""
    named = re.findall(r"^### `(\w+)`$", PAGE, re.MULTILINE)

    assert sorted(named) == sorted(name for name in bridge.__all__ if is_error(name))


def is_error(name: str) -> bool:
    """Whether a public name is an error's."""
    found = getattr(bridge, name)
    return isinstance(found, type) and issubclass(found, bridge.BridgeError)


@pytest.mark.parametrize("name", SECTIONS)
def test_each_error_says_what_happened_why_and_what_to_do(name: str) -> None:
    """In that order, and then its fields. Fails when a point is left out."""
    assert re.findall(r"^- \*\*([\w ]+):\*\*", SECTIONS[name], re.MULTILINE) == [
        "What happened",
        "Why",
        "What to do",
        "Fields",
    ]


@pytest.mark.parametrize("name", SAMPLES)
def test_the_message_shown_is_one_that_the_class_makes(name: str) -> None:
    """Word for word. Fails when a message is changed and the page isn't."""
    assert message(SECTIONS[name]) == " ".join(str(SAMPLES[name]).split())


@pytest.mark.parametrize("name", SAMPLES)
def test_the_fields_are_those_of_the_class(name: str) -> None:
    """All of them, and no other. Fails when a field is added, renamed or removed without the page."""
    error, kind = SAMPLES[name], kind_of(name)
    properties = {each for each, found in vars(kind).items() if isinstance(found, property)}
    plain = {each for each in vars(kind).get("__annotations__", {}) if not each.startswith("_")}
    bases = {base.__name__ for base in kind.__mro__}

    assert code_in(SECTIONS[name], "Fields") - bases == set(vars(error)) | properties | plain


@pytest.mark.parametrize("name", [*SECTIONS])
def test_the_builtin_that_it_is_too_is_named(name: str) -> None:
    """Callers who know only TimeoutError, TypeError and the like are told that these work."""
    builtin = {base.__name__ for base in kind_of(name).__bases__ if base.__module__ == "builtins"} - {"Exception"}

    assert builtin <= code_in(SECTIONS[name], "Fields")


def test_every_error_with_a_message_of_its_own_has_an_example() -> None:
    """The texts of the rest are given where they are raised."""
    free = {name for name in SECTIONS if "__init__" not in vars(kind_of(name))}

    assert {*SECTIONS} - free == {*SAMPLES} - free
    assert free == {"BridgeError", "CapabilityError", "ConfigurationError", "PoolError", "ScopeError", "WorkerError"}


def test_the_families_are_those_of_the_classes() -> None:
    """The table of bases lists the direct children of each. Fails when a class gets another base."""
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE, re.MULTILINE))
    children: dict[str, list[str]] = {}
    for name in SECTIONS:
        for base in kind_of(name).__bases__:
            children.setdefault(base.__name__, []).append(name)

    assert rows.pop("BridgeError") == "all of them"
    assert {base: set(re.findall(r"`(\w+)`", cell)) for base, cell in rows.items()} == {
        base: set(names) for base, names in children.items() if base in SECTIONS and base != "BridgeError"
    }
