"""The shell of core/pool_state.py: one lock, the waiting, the waking.

Rules: the lock guards decisions only; waking, posting to the supervisor and all I/O happen after it is released. A
check-out survives an exception between any two bytecodes: what was cut short is found by the audit, which the
supervisor makes at each wake-up, and which every waiter asks for before it goes on waiting. Apart from the
supervisor, which decides how many workers there are; this decides who has them.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from copy import copy
from math import inf
from typing import Final

from bridge.core.members import View
from bridge.core.recycling import Worn
from bridge.core.sessions import SessionPolicy
from bridge.core.stats import AT_ONCE
from bridge.errors import CallCancelled, CircuitOpen, PoolClosed
from bridge.runtime.claims import Claim
from bridge.runtime.handing import Handing, left_by_loops
from bridge.runtime.keeper import Keeper
from bridge.runtime.pool_policy import PoolPolicy
from bridge.runtime.worker import Worker

FIRST_LOOK: Final = 0.02
"""Seconds that a waiter sleeps before it asks for an audit; doubles up to LAST_LOOK."""
LAST_LOOK: Final = 2.0


class Pool(Handing):
    """Who has which worker.

    Args:
        sessions: How sessions are kept.
        name: Labels errors.
        clock: Monotonic seconds.
    """

    def __init__(
        self, policy: PoolPolicy, sessions: SessionPolicy | None = None, *, name: str, clock: Callable[[], float]
    ) -> None:
        super().__init__(policy, sessions, name, clock)
        self.keeper: Keeper | None = None
        self.last_look = LAST_LOOK  # less once tasks wait here too: their loops may not run
        # Whether policy, and at present fleet, have nothing to say of who begins to wait, nor soon of who waits.
        says_nothing = policy.max_waiting is None and policy.queue_target is None
        self._may_let_wait = self._lets_wait = says_nothing and policy.checkout_timeout >= LAST_LOOK
        self._may_ask = False  # for one more worker; until the supervisor has answered
        # To be called inside the lock. Once it is closed nobody is lent anything: so no call has to ask.
        self.lend_idle: Callable[[Claim], Worker | None] = self._state.lend
        self.attended = False  # the supervisor has a thread: nobody who waits has to hear workers that start
        self._refused, self._refusing = deque[Claim](), threading.Lock()

    # -- For callers -------------------------------------------------------------------------------------

    def checkout(self, claim: Claim, deadline: float) -> Worker:
        """Lend one worker to the claim, before a deadline; its owner calls `checkin` whatever happens.

        Raises:
            PoolTimeout, PoolOverloaded, PoolClosed, CircuitOpen, WorkerStartError: Nothing was lent.
            Departed: The claim wants one worker, which will never be lent again.
        """
        now = self._clock()
        if not self.ask(claim, now):
            self._wait(claim, deadline, now, self.first_look)
        return claim.worker  # type: ignore[return-value]  # it was lent

    def turn(self, claim: Claim, body: bytes | None, deadline: float) -> Worker:
        """`checkout` of one who was lent none at once: in fewer steps, in a crowd. Whoever gives a worker back may have
        begun its call: then what came of that is in `begun`, or raised."""
        claim.body, claim.deadline = body, deadline
        bell, now = claim.arm(), self._clock()
        try:
            with self.lock:
                waits = (
                    self.attended
                    and self._lets_wait
                    and now + LAST_LOOK <= deadline
                    and not claim.cancelled
                    and self._state.join(claim, now)
                )
            if not waits:
                self.checkout(claim, deadline)
            elif bell.acquire(True, FIRST_LOOK):
                if claim.begun is True and not claim.handing:
                    return claim.worker  # type: ignore[return-value]  # it was lent
                self._wait(claim, deadline, now, self.look)
            else:
                self.notice()
                self._wait(claim, deadline, now, self.look)
        except BaseException:
            self.leave(claim)
            raise
        claim.await_begun()
        if claim.begun and claim.begun is not True:
            raise claim.begun
        return claim.worker  # type: ignore[return-value]  # it was lent

    def lend(self, claim: Claim) -> Worker | None:
        """A worker at once, if one is idle, nobody waits, and the claim takes any: for most calls. The others go on by
        `checkout`."""
        if self.lock._is_owned():  # type: ignore[attr-defined]  # noqa: SLF001  # `interrupted_here`, without its call
            raise self.interrupted()
        with self.lock:
            return self.lend_idle(claim) if claim.wants is None and claim.prefers is None else None

    def ask(self, claim: Claim, now: float) -> bool:
        """Lend a worker at once, or queue the claim: then its owner goes on by `look`, and ends by `leave`."""
        if self.lock._is_owned():  # type: ignore[attr-defined]  # noqa: SLF001  # `interrupted_here`, without its call
            raise self.interrupted()
        try:
            # Critical section: decide only. Waking a waiter may run foreign code, so it happens after the lock.
            with self.lock:
                state = self._state
                if self._closed or state.waiting or not state.idle or claim.wants is not None:
                    self._refuse(claim, now)
                    claim.arm()
                elif state.own:  # the idle one may be about to go to somebody who wants no other
                    claim.arm()
                return state.checkout(claim, now)
        except CircuitOpen:
            if self.keeper is not None:
                self.keeper.attend(0.0)  # where it has no thread, nobody else makes the next start
            raise

    def queue(self, claim: Claim, now: float) -> bool:
        """Have a claim that needs not be armed wait behind others: `ask` and `first_look`, for most of a crowd. It has
        to look within LAST_LOOK seconds. False: it is to ask, as more may be to be said; nothing was done."""
        if claim.deadline - now < LAST_LOOK or self.lock._is_owned():  # type: ignore[attr-defined]  # noqa: SLF001
            return False
        with self.lock:
            return self._lets_wait and self._state.join(claim, now)

    def borrow(self, claim: Claim) -> bool:
        """Lend the worker that it wants if that is idle now, and nobody waits; it is never queued."""
        with self.lock:
            state = self._state
            return claim.wants in state.idle and not state.all_waiting and state.checkout(claim, self._clock())

    def checkin(self, claim: Claim) -> None:
        """Take the worker back: lend it on when it is clean, else have it ended. Idempotent."""
        if (next_one := self.give_back(claim)) is not None:
            next_one.wake()

    def give_back(self, claim: Claim, loop: object = None) -> Claim | None:
        """The same, but that whoever is lent it next is for the caller to wake, unless its call was begun.

        Args:
            loop: In whose callback this is: if the next one follows that, its turn is taken, and it is to go on now.
        """
        worker = claim.worker
        if worker is None:
            return None
        try:
            if worker.link.hands_on and worker.link.clean and self.hand_over(claim, worker):
                return None
            if not worker.link.clean or worker.status is not None:
                self._give_up(claim, worker)
                return None
            worker.active_at = now = self._clock()
            sent_at = claim.sent_at
            with self.lock:
                if sent_at:
                    self.tally.latencies.note(now - sent_at)
                    claim.sent_at = 0.0
                next_one: Claim | None = self._state.checkin(claim, now)  # type: ignore[assignment]
                follows = loop is not None and next_one is not None and next_one.worker is worker
                if follows and next_one is not None and next_one.follows(loop, now):
                    self._state.accept(next_one)
        except BaseException:
            self.checkin(claim)  # a signal cut it short; else it would be for the audit to find
            raise
        if worker.calls >= worker.most_calls or self._closed:
            self._wear(worker)
        return next_one

    def pass_on(self, claim: Claim, worker: Worker, loop: object) -> Claim | None:
        """`give_back` of a worker that has answered to a task's call, in whose loop's callback this is: to the next one
        there, which is to go on now. None: it isn't so, or there is more to be seen to; nothing was done."""
        if worker.status is not None or worker.calls >= worker.most_calls:
            return None
        with self.lock:
            state = self._state
            heir: Claim | None = next(iter(state.waiting), None)  # type: ignore[assignment]
            if heir is None or heir.loop is not loop or (future := heir.future) is None or future.done():
                return None  # as `follows`, without its call
            now = self._clock()
            if now >= heir.deadline or not state.hand_on(claim, worker, heir):
                return None
            worker.active_at = now
            latencies = self.tally.latencies
            latencies.fresh.append(now - claim.sent_at)
            if len(latencies.fresh) >= AT_ONCE:
                latencies.sort_in()
            claim.sent_at = 0.0
        return heir

    def take_back(self, claim: Claim, worker: Worker) -> None:
        """`checkin` of a worker that has answered, and isn't lent on: after most calls, in fewer steps."""
        worker.active_at = now = self._clock()
        latencies = self.tally.latencies
        with self.lock:
            latencies.fresh.append(now - claim.sent_at)
            if len(latencies.fresh) >= AT_ONCE:
                latencies.sort_in()
            idle = worker.status is None and self._state.put_back(claim, now)
        if not idle:
            claim.sent_at = 0.0  # it was counted
            self.checkin(claim)
        elif worker.calls >= worker.most_calls:
            self._wear(worker)

    def _wear(self, worker: Worker) -> None:
        """One was given back that isn't to be lent any more."""
        if self.keeper is None:
            return
        if not worker.most_calls or worker.calls < worker.most_calls:
            self.keeper.notice()  # it waits for the return
        else:
            worker.most_calls = 0
            self.keeper.wear(worker.generation, Worn.CALLS)

    def cancel(self, claim: Claim) -> None:
        """End what a claim is doing, from any thread: its call is left, or it leaves the queue."""
        claim.cancelled = True  # before the look: whoever is granted a worker now sees it before sending
        worker = claim.worker
        if worker is not None and worker.holder is not None and worker.holder() is claim:
            worker.link.interrupt()
        claim.wake()

    def condemn(self, claim: Claim) -> None:
        """The claim's worker must not be lent again, though no reply is outstanding on it."""
        with self.lock:
            worker = claim.worker
            if worker is not None and (worker.holder is None or worker.holder() is not claim):
                worker = None
            if worker is not None:
                self._state.remove(worker)  # else it could be lent to another before it is killed
        if worker is not None and self.keeper is not None:
            self.keeper.retire(worker)

    def _give_up(self, claim: Claim, worker: Worker) -> None:
        # Else: a check-out or a return was cut short, and by now somebody else has it and a call out on it.
        if worker.holder is not None and worker.holder() is claim:
            # Told before it is unbound: after an interruption the audit finds it either way.
            if self.keeper is not None:
                self.keeper.abandon(worker, worker.link.call_id)
            with self.lock:
                if worker.holder is not None and worker.holder() is claim:  # else it was drained and lent meanwhile
                    worker.holder = None
        claim.worker = None
        if self.keeper is not None:
            self.keeper.notice()

    def first_look(self, claim: Claim, deadline: float, now: float) -> float | None:
        """`look`, of one that was queued at this moment: mostly there is nothing to be seen yet."""
        policy = self.policy
        left = min(deadline - now, policy.checkout_timeout, LAST_LOOK)
        if left <= 0 or self._may_ask or policy.queue_target is not None or claim.cancelled:
            return self.look(claim, deadline, now)
        return left

    def _wait(self, claim: Claim, deadline: float, started: float, look: Callable[..., float | None]) -> None:
        pause = FIRST_LOOK
        try:
            left = look(claim, deadline, started)
            while left is not None:
                attended = self.keeper is not None and self.keeper.attend(min(FIRST_LOOK, left))
                if not attended and not claim.sleep(min(pause, left)):
                    pause = min(2 * pause, self.last_look)
                    self.notice()
                left = self.look(claim, deadline, started)
        except BaseException:
            self.leave(claim)
            raise

    def look(self, claim: Claim, deadline: float, started: float) -> float | None:
        """Whether a claim that waits has its worker (None), or for how many seconds more it may wait. Raises what its
        waiting ends in."""
        if claim.worker is not None:  # mostly it is its turn
            with self.lock:
                taken = self._state.take(claim)
            if taken and self._clock() < deadline:
                return None
        if self.keeper is not None and self.keeper.interrupted_here:
            raise self.interrupted()  # the worker that it would wait for is the step's to bring
        if self._may_ask and self.keeper is not None:
            self._may_ask = False
            self.keeper.grow()
        target = self.policy.queue_target
        with self.lock:
            taken = self._state.take(claim)
            if claim.withdrawn and not taken:  # its loop didn't look for too long: back to its place
                taken = self._state.checkout(claim, self._clock())
            expiry = self._state.expiry(claim, self.policy.checkout_timeout, deadline)
            shed_at = inf if target is None else self._state.shed_at(claim, target, self.policy.queue_interval)
        now = self._clock()
        if taken and (now < deadline or claim.handing or claim.begun):
            return None
        if taken:
            raise self._timeout(claim, now - started)  # who is late isn't run, though it was its turn
        if claim.cancelled:
            raise CallCancelled("a call that waited for a worker", pid=None)
        if claim.error is not None:
            raise copy(claim.error)  # each caller its own: a shared one would collect their tracebacks
        if now >= expiry:
            raise self._timeout(claim, now - started)
        if shed_at <= now:
            raise self._shed(now - started)
        return min(expiry, shed_at) - now

    def notice(self) -> None:
        """Have an audit made, in case an interruption stranded a worker."""
        if self.keeper is not None:
            self.keeper.notice()

    def refuse_grant(self, claim: Claim) -> None:
        """Its loop is closed: the next one has what it was offered. May be called from inside itself, no deeper."""
        self._refused.append(claim)
        while self._refused and self._refusing.acquire(blocking=False):
            try:
                while self._refused:
                    self.leave(self._refused.popleft())
            finally:
                self._refusing.release()

    def leave(self, claim: Claim) -> None:
        """What it was offered goes to the next one."""
        next_one = None
        with self.lock:
            begun = claim.handing or claim.begun
            if not begun:
                next_one = self._state.leave(claim, self._clock())
        if begun:  # its worker has a call out
            claim.await_begun()
            self.checkin(claim)
        if next_one is not None:
            next_one.wake()

    # -- For the supervisor ------------------------------------------------------------------------------

    def audit(self) -> None:
        """Find workers whose holder is gone, grants that nobody was told of, loops that don't look or are closed."""
        with self.lock:
            held = [(holder, worker) for worker, holder in self._state.lent() if isinstance(holder, Claim)]
        for holder, worker in left_by_loops(held):
            worker.link.listener = None
            self._give_up(holder, worker)
        now = self._clock()
        with self.lock:
            ignored = [claim for claim in self._state.offered() if claim.waits_in_vain(now)]
            served = [self._state.withdraw(claim, now) for claim in ignored]
            stranded, awake = self._state.audit()
        awake += [claim for claim in served if claim is not None]
        for waiter in awake:
            waiter.wake()
        for worker in stranded:
            if self.keeper is not None and not worker.link.clean:
                # Its holder may have said so itself, an instant ago: what it says twice counts once.
                self.keeper.abandon(worker, worker.link.call_id)
            elif self.keeper is not None:
                self.keeper.retire(worker)
            self.remove(worker)  # after it was told: cut short between the two, the next audit reports it again

    def publish(self, fleet: View) -> bool:
        """What the supervisor knows and callers need. Whether some wait, who may have come when another had asked for
        one more worker: they themselves would ask when they have slept for a while."""
        with self.lock:
            self._lets_wait = False  # first: cut short here, whoever comes asks
            self.fleet, self._may_ask, self._state.avoided = fleet, fleet.can_grow, fleet.failing
            self._lets_wait = self._may_let_wait and not (self._closed or fleet.can_grow or fleet.last_error)
            return bool(self._state.waiting)

    def refuse_all(self, error: Exception) -> None:
        """Everybody who waits gets this error."""
        with self.lock:
            refused = self._state.fail_all(error)
        for waiter in refused:
            waiter.wake()

    def close(self) -> None:
        """From now on nobody is lent a worker."""
        with self.lock:
            self._closed, self._lets_wait, self.lend_idle = True, False, lambda _: None
            for worker in self._state.workers:
                worker.most_calls = 0  # it waits for each return
        self.refuse_all(PoolClosed(self._name))
