"""The leak guard: what a test of somebody's leaves behind of ours fails it, by name.

Rules: looks only at what is ours (a runtime with its workers, threads and descriptors; a scope; a lease), never at what
the test does otherwise; closes what it found, so that the next test begins clean; imports nothing that the test didn't.
Apart from the plugin because it has one question to answer.
"""

from __future__ import annotations

import gc
import sys
import threading
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import pytest

from bridge.frames import Frame

if TYPE_CHECKING:
    from bridge.runtime import Runtime

THREADS = ("bridge-map-", "bridge-scope-")
"""Names of those of our threads that end with what started them; a supervisor ends with its runtime."""
JOIN_TIMEOUT = 2.0


def _live() -> list[Runtime]:
    module = sys.modules.get("bridge.runtime")
    return [] if module is None else module.live()


class Guard:
    """Compares what there is before and after each test.

    Args:
        root: The frame of import time: what was built in it belongs to no fixture that would close it.
    """

    def __init__(self, root: Frame) -> None:
        self._root = root
        self._allowed: WeakSet[Runtime] = WeakSet()
        self._threads: set[threading.Thread] = set()

    def begin(self) -> None:
        """A test begins: what is there isn't its own."""
        self.allow_what_is_open()
        self._threads = set(threading.enumerate())

    def allow_what_is_open(self) -> None:
        """A wider fixture was set up: what it opened is its own to close."""
        self._allowed.update(_live())

    def end(self, label: str, frames: list[Frame]) -> None:
        """A test has ended, and its fixtures were torn down.

        Args:
            frames: That it ran in.

        Raises:
            pytest.fail.Exception: It left something open; says what, and how to close it.
        """
        scopes = [scope for frame in frames for scope in frame.open_scopes]
        if not (scopes or self._left(frames) or self._threads_left()):
            return
        gc.collect()  # what was only dropped closes itself
        found = [f"the scope {scope.label}" for scope in scopes]
        for scope in scopes:
            scope.await_closed(scope.close(0))
        for runtime in self._left(frames):
            found.append(_describe(runtime))
            runtime.close(0)
        for thread in self._threads_left():
            thread.join(JOIN_TIMEOUT)
        found += [f"the thread {thread.name}" for thread in self._threads_left()]
        if found:
            raise pytest.fail.Exception(
                f"{label} left open: {'; '.join(found)}. Use `with`, a fixture that closes it, or a marker; what "
                "is shared by tests belongs into a wider fixture (or set bridge_leaks = false)",
                pytrace=False,
            )

    def _left(self, frames: list[Frame]) -> list[Runtime]:
        return [runtime for runtime in _live() if runtime not in self._allowed and self._is_leak(runtime, frames)]

    def _is_leak(self, runtime: Runtime, frames: list[Frame]) -> bool:
        if runtime.supervisor.undead:
            return True  # dead, but somebody holds its lease
        if runtime.state.value not in ("starting", "open"):
            return False
        origin: Any = runtime.origin
        if not isinstance(origin, Frame) or origin.test in frames:
            return True
        # Built at import and started by this test: only what holds no process, thread or descriptor may stay.
        return origin is self._root and runtime.holds_resources

    def _threads_left(self) -> list[threading.Thread]:
        return [
            thread
            for thread in threading.enumerate()
            if thread.name.startswith(THREADS) and thread not in self._threads and thread.is_alive()
        ]


def _describe(runtime: Runtime) -> str:
    if runtime.supervisor.undead:
        return f"a lease of the bridge {runtime.name}, whose worker is dead"
    pids = [str(worker.info.pid) for worker in runtime.supervisor.workers.values() if worker.info.pid is not None]
    workers = f", workers {', '.join(pids)}" if pids else ""
    return f"the bridge {runtime.name} ({runtime.adapter.name}{workers})"
