"""docs/reference/settings.md, made from the model: `python -m tests.house.settings_page > docs/reference/settings.md`.

Rules: nothing is said here that the model doesn't say, but how to give a value. A test compares the page with what
this makes, so that the two can't part.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator, Mapping
from enum import Enum
from inspect import getdoc
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import BaseModel

from bridge.settings import GROUPS, BridgeSettings

HEAD: Final = """\
# Settings

This page is made from the model (`python -m tests.house.settings_page > docs/reference/settings.md`); a test compares.

A value comes from the first of these that gives one:

1. the caller's scope, innermost first (`with_settings(size=8)`, `with_adapter("python_port", size=8)`);
2. an argument of `bridge.connect`, by the name of the field (`size=8`) or in its group (`pool={"size": 8}`);
3. the environment variable;
4. the default.

`bridge.connect` reads the environment once, when it is called, and a `BridgeContainer` that was given no settings at
its first use; nothing else reads it, but for `TEST_MODE`, which every container obeys. `BridgeSettings(...)` is the
same set of fields as a frozen model, and building one never reads the environment: `BridgeSettings.load()` does, with
another prefix than `BRIDGE_` if asked, and with a dotenv file if one is named. The environment wins over that file,
and that over the defaults which the program passes.

- Mappings and lists are written as JSON: `BRIDGE_WORKER__ENV='{"OMP_NUM_THREADS": "1"}'`.
  A variable for a single key (`BRIDGE_WORKER__ENV__X`) is refused, since its capitals would get lost.
- A whole group can be given as JSON: `BRIDGE_POOL='{"size": 8, "max_waiting": 100}'`. `limits`, a group
  within one, is `BRIDGE_WORKER__LIMITS='{"open_files": 256}'` or `BRIDGE_WORKER__LIMITS__OPEN_FILES=256`, and in the
  program `limits={"open_files": 256}`.
- Where null is a value, the word `null` says it: `BRIDGE_CALL__TIMEOUT=null`.
- A variable that begins with `BRIDGE_` and is close to a setting without being one is an error that names the
  setting; so is any unknown name inside a group. Other variables that begin with `BRIDGE_` are left alone.
- A value out of its range is a `ConfigurationError` that names the field, and nothing is started.
"""

SIGNS: Final = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
WORDS: Final = {str: "text", bool: "true or false", int: "integer", float: "number", dict: "mapping", tuple: "list"}


def is_model(annotation: Any) -> bool:
    """Whether a field holds fields."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def kind(annotation: Any) -> str:
    """A type in a user's words."""
    origin = get_origin(annotation)
    if origin is Annotated:  # with a check of its own, which is no type
        return kind(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return " or ".join("null" if part is type(None) else kind(part) for part in get_args(annotation))
    if is_model(annotation):
        return "group"
    if origin is tuple and is_model(get_args(annotation)[0]):
        return "list of groups"
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return ", ".join(f"`{member.value}`" for member in annotation)
    return WORDS[origin or annotation]


def limits(metadata: list[Any]) -> str:
    """The range of a field."""
    bounds = ((sign, getattr(item, name, None)) for item in metadata for name, sign in SIGNS.items())
    return ", ".join(f"{sign} {bound}" for sign, bound in bounds if bound is not None)


def default(value: Any) -> str:
    """A default as it is written in JSON, near enough."""
    if value is None:
        return "null"
    if isinstance(value, (dict, tuple, BaseModel)):
        return "empty"
    return f"`{value.value if isinstance(value, Enum) else value}`"


def table(fields: Mapping[str, Any], group: str) -> Iterator[str]:
    """One row for each field."""
    yield "| field | environment | value | default | meaning |"
    yield "| --- | --- | --- | --- | --- |"
    for name, field in fields.items():
        variable = "__".join(part for part in (group, name) if part).upper()
        value = ", ".join(part for part in (kind(field.annotation), limits(field.metadata)) if part)
        yield f"| `{name}` | `BRIDGE_{variable}` | {value} | {default(field.default)} | {field.description} |"


def each_of(model: Any) -> Iterator[str]:
    """One row for each field of the groups in a list: they have no variables of their own."""
    yield "| field | value | default | meaning |"
    yield "| --- | --- | --- | --- |"
    for name, field in model.model_fields.items():
        value = ", ".join(part for part in (kind(field.annotation), limits(field.metadata)) if part)
        yield f"| `{name}` | {value} | {default(field.default)} | {field.description} |"


def page() -> str:
    """The whole page."""
    fields = BridgeSettings.model_fields
    lines = [HEAD, "## Of the whole bridge", ""]
    lines += table({name: field for name, field in fields.items() if name not in GROUPS}, "")
    for name, field in fields.items():
        if name in GROUPS:
            model: Any = field.annotation
            lines += ["", f"## `{name}`", "", getdoc(model) or "", "", *table(model.model_fields, name)]
            for inner, inside in model.model_fields.items():
                if is_model(inside.annotation):
                    lines += ["", f"### `{name}.{inner}`", "", getdoc(inside.annotation) or "", ""]
                    lines += table(inside.annotation.model_fields, f"{name}__{inner}")
                each = (get_args(inside.annotation) or (None,))[0]
                if get_origin(inside.annotation) is tuple and is_model(each):
                    lines += ["", f"### Each of `{name}.{inner}`", "", getdoc(each) or "", "", *each_of(each)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
