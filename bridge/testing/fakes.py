"""Fakes that tests can trust: a clock, a gate, an adapter that follows a script.

Rules: public, and what our own tests use; no thread, no process, no sleep. A step that wasn't foreseen is an error in
the call that made it, and `finished` tells whether all of the script was played. Apart from the adapters because
nothing here is for production. (The scripted worker is nimble_pool's idea, the public clock trio's.)
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any, Final

from bridge.contract import Capability, Reply, Request, WorkerGone, WorkerInfo, WorkerSpec
from bridge.errors import CapabilityError, WorkerStartError


class FakeClock:
    """Monotonic seconds that pass only when told. Give it as `clock=`."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        if seconds < 0:
            raise ValueError(f"a monotonic clock doesn't go back ({seconds})")
        self.now += seconds


class Gate:
    """A place where threads, or answers, wait until the test lets them pass.

    Args:
        timeout: Real seconds after which waiting is given up with an AssertionError: a hang fails its test.
    """

    def __init__(self, value: Any = None, *, timeout: float = 10.0) -> None:
        self.value = value
        self.arrived = 0
        self._timeout = timeout
        self._open = False
        self._changed = threading.Condition()
        self._callbacks: list[Callable[[], None]] = []

    def wait(self) -> Any:
        """Arrive, and block until it is open."""
        with self._changed:
            self.arrived += 1
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: self._open, self._timeout):
                raise AssertionError(f"the gate was not opened within {self._timeout} s")
        return self.value

    def then(self, callback: Callable[[], None]) -> None:
        """Arrive without blocking: `callback` runs when it is open, in the thread that opens it."""
        with self._changed:
            self.arrived += 1
            if not self._open:
                self._callbacks.append(callback)
            waits = not self._open
            self._changed.notify_all()
        if not waits:
            callback()

    def await_arrivals(self, count: int = 1) -> None:
        """Block until so many have arrived."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.arrived >= count, self._timeout):
                raise AssertionError(f"{self.arrived} of {count} arrived at the gate within {self._timeout} s")

    def open(self) -> None:
        """Let everybody pass, from now on. Idempotent."""
        with self._changed:
            self._open = True
            callbacks, self._callbacks = self._callbacks, []
            self._changed.notify_all()
        for callback in callbacks:
            callback()


class Outcome(Enum):
    """What a step can end in, besides a value or an exception."""

    CRASH = "crash"
    """The worker dies in the call."""
    HANG = "hang"
    """No answer ever comes."""


CRASH: Final = Outcome.CRASH
HANG: Final = Outcome.HANG

Step = tuple[str, Any]
"""Command and answer: a value, an exception (raised), a function of the args, a Gate (its value, once it is open),
CRASH or HANG."""


class ScriptedAdapter:
    """An adapter whose workers follow scripts.

    Args:
        scripts: One for each worker that is opened, in order; an entry may be a WorkerStartError instead, which that
            start ends in. When they are used up, further workers follow the last one from its beginning.
    """

    name = "scripted"
    capabilities = frozenset({Capability.KILL})

    def __init__(self, *scripts: Iterable[Step] | WorkerStartError) -> None:
        self._scripts = [script if isinstance(script, WorkerStartError) else tuple(script) for script in scripts]
        self.channels: list[ScriptedChannel] = []
        self.opened = 0
        self.closed = False

    def open(self, spec: WorkerSpec, *, deadline: float) -> ScriptedChannel:  # noqa: ARG002
        """The next worker."""
        script = self._scripts[min(self.opened, len(self._scripts) - 1)] if self._scripts else ()
        self.opened += 1
        if isinstance(script, WorkerStartError):
            raise script
        channel = ScriptedChannel(script, spec.generation)
        self.channels.append(channel)
        return channel

    def close(self) -> None:
        """All workers are gone by now."""
        self.closed = True

    @property
    def finished(self) -> bool:
        """Whether every worker played all of its script."""
        return all(not channel.steps for channel in self.channels)


class ScriptedChannel:
    """One worker that follows a script."""

    def __init__(self, steps: Iterable[Step], generation: int) -> None:
        self.info = WorkerInfo(generation)
        self.steps = list(steps)
        self.requests: list[Request] = []
        self.killed = False

    def fileno(self) -> None:
        """None: calls go through `submit`."""

    def submit(self, request: Request, done: Callable[[Reply], None]) -> None:
        """Play the next step."""
        self.requests.append(request)
        if not self.steps or self.steps[0][0] != request.command:
            expected = self.steps[0][0] if self.steps else "nothing more"
            fault = AssertionError(f"the script expects {expected}, not {request.command!r}({request.args!r})")
            done(Reply(request.call_id, error=fault))
            return
        _, answer = self.steps.pop(0)
        if isinstance(answer, Gate):
            answer.then(lambda: done(Reply(request.call_id, answer.value)))
        elif answer is CRASH:
            done(Reply(request.call_id, error=WorkerGone(started=True)))
        elif isinstance(answer, BaseException):
            done(Reply(request.call_id, error=answer))
        elif answer is not HANG:
            done(Reply(request.call_id, answer(request.args) if callable(answer) else answer))

    def cancel(self, call_id: int) -> None:
        """Never: CapabilityError."""
        raise CapabilityError(f"a scripted worker can't cancel call {call_id}; kill it")

    def kill(self) -> None:
        """It will not be used again."""
        self.killed = True

    def sentinel(self) -> None:
        """None: there is no process."""

    def stderr_tail(self) -> str:
        """Nothing."""
        return ""
