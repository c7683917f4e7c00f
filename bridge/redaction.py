"""What must not get into a file: values that stand under certain names, and wherever else they turn up.

Rules: what a call is found by (its command, arguments and session) is redacted by what stands in it alone, so that it
is found again when the rest isn't known yet. Apart from cassette.py, which has files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from typing import Any, Final

from bridge.errors import ConfigurationError

REDACTED: Final = "[redacted]"
HEAD: Final = ("command", "args", "session", "stream")
"""What a call is found by."""
OURS: Final = frozenset(
    {
        *("command", "args", "session", "stream", "said", "items", "result", "left", "error", "ask", "report"),
        *("answer", "after", "value", "kind", "type", "message", "traceback"),
        *("$dict", "$float", "$bytes", "$base64", "$buffer"),
    }
)
"""Keys that cassettes have of their own: they are no secrets, and nothing could be read without them."""
FORM: Final = frozenset({"after", "$buffer", "$float"})
"""What stands under these says how to read, not what."""

Redact = Callable[[dict[str, Any]], dict[str, Any]]


def redaction(given: Any) -> Redact:
    """What makes an exchange fit to be seen.

    Args:
        given: Names of keys; or a function that gets an exchange, as a dict of its own, and returns what may be seen of
            it. None: everything may.

    Raises:
        ConfigurationError: It is none of these.
    """
    if given is None:
        return lambda exchange: exchange
    if callable(given):
        return lambda exchange: _checked(given(deepcopy(exchange)))
    names = frozenset([given] if isinstance(given, str) else given if isinstance(given, Iterable) else [None])
    if not all(isinstance(name, str) for name in names):
        raise ConfigurationError(f"redact takes names of keys, or a function of an exchange, not {given!r:.60}")
    return lambda exchange: _without(exchange, names)


def _checked(exchange: Any) -> dict[str, Any]:
    if not isinstance(exchange, dict) or not isinstance(exchange.get("command"), str):
        raise ConfigurationError(
            f"redact returned {type(exchange).__name__}, not the exchange: it returns the dict that it got, changed, "
            "or another one that has a command"
        )
    return exchange


def _without(exchange: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    found: set[str] = set()
    made: dict[str, Any] = {}
    for part in (HEAD, exchange.keys() - HEAD):
        hidden = {key: _hidden(exchange[key], names, found) for key in exchange if key in part}
        texts = re.compile("|".join(map(re.escape, sorted(found, key=len, reverse=True)))) if found else None
        made |= hidden if texts is None else _cleared(hidden, found, texts)
    if "error" in exchange:
        made["error"]["kind"] = exchange["error"]["kind"]
    return {**made, "command": exchange["command"]}


def _hidden(value: Any, names: frozenset[str], found: set[str]) -> Any:
    """The same without what stands under one of the names; of that the texts and numbers are noted."""
    if isinstance(value, list):
        return [_hidden(item, names, found) for item in value]
    if not isinstance(value, dict):
        return value
    for key in value.keys() & names:
        found.update(_texts(value[key]))
    return {key: REDACTED if key in names else _hidden(item, names, found) for key, item in value.items()}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)
    elif value and not isinstance(value, bool):
        yield str(value)


def _cleared(value: Any, found: set[str], texts: re.Pattern[str]) -> Any:
    """The same without what was noted."""
    if isinstance(value, dict):
        return {
            key if key in OURS else texts.sub(REDACTED, key): item if key in FORM else _cleared(item, found, texts)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_cleared(item, found, texts) for item in value]
    if isinstance(value, str) and value != REDACTED:
        return texts.sub(REDACTED, value)
    return REDACTED if type(value) in (int, float) and str(value) in found else value
