"""proxy: a handler's methods as methods of a stand-in, with their signatures and types.

Rules: nothing of the handler runs here; arguments are bound by its own signatures before anything is sent, and defaults
are left to the worker. What a command takes is looked at when its name is first used, what it returns when it is first
called, so that one method's odd annotation harms no other. Apart from client.py, which knows nothing of signatures.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from difflib import get_close_matches
from inspect import Parameter, Signature
from types import ModuleType
from typing import Any, Final, get_origin, get_type_hints

from bridge.errors import CallError, ConfigurationError
from bridge.handler import FILLED, HOOKS, commands_of
from bridge.returns import Convert, Returns, apply

STREAMS: Final = (Generator, Iterator, AsyncGenerator, AsyncIterator)

Call = Callable[[str, Any], Any]


class Stub:
    """A stand-in for a handler. `Bridge.proxy` makes it; a type checker takes it for the handler itself.

    Args:
        call: Makes a call of a command with its args.
    """

    __slots__ = ("_call", "_functions", "_handler", "_methods", "_returns", "_stream")

    def __init__(self, handler: Any, call: Call, stream: Call, returns: Returns) -> None:
        if not isinstance(handler, (type, ModuleType)):
            raise ConfigurationError(f"proxy takes the handler's class, a Protocol or a module, not {handler!r:.80}")
        self._handler, self._call, self._stream, self._returns = handler, call, stream, returns
        self._functions = _functions(handler)
        if not self._functions:
            raise ConfigurationError(
                f"{handler!r:.80} has no public methods, so there is nothing to call; give one that has"
            )
        self._methods: dict[str, Method] = {}

    def __getattr__(self, name: str) -> Method:
        if name.startswith("_"):  # never a command; and of a half-made copy not even ours are there
            raise AttributeError(name)
        method = self._methods.get(name)
        if method is None:
            if name not in self._functions:
                close = get_close_matches(name, self._functions, 1)
                hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(sorted(self._functions))}"
                raise AttributeError(f"{self._handler.__name__} has no command {name!r}; {hint}")
            shown = f"{self._handler.__name__}.{name}"
            method = Method(shown, name, self._functions[name], (self._call, self._stream), self._returns)
            self._methods[name] = method
        return method

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *self._functions})

    def __repr__(self) -> str:
        return f"<stub of {self._handler.__name__}: {', '.join(sorted(self._functions))}>"


class Method:
    """One command, as if it were the method itself."""

    def __init__(
        self,
        shown: str,
        command: str,
        found: tuple[Callable[..., Any], bool],
        calls: tuple[Call, Call],
        returns: Returns,
    ) -> None:
        self._function, drop_self = found
        self.__name__, self.__qualname__, self.__doc__ = command, shown, self._function.__doc__
        (self._call, self._stream), self._returns = calls, returns
        self._streams = False
        self._bound = self._taken(drop_self)
        if self._bound is not None:
            self.__signature__ = self._bound
        self._known: tuple[Convert | None] | None = None

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        """Call the command in a worker.

        Raises:
            CallError: Arguments that it doesn't take, or a result that isn't what it says; else as for `Bridge.call`.
        """
        sent = self._args(args, keywords)
        convert = self._convert()
        if self._streams:
            return self._stream(self.__name__, sent)
        return apply(convert, self._call(self.__name__, sent), self.__name__, side="handler")

    def __repr__(self) -> str:
        return f"<stub of {self.__qualname__}{self._bound or '(...)'}>"

    def _taken(self, drop_self: bool) -> Signature | None:
        """What the caller has to give; None where Python can't tell, as for many C functions."""
        try:
            whole = inspect.signature(self._function)
        except ValueError:
            return None
        taken = [*whole.parameters.values()]
        if drop_self and taken and taken[0].kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD):
            del taken[0]
        return whole.replace(
            parameters=[
                each.replace(default=None)
                if each.kind is Parameter.KEYWORD_ONLY and each.name in FILLED and each.default is Parameter.empty
                else each
                for each in taken
            ]
        )

    def _args(self, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """What is sent: by keyword, where that can be; what the caller left out isn't sent."""
        if self._bound is not None:
            try:
                bound = self._bound.bind(*args, **keywords)
            except TypeError as fault:
                raise self._refused(f"{fault}; it takes {self._bound}") from None
            kinds = {self._bound.parameters[name].kind for name in bound.arguments}
            if kinds.isdisjoint((Parameter.POSITIONAL_ONLY, Parameter.VAR_POSITIONAL)):
                args, keywords = (), bound.arguments
                for each in self._bound.parameters.values():
                    if each.kind is Parameter.VAR_KEYWORD:
                        keywords |= keywords.pop(each.name, {})
            else:
                args, keywords = bound.args, bound.kwargs
        if args and keywords:
            raise self._refused(
                f"{len(args)} arguments go by position only and {', '.join(keywords)} by keyword only; a call is sent "
                "one way or the other"
            )
        return keywords or args or None

    def _refused(self, detail: str) -> CallError:
        return CallError("arguments", detail, command=self.__name__, side="caller")

    def _convert(self) -> Convert | None:
        if self._known is None:
            expected = self._expected()
            self._streams = _streams(self._function, expected)
            if self._streams:  # of an iterator's items the types are as they come
                expected = Any
            self._known = (self._returns.convert(expected, f"{self.__qualname__} -> "),)
        return self._known[0]

    def _expected(self) -> Any:
        """The type that it says it returns; Any if it says none."""

        def only() -> None:
            """Has one annotation: the parameters' may name what is imported for type checkers alone."""

        function = inspect.unwrap(self._function)
        try:
            said = getattr(function, "__annotations__", {})
            if "return" not in said:
                return Any
            only.__annotations__ = {"return": said["return"]}
            return get_type_hints(only, getattr(function, "__globals__", {}), include_extras=True)["return"]
        except Exception as error:
            raise ConfigurationError(
                f"what {self.__qualname__} returns can't be told ({type(error).__name__}: {error}); import the name "
                "where the handler is defined, not for type checkers alone"
            ) from error


def _functions(handler: Any) -> dict[str, tuple[Callable[..., Any], bool]]:
    """Its commands, each with whether the first parameter is the handler itself."""
    if isinstance(handler, ModuleType):
        return {name: (function, False) for name, function in commands_of(handler).items()}
    found: dict[str, tuple[Callable[..., Any], bool]] = {}
    for name in dir(handler):
        member = getattr(handler, name, None)
        if name.startswith("_") or name in HOOKS or isinstance(member, type) or not callable(member):
            continue
        static = inspect.getattr_static(handler, name, None)
        binds = not isinstance(static, (staticmethod, classmethod)) and hasattr(type(static), "__get__")
        found[name] = (member, binds)
    return found


def _streams(function: Callable[..., Any], expected: Any) -> bool:
    made = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
    return made or expected in STREAMS or get_origin(expected) in STREAMS
