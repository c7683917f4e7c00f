"""Decide who gets which worker.

Rules: nothing here reads a clock, takes a lock or wakes anybody: each method takes `now` (monotonic seconds) and
answers with the waiter that its caller has to wake, if any. An exception may end any method between two bytecodes
(a Ctrl-C in the thread that runs it), so a worker is bound to its waiter *before* it leaves `idle`, added to `idle`
*before* it is unbound, and told to the next holder *before* it is bound to that one; what was cut short is finished by
the next call or by `audit`. Apart from runtime/pool.py so that every interleaving can be tested as plain data.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from math import inf
from typing import Any, Generic, Protocol, TypeVar
from weakref import ReferenceType, ref


class Lendable(Protocol):
    """What the pool asks of a worker: a place to note who holds it, and one for its end."""

    holder: ReferenceType[Any] | None
    departed: bool
    """It will never be lent again, so nobody may wait for it."""


W = TypeVar("W", bound=Lendable)


class Departed(Exception):
    """The one worker that a caller wanted will never be lent again. Nothing was lent."""


class Waiter(Generic[W]):
    """One check-out, from the queue to the return.

    waiting (in the queue) -> offered (`worker` is set, out of the queue) -> taken (its owner saw it) -> gone. An offer
    may be withdrawn instead: then its owner, when it looks at last, comes back by `checkout`.
    """

    # Defaults of the class, since each call makes one: what a waiter that never waits doesn't set costs it nothing.
    worker: W | None = None
    wants: W | None = None
    """That one and no other."""
    prefers: W | None = None
    """That one, if it is idle at its turn."""
    error: BaseException | None = None
    enqueued_at = 0.0
    taken = False
    withdrawn = False
    ticket = 0
    """Its place in the queue; the lowest is first."""

    def waits_in_vain(self, now: float) -> bool:
        """Whether its owner should have looked by now. A thread always will."""
        del now
        return False

    def wake(self) -> None:
        """Tell the owner that `worker` or `error` is set. Idempotent, never blocks. The core's waiter sleeps not."""


