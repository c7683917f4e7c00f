"""What a caller wants to hear of its call before it ends, and what goes with the call.

Rules: what stands before a call in its frame is encoded before a worker is taken; what a worker asks is untrusted. A
function that is asked for runs in the caller's thread and context, where calls of its own may go on in the same way,
so deep and no deeper. Apart from calls.py, where most calls want none of this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from inspect import isawaitable
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final

from bridge.contract import NOTHING, Capability
from bridge.core.messages import add_extras, encode_extras
from bridge.dialogue import answer_of_error, answer_to, answer_with
from bridge.errors import CallError, CapabilityError, ConfigurationError
from bridge.handler import invoke
from bridge.runtime.propagation import Propagation
from bridge.settle import settled

if TYPE_CHECKING:
    from bridge.contract import SessionEntry
    from bridge.core.sessions import Ended
    from bridge.runtime import Runtime
    from bridge.runtime.session import Visit

DEFAULT_AHEAD: Final = 16
"""Items that a stream's handler runs ahead of its consumer, if not said otherwise."""
MAX_AHEAD: Final = 2**16 - 1
"""What a CREDIT frame can carry."""
MAX_DEPTH: Final = 8
"""Callbacks within callbacks: each takes one more worker, and there are only so many."""

TOO_DEEP: Final = f"{MAX_DEPTH} callbacks are under way within each other already"


class Depths:
    """How many callbacks are under way in each thread."""

    def __init__(self) -> None:
        self._of: dict[Any, int] = {}

    @contextmanager
    def deeper(self, who: Any) -> Iterator[int]:
        """One more, until the end of the block."""
        before = self._of.get(who, 0)
        self._of[who] = before + 1
        try:
            yield before + 1
        finally:
            if before:
                self._of[who] = before
            else:
                self._of.pop(who, None)


class Follow:
    """Of one call.

    Args:
        window: Items of a stream that may be made ahead of the caller; None: it doesn't stream.
        progress: Called with what the handler reports.
        functions: What the handler may ask for, by name.
        context: What its `context` has.
        chunk: It is a chunk of calls, of which progress hears: their one parameter, if items are values of that, and
            seconds after which no further one is begun.
        each: Seconds that each call of a chunk has; None is no limit.
        limit: Bytes that a body may have.

    Raises:
        CallError: The context can't travel.
    """

    __slots__ = (
        *("_depths", "_extras", "_functions", "_limit", "_said", "chunk", "context", "each", "ended", "head"),
        *("progress", "session", "streams", "visit"),
    )

    def __init__(
        self,
        limit: int,
        depths: Depths,
        *,
        window: int | None = None,
        progress: Callable[[Any], object] | None = None,
        functions: Mapping[str, Callable[..., Any]] = NOTHING,
        context: Mapping[str, Any] = NOTHING,
        chunk: tuple[str | None, float | None] | None = None,
        each: float | None = None,
    ) -> None:
        self.progress, self.streams = progress, window is not None
        self._functions, self._limit, self._depths = functions, limit, depths
        self.chunk, self.each = chunk, each
        self.visit: Visit | None = None
        self.session: SessionEntry | None = None
        self.ended: Ended = ()
        self._said: Mapping[str, Any] = {
            **({} if window is None else {"window": window}),
            **({} if progress is None else {"progress": True} if chunk is None else {"chunk": chunk}),
            **({"parent": True} if functions else {}),
        }
        self.carry(context)

    def carry(self, context: Mapping[str, Any]) -> None:
        """What its `context` has. Raises CallError for what can't travel."""
        self.context = context
        self.head = self._extras = encode_extras({**self._said, "context": context} if context else self._said)

    def address(self, entry: SessionEntry | None, ended: Ended, *, pickled: bool = False) -> None:
        """Compose what stands before the call: its session, and those that its worker is to forget."""
        self.session, self.ended = entry, ended
        added: dict[str, Any] = {"ended": ended} if ended else {}
        state = None
        if entry is not None:
            state, added["session"] = entry.state, (entry.key, entry.epoch)
            if entry.snapshot is not None:
                added["snapshot"] = entry.snapshot
        self.head = add_extras(self._extras, added, state, pickled=pickled)

    def answer(self, asked: Any) -> bytes:
        """Run what the worker asks for, a coroutine to its end in a loop of its own: the body of ANSWER.

        An error is an answer too; what isn't an Exception, a Ctrl-C above all, ends the call.
        """
        try:
            function, args = self._function(asked)
        except LookupError as error:
            return answer_of_error(error, self._limit)
        with self._depths.deeper(get_ident()) as depth:
            if depth > MAX_DEPTH:
                return answer_of_error(RecursionError(TOO_DEEP), self._limit)
            return answer_to(lambda *plain, **named: settled(function(*plain, **named)), args, self._limit)

    async def answer_async(self, asked: Any, task: object) -> bytes:
        """The same, for a task: what is a coroutine function is awaited."""
        try:
            function, args = self._function(asked)
        except LookupError as error:
            return answer_of_error(error, self._limit)
        with self._depths.deeper(task) as depth:
            if depth > MAX_DEPTH:
                return answer_of_error(RecursionError(TOO_DEEP), self._limit)
            try:
                value = invoke(function, args)
                if isawaitable(value):
                    value = await value
            except Exception as error:
                return answer_of_error(error, self._limit)
            return answer_with(value, self._limit)

    def _function(self, asked: Any) -> tuple[Callable[..., Any], Any]:
        name, args = asked if isinstance(asked, list) and len(asked) == 2 else (None, None)
        function = self._functions.get(name) if isinstance(name, str) else None
        if function is None:
            names = ", ".join(sorted(self._functions)) or "none"
            raise LookupError(f"the caller exposes no function {name!r:.99}; it exposes: {names}")
        return function, args


