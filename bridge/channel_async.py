"""The asyncio driver: whoever holds the lease drives its link from an event loop, without a thread.

Rules: every step is the link's own and is made at once; what is here only waits: for a descriptor, for the link's
`listener`, for the deadline. Nothing of it is left registered when a call ends, however it ends: the descriptors are
free for the next holder, on whatever loop or thread. Apart from channel.py, whose holder sleeps in poll().
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf
from typing import Any
from weakref import ref

from bridge.link import ClaimRef, DeadlinePassed, Following, Link
from bridge.wire import CALL


class Conversation:
    """One call on a link, in the running loop. `with` ends it.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, link: Link, command: str, clock: Callable[[], float]) -> None:
        self._link, self._command, self._clock = link, command, clock
        self._loop = asyncio.get_running_loop()
        self._awaited: asyncio.Future[None] | None = None
        self._rest = b""
        self._reads = self._writes = False
        self._ref = link.listener = ref(self)

    async def say(
        self,
        body: bytes,
        deadline: float,
        seconds: float,
        kind: int = CALL,
        claim: ClaimRef | None = None,
        follow: Following | None = None,
    ) -> None:
        """Send the call. Raises WorkerGone, DeadlinePassed."""
        self._rest = self._link.begin(self._command, body, seconds, kind, claim, follow)
        await self._push_on(deadline)

    async def answer(self, body: bytes, deadline: float) -> None:
        """Answer an ASK. Raises DeadlinePassed, too, when making the answer took too long."""
        if self._clock() >= deadline:
            raise DeadlinePassed(started=True)
        self._rest = self._link.begin_answer(body)
        await self._push_on(deadline)

    async def _push_on(self, deadline: float) -> None:
        while self._rest:
            await self._wait(deadline)
            self._rest = self._link.push_on(self._rest)

    async def hear(self, deadline: float) -> tuple[int, Any]:
        """The next frame of the call, as its kind and value. Raises as FdLink.call."""
        while (found := self._link.poll(self._command)) is None:
            await self._wait(deadline)
        return found

    async def _wait(self, deadline: float) -> None:
        """Until a step can be made."""
        now = self._clock()
        if now >= deadline:
            raise DeadlinePassed(started=not self._rest)
        self._awaited = future = self._loop.create_future()
        watched = self._link.watched
        if watched is not None:
            self._watch(*watched)
        until = min(deadline, self._link.next_look)
        timer = None if until == inf else self._loop.call_later(max(0.0, until - now), self._wake)
        try:
            await future
        finally:
            self._awaited = None
            if timer is not None:
                timer.cancel()

    def _watch(self, read_fd: int, write_fd: int) -> None:
        if not self._reads:
            self._loop.add_reader(read_fd, self._wake)
            self._reads = True
        if bool(self._rest) is not self._writes:
            if self._rest:
                self._loop.add_writer(write_fd, self._wake)
            else:
                self._loop.remove_writer(write_fd)
            self._writes = not self._writes

    def _wake(self) -> None:
        future = self._awaited
        if future is not None and not future.done():
            future.set_result(None)

    @property
    def is_over(self) -> bool:
        """Whether its loop is closed: nobody will ever poll."""
        return self._loop.is_closed()

    def ring(self) -> None:
        """Poll, in the loop. From any thread."""
        if asyncio._get_running_loop() is self._loop:  # noqa: SLF001  # no need to wake a selector
            self._wake()
            return
        try:
            self._loop.call_soon_threadsafe(self._wake)
        except RuntimeError:
            pass  # the loop is closed: nobody waits

    def __enter__(self) -> Conversation:
        return self

    def __exit__(self, *_: object) -> None:
        if self._link.listener is self._ref:  # else the worker was taken back, since the loop is closed
            self._link.listener = None
        watched = self._link.watched
        if watched is not None and not self._loop.is_closed():
            if self._reads:
                self._loop.remove_reader(watched[0])
            if self._writes:
                self._loop.remove_writer(watched[1])
