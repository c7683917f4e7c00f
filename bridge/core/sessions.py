"""Which sessions there are, and which worker has the state of each.

Rules: plain data under the pool's lock; nothing here reads a clock or waits. What a session needs is found by its key,
whatever their number; they stand in the order of their last use, so that the next to go is always the first. What is
written last is what makes a change count, so that an exception between two bytecodes leaves a state that can be used.
Apart from pool_state.py, which knows workers and callers, and nothing of what they do with each other.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum, IntEnum
from math import inf
from typing import Any, Final, Generic, Protocol, TypeVar
from weakref import ReferenceType

BATCH: Final = 64
"""Ended sessions that a worker is told of at a time."""

Ended = tuple[tuple[str, int], ...]
"""Key and epoch of each."""


class Affinity(str, Enum):
    """What a session's call does when the worker that has its state is busy, and what it gets when that is dead."""

    HINT = "hint"
    """Another worker, and a new state."""
    STRICT_QUEUE = "strict_queue"
    """It waits for that worker; of its death it is told."""
    STRICT_FAIL_FAST = "strict_fail_fast"
    """It is refused while others have that worker; of its death it is told."""


@dataclass(frozen=True)
class SessionPolicy:
    """How sessions are kept."""

    affinity: Affinity = Affinity.HINT
    ttl: float | None = 3600.0
    """Seconds after its last use at which a session ends."""
    max_sessions: int = 10_000
    """Beyond, the one that wasn't used for longest ends."""
    max_snapshot_bytes: int = 1024 * 1024


class Landing(IntEnum):
    """What a caller that was lent a worker finds there."""

    ELSEWHERE = 0
    """Nothing: it has to look again."""
    KEPT = 1
    """The state, as the last call left it."""
    BEGUN = 2
    """None yet: the call begins it, from the last snapshot if there is one."""


class Home(Protocol):
    """What is asked of a worker."""

    departed: bool
    """It will never be lent again."""
    holder: ReferenceType[Any] | None
    """Who has it; its `session` is the key of the session that it was lent for."""


W = TypeVar("W", bound=Home)


class Record(Generic[W]):
    """One session, from its first call to its end."""

    __slots__ = (
        "durable",
        "ended",
        "epoch",
        "key",
        "lineage",
        "live",
        "lost",
        "snapshot",
        "strict",
        "used_at",
        "worker",
    )

    def __init__(self, key: str) -> None:
        self.key = key
        self.worker: W | None = None  # the one that has the state, if any
        self.epoch = 0  # of that state
        self.lineage = 0  # the epoch in which it last began with nothing; none while it has no state
        self.live = False  # what that worker has is what the session stands at
        self.durable = False  # since a first snapshot came, or from the beginning
        self.strict = False  # somebody relies on its state
        self.snapshot: bytes | None = None
        self.lost: tuple[int | None, str, str | None] | None = None
        """Whose death took the state, how, and on which host, until somebody is told."""
        self.ended = ""  # why it isn't in the book any more
        self.used_at = 0.0

    @property
    def in_use(self) -> bool:
        """Whether a call of it is out, or about to be sent: whoever has its worker has that for this session."""
        worker = self.worker
        holder = None if worker is None or worker.holder is None else worker.holder()
        return holder is not None and holder.session == self.key


