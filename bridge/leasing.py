"""Lease: one worker, lent for several calls.

Rules: those of client.py. Apart from it for its length.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, overload

from bridge.door import DEFAULT, Timeout, checked
from bridge.errors import CallCancelled, PoolClosed, WorkerError
from bridge.returns import Returns, apply
from bridge.runtime import Runtime, RuntimeState, calls
from bridge.runtime.claims import Claim
from bridge.runtime.follow import follow_call

if TYPE_CHECKING:
    from types import TracebackType

    from bridge.contract import WorkerInfo
    from bridge.runtime.worker import Worker

T = TypeVar("T")


def refuse_forked(pid: int) -> None:
    """A lease belongs to the process that took it. Raises WorkerError."""
    if pid != os.getpid():
        raise WorkerError("this lease is the parent's, not this forked child's; take another one here, with lease()")


def lent(runtime: Runtime, claim: Claim, info: WorkerInfo, command: str, *, returned: bool) -> Worker:
    """The worker of a lease, which can be called.

    Raises:
        PoolClosed, WorkerError, CallCancelled: It can't.
    """
    if runtime.state is RuntimeState.CLOSED:
        raise PoolClosed(runtime.name)
    worker = claim.worker
    if returned:
        raise WorkerError("this lease was given back; take another one with lease()")
    if worker is None or not worker.link.clean:
        raise WorkerError(
            f"the worker of this lease (pid {info.pid}) was lost by an earlier call; take another one with lease()"
        )
    if claim.cancelled:
        raise CallCancelled(command, pid=None, why="its lease was; take another one with lease()")
    return worker


class Lease:
    """One worker, lent exclusively. `Bridge.lease` makes it."""

    def __init__(
        self,
        owner: object,
        runtime: Runtime,
        functions: Mapping[str, Callable[..., Any]],
        timeout: float | None,
        returns: Returns,
    ) -> None:
        self._owner = owner  # kept alive: a bridge that nobody holds closes
        self._functions, self._returns = functions, returns
        self._runtime = runtime
        self._pid = os.getpid()
        self._claim = Claim()
        self._returned = False
        self._calling = threading.RLock()  # its own thread can always close, whatever interrupted it
        deadline = float("inf") if timeout is None else runtime.clock() + timeout
        self._info = runtime.pool.checkout(self._claim, deadline).info

    @property
    def info(self) -> WorkerInfo:
        """Who the worker is."""
        return self._info

    @overload
    def call(
        self,
        command: str,
        args: Any = ...,
        /,
        *,
        timeout: Timeout = ...,
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
        on_progress: Callable[[Any], object] | None = None,
        returns: Any = None,
    ) -> Any:
        """Call a command on this worker. Arguments and errors as for `Bridge.call`.

        Raises:
            WorkerError: The lease was given back, is spent (a call on it timed out, crashed or was cancelled), or is
                being used by another thread.
            CallCancelled: Another thread cancelled the lease, before the call was sent or while it ran.
        """
        convert = self._returns.convert(returns)
        seconds = self._runtime.call_timeout if timeout is DEFAULT else checked(timeout)
        refuse_forked(self._pid)
        if not self._calling.acquire(blocking=False):
            raise WorkerError(
                "another thread is calling on this lease; a lease has one user at a time: take one for each"
            )
        try:
            worker = lent(self._runtime, self._claim, self._info, command, returned=self._returned)
            try:
                follow = follow_call(self._runtime, self._functions, on_progress)
                result = calls.call_on(self._runtime, self._claim, command, args, seconds, follow)
            finally:
                if not worker.link.clean:  # at once: it is told to stop now, not when the lease is given back
                    self._runtime.pool.checkin(self._claim)
        finally:
            self._calling.release()
        return apply(convert, result, command)

    def cancel(self) -> None:
        """Stop what the worker is doing, from any thread: its call raises CallCancelled, and the lease is spent."""
        self._runtime.pool.cancel(self._claim)

    def close(self) -> None:
        """Give the worker back, after the handler's `on_reset`. Idempotent. A call of another thread is cancelled.

        Raises:
            RemoteError, CallTimeout, WorkerCrashed: Its `on_reset` failed; the worker is replaced.
        """
        if self._pid != os.getpid():
            return  # a forked child has nothing to give back, and the lock may be held by a thread that isn't here
        if not self._calling.acquire(blocking=False):
            self.cancel()
            self._calling.acquire()  # its worker is being killed: the other thread is about to leave
        try:
            self._returned = True
            if self._claim.worker is None:
                return
            self._claim.cancelled = False  # that was for a call; who cancels from here on ends the `on_reset`
            try:
                calls.reset(self._runtime, self._claim, self._runtime.call_timeout)
                self._runtime.pool.checkin(self._claim)
            finally:
                self._give_up()
        finally:
            self._calling.release()

    def _give_up(self) -> None:
        """Have its worker replaced, if it wasn't given back: nobody knows what is left in it."""
        if self._claim.worker is not None:
            self._runtime.pool.condemn(self._claim)
            self._runtime.pool.checkin(self._claim)

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Whoever keeps the name that `with` gave it keeps its worker, too: a Ctrl-C in the first steps of `close` must
        # not leave it lent. (One in the first step of this is beyond what Python can do.)
        try:
            self.close()
        finally:
            if self._pid == os.getpid():
                self._give_up()
