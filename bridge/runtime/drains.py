"""A conversation of the supervisor's with a worker that nobody holds: a cancelled call's end, or a look at its health.

Rules: driven by the poller; ends with exactly one of `drained`, `unwell`, `drain_failed` and the worker's death; how
long it may take is for the fleet to say. The frame is the authority, the signal only a nudge: a worker that was nudged
late, in another call, finds no frame that means it. Apart from starting.py, which has the first conversation.
"""

from __future__ import annotations

from typing import Protocol

from bridge.channel import FdLink
from bridge.core.effects import Why
from bridge.core.messages import encode_hook, farewell
from bridge.core.protocol import Frame
from bridge.core.sessions import Ended
from bridge.errors import ProtocolError
from bridge.runtime.poller import Poller
from bridge.runtime.worker import Worker
from bridge.wire import ASK, CANCEL, EXTRAS, HOOK, ITEM, RESULT


class Outcome(Protocol):
    """Whom a conversation reports to."""

    def drained(self, worker: Worker) -> None:
        """It answers, and no reply is outstanding."""

    def unwell(self, worker: Worker) -> None:
        """Its handler says that it isn't well."""

    def drain_failed(self, worker: Worker, why: Why) -> None:
        """It doesn't do what it should."""


class Drain:
    """One conversation."""

    def __init__(self, worker: Worker, link: FdLink, poller: Poller, outcome: Outcome) -> None:
        self._worker, self._link, self._poller, self._outcome = worker, link, poller, outcome
        self.ended: Ended = ()
        """Sessions whose end it is told of with the question how it is."""
        fds = worker.channel.fileno()
        assert fds is not None
        self._read_fd = fds[0]
        self._asked = ""  # the hook whose answer is awaited; none: the call that was cancelled
        poller.watch(self._read_fd, self.hear)

    def cancel(self) -> None:
        """Ask it to end the call that its holder has left."""
        if self._link.push(self._link.connection.send(CANCEL)):
            self._fail(Why.DIRTY)  # the pipe is full: it isn't even reading
        else:
            self._worker.channel.cancel(self._link.call_id)
            self.hear()  # its holder may have read the end of it already, with items that came before

    def ping(self, ended: Ended) -> None:
        """Ask it how it is.

        Args:
            ended: Sessions that it is to forget before.
        """
        self.ended = ended
        self._ask("on_health", farewell(ended) if ended else b"")

    def _ask(self, hook: str, extras: bytes = b"") -> None:
        self._asked = hook
        flags = EXTRAS if extras else 0
        if self._link.push(self._link.connection.send(HOOK, extras + encode_hook(hook), flags)):
            self._fail(Why.UNHEALTHY)

    def hear(self) -> None:
        """Take what has come."""
        try:
            frames = self._link.pull()
            for frame in frames or ():
                self._heard(frame)
            if frames is None:
                self._fail(Why.DIRTY)  # the end of the stream; its death is noticed elsewhere
        except ProtocolError:
            self._fail(Why.DIRTY)

    def _heard(self, frame: Frame) -> None:
        kind, body = frame
        if kind in (ITEM, ASK):
            return  # of the call that was left
        worker = self._worker
        well = kind == RESULT and bytes(body) != b"false"
        if not self._asked and worker.needs_reset and "on_reset" in worker.hooks:
            self._ask("on_reset")  # the lease that it was lent for is over
        elif self._asked == "on_reset" and kind != RESULT:
            self._fail(Why.DIRTY)
        else:
            self.abandon()
            worker.needs_reset = False
            if self._asked == "on_health" and not well:
                self._outcome.unwell(worker)
            else:
                self._outcome.drained(worker)

    def _fail(self, why: Why) -> None:
        if self._read_fd in self._poller:
            self.abandon()
            self._outcome.drain_failed(self._worker, why)

    def abandon(self) -> None:
        """Hear no more of it."""
        self._poller.unwatch(self._read_fd)
