"""One worker as the runtime knows it.

Rules: whoever holds the lease owns the link; the supervisor owns everything else. Apart from pool and supervisor
because both hold it and neither may import the other's inside.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from math import inf
from typing import Any
from weakref import ReferenceType

from bridge.channel import FdLink
from bridge.channel_submit import SubmitLink
from bridge.contract import Channel, ExitStatus, FdChannel, LateChannel, ProcessChannel, WorkerInfo
from bridge.core.effects import Why
from bridge.core.recycling import Thresholds
from bridge.endings import ending
from bridge.errors import WorkerStartError


class Latch:
    """Set once, waited for by one thread. A bare lock: a signal inside Event.wait can leave its condition broken."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        """Let the one who waits go on. Idempotent."""
        try:
            self._lock.release()
        except RuntimeError:
            pass  # it was set already

    def wait(self, seconds: float) -> bool:
        """Wait for it, for so long at the most. Once it was seen as set, nobody may wait again."""
        return self._lock.acquire(timeout=max(0.0, min(seconds, threading.TIMEOUT_MAX)))


class Worker:
    """A channel, its link, and what is known of both."""

    __slots__ = (
        "__weakref__",
        "active_at",
        "asked_at",
        "calls",
        "channel",
        "departed",
        "exited",
        "fault",
        "generation",
        "holder",
        "hooks",
        "host",
        "info",
        "killed",
        "late",
        "link",
        "most_calls",
        "needs_reset",
        "process",
        "ready",
        "sent_again",
        "started_at",
        "status",
        "thresholds",
        "weighed_at",
    )

    def __init__(self, channel: Channel, link: FdLink | SubmitLink, info: WorkerInfo, started_at: float) -> None:
        self.channel, self.link, self.info = channel, link, info
        self.process: ProcessChannel | None = None
        self.late: LateChannel | None = None  # the same, if its process comes later
        self.generation = info.generation
        self.host = ""  # by its name in `pool.hosts`; nothing without these
        self.started_at = started_at
        self.active_at = started_at  # when something was last sent to it or heard of it; by whoever did
        self.holder: ReferenceType[Any] | None = None
        self.departed = False  # the pool's
        self.hooks: frozenset[str] = frozenset()
        self.calls = 0  # written by the holder before a call is sent
        self.thresholds = Thresholds()  # after which it is replaced
        self.asked_at = -inf  # when it was last asked how it is
        self.weighed_at = 0  # calls that it had answered when its memory was last measured
        self.most_calls: float = inf  # of its thresholds; none once the pool has said that it is to be replaced
        self.sent_again = 0  # calls that it didn't live to answer, while it isn't known how it ended; the pool's
        self.needs_reset = False  # a lease has used it, and its `on_reset` hasn't run since
        self.ready = False
        self.fault: WorkerStartError | None = None  # why its start is being given up
        self.killed: Why | None = None
        self.status: ExitStatus | None = None
        self.exited = Latch()  # set once `status` and the tail of its stderr are complete

    @property
    def lent(self) -> bool:
        """Whether somebody holds it."""
        return self.holder is not None and self.holder() is not None

    def release(self) -> None:
        """Give its descriptors back."""
        if isinstance(self.channel, FdChannel):
            self.channel.close()
        self.link.close()

    def how_it_ended(self) -> str:
        """Its exit code or signal, in words, with the reason if one is known."""
        status = self.status or ExitStatus()
        oom, launcher = status.out_of_memory, status.launcher
        return ending(status.code, status.signal, out_of_memory=oom, why=status.why, launcher=launcher)

    def ended(self, status: ExitStatus) -> None:
        """Take note of how its process ended: its launcher, if that isn't itself the worker by now."""
        own = self.info.launcher_pid in (None, self.info.pid)
        if not (own or self.info.pid is None or status.signal is None):
            status = replace(status, launcher=self.info.launcher or "")
        self.status = status
