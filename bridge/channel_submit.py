"""The driver of a channel without descriptors: its adapter answers `submit`.

Rules: a late or second answer reaches nobody; whoever waits is released at its deadline, when its worker is dead, and
when its call is cancelled. Apart from channel.py, which drives descriptors.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from math import inf
from typing import Any

from bridge.contract import Channel, Reply, Request, WorkerGone
from bridge.link import HEARING, ClaimRef, DeadlinePassed, Following, Left, ListenerRef, ring
from bridge.wire import CALL, HOOK, ITEM, RESULT, decode_json


class SubmitLink:
    """A link to a channel without descriptors."""

    hands_on = False
    """What it calls belongs into the caller's thread."""

    __slots__ = (
        "_bell",
        "_call_id",
        "_caller",
        "_channel",
        "_clock",
        "_dead",
        "_items",
        "_outstanding",
        "_reply",
        "_until",
        "listener",
        "snapshot",
    )

    def __init__(self, channel: Channel, clock: Callable[[], float]) -> None:
        self._channel = channel
        self._clock = clock
        self._call_id = 0
        self._dead = self._outstanding = False
        self._reply: Reply | None = None
        self._items: Generator[Any, None, bytes | None] | None = None
        self._caller: ClaimRef | None = None
        self.snapshot: bytes | None = None
        self._until = inf  # when a delayed reply is due
        self.listener: ListenerRef | None = None
        """The holder, while a call is out that it doesn't wait for in `call`."""
        # A bare lock, not an Event: a signal inside Event.wait can leave its condition broken.
        self._bell = threading.Lock()

    @property
    def clean(self) -> bool:
        """No reply is outstanding."""
        return not self._outstanding

    @property
    def call_id(self) -> int:
        """Of the request that is out, or was last."""
        return self._call_id

    @property
    def cancellable(self) -> bool:
        """Never."""
        return False

    def call(
        self,
        command: str,
        body: bytes,
        deadline: float,
        kind: int = CALL,
        claim: ClaimRef | None = None,
    ) -> Any:
        """One request and its one reply. Raises as FdLink.call, and whatever error the reply carries."""
        request = Request(self._call_id + 1, command, decode_json(bytes(body))[1], deadline, kind == HOOK)
        self._submit(request, claim)
        return self.finish(command, deadline)

    def plain(self, command: str, body: bytes, deadline: float, now: float) -> Any:
        """`call` of a command that nobody else can cancel, at monotonic seconds."""
        del now
        self._submit(Request(self._call_id + 1, command, decode_json(bytes(body))[1], deadline, False), None)
        return self.finish(command, deadline)

    def finish(self, command: str, deadline: float) -> Any:
        """The reply to a call that was begun. Raises as `call`."""
        del command
        reply = self._reply  # mostly it has come by now, and there is nothing to be waited for
        if reply is None or reply.delay > 0 or reply.error is not None or self._clock() > deadline:
            reply = self._await(deadline)
        self._outstanding = False
        if reply.error is not None:
            raise reply.error
        return reply.value

    def _submit(self, request: Request, claim: ClaimRef | None) -> None:
        self._call_id = request.call_id
        self._reply = self._items = None
        self._bell = bell = threading.Lock()
        bell.acquire()
        self._outstanding = True
        # Looked at only now: `abort` and `interrupt` may have rung the bell before.
        if self._dead:
            raise WorkerGone(started=False)
        self._caller = claim
        if claim is not None and (caller := claim()) is not None and caller.cancelled:
            self._outstanding = False
            raise Left
        self._channel.submit(request, self._done)

    def _is_left(self) -> bool:
        caller = None if self._caller is None else self._caller()
        return caller is not None and caller.cancelled

    def _await(self, deadline: float) -> Reply:
        reply = self._reply
        waits = reply is None or reply.delay > 0
        # An answer that a slow `submit` gives behind the deadline comes too late as well.
        if (left := deadline - self._clock()) < 0 or (waits and not _rings(self._bell, left)):
            raise DeadlinePassed(started=True)
        reply = self._reply
        if reply is None or (reply.delay > 0 and self._is_cut_short(reply.delay, deadline)):
            raise WorkerGone(started=True)
        if isinstance(reply.error, WorkerGone):
            raise reply.error
        return reply

    # -- A call that more than its result comes of -------------------------------------------------------

    def open(
        self,
        command: str,
        body: bytes,
        deadline: float,
        seconds: float,
        claim: ClaimRef | None,
        follow: Following,
        kind: int = CALL,
    ) -> None:
        """Begin it. What it reports and asks is answered at once, in whatever thread its channel does that."""
        self._submit(self._request(command, body, inf if seconds == inf else deadline, kind, follow), claim)

    def _request(self, command: str, body: bytes, deadline: float, kind: int, follow: Following | None) -> Request:
        args = decode_json(bytes(body))[1]
        if follow is None:
            return Request(self._call_id + 1, command, args, deadline, kind == HOOK)
        return Request(
            self._call_id + 1,
            command,
            args,
            deadline,
            kind == HOOK,
            streams=follow.streams,
            progress=follow.progress,
            ask=follow.answer,
            context=follow.context,
            session=follow.session,
            ended=follow.ended,
        )

    def hear(self, command: str, deadline: float, reply: Reply | None = None) -> tuple[int, Any]:
        """The next item, or the result. Raises as `call`.

        Args:
            reply: If it has come.
        """
        del command
        if self._items is None:
            reply = reply or self._await(deadline)
            self._items = reply.items
            if self._items is None:
                self._outstanding = False
                if reply.error is not None:
                    raise reply.error
                self.snapshot = reply.snapshot
                return RESULT, reply.value
        if self._dead:
            raise WorkerGone(started=True)
        if self._is_left():
            raise Left
        try:
            return ITEM, next(self._items)
        except StopIteration as end:
            self.snapshot = end.value
            self._outstanding = False
            return RESULT, None
        except Exception:
            self._outstanding = False
            raise

    # -- For whoever waits by other means than `call` ----------------------------------------------------

    def begin(
        self,
        command: str,
        body: bytes,
        seconds: float,
        kind: int = CALL,
        claim: ClaimRef | None = None,
        follow: Following | None = None,
    ) -> bytes:
        """Begin a call; nothing is ever left of it to be written. Raises WorkerGone, Left, and DeadlinePassed when its
        channel took too long for that."""
        deadline = self._clock() + seconds
        self._until = inf
        self._submit(self._request(command, body, deadline, kind, follow), claim)
        if self._clock() > deadline:
            raise DeadlinePassed(started=True)
        return b""

    def begin_answer(self, body: bytes) -> bytes:
        """Never: what is asked is answered where it is asked."""
        del body
        return b""

    push_on = begin_answer

    def poll(self, command: str) -> tuple[int, Any] | None:
        """What has come of a call, as its kind and value. Raises as `call`, and Left when it was cancelled."""
        reply = self._reply
        if self._dead:
            raise WorkerGone(started=True)
        if self._is_left():
            raise Left
        if reply is None:
            return None
        if reply.delay > 0:
            if self._until == inf:
                self._until = self._clock() + reply.delay
            if self._clock() < self._until:
                return None
        if isinstance(reply.error, WorkerGone):
            raise reply.error
        return self.hear(command, inf, reply)

    @property
    def watched(self) -> None:
        """Nothing: `listener` is called."""

    @property
    def next_look(self) -> float:
        """Monotonic seconds at which a delayed reply is due."""
        return self._until

    def answer(self, body: bytes, deadline: float) -> None:
        """Never: what is asked is answered where it is asked."""

    def credit(self, items: int) -> bool:
        """Nothing to do: each item is made when it is wanted."""
        del items
        return True

    def leave(self) -> None:
        """End what makes the items."""
        items, self._items = self._items, None
        if items is not None and not self._dead:
            items.close()
            self._outstanding = False

    def _is_cut_short(self, delay: float, deadline: float) -> bool:
        """Let a reply wait; whether its worker died, or its call was cancelled, meanwhile."""
        if self._is_left():  # its ring was lost in that of the reply
            return True
        left = deadline - self._clock()
        if _rings(self._bell, min(delay, left)):
            return True
        if left < delay:
            raise DeadlinePassed(started=True)
        return False

    def _done(self, reply: Reply) -> None:
        # A late or second answer, or one of a worker that was killed, reaches nobody.
        if reply.call_id == self._call_id and self._reply is None and not self._dead:
            self._reply = reply
            self._ring()

    def interrupt(self) -> None:
        """Another thread has cancelled the call: whoever waits for its reply need not any longer."""
        self._ring()

    def close(self) -> None:
        """Nothing to give back."""

    def abort(self) -> None:
        """The worker is dead: whoever waits for its reply need not any longer."""
        self._dead = True
        self._ring()

    def stop(self, hooks: frozenset[str], ended: Callable[[Reply], None]) -> None:
        """Ask a worker that is nobody's to end: its `on_close`, if it has that or sessions, then the end."""
        if not hooks.isdisjoint(("on_close", "on_session_end")):
            self._channel.submit(Request(0, "on_close", None, hook=True), ended)
        self._channel.kill()

    def _ring(self) -> None:
        try:
            self._bell.release()
        except RuntimeError:
            pass  # nobody waits, or it rang already
        if self.listener is not None:
            ring(self.listener)


def _rings(bell: threading.Lock, seconds: float) -> bool:
    """Whether it rings in that time."""
    while seconds > HEARING:
        if bell.acquire(timeout=HEARING):
            return True
        seconds -= HEARING
    return bell.acquire(timeout=max(0.0, seconds))
