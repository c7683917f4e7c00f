"""Whoever gives a worker back begins the call of the one who waits for it.

Rules: a frame is handed on when it is small enough to be written at once, whole or not at all. It is decided under the
pool's lock that it is to be handed on, and from then on the link is the giver's until the frame is written; he can't be
interrupted meanwhile, since he isn't the main thread. Whoever was lent the worker has the outcome, whatever it is.
Apart from the pool, which knows no links, and from calls.py, where a call is begun by its own thread.

(8 threads on 2 workers, against a ProcessPoolExecutor in the same run; docs/design/benchmarks.md.)
"""

from __future__ import annotations

import threading

from bridge.contract import WorkerGone
from bridge.link import SMALL
from bridge.runtime.claims import Claim
from bridge.runtime.worker import Worker


def may_hand(claim: Claim, worker: Worker, now: float) -> bool:
    """Whether its call may be begun here and now. Where a signal handler may run, in the main thread, it may not."""
    return (
        claim.worker is worker
        and worker.link.hands_on
        and type(claim.body) is bytes
        and len(claim.body) <= SMALL
        and now < claim.deadline
        and not claim.cancelled
        and threading.get_ident() != threading.main_thread().ident
    )


def begin_for(claim: Claim, now: float) -> None:
    """Begin the call of whoever was lent the worker; it may be handed on."""
    worker, body = claim.worker, claim.body
    try:
        assert worker is not None
        assert body is not None
        worker.calls += 1
        claim.sent_at = worker.active_at = now
        rest = worker.link.begin("", body, claim.deadline - now, claim=worker.holder)
        claim.begun = WorkerGone(started=False) if rest else True  # its pipe was empty
    except Exception as error:
        claim.begun = error  # it died: for the other one to find out
    finally:
        claim.handing = False


def left_by_loops(held: list[tuple[Claim, Worker]]) -> list[tuple[Claim, Worker]]:
    """Those whose call is out, and whose task never goes on, though it may still be there."""
    found = [(holder, worker, worker.link.listener) for holder, worker in held]
    return [
        (holder, worker)
        for holder, worker, listener in found
        if listener is not None and (waits := listener()) is not None and waits.is_over
    ]
