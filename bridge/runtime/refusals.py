"""What those are told who are lent no worker.

Rules: nothing is decided here but which error it is; each says what its reader should do next. Apart from pool.py,
which decides who is lent one, and who has waited for too long.
"""

from __future__ import annotations

from copy import copy

from bridge.errors import CircuitOpen, PoolClosed, PoolOverloaded, PoolTimeout
from bridge.runtime.claims import Claim
from bridge.runtime.stock import Stock


class Refusing(Stock):
    """The part of a pool that refuses."""

    def _refuse(self, claim: Claim, now: float) -> None:
        """Raise what a caller that would have to wait is to be told at once."""
        if self._closed:
            raise PoolClosed(self._name)
        error = self.fleet.last_error
        if error is not None and self.fleet.unavailable:
            if (refusal := self.fleet.refusal) is not None and refusal is not error:
                raise copy(refusal)
            last = error.brief
            raise CircuitOpen(self._name, last_error=last, retry_in=max(0.0, self.fleet.probe_at - now)) from error
        worker, limit = claim.wants, self.policy.max_waiting
        if (worker is None and limit is None) or worker in self._state.idle:
            return
        queued = self._state.queue_of(claim)
        if claim.fails_fast and worker is not None and worker.lent:
            raise PoolOverloaded(self._name, queued=queued, session=claim.session)
        if limit is not None and queued >= limit:
            self.tally.refused += 1
            raise PoolOverloaded(self._name, queued=queued, limit=limit)

    def _timeout(self, claim: Claim, waited: float) -> PoolTimeout:
        queued = max(0, self._state.queue_of(claim) - 1)
        workers = len(self._state.workers)
        session = None if claim.wants is None else claim.session
        starting = self.fleet.starting
        return PoolTimeout(waited, queued=queued, workers=workers, starting=starting, name=self._name, session=session)

    def _shed(self, waited: float) -> PoolOverloaded:
        self.tally.shed += 1
        return PoolOverloaded(self._name, queued=len(self._state.waiting), limit=None, waited=waited)