def expose(functions: dict[str, Callable[..., Any]], name: str, function: Callable[..., Any]) -> None:
    """Add one that handlers may ask for. Raises ConfigurationError."""
    if not isinstance(name, str) or not callable(function):
        raise ConfigurationError(f"expose(name, function) takes a str and a function, not {name!r}, {function!r}")
    functions[name] = function


def follow_call(
    runtime: Runtime,
    functions: Mapping[str, Callable[..., Any]],
    progress: Callable[[Any], object] | None,
    visit: Visit | None = None,
) -> Follow | None:
    """What a call on a runtime is to be followed by; None for most calls.

    Raises:
        CapabilityError: Its adapter can't report progress.
    """
    if progress is None and not functions and not runtime.spec.propagate and visit is None:
        return None
    if progress is not None:
        _check_streams(runtime)
    return _follow(runtime, functions, None, progress, visit)


def follow_stream(
    runtime: Runtime, functions: Mapping[str, Callable[..., Any]], ahead: int, visit: Visit | None = None
) -> Follow:
    """What a stream is to be followed by. Raises CapabilityError."""
    _check_streams(runtime)
    return _follow(runtime, functions, ahead, None, visit)


def _follow(
    runtime: Runtime,
    functions: Mapping[str, Callable[..., Any]],
    window: int | None,
    progress: Callable[[Any], object] | None,
    visit: Visit | None,
) -> Follow:
    if Capability.CALLBACKS not in runtime.adapter.capabilities:
        functions = NOTHING  # a handler that asks is told so there
    limit, context = runtime.spec.max_frame_bytes, propagated(runtime)
    follow = Follow(limit, runtime.depths, window=window, progress=progress, functions=functions, context=context)
    follow.visit = visit
    return follow


def propagated(runtime: Runtime) -> Mapping[str, Any]:
    """What travels with a call from here, by `worker.propagate`."""
    if not runtime.spec.propagate:
        return NOTHING
    if runtime.propagation is None:
        runtime.propagation = Propagation(runtime.spec.propagate)
    return runtime.propagation.values()


def follow_item(runtime: Runtime, context: Mapping[str, Any]) -> Follow | None:
    """What the call of one item of a `map` is to be followed by; `context` is what travelled when that began."""
    return Follow(runtime.spec.max_frame_bytes, runtime.depths, context=context) if context else None


def follow_chunk(
    runtime: Runtime,
    context: Mapping[str, Any],
    heard: Callable[[Any], object],
    *,
    column: str | None,
    patience: float | None,
    each: float | None,
) -> Follow:
    """The same for a chunk of them; `heard` is called with each of its reports."""
    limit, chunk = runtime.spec.max_frame_bytes, (column, patience)
    return Follow(limit, runtime.depths, progress=heard, context=context, chunk=chunk, each=each)


def _check_streams(runtime: Runtime) -> None:
    if Capability.STREAMS not in runtime.adapter.capabilities:
        name = runtime.adapter.name
        raise CapabilityError(
            f"the adapter {name} can't stream or report progress; use call(...) alone, or python_port"
        )


def check_ahead(ahead: Any, command: str) -> int:
    """Items that may be made ahead of the caller."""
    if isinstance(ahead, bool) or not isinstance(ahead, int) or not 1 <= ahead <= MAX_AHEAD:
        raise CallError(
            "arguments",
            f"ahead is a number of items, 1 to {MAX_AHEAD}, not {ahead!r:.60}",
            command=command,
            side="caller",
        )
    return ahead
