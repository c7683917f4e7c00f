"""`config`: every setting that is in force, and where its value comes from.

Rules: what is shown is what `BridgeSettings.load` answers. The values of `worker.env` are shown only when asked for:
a report is passed on, and what is in there may be a password. Apart from doctor, which judges.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from bridge.cli import exits
from bridge.cli.output import Colour, harmless, painted, print_json, put
from bridge.groups import Frozen
from bridge.schema import BridgeSettings
from bridge.settings import Variable, mode_variable, variables_of

DEFAULT: Final = "default"
FILE: Final = "file"
VARIABLE: Final = "variable"
BOTH: Final = "file and variable"
"""A mapping of which each has some keys."""
ENV: Final = ("worker", "env")

Path = tuple[str, ...]
"""Of a field, from the outermost group on."""


@dataclass(frozen=True)
class Entry:
    """One setting."""

    name: str
    value: Any
    """As JSON has it."""
    source: str
    """DEFAULT, FILE, VARIABLE or BOTH."""
    variable: str | None
    """Which one, as it is spelt."""


def run(*, as_json: bool, prefix: str, env_file: str | None, show_env: bool) -> int:
    """List them, and answer the exit code.

    Args:
        show_env: With the values of `worker.env`; else each of them is null.

    Raises:
        ConfigurationError: The settings can't be used.
    """
    found = [each if show_env else _hidden(each) for each in entries(prefix, env_file)]
    if as_json:
        fields = ("value", "source", "variable")
        print_json({each.name: {field: getattr(each, field) for field in fields} for each in found})
    else:
        names = max(len(each.name) for each in found)
        put("".join(_line(each, names, env_file) for each in found), sys.stdout)
    return exits.OK


def entries(prefix: str = "BRIDGE_", env_file: str | None = None) -> Iterator[Entry]:
    """Every setting, in the order of the reference."""
    values = BridgeSettings.load(prefix=prefix, env_file=env_file)
    of_all, of_variables = _stated(values), _stated(BridgeSettings.load(prefix=prefix))
    shown, variables = values.model_dump(), variables_of(prefix)
    for path in _paths(values):
        source, variable = DEFAULT, None
        if path in of_variables:
            source = VARIABLE if of_variables[path] == of_all[path] else BOTH
            variable = mode_variable(prefix) if path == ("test_mode",) else _variable_of(path, variables)
        elif path in of_all:
            source = FILE
        yield Entry(".".join(path), _at(shown, path), source, variable)


def _paths(group: Frozen, above: Path = ()) -> Iterator[Path]:
    for name in type(group).model_fields:
        value = getattr(group, name)
        if isinstance(value, Frozen):
            yield from _paths(value, (*above, name))
        else:
            yield (*above, name)


def _stated(values: BridgeSettings) -> dict[Path, Any]:
    """Those that somebody set, by their paths."""
    tree = values.model_dump(exclude_unset=True)
    found = {}
    for path in _paths(values):
        try:
            found[path] = _at(tree, path)
        except KeyError:
            continue
    return found


def _at(tree: Any, path: Path) -> Any:
    for name in path:
        tree = tree[name]
    return tree


def _variable_of(path: Path, variables: Mapping[str, Variable]) -> str | None:
    """The one of a field itself, or of a group that has it: the innermost, which wins."""
    for length in range(len(path), 0, -1):
        variable = variables.get("__".join(path[:length]).upper())
        if variable is not None and _has(variable.value, path[length:]):
            return variable.name
    return None


def _has(text: str, path: Path) -> bool:
    """Whether the value of a group's variable says something of a field."""
    try:
        _at(json.loads(text) if path else {}, path)
    except KeyError:
        return False
    return True


def _hidden(entry: Entry) -> Entry:
    if entry.name != ".".join(ENV):
        return entry
    return Entry(entry.name, dict.fromkeys(entry.value), entry.source, entry.variable)


def _line(entry: Entry, names: int, env_file: str | None) -> str:
    file = f"file {env_file}"
    sources = {VARIABLE: entry.variable, FILE: file, BOTH: f"{file} and {entry.variable}"}
    text = f"{entry.name:<{names}}  {json.dumps(entry.value, ensure_ascii=False):<12}  "
    line = harmless(text + str(sources.get(entry.source, DEFAULT)))
    return painted(line, Colour.FAINT, sys.stdout) + "\n" if entry.source == DEFAULT else line + "\n"
