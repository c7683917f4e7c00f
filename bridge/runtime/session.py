"""One call of a session: which worker it goes to, and what goes with it.

Rules: where a session's state is, is decided under the pool's lock, in one step with who is lent which worker; what
goes with a call is composed when its worker is known, and written as one with the call. A session that can't go on is
told of at its next call, once. Apart from core/sessions.py, which knows the sessions, and from calls.py, which calls.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

from bridge.contract import Capability, SessionEntry, WorkerGone
from bridge.core.messages import encode_hook
from bridge.core.pool_state import Departed
from bridge.core.sessions import Affinity, Ended, Landing, Record
from bridge.errors import CallError, CapabilityError, ProtocolError, SessionLost
from bridge.link import DeadlinePassed
from bridge.runtime.claims import Claim
from bridge.runtime.follow import Follow
from bridge.runtime.pool import Pool
from bridge.runtime.worker import Worker
from bridge.wire import HOOK, NO_HOOK

if TYPE_CHECKING:
    from bridge.link import Link
    from bridge.runtime import Runtime

TELL_WITHIN: Final = 10.0
"""Seconds that an idle worker has, where nobody else tells it, for dropping sessions that have ended."""


class Memory:
    """What a handle remembers of its last call: which session that met, and which lineage of its state."""

    __slots__ = ("lineage", "record")

    def __init__(self) -> None:
        self.record: Record[Worker] | None = None
        self.lineage = 0
        """None yet, or it was told that it is gone."""


class Visit:
    """One call in a session.

    Args:
        memory: Of its caller's handle.
        affinity: None is what the settings say.

    Raises:
        CapabilityError: The adapter keeps no state for sessions.
    """

    def __init__(self, runtime: Runtime, key: str, memory: Memory, affinity: Affinity | None, *, durable: bool) -> None:
        if Capability.SESSIONS not in runtime.adapter.capabilities:
            raise CapabilityError(
                f"the adapter {runtime.adapter.name} keeps no state for sessions; python_port, bridge_mock and mock do"
            )
        self._runtime, self._key, self._durable = runtime, key, durable
        self._affinity = affinity or runtime.pool.sessions.policy.affinity
        self._memory = memory
        self._record: Record[Worker] | None = None  # the session, once it is known
        self._lineage = self._epoch = 0
        self._worker: Worker | None = None
        self._landing = Landing.ELSEWHERE
        self._ended: Ended = ()
        self._answered = False

    @property
    def key(self) -> str:
        """Of its session."""
        return self._key

    @property
    def _strict(self) -> bool:
        return self._affinity is not Affinity.HINT

    # -- Which worker ------------------------------------------------------------------------------------

    def checkout(self, claim: Claim, deadline: float) -> Worker:
        """Lend a worker to a claim, the one that has the state if there is one. Raises as Pool.checkout, and
        SessionLost."""
        pool = self._runtime.pool
        while True:
            self.aim(claim)
            try:
                worker = pool.checkout(claim, deadline)
            except Departed:
                self.refused(claim)
                continue
            if self.land(worker):
                return worker
            pool.checkin(claim)

    def aim(self, claim: Claim) -> None:
        """Say which worker the claim is for.

        Raises:
            SessionLost: The state that the caller relies on is gone. The next call begins with a new one.
        """
        pool, book, now = self._runtime.pool, self._runtime.pool.sessions, self._runtime.clock()
        if pool.interrupted_here:
            raise pool.interrupted()
        with pool.lock:
            self._record = record = book.find(self._key, now)
            lost, worker = record.lost, record.worker
            record.lost = None
            gone = "" if lost is None else f"its worker is gone: {lost[1]}"
            if self._strict or (self._memory.record is not None and self._memory.record.durable):
                gone = gone or self._gone_since(record)
            claim.session = self._key
            claim.wants = claim.prefers = None
            claim.fails_fast = self._affinity is Affinity.STRICT_FAIL_FAST
            if worker is None:  # not the warmest, which would have them all
                claim.prefers = (pool.coldest() or (None,))[0]
            elif self._strict or record.strict or record.in_use or pool.is_away(worker):
                claim.wants = worker
            else:
                claim.prefers = worker
        if gone:
            self._memory.record, self._memory.lineage = record, 0
            pid, _, host = lost or (None, "", None)
            raise SessionLost(self._key, pid=pid, why=gone, host=host)

    def _gone_since(self, record: Record[Worker]) -> str:
        """Why what the handle met before isn't there any more; empty if it is."""
        memory = self._memory
        if memory.record is None or not memory.lineage:
            return ""
        if memory.record is not record:
            return memory.record.ended
        if memory.lineage == record.lineage:
            return ""
        return "it has begun anew since" if record.lineage else "its worker is gone"

    def refused(self, claim: Claim) -> None:
        """The worker that it waited for is gone. Raises SessionLost if its state was all that there was."""
        record, worker = self._record, claim.wants
        assert record is not None
        assert worker is not None
        if (self._strict or record.strict) and not record.durable:
            with self._runtime.pool.lock:
                lost, record.lost = record.lost, None
            self._memory.record, self._memory.lineage = record, 0
            # Without it another call was told already.
            pid, how, host = lost or (worker.info.pid, worker.how_it_ended(), worker.host or None)
            raise SessionLost(self._key, pid=pid, why=f"its worker is gone: {how}", host=host)

    def land(self, worker: Worker) -> bool:
        """A worker was lent; False if it isn't the one, and the claim has to go back."""
        record, pool = self._record, self._runtime.pool
        assert record is not None
        self._worker, self._answered = worker, False
        with pool.lock:
            landing = pool.sessions.land(record, worker, strict=self._strict, durable=self._durable)
            self._lineage, self._epoch = record.lineage, record.epoch
        self._landing = landing
        return landing is not Landing.ELSEWHERE

    # -- What goes with the call, and comes back ---------------------------------------------------------

    def equip(self, follow: Follow, command: str, body: bytes) -> None:
        """Compose what stands before the call, now that its worker is known.

        Raises:
            CallError: It is too long, with the session's state; nothing was sent.
        """
        record, worker, runtime = self._record, self._worker, self._runtime
        assert record is not None
        assert worker is not None
        book, limit = runtime.pool.sessions, runtime.spec.max_frame_bytes
        most = book.policy.max_snapshot_bytes if record.durable or self._durable else None
        state = record.snapshot if self._landing is Landing.BEGUN else None
        entry = SessionEntry(record.key, record.epoch, state, most)
        self._ended = owed(runtime.pool, worker)
        pickled = runtime.spec.pickle is not None
        follow.address(entry, self._ended, pickled=pickled)
        if len(follow.head) + len(body) > limit:
            self._ended = ()
            follow.address(entry, (), pickled=pickled)
        if (size := len(follow.head) + len(body)) > limit:
            detail = f"with the session's state the call has {size} bytes, over max_frame_bytes={limit}; send less"
            raise CallError("arguments", detail, command=command, side="caller")

    def heard(self, link: Link) -> None:
        """The result has come, and with it the state of a durable session, which is stored.

        Raises:
            WorkerGone: The worker was dead by then, and another call began from the snapshot before: what this one did
                isn't in it, so it must not return.
        """
        self._answered = True
        record = self._record
        if record is None or not (record.durable or self._durable):
            return
        if link.snapshot is None:
            detail, worker = "the result of a durable session came without its state", self._worker
            assert worker is not None
            raise ProtocolError(detail, pid=worker.info.pid, host=worker.host or None)
        with self._runtime.pool.lock:
            stored = self._runtime.pool.sessions.store(record, self._epoch, link.snapshot)
        if not stored:
            raise WorkerGone(started=True)

    def leave(self) -> None:
        """The end of the call, once its worker went back. Idempotent."""
        record, worker, pool = self._record, self._worker, self._runtime.pool
        if record is None or worker is None:
            return
        with pool.lock:
            pool.sessions.leave(record, self._runtime.clock())
            if self._ended and self._answered:
                pool.sessions.told(worker, self._ended)
            kept = self._answered or not record.durable
            # Not what is gone by now: the handle was told, and a call that ends late must not bring it back.
            known = self._lineage == record.lineage and (self._memory.record is None or not record.ended)
            if self._landing and kept and known:
                self._memory.record, self._memory.lineage = record, self._lineage
        self._worker, self._ended = None, ()


