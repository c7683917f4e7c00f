"""What an application is told of each call: `on_call`, entered when one begins and left when it has ended.

Rules: it runs where the call is made, so that a span of its is the current one there; what it raises is logged and does
the call no harm. Without one nothing of this is reached. Apart from the courier, whose callback hears of the bridge, in
a thread of its own.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bridge.errors import ConfigurationError
from bridge.runtime.courier import log
from bridge.runtime.follow import Follow, propagated
from bridge.runtime.journal import say

if TYPE_CHECKING:
    from bridge.runtime import Runtime
    from bridge.runtime.claims import Claim
    from bridge.runtime.worker import Worker


@dataclass(eq=False)
class Call:
    """One call, as `on_call` is told of it. What is known when it begins stays; the rest is there at its end."""

    bridge: str
    adapter: str
    command: str
    session: str | None
    """The key of its session, if it is in one."""
    error: BaseException | None = None
    """What it raised; None: it returned."""
    sent: int = 0
    """Times that it was sent to a worker; more than one: the workers before had died."""
    waited: float = 0.0
    """Seconds until it was sent for the first time, or until it ended without that."""
    ran: float | None = None
    """Seconds from when it was sent, the last time, to its end; None: it never was."""
    pid: int | None = None
    """Of the worker that it was sent to last."""
    host: str | None = None
    """Where that is, by the names of `pool.hosts`."""


OnCall = Callable[[Call], AbstractContextManager[object]]
"""Is called when a call begins; what it returns is entered then, and left at the end, with the error if any."""


def on_call_of(given: Any) -> OnCall | None:
    """What was handed in as `on_call`, checked.

    Raises:
        ConfigurationError: It can't be called, or only awaited.
    """
    if given is not None and (not callable(given) or inspect.iscoroutinefunction(given)):
        raise ConfigurationError(
            "on_call takes a function of one bridge.Call that returns a context manager, such as one under "
            f"contextlib.contextmanager, not {given!r:.60}"
        )
    found: OnCall | None = given
    return found


class Watch:
    """Sees what becomes of one call."""

    def __init__(self, runtime: Runtime, command: str, session: str | None) -> None:
        self.call = Call(runtime.name, runtime.adapter.name, command, session)
        self._clock = runtime.clock
        self._began, self._sent_at = runtime.clock(), 0.0
        self._worker: Worker | None = None

    def saw(self, claim: Claim) -> None:
        """After each attempt, before the worker goes back: whether the call was sent to one."""
        self.sent_to(claim.worker, claim.sent_at)

    def sent_to(self, worker: Worker | None, at: float) -> None:
        """It was sent. Idempotent for each worker; one that is lent and was sent nothing has no time."""
        if worker is None or worker is self._worker or not at:
            return
        call, self._worker, self._sent_at = self.call, worker, at
        if not call.sent:
            call.waited = at - self._began
        call.sent += 1
        call.pid, call.host = worker.info.pid, worker.host or None

    def ended(self, error: BaseException | None) -> None:
        """It has its outcome."""
        call, now = self.call, self._clock()
        call.error, self._worker = error, None
        if call.sent:
            call.ran = now - self._sent_at
        else:
            call.waited = now - self._began


class Watcher:
    """The callback of one bridge.

    Args:
        name: Labels log lines.
    """

    def __init__(self, on_call: OnCall, name: str) -> None:
        self._on_call, self._name = on_call, name
        self._told: set[type[BaseException]] = set()  # what it has raised so far

    @contextmanager
    def watch(self, runtime: Runtime, command: str, follow: Follow | None) -> Iterator[tuple[Watch, Follow | None]]:
        """Around a call: what sees it, and what it is followed by, with the context that is now."""
        visit = None if follow is None else follow.visit
        watch = Watch(runtime, command, None if visit is None else visit.key)
        manager = self._enter(watch.call)
        try:
            if follow is not None and runtime.spec.propagate:
                follow = copy(follow)  # several calls of a map may share it
                follow.carry(propagated(runtime))
            yield watch, follow
        except BaseException as error:
            watch.ended(error)
            self._leave(manager, error)
            raise
        else:
            watch.ended(None)
            self._leave(manager, None)

    def _enter(self, call: Call) -> AbstractContextManager[object] | None:
        try:
            manager = self._on_call(call)
            manager.__enter__()
        except Exception as error:
            self._complain(error, call)
            return None
        return manager

    def _leave(self, manager: AbstractContextManager[object] | None, error: BaseException | None) -> None:
        """Whether it swallows the error doesn't count: the call has ended as it has."""
        if manager is None:
            return
        try:
            manager.__exit__(None if error is None else type(error), error, sys.exc_info()[2])
        except Exception as other:
            if other is not error:
                self._complain(other, None)

    def _complain(self, error: BaseException, call: Call | None) -> None:
        if type(error) not in self._told:  # once for each kind: what is broken is so at each call
            self._told.add(type(error))
            where = "the end" if call is None else "the beginning"
            say(log.error, "on_call of %s raised at %s of a call; it goes on", self._name, where, exc_info=error)
