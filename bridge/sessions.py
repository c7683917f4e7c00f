"""Session: calls that find the state again that the ones before them left.

Rules: those of client.py. A handle holds no worker and no state: it says which session is meant, and remembers which
one it met, so that it is told when that has ended. Apart from runtime/session.py, which makes the calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from bridge.core.sessions import Affinity
from bridge.door import DEFAULT, Source, Timeout, enter
from bridge.errors import ConfigurationError, WorkerError
from bridge.returns import Returns, apply
from bridge.runtime import calls, session
from bridge.runtime.follow import DEFAULT_AHEAD, check_ahead, follow_call, follow_stream
from bridge.runtime.session import Memory, Visit
from bridge.runtime.streams import Stream
from bridge.stubs import Stub

if TYPE_CHECKING:
    from types import ModuleType, TracebackType

    from bridge.runtime import Runtime

T = TypeVar("T")

LONGEST_KEY: Final = 256
"""Characters."""


class BaseSession:
    """What a handle is, however its caller waits."""

    def __init__(
        self,
        source: Source,
        functions: Mapping[str, Callable[..., Any]],
        returns: Returns,
        owner: object,
        key: str,
        affinity: Affinity | str | None,
        *,
        durable: bool,
    ) -> None:
        if not isinstance(key, str) or not 1 <= len(key) <= LONGEST_KEY:
            raise ConfigurationError(f"a session's key is a text of 1 to {LONGEST_KEY} characters, not {key!r:.60}")
        try:
            self._affinity = None if affinity is None else Affinity(affinity)
        except ValueError:
            known = ", ".join(each.value for each in Affinity)
            raise ConfigurationError(f"affinity is one of {known}, not {affinity!r:.60}") from None
        self._source, self._functions, self._returns = source, functions, returns
        self._owner = owner  # kept alive: a bridge that nobody holds closes
        self._key, self._durable = key, bool(durable)
        self._memory = Memory()
        self._closed = False

    @property
    def key(self) -> str:
        """Under which its state is kept."""
        return self._key

    @property
    def durable(self) -> bool:
        """Whether it was opened so that its state survives its worker."""
        return self._durable

    def check_home(self, source: Source) -> None:
        """Raise ConfigurationError if it was opened elsewhere."""
        if source is not self._source:
            raise ConfigurationError(f"session {self._key!r} is of another bridge; open one here, with session(...)")

    def _enter(self, timeout: Timeout) -> tuple[Runtime, float | None, Visit]:
        if self._closed:
            raise WorkerError(f"session {self._key!r} was closed by this handle; open it anew with session(...)")
        runtime, seconds = enter(self._source, timeout)
        return runtime, seconds, Visit(runtime, self._key, self._memory, self._affinity, durable=self._durable)

    def _end(self) -> None:
        self._closed = True
        runtime = self._source.peek()
        session.end(runtime, self._key, "it was closed")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._key!r}{' durable' * self._durable}>"


class Session(BaseSession):
    """Calls that share a state: their handler's `session` parameter is the same dict. `Bridge.session` makes it.

    A call finds the state in the worker that has it. Calls of one session run one after the other, whoever makes them.
    """

    @overload
    def call(
        self,
        command: str,
        args: Any = ...,
        /,
        *,
        timeout: Timeout = ...,
        idempotent: bool = ...,
        on_progress: Callable[[Any], object] | None = ...,
        returns: type[T],
    ) -> T: ...
    @overload
    def call(
        self,
        command: str,
        args: Any = ...,
        /,
        *,
        timeout: Timeout = ...,
        idempotent: bool = ...,
        on_progress: Callable[[Any], object] | None = ...,
        returns: object = ...,
    ) -> Any: ...
    def call(
        self,
        command: str,
        args: Any = None,
        /,
        *,
        timeout: Timeout = DEFAULT,
        idempotent: bool = False,
        on_progress: Callable[[Any], object] | None = None,
        returns: Any = None,
    ) -> Any:
        """Call a command in this session. As Bridge.call.

        Raises:
            SessionLost: The state that it relied on is gone: strict ones with their worker, and any strict or durable
                one by its `ttl`, by `max_sessions`, or since another handle closed it. It wasn't sent; the next call
                begins with a new state.
            PoolOverloaded: strict_fail_fast, and others have the worker that has the state.
        """
        convert = self._returns.convert(returns)
        runtime, seconds, visit = self._enter(timeout)
        follow = follow_call(runtime, self._functions, on_progress, visit)
        try:
            result = calls.call(runtime, command, args, seconds, idempotent=idempotent, follow=follow)
        finally:
            session.spread_news(runtime)
        return apply(convert, result, command)

    def stream(
        self, command: str, args: Any = None, /, *, timeout: Timeout = DEFAULT, ahead: int = DEFAULT_AHEAD
    ) -> Stream:
        """Call a generator method in this session, and iterate over its items. As Bridge.stream; the state is this
        stream's until its end, and that of a durable session is stored with its end."""
        runtime, seconds, visit = self._enter(timeout)
        follow = follow_stream(runtime, self._functions, check_ahead(ahead, command), visit)
        return Stream(runtime, command, args, seconds, follow, ahead, self)

    @overload
    def proxy(self, handler: ModuleType, /, *, timeout: Timeout = ..., idempotent: bool = ...) -> Any: ...
    @overload
    def proxy(self, handler: Callable[..., T], /, *, timeout: Timeout = ..., idempotent: bool = ...) -> T: ...
    def proxy(self, handler: Any, /, *, timeout: Timeout = DEFAULT, idempotent: bool = False) -> Any:
        """A stand-in for the handler whose methods are called in this session. As Bridge.proxy."""
        call = partial(self.call, timeout=timeout, idempotent=idempotent)
        return Stub(handler, call, partial(self.stream, timeout=timeout), self._returns)

    def close(self) -> None:
        """End the session: its state is dropped, after the handler's `on_session_end` if its worker is idle (which is
        waited for, 10 s at most), else soon after the call that is under way there. Idempotent."""
        if not self._closed:
            self._end()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
