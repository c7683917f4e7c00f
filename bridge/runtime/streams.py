"""A stream: the items of a handler's generator, as they are wanted.

Rules: a worker is taken for the first item and lent for as long as the stream lasts. The handler is told how many items
it may make, so that neither end holds more than that. Whoever closes a stream early, or drops it, has its call ended as
a cancelled one is; a finaliser takes no lock: it lets go of the claim, and whoever looks next finds the worker. Apart
from calls.py, where a call ends in one reply.
"""

from __future__ import annotations

import threading
from math import inf
from typing import TYPE_CHECKING, Any

from bridge.contract import WorkerGone
from bridge.errors import CallCancelled
from bridge.runtime.calls import ENDINGS, MAX_RETRIES, encoded, outcome
from bridge.runtime.claims import Claim
from bridge.runtime.session import spread_news
from bridge.wire import ASK, ITEM, RESULT

if TYPE_CHECKING:
    from types import TracebackType

    from bridge.link import Link
    from bridge.runtime import Runtime
    from bridge.runtime.follow import Follow
    from bridge.runtime.worker import Worker


class BaseStream:
    """What a stream keeps, however its caller waits.

    Args:
        timeout: Seconds for each item; None is no limit.
        ahead: Items that may be made ahead of the caller.
        owner: Kept alive: a bridge that nobody holds closes.
    """

    def __init__(
        self,
        runtime: Runtime,
        command: str,
        args: Any,
        timeout: float | None,
        follow: Follow,
        ahead: int,
        owner: object,
    ) -> None:
        self._runtime, self._command, self._timeout, self._owner = runtime, command, timeout, owner
        self._body = encoded(runtime, command, args, follow)
        self._follow, self._half, self._taken = follow, max(1, ahead // 2), 0
        self._claim: Claim | None = None
        self._worker: Worker | None = None
        self._over = self._sent = False

    def _deadline(self) -> float:
        """Of the next item."""
        return inf if self._timeout is None else self._runtime.clock() + self._timeout

    def _took(self, claim: Claim, worker: Worker) -> Worker:
        """The claim was lent a worker."""
        if claim.cancelled:
            raise CallCancelled(self._command, pid=None)
        self._worker = worker
        if self._follow.visit is not None:
            self._follow.visit.equip(self._follow, self._command, self._body)
        worker.calls += 1
        claim.sent_at = worker.active_at = self._runtime.clock()
        return worker

    def _give_credit(self, link: Link) -> None:
        """Ask for as many items more as were taken, now and then."""
        if self._taken >= self._half and link.credit(self._taken):
            self._taken = 0

    def _heard(self, kind: int, link: Link) -> int:
        """An item has come, or the end."""
        self._taken += 1
        if kind == RESULT and self._follow.visit is not None:
            self._follow.visit.heard(link)
        return kind

    def _is_to_be_sent_again(self, end: Exception, retries: int) -> bool:
        """Whether the worker had certainly not begun it, and there are tries left."""
        unsent = isinstance(end, WorkerGone) and not end.started
        return unsent and retries < MAX_RETRIES and self._claim is not None and not self._claim.cancelled

    def _try_another(self, worker: Worker) -> None:
        """That worker died before it saw the call."""
        self._let_go()
        self._runtime.pool.count_again(worker, started=False)

    def _end(self) -> None:
        self._over = True
        self._let_go()
        if self._follow.visit is not None:
            spread_news(self._runtime)

    def _let_go(self) -> None:
        claim, worker = self._claim, self._worker
        if claim is not None:
            try:
                if worker is not None and claim.worker is worker:
                    worker.link.leave()
            finally:
                self._worker, self._sent = None, False
                try:
                    self._runtime.pool.checkin(claim)
                finally:
                    if self._follow.visit is not None:
                        self._follow.visit.leave()

    def __del__(self) -> None:
        if getattr(self, "_worker", None) is not None and not self._over:
            self._claim = self._worker = None
            self._runtime.supervisor.notice()  # it finds a worker whose holder is gone


class Stream(BaseStream):
    """An iterator over the items; `Bridge.stream` makes it. `with` closes it."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._using = threading.RLock()  # its own thread can always close, whatever interrupted it

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Any:
        """The next item.

        Raises:
            RemoteError: The handler raised, after the items that came before.
            CallTimeout, WorkerCrashed, CallCancelled, PoolTimeout, ...: As for a call. The stream is over.
        """
        if not self._using.acquire(blocking=False):
            raise RuntimeError(
                "another thread is taking the next item; a stream has one user at a time: have one for each"
            )
        try:
            if self._over:
                raise StopIteration
            going_on = False
            try:
                kind, value = self._next(self._deadline())
                going_on = kind == ITEM
            finally:
                if not going_on:
                    self._end()
        finally:
            self._using.release()
        if not going_on:
            raise StopIteration
        return value

    def _next(self, deadline: float) -> tuple[int, Any]:
        retries = 0
        while True:
            worker = self._worker or self._begin(deadline)
            try:
                link = worker.link
                if not self._sent:
                    self._sent = True
                    link.open(self._command, self._body, deadline, inf, worker.holder, self._follow)
                self._give_credit(link)
                kind, value = link.hear(self._command, deadline)
                while kind == ASK:
                    link.answer(self._follow.answer(value), deadline)
                    kind, value = link.hear(self._command, deadline)
                return self._heard(kind, link), value
            except ENDINGS as end:
                if not self._is_to_be_sent_again(end, retries):
                    claim = self._claim
                    assert claim is not None
                    raise outcome(
                        self._runtime, claim, worker, self._command, end, deadline, self._timeout, self._body
                    ) from None
                retries += 1
                self._try_another(worker)

    def _begin(self, deadline: float) -> Worker:
        """Take a worker."""
        self._claim = claim = Claim()
        visit = self._follow.visit
        if visit is not None:
            return self._took(claim, visit.checkout(claim, deadline))
        return self._took(claim, self._runtime.pool.checkout(claim, deadline))

    def close(self) -> None:
        """End it; the handler's generator is closed, so that its `finally` runs. Idempotent. An item that another
        thread waits for is cancelled."""
        if not self._using.acquire(blocking=False):
            claim = self._claim
            if claim is not None:
                self._runtime.pool.cancel(claim)
            self._using.acquire()
        try:
            self._end()
        finally:
            self._using.release()

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
