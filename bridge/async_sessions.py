"""AsyncSession: as Session, awaited.

Rules: those of sessions.py. Apart from it, which imports no asyncio.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, overload

from bridge.door import DEFAULT, Timeout
from bridge.returns import apply
from bridge.runtime import async_calls, session
from bridge.runtime.async_streams import AsyncStream
from bridge.runtime.follow import DEFAULT_AHEAD, check_ahead, follow_call, follow_stream
from bridge.sessions import BaseSession

if TYPE_CHECKING:
    from types import TracebackType


T = TypeVar("T")


class AsyncSession(BaseSession):
    """A session for asyncio. `AsyncBridge.session` makes it; `async with` closes it."""

    @overload
    async def call(
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
    async def call(
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
    async def call(
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
        """Call a command in this session. As Session.call."""
        convert = self._returns.convert(returns)
        runtime, seconds, visit = self._enter(timeout)
        follow = follow_call(runtime, self._functions, on_progress, visit)
        try:
            result = await async_calls.call(runtime, command, args, seconds, idempotent=idempotent, follow=follow)
        finally:
            session.spread_news(runtime)
        return apply(convert, result, command)

    def stream(
        self, command: str, args: Any = None, /, *, timeout: Timeout = DEFAULT, ahead: int = DEFAULT_AHEAD
    ) -> AsyncStream:
        """Call a generator method in this session. As Session.stream."""
        runtime, seconds, visit = self._enter(timeout)
        follow = follow_stream(runtime, self._functions, check_ahead(ahead, command), visit)
        return AsyncStream(runtime, command, args, seconds, follow, ahead, self)

    async def close(self) -> None:
        """End the session. As Session.close."""
        if not self._closed:
            await asyncio.to_thread(self._end)

    async def __aenter__(self) -> AsyncSession:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
