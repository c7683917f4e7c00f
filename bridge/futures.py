"""submit: a call that goes on without its caller, and the future of its outcome.

Rules: who the call is for, its arguments and its deadline are fixed at the door; whatever happens the future gets one
outcome. Cancelling it stops the work. What the future of a finished call keeps is its result. Apart from the crew,
whose threads make the calls and which knows nothing of futures.
"""

from __future__ import annotations

import os
from concurrent.futures import Future
from contextvars import copy_context
from math import inf
from typing import Any

from bridge.errors import PoolClosed, PoolTimeout
from bridge.returns import Convert, apply
from bridge.runtime import Runtime, calls
from bridge.runtime.claims import Claim


def submit(
    runtime: Runtime,
    command: str,
    args: Any,
    timeout: float | None,
    *,
    idempotent: bool,
    convert: Convert | None,
    owner: object,
) -> Future[Any]:
    """Begin a call; see Bridge.submit.

    Args:
        owner: Kept alive until the end: a bridge that nobody holds would close under its own call.
    """
    began_at = runtime.clock()
    body = calls.encoded(runtime, command, args)
    job = _Job(runtime, command, body, timeout, began_at, idempotent=idempotent, convert=convert, owner=owner)
    future = job.future
    runtime.crew.give(job)
    return future


class CallFuture(Future[Any]):
    """The outcome of a submitted call. `cancel` also stops one that runs."""

    def __init__(self, job: _Job, name: str) -> None:
        super().__init__()
        self._job: _Job | None = job  # until it is done
        self._name, self._pid = name, os.getpid()

    def cancel(self) -> bool:
        """Stop the call: one that waits is never sent, and the worker of one that runs is told to stop. False when it
        was done already.
        """
        job = self._job
        if job is None or not job.settle("cancelled"):
            return self.cancelled() or (job is not None and job.fate == "cancelled")
        if os.getpid() == self._pid:
            job.runtime.pool.cancel(job.claim)
        job.let_go()
        self.give_up()
        self.set_running_or_notify_cancel()
        return True

    def running(self) -> bool:
        """Whether a thread has taken it up."""
        job = self._job
        return job is not None and job.begun

    def result(self, timeout: float | None = None) -> Any:
        """As for any future. In a forked child nobody works for its parent's: PoolClosed."""
        self._refuse_forked()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """As for any future. In a forked child nobody works for its parent's: PoolClosed."""
        self._refuse_forked()
        return super().exception(timeout)

    def give_up(self) -> None:
        """It was cancelled. Once more by the crew, in case a signal cut short whoever began that. Idempotent."""
        self._job = None
        super().cancel()

    def settled(self, value: Any, error: BaseException | None) -> None:
        """Its outcome, once."""
        self._job = None
        if error is None:
            self.set_result(value)
        else:
            self.set_exception(error)

    def _refuse_forked(self) -> None:
        if os.getpid() != self._pid and not self.done():
            raise PoolClosed(self._name)


class _Job:
    """One call. The future stays pending in the eyes of its base until it is settled, so that it can be cancelled."""

    def __init__(
        self,
        runtime: Runtime,
        command: str,
        body: bytes,
        timeout: float | None,
        began_at: float,
        *,
        idempotent: bool,
        convert: Convert | None,
        owner: object,
    ) -> None:
        self.runtime, self.claim = runtime, Claim()
        self._command, self._body, self._timeout, self._began_at = command, body, timeout, began_at
        self._idempotent, self._convert = idempotent, convert
        self.deadline = inf if timeout is None else began_at + timeout
        self.future = CallFuture(self, runtime.name)
        self._owner: object = owner
        self._context = copy_context()  # what answers in a mock may call another bridge
        # Who may begin it, and who decides its outcome: the first, by a `setdefault`, which nothing can cut in two.
        self._beginner: dict[str, object] = {}
        self._fate: dict[str, list[str]] = {}

    @property
    def begun(self) -> bool:
        """Whether it was taken up, or won't be."""
        return bool(self._beginner or self._fate)

    @property
    def fate(self) -> str | None:
        """How it was settled."""
        return self._fate["fate"][0] if self._fate else None

    def settle(self, fate: str) -> bool:
        """Whether the caller is to give the future its outcome."""
        mine = [fate]
        return self._fate.setdefault("fate", mine) is mine

    def let_go(self) -> None:
        """What a traceback keeps of it shall not keep the bridge."""
        self._owner = None

    def run(self) -> None:
        """Call, in the context of the one who submitted it."""
        if not self._begin():
            return
        if self._fate:
            self.future.give_up()
        else:
            self._context.run(self._call)

    def expire(self) -> None:
        """Its time passed before its turn came."""
        if self._begin():
            self._finish(None, self._too_late())

    def refuse(self) -> None:
        """The bridge is closing."""
        if self._begin():
            self._finish(None, PoolClosed(self.runtime.name))

    def _begin(self) -> bool:
        mine = object()
        return self._beginner.setdefault("by", mine) is mine

    def _call(self) -> None:
        value: Any = None
        try:
            if self.runtime.clock() >= self.deadline:
                raise self._too_late()
            value = calls.call(
                self.runtime,
                self._command,
                None,
                self._timeout,
                self.claim,
                idempotent=self._idempotent,
                body=self._body,
                began_at=self._began_at,
            )
            value = apply(self._convert, value, self._command)
        except BaseException as error:
            self._finish(None, error)
        else:
            self._finish(value, None)

    def _finish(self, value: Any, error: BaseException | None) -> None:
        if self.settle("done"):
            self.let_go()
            self.future.settled(value, error)
        else:
            self.future.give_up()

    def _too_late(self) -> PoolTimeout:
        pool, name = self.runtime.pool, self.runtime.name
        waited, starting = self.runtime.clock() - self._began_at, pool.fleet.starting
        return PoolTimeout(waited, queued=pool.waiting, workers=pool.strength, starting=starting, name=name)