class PoolState(Generic[W]):
    """Which workers there are, who holds them, who waits."""

    __slots__ = ("avoided", "idle", "own", "populated_at", "standing_since", "tickets", "waiting", "workers")

    def __init__(self) -> None:
        self.workers: dict[W, None] = {}
        self.idle: OrderedDict[W, float] = OrderedDict()  # worker -> since when; the warmest is last
        # An OrderedDict and not a deque with tombstones: leaving the queue is O(1) and atomic, its length is the
        # live count, and there is nothing to compact (docs/design/decisions/0003-ordered-queue.md).
        self.waiting: OrderedDict[Waiter[W], None] = OrderedDict()
        # Of those who want one worker and no other. Tickets are common to all queues: whoever came first is first.
        self.own: dict[W, OrderedDict[Waiter[W], None]] = {}
        self.avoided: frozenset[str] = frozenset()  # hosts to be lent last, where there are several (spread.py)
        self.tickets = 0  # given out so far
        self.populated_at = 0.0  # when the first worker came after there had been none
        self.standing_since = 0.0  # when the first waiter came after there had been none

    def lend(self, waiter: Waiter[W]) -> W | None:
        """Lend the warmest idle worker if nobody waits at all: `checkout`, for most calls.

        Args:
            waiter: It takes any worker, and nothing was ever withdrawn from it.
        """
        idle = self.idle
        if not idle or self.waiting or self.own:
            return None
        worker = next(reversed(idle))
        worker.holder = ref(waiter)
        waiter.worker = worker
        waiter.taken = True
        del idle[worker]
        return worker

    def checkout(self, waiter: Waiter[W], now: float) -> bool:
        """Lend a worker (the one it wants, else the one it prefers, else the warmest idle one), or queue the waiter
        (False): at the end, or where it stood when withdrawn.

        Raises:
            Departed: The worker that it wants will never be lent again.
        """
        wants = waiter.wants
        worker = wants if wants is not None or not self.idle else self._warmest(waiter)
        # Who waits though a worker is idle is about to get it, by the audit: nobody overtakes.
        if worker is not None and worker in self.idle and not self.waiting and not self.own.get(worker):
            worker.holder = ref(waiter)
            waiter.worker = worker
            waiter.taken = True
            waiter.withdrawn = False
            del self.idle[worker]
            return True
        if not waiter.withdrawn:
            self.tickets += 1
            waiter.ticket, waiter.enqueued_at = self.tickets, now
        waiter.taken, waiter.error = False, None
        if wants is None:
            queue = self.waiting
            if not queue:
                self.standing_since = now
        elif wants.departed:
            raise Departed
        else:
            queue = self.own.setdefault(wants, OrderedDict())
        queue[waiter] = None
        if waiter.withdrawn:
            for later in [other for other in queue if other.ticket > waiter.ticket]:
                queue.move_to_end(later)
            waiter.withdrawn = False
        return False

    def join(self, waiter: Waiter[W], now: float) -> bool:
        """Queue whoever takes any worker, and comes for the first time, where nobody may be lent one at once:
        `checkout`, for most of a crowd. False: that isn't so, and nothing was done."""
        waiting = self.waiting
        if waiter.taken or waiter.ticket or waiter.wants is not None:
            return False
        if not waiting:
            if self.idle:
                return False
            self.standing_since = now
        self.tickets = waiter.ticket = self.tickets + 1
        waiter.enqueued_at = now
        waiting[waiter] = None
        return True

    def checkin(self, waiter: Waiter[W], now: float) -> Waiter[W] | None:
        """Take a clean worker back. Idempotent; a worker that left the pool meanwhile is only unbound."""
        worker = waiter.worker
        if worker is None:
            return None
        holder = worker.holder
        if holder is not None and holder() is waiter:  # else: what was cut short left it to another
            if worker in self.workers:
                self.idle[worker] = now
            worker.holder = None
        waiter.worker = None
        return self._match(worker) if self.waiting or self.own else None

    def put_back(self, waiter: Waiter[W], now: float) -> bool:
        """`checkin` where nobody waits, of most workers. False: that isn't so, and nothing was done."""
        worker = waiter.worker
        if self.waiting or self.own or worker not in self.workers:
            return False
        if worker.holder is None or worker.holder() is not waiter:
            return False
        self.idle[worker] = now
        worker.holder = waiter.worker = None
        return True

    def hand_on(self, waiter: Waiter[W], worker: W, heir: Waiter[W]) -> bool:
        """Lend the worker of one to who is first of those who take any: `checkin` and `accept` in one, for most of a
        crowd. False: somebody may want that one, or the worker may be somebody else's; nothing was done."""
        if heir.worker is not None or (self.own and worker in self.own) or worker not in self.workers:
            return False
        if worker.holder is None or worker.holder() is not waiter:
            return False
        heir.worker = worker  # first: cut short here it is no offer, since that one isn't bound
        worker.holder = ref(heir)
        del self.waiting[heir]
        heir.taken = True
        heir.withdrawn = False
        waiter.worker = None
        return True

    def take(self, waiter: Waiter[W]) -> bool:
        """The owner woke up: accept what was offered. False while there is nothing."""
        worker = waiter.worker
        if worker is None:
            return False
        if not _binds(worker, waiter):  # a withdrawal was cut short, and left it to another
            waiter.worker = None
            return False
        self.idle.pop(worker, None)  # the offer may have been cut short
        self._unqueue(waiter)
        waiter.taken = True
        waiter.withdrawn = False
        return True

    def accept(self, waiter: Waiter[W]) -> None:
        """The same, by whoever was answered by `checkin` that it is next, in the same breath, and speaks for it."""
        waiter.taken = True
        waiter.withdrawn = False

    def leave(self, waiter: Waiter[W], now: float) -> Waiter[W] | None:
        """The owner gives up. What was offered to it meanwhile goes to the next one."""
        self._unqueue(waiter)
        waiter.withdrawn = False
        return self.checkin(waiter, now)

    def withdraw(self, waiter: Waiter[W], now: float) -> Waiter[W] | None:
        """Its owner doesn't look: what it was offered goes to the next one. To be woken again, to come back."""
        if waiter.taken or waiter.worker is None:
            return None
        # Out of the queue until it looks: at the head it would be offered each worker anew, and a loop that is stopped
        # with ten waiters would cost everybody else a second a call. A loop that is dead leaves nothing behind.
        waiter.withdrawn = True
        return self.checkin(waiter, now)

    def add(self, worker: W, now: float) -> Waiter[W] | None:
        """A worker became ready."""
        if not self.workers:
            self.populated_at = now
        self.workers[worker] = None
        self.idle[worker] = now
        return self._match(worker)

    def remove(self, worker: W) -> None:
        """A worker must not be lent again. Whoever holds it keeps it. Idempotent."""
        self.idle.pop(worker, None)  # first: cut short here, the audit reports it; the other way it would be lent
        self.workers.pop(worker, None)

    def bury(self, worker: W) -> list[Waiter[W]]:
        """A worker will never be lent again: refuse whoever wants that one; each is to be woken. Idempotent."""
        worker.departed = True  # first: nobody may come to wait for it any more
        self.remove(worker)
        if (waiter := self._promised_to(worker)) is not None:
            worker.holder = waiter.worker = None
        return self._fail(self.own.get(worker, ()), Departed())

    def fail_all(self, error: BaseException) -> list[Waiter[W]]:
        """Refuse everybody who waits; each is to be woken."""
        return self._fail([*self.waiting, *(waiter for queue in self.own.values() for waiter in queue)], error)

    def _fail(self, waiters: Iterable[Waiter[W]], error: BaseException) -> list[Waiter[W]]:
        refused = [waiter for waiter in waiters if waiter.worker is None or not _binds(waiter.worker, waiter)]
        for waiter in refused:
            waiter.error = error
            waiter.worker = None
            self._unqueue(waiter)
        return refused

    def take_out(self, worker: W) -> bool:
        """Remove a worker that is idle; False when it isn't."""
        if worker not in self.idle or self._promised_to(worker) is not None:
            return False
        self.remove(worker)
        return True

    def coldest(self) -> tuple[W, float] | None:
        """The worker that has been idle for longest, and since when. Never one that is about to be offered."""
        for worker, since in self.idle.items():
            if self._promised_to(worker) is None:
                return worker, since
        return None

    def expiry(self, waiter: Waiter[W], checkout_timeout: float, deadline: float) -> float:
        """Until when this waiter may wait, in monotonic seconds. Time without any worker isn't charged to it."""
        if not self.workers:
            return deadline
        return min(deadline, max(waiter.enqueued_at, self.populated_at) + checkout_timeout)

    def shed_at(self, waiter: Waiter[W], target: float, interval: float) -> float:
        """When this waiter is to be turned away, unless it is served before. Time without any worker isn't charged.

        CoDel's idea, in the form of Facebook's servers (Maurer, Fail at Scale, ACM Queue 2015): a queue that was empty
        lately absorbs a burst; one that stands only delays, and whoever has waited for longer than the target is shed.
        """
        if not self.workers or waiter.wants is not None:  # a queue of its own says nothing of how busy the pool is
            return inf
        return max(max(waiter.enqueued_at, self.populated_at) + target, self.stands_at(interval))

    def stands_at(self, interval: float) -> float:
        """When the queue won't have been empty for so many seconds: it doesn't absorb a burst then, it only delays."""
        return self.standing_since + interval if self.waiting else inf

    def audit(self) -> tuple[list[W], list[Waiter[W]]]:
        """Find what an interruption left behind.

        Returns:
            The workers whose holder is gone while it may have had a call out (to be killed and removed; reported
            again until then), and the waiters to wake: those that were offered a worker but perhaps never woken,
            new grants, and those who wait for a worker that was buried.
        """
        stranded: list[W] = []
        awake: list[Waiter[W]] = []
        for worker in [worker for worker in (*self.workers, *self.own) if worker.departed]:
            awake += self.bury(worker)
        for worker, holder in list(self.lent()):
            if holder is None:
                stranded.append(worker)
            elif not holder.taken:
                self._unqueue(holder)
                awake.append(holder)
        first = next(iter(self.waiting), None)
        if first is not None and first.worker is not None and not _binds(first.worker, first):
            first.worker = None  # handing it on was cut short at its beginning
        for worker in [*self.own]:
            if not self.own[worker]:
                del self.own[worker]
            while worker in self.idle and (waiter := self._match(worker)) is not None:
                awake.append(waiter)
        while (waiter := self._match()) is not None:
            awake.append(waiter)
        return stranded, awake

    def unserved(self) -> list[Waiter[W]]:
        """Whoever waits, or was given a worker and has not looked yet."""
        return [*self.offered(), *self.waiting, *(waiter for queue in self.own.values() for waiter in queue)]

    def offered(self) -> list[Waiter[W]]:
        """Whoever was given a worker and has not looked yet."""
        return [holder for _, holder in self.lent() if holder is not None and not holder.taken]

    def lent(self) -> Iterator[tuple[W, Waiter[W] | None]]:
        """Each worker that isn't idle, and who holds it."""
        for worker in self.workers:
            if worker not in self.idle:
                yield worker, worker.holder() if worker.holder is not None else None

    def _match(self, freed: W | None = None) -> Waiter[W] | None:
        """Offer an idle worker to whoever came first: of those who take any, and of those who want the one that came
        free."""
        waiter = next(iter(self.waiting), None)
        if freed is not None and freed in self.idle and not self.own and waiter is not None and waiter.worker is None:
            # Mostly: nobody wants that one and no other, and no offer was cut short. What follows comes to the same.
            freed.holder = ref(waiter)
            waiter.worker = freed
            del self.idle[freed]
            del self.waiting[waiter]
            return waiter
        if not self.idle:
            return None
        if freed not in self.idle:
            freed = None
        if self.own and freed is not None:
            first = next(iter(self.own.get(freed, ())), None)
            if first is not None and (waiter is None or first.ticket < waiter.ticket):
                waiter = first
        if waiter is None:
            return None
        worker = waiter.worker
        if worker is None or not _binds(worker, waiter):  # else: an interruption cut this very offer short
            # Not another one that is idle too, since an interruption left it so: somebody older may want that.
            worker = self._warmest(waiter) if freed is None else freed
            worker.holder = ref(waiter)
            waiter.worker = worker
        self.idle.pop(worker, None)
        self._unqueue(waiter)
        return waiter

    def _promised_to(self, worker: W) -> Waiter[W] | None:
        """Whoever still waits for an offer of that worker to be made, which was cut short."""
        holder: Waiter[W] | None = None if worker.holder is None else worker.holder()
        if holder is None or holder.worker is not worker:
            return None
        return holder if holder in self.waiting or holder in self.own.get(worker, ()) else None

    def _warmest(self, waiter: Waiter[W]) -> W:
        """Of the idle ones; the one that it prefers is warmer than any."""
        return waiter.prefers if waiter.prefers in self.idle else next(reversed(self.idle))  # type: ignore[return-value]

    def _unqueue(self, waiter: Waiter[W]) -> None:
        if waiter.wants is None:
            self.waiting.pop(waiter, None)
        elif (queue := self.own.get(waiter.wants)) is not None:
            queue.pop(waiter, None)
            if not queue:
                self.own.pop(waiter.wants, None)

    def queue_of(self, waiter: Waiter[W]) -> int:
        """How many wait where this one waits, or would."""
        return len(self.waiting if waiter.wants is None else self.own.get(waiter.wants, ()))

    @property
    def all_waiting(self) -> int:
        """How many wait, for whatever worker."""
        return len(self.waiting) + sum(map(len, [*self.own.values()]))


def _binds(worker: Lendable, waiter: object) -> bool:
    return worker.holder is not None and worker.holder() is waiter
