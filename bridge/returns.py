"""returns=: a result, checked and converted to the type that its reader expects.

Rules: a type that can't be used is told before anything is sent; pydantic is imported when the first type is given, and
none of its errors leaves this file but as a cause. Apart from client.py, which knows nothing of types; the checks that
were made are kept by each bridge, since nothing is global here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, ForwardRef

from bridge.errors import CallError, ConfigurationError
from bridge.wire import type_name

MOST_KEPT: Final = 256
"""Types whose checks a bridge keeps. One that makes a type for each call must not grow for ever."""
MOST_TOLD: Final = 3
"""Places that an error names."""

Convert = Callable[[Any], Any]


class Returns:
    """Makes the checks of results, each once."""

    def __init__(self) -> None:
        self._known: dict[Any, Convert] = {}

    def convert(self, expected: Any, where: str = "returns=") -> Convert | None:
        """What turns a result into one of this type; None where there is nothing to do.

        Args:
            where: The type stands, for the error.

        Raises:
            ConfigurationError: It is no type that a result can be checked against.
        """
        if expected is None or expected is Any:
            return None
        try:
            known = self._known.get(expected)
        except TypeError:  # unhashable, such as Annotated[int, []]: made each time
            return _convert(expected, where)
        if known is None:
            if len(self._known) >= MOST_KEPT:
                self._known.clear()
            known = self._known[expected] = _convert(expected, where)
        return known


def apply(convert: Convert | None, value: Any, command: str, *, side: str = "caller") -> Any:
    """The result as its reader expects it.

    Args:
        side: Who wrote the type.

    Raises:
        CallError: It doesn't fit; each place that doesn't is named.
    """
    if convert is None:
        return value
    from pydantic import ValidationError

    try:
        return convert(value)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)
        told = [
            f"result{_path(each['loc'])}: {each['msg']} (it is of type {type_name(type(each['input']))})"
            for each in found[:MOST_TOLD]
        ]
        if len(found) > MOST_TOLD:
            told.append(f"and {len(found) - MOST_TOLD} more")
        detail = f"the result isn't what it should be: {'; '.join(told)}"
    raise CallError("result", detail, command=command, side=side)


def _convert(expected: Any, where: str) -> Convert:
    if isinstance(expected, (str, ForwardRef)):
        raise ConfigurationError(f"{where} takes a type, not the name of one: {expected!r:.80}")
    if _is_buffer(expected):
        return _instance(expected)
    from pydantic import TypeAdapter

    try:
        # Taken now: of a model whose fields name a class that isn't defined yet, this is where that comes out.
        convert: Convert = TypeAdapter(expected).validator.validate_python
    except Exception as error:  # whatever the classes in it do when they are looked at
        raise ConfigurationError(
            f"{where}{expected!r:.80} is no type that a result can be checked against "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'})"
        ) from error
    return convert


def _is_buffer(expected: Any) -> bool:
    """Whether it is a class of what travels beside JSON: memoryview, or arrays such as numpy's."""
    return isinstance(expected, type) and (expected is memoryview or hasattr(expected, "__array_interface__"))


def _instance(expected: type) -> Convert:
    from pydantic import ConfigDict, TypeAdapter

    config = ConfigDict(arbitrary_types_allowed=True)  # an isinstance check; what passes is left alone
    adapter: TypeAdapter[Any] = TypeAdapter(expected, config=config)
    return adapter.validate_python


def _path(places: tuple[int | str, ...]) -> str:
    return "".join(f"[{place}]" if isinstance(place, int) else f".{place}" for place in places)