class SessionBook(Generic[W]):
    """All sessions of one pool."""

    def __init__(self, policy: SessionPolicy) -> None:
        self.policy = policy
        self.records: OrderedDict[str, Record[W]] = OrderedDict()  # the one that wasn't used for longest is first
        self.farewells: dict[W, dict[str, int]] = {}  # states to be dropped, by the worker that has them: key to epoch
        self.news = False  # something has to be seen to: a farewell, or the time of the first one
        self._at: dict[W, dict[str, Record[W]]] = {}
        self._epochs = 0

    # -- A call ------------------------------------------------------------------------------------------

    def find(self, key: str, now: float) -> Record[W]:
        """The session of that key, begun if there is none; the next to go is another one from now on."""
        record = self.records.get(key)
        if record is not None and (record.ended or (self._is_late(record, now) and not record.in_use)):
            self.end(record, self._unused())  # or finish what was cut short
            record = None
        if record is None:
            record = Record(key)
        self.news = self.news or not self.records  # else nobody looks when its time is over
        self.records[key] = record
        self.records.move_to_end(key)  # first: the order tells whose time is over
        record.used_at = now
        self.trim(now, record)
        return record

    def is_current(self, record: Record[W]) -> bool:
        """Whether it hasn't ended."""
        return self.records.get(record.key) is record

    def land(self, record: Record[W], worker: W, *, strict: bool, durable: bool) -> Landing:
        """A caller was lent a worker for a session: from now on its state is there, and the caller's alone; unless
        the session has ended, the worker is dead, or the state is elsewhere and can't move.
        """
        if not record.epoch and record.key not in self.records:
            record.ended = ""  # too many others came while it waited for its first worker: else each ended the other's
            self.records[record.key] = record
        moves = record.worker is not None and record.worker is not worker
        current = self.is_current(record) and not record.ended  # else its end was cut short; `find` finishes it
        if worker.departed or not current or (moves and (strict or record.strict or record.in_use)):
            return Landing.ELSEWHERE
        landing = Landing.KEPT
        if moves or record.worker is None or not record.live:
            landing = Landing.BEGUN
            record.live = False  # first: what is cut short below is begun anew by the next call
            self._leave_worker(record)
            self._epochs += 1
            record.epoch = self._epochs
            self._forget_farewell(worker, record.key)  # the new epoch says as much
            self._at.setdefault(worker, {})[record.key] = record
            if record.snapshot is None:
                record.lineage, record.strict = record.epoch, False
            record.durable = record.durable or durable
            record.worker, record.lost = worker, None
        record.strict = record.strict or strict
        record.live = not record.durable  # else it is once the call has returned a snapshot
        return landing

    def store(self, record: Record[W], epoch: int, snapshot: bytes) -> bool:
        """A call that landed in that epoch has returned: so the session stands from now on, wherever its worker is.
        False when it went on without it, since its worker was dead by then: nothing is stored, and the call must not
        return."""
        if record.epoch != epoch:
            return False
        record.snapshot = snapshot
        record.durable = record.live = True
        return True

    def leave(self, record: Record[W], now: float) -> None:
        """The end of a call: it counts as used until now. Idempotent."""
        if self.is_current(record):
            self.records.move_to_end(record.key)
        record.used_at = now
        self.trim(now, record)  # while it was in use there may have been more than the limit

    # -- The end -----------------------------------------------------------------------------------------

    def end(self, record: Record[W], why: str) -> None:
        """A session is over; its worker is to be told. Idempotent."""
        if not record.ended:
            record.ended = why
        self._leave_worker(record)
        record.snapshot = None  # handles may keep the record
        if self.is_current(record):
            del self.records[record.key]

    def trim(self, now: float, used: Record[W] | None = None) -> None:
        """End those whose time is over, and those above the limit, but none that is being used."""
        spared = None
        while (first := next(iter(self.records.values()), None)) is not None and first is not spared:
            late = self._is_late(first, now)
            if not late and len(self.records) <= self.policy.max_sessions:
                return
            if first is used or first.in_use:
                spared = spared or first
                self.records.move_to_end(first.key)
                first.used_at = now
            elif late:
                self.end(first, self._unused())
            else:
                self.end(first, f"it was the one least recently used (max_sessions={self.policy.max_sessions})")

    def next_end(self) -> float:
        """When the time of the next one is over."""
        first = next(iter(self.records.values()), None)
        return inf if first is None or self.policy.ttl is None else first.used_at + self.policy.ttl

    def clear(self, why: str) -> None:
        """End all of them."""
        for record in [*self.records.values()]:
            self.end(record, why)

    # -- Workers -----------------------------------------------------------------------------------------

    def worker_gone(self, worker: W, pid: int | None, how: str, host: str | None = None) -> None:
        """A worker is dead, or was told to end: it takes with it what isn't durable. Idempotent."""
        for record in [*self._at.get(worker, {}).values()]:
            if record.worker is worker:
                if record.strict and not record.durable:
                    record.lost = (pid, how, host)
                if record.snapshot is None:
                    record.lineage = 0
                record.worker = None
        self._at.pop(worker, None)  # last: until then it can be repeated
        self.farewells.pop(worker, None)

    def owed(self, worker: W) -> Ended:
        """Sessions whose end that worker is to be told of now; it owes them until `told`."""
        farewells = self.farewells.get(worker)
        return () if not farewells else tuple([*farewells.items()][:BATCH])

    def told(self, worker: W, ended: Ended) -> None:
        """It has answered that."""
        farewells = self.farewells.get(worker, {})
        for key, epoch in ended:
            if farewells.get(key) == epoch:
                self._forget_farewell(worker, key)

    def _leave_worker(self, record: Record[W]) -> None:
        worker = record.worker
        if worker is None:
            return
        if not worker.departed:
            self.farewells.setdefault(worker, {})[record.key] = record.epoch
            self.news = True
        record.worker = None  # before it isn't found by its worker any more, whose death it couldn't hear of then
        there = self._at.get(worker, {})
        if there.get(record.key) is record:
            del there[record.key]
            if not there:
                self._at.pop(worker, None)

    def _forget_farewell(self, worker: W, key: str) -> None:
        farewells = self.farewells.get(worker, {})
        farewells.pop(key, None)
        if not farewells:
            self.farewells.pop(worker, None)

    def _is_late(self, record: Record[W], now: float) -> bool:
        return self.policy.ttl is not None and record.used_at + self.policy.ttl <= now

    def _unused(self) -> str:
        return f"it wasn't used for {self.policy.ttl} s (session.ttl)"