def owed(pool: Pool, worker: Worker) -> Ended:
    """Sessions whose end that worker is to be told of now."""
    with pool.lock:
        return pool.sessions.owed(worker)


def told(pool: Pool, worker: Worker, ended: Ended) -> None:
    """It has answered that."""
    with pool.lock:
        pool.sessions.told(worker, ended)


def end_late(pool: Pool, now: float) -> None:
    """End sessions whose time is over."""
    if pool.sessions.records:
        with pool.lock:
            pool.sessions.trim(now)


def next_end(pool: Pool) -> float:
    """When the time of the next one is over, in monotonic seconds."""
    with pool.lock:  # callers change the order meanwhile
        return pool.sessions.next_end()


def spread_news(runtime: Runtime) -> None:
    """Have workers told of sessions that have ended, while nobody needs them."""
    sessions = runtime.pool.sessions
    if not sessions.news:
        return
    sessions.news = False
    if runtime.supervisor.roster.threaded:
        runtime.supervisor.notice()
        return
    for worker in [*sessions.farewells]:
        tell(runtime, worker)


def tell(runtime: Runtime, worker: Worker) -> None:
    """Tell a worker, if it is idle, of sessions that have ended. What its hook raises is written to its stderr."""
    claim = Claim()
    claim.wants = worker
    try:
        if runtime.pool.borrow(claim):
            tell_lent(runtime, worker)
    finally:
        runtime.pool.checkin(claim)


def tell_lent(runtime: Runtime, worker: Worker) -> None:
    """The same, by whoever has that worker."""
    pool, link, deadline = runtime.pool, worker.link, runtime.clock() + TELL_WITHIN
    try:
        while ended := owed(pool, worker):
            follow = Follow(runtime.spec.max_frame_bytes, runtime.depths)
            follow.address(None, ended)
            link.open(NO_HOOK, encode_hook(NO_HOOK), deadline, inf, worker.holder, follow, HOOK)
            link.hear(NO_HOOK, deadline)
            told(pool, worker, ended)
    except (DeadlinePassed, WorkerGone, ProtocolError):
        pass  # it is ended, or asked to, as whoever gives it back finds


def end(runtime: Runtime, key: str, why: str) -> None:
    """End a session, and tell its worker, now if that is idle."""
    pool = runtime.pool
    if pool.interrupted_here:
        raise pool.interrupted()
    with pool.lock:
        current = pool.sessions.records.get(key)
        worker = None if current is None else current.worker
        if current is not None:
            pool.sessions.end(current, why)
    if worker is not None:
        tell(runtime, worker)
    spread_news(runtime)
