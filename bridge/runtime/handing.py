"""Whoever gives a worker back begins the call of the one who waits for it.

Rules: a frame is handed on when it is small enough to be written at once, whole or not at all. It is decided under the
pool's lock that it is to be handed on, and from then on the link is the giver's until the frame is written; he can't be
interrupted meanwhile, since he isn't the main thread. Whoever was lent the worker has the outcome, whatever it is.
Apart from the pool, which knows no links, and from calls.py, where a call is begun by its own thread.

(8 threads on 2 workers, against a ProcessPoolExecutor in the same run; docs/design/benchmarks.md.)
"""

from __future__ import annotations

from threading import get_ident
from typing import Any

from bridge.contract import WorkerGone
from bridge.core.stats import AT_ONCE
from bridge.link import SMALL
from bridge.runtime.claims import Claim
from bridge.runtime.refusals import Refusing
from bridge.runtime.worker import Worker


class Handing(Refusing):
    """The part of a pool that hands on."""

    def hand_over(self, claim: Claim, worker: Worker) -> bool:
        """Give back a clean worker that hands on: to a thread, whose call is begun here. False: nobody waits whose call
        may be, or there is more to be seen to; nothing was done."""
        if get_ident() == self._main or worker.status is not None or worker.calls >= worker.most_calls:
            return False
        now, latencies = self._clock(), self.tally.latencies
        with self.lock:
            state = self._state
            heir: Any = next(iter(state.waiting), None)
            if heir is None or heir.body is None or len(heir.body) > SMALL or heir.cancelled:
                return False  # what isn't bytes, but a Rope, is longer
            if now >= heir.deadline or not state.hand_on(claim, worker, heir):
                return False
            if sent_at := claim.sent_at:
                claim.sent_at = 0.0
                latencies.fresh.append(now - sent_at)
                if len(latencies.fresh) >= AT_ONCE:
                    latencies.sort_in()
            heir.handing = True
        try:
            worker.calls += 1
            heir.sent_at = worker.active_at = now
            whole = worker.link.hand(heir.body, heir.deadline - now, worker.holder)  # type: ignore[union-attr]
            heir.begun = whole or WorkerGone(started=False)  # its pipe was empty
        except Exception as error:
            heir.begun = error  # it died: for the other one to find out
        finally:
            heir.handing = False
        heir.wake()
        return True


def left_by_loops(held: list[tuple[Claim, Worker]]) -> list[tuple[Claim, Worker]]:
    """Those whose call is out, and whose task never goes on, though it may still be there."""
    found = [(holder, worker, worker.link.listener) for holder, worker in held]
    return [
        (holder, worker)
        for holder, worker, listener in found
        if listener is not None and (waits := listener()) is not None and waits.is_over
    ]
