"""When the supervisor looks for sessions whose time is over."""

from __future__ import annotations

from bridge.core.sessions import SessionBook, SessionPolicy
from bridge.runtime import Runtime
from bridge.runtime.worker import Worker
from bridge.testing import ScriptedAdapter
from tests.runtime.conftest import MakeRuntime


class Guarded(SessionBook[Worker]):
    """Says whether its order is read while callers can't change it."""

    read_under_lock: bool | None = None

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(SessionPolicy())
        self._pool = runtime.pool

    def next_end(self) -> float:
        """As ever."""
        self.read_under_lock = self._pool.interrupted_here
        return super().next_end()


def test_the_time_of_the_next_session_is_read_under_the_lock(make_runtime: MakeRuntime) -> None:
    """Callers change the order of sessions at each call: reading it meanwhile raised in the supervisor's thread, which
    then paused. Fails when `next_end` takes no lock."""
    runtime = make_runtime(ScriptedAdapter([]))
    runtime.start()
    runtime.pool.sessions = guarded = Guarded(runtime)

    runtime.supervisor._next_timer()

    assert guarded.read_under_lock
