"""The adapter that answers by itself: from a table, a function or a fake handler. No bytes, no thread, no process.

Rules: it never invents an answer; whatever it does, it does in the thread that calls, and it never waits there: a
delay travels with the reply. No lock, so that a forked child and a finaliser can use it: lists, deques and counters of
the standard library do one step at a time. Apart from bridge_mock.py, which fakes one layer less.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import count
from math import isfinite
from typing import Any, Final

from bridge.answers import RAISED, Shape, check_answer, failed, reply_of, reply_with, run_here, sealed
from bridge.contract import Capability, Reply, Request, WorkerGone, WorkerInfo, WorkerSpec
from bridge.errors import CapabilityError, ConfigurationError, UnexpectedCall, WorkerStartError
from bridge.handler import commands_of, describe, hooks_of
from bridge.inprocess import find_here, make_here
from bridge.settle import settled
from bridge.states import States
from bridge.wire import decode_json

__scoped_bridge__: Final = True

Play = Callable[[Request], Reply | None]


@dataclass(slots=True)
class MockCall:
    """A call that a mock was asked to answer."""

    command: str
    args: Any
    """As they came through the codec: a mapping, a list, or None."""


class _Fault:
    """What happens in place of an answer, or before it: always, or so many times."""

    def __init__(self, what: Any, times: int | None) -> None:
        if times is not None and (isinstance(times, bool) or not isinstance(times, int) or times < 1):
            raise ConfigurationError(f"times={times!r}: how often it happens is an int from 1, or None for always")
        self.what, self._times = what, times
        self._played = count()

    def is_due(self) -> bool:
        """Whether it happens now; it counts the asking."""
        return self._times is None or next(self._played) < self._times


class MockAdapter:
    """Answers without a worker.

    Args:
        answers: A mapping from command to its answer: a value, a function (called with the arguments), an exception or
            its class (raised), or `bridge.testing.in_turn(...)`, one of these for each call. Or a function of command
            and args. Or a fake handler: a class, of which each worker is one, an object, a module or a text.
        spec: The real handler (class, module, object or text). Commands and arguments that it doesn't take are refused
            as its worker would refuse them.
    """

    name = "mock"
    capabilities = frozenset({Capability.STREAMS, Capability.CALLBACKS, Capability.SESSIONS})

    def __init__(self, answers: Any = None, *, spec: Any = None) -> None:
        self.calls: list[MockCall] = []
        """Every call so far, of all workers, in their order."""
        self._shape = None if spec is None else Shape(find_here(spec))
        self._answers: dict[str, Any] = {}
        self._for_all: Callable[[str, Any], Any] | None = None
        self._fake: Any = None
        self._faults: dict[str, tuple[_Fault, ...]] = {}
        self._delays: dict[str, tuple[_Fault, ...]] = {}
        if isinstance(answers, Mapping):
            for command, answer in answers.items():
                self.answer(command, answer)
        elif callable(answers) and not isinstance(answers, type):
            self._for_all = answers
        else:
            self._fake = answers

    # -- What it answers ---------------------------------------------------------------------------------

    def answer(self, command: str, answer: Any) -> None:
        """Answer a command so from now on.

        Raises:
            ConfigurationError: The spec has no such command; nothing was changed.
        """
        self._require(command)
        check_answer(answer)
        self._answers[command] = answer

    def fail(self, command: str, error: BaseException | type[BaseException], *, times: int | None = None) -> None:
        """Raise an error in place of the answer: at the next `times` calls, or at all. A BridgeError comes as it is."""
        check_answer(error)
        self._add(self._faults, command, lambda request: reply_with(error, request, 0), times)

    def delay(self, command: str, seconds: float, *, times: int | None = None) -> None:
        """Have the answer come later. Whoever waits for it is free again at its deadline, or when it is cancelled."""
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not isfinite(seconds) or seconds < 0:
            raise ConfigurationError(f"a delay is in seconds, 0 or more, not {seconds!r}")
        self._add(self._delays, command, float(seconds), times)

    def crash(self, command: str, *, times: int | None = None) -> None:
        """Have the worker die in the call: WorkerCrashed, and another one takes its place."""
        self._add(self._faults, command, lambda request: Reply(request.call_id, error=WorkerGone(started=True)), times)

    def timeout(self, command: str, *, times: int | None = None) -> None:
        """Never answer: CallTimeout at the call's deadline, and another worker takes its place."""
        self._add(self._faults, command, lambda _request: None, times)

    def mend(self, command: str) -> None:
        """End the faults and delays of a command."""
        self._faults.pop(command, None)
        self._delays.pop(command, None)

    def _add(self, faults: dict[str, tuple[_Fault, ...]], command: str, what: Any, times: int | None) -> None:
        self._require(command)
        faults[command] = (*faults.get(command, ()), _Fault(what, times))

    def _require(self, command: str) -> None:
        if not isinstance(command, str):
            raise ConfigurationError(f"a command is named by a text, not {command!r:.60}")
        if self._shape is not None:
            self._shape.require(command)

    # -- The adapter -------------------------------------------------------------------------------------

    def open(self, spec: WorkerSpec, *, deadline: float) -> MockChannel:  # noqa: ARG002  nothing is waited for
        """One more worker, with a fake handler of its own if there is one.

        Raises:
            WorkerStartError: The fake handler couldn't be imported or made, or its `on_start` failed.
        """
        target = spec.fake if self._fake is None else self._fake
        fake = None
        try:
            if target is not None:
                named = isinstance(target, str)
                fake = make_here(find_here(target, spec.path), spec.options, fake=True, named=named)
                settled(hooks_of(fake).get("on_start", bool)())
        except RAISED as error:
            fields = describe(error, RAISED)
            raise WorkerStartError(
                "handler",
                f"{fields['type']}: {fields['message']}",
                handler=target if isinstance(target, str) else f"{target!r:.99}",
                remote_traceback=fields["traceback"],
            ) from None
        return MockChannel(self, fake, spec)

    def close(self) -> None:
        """Nothing is shared that would have to be released."""

    def play(
        self,
        request: Request,
        commands: Mapping[str, Callable[..., Any]],
        limit: int,
        session: dict[str, Any] | None = None,
    ) -> Reply | None:
        """What becomes of a call on a worker whose fake handler has these commands; None: no answer ever comes."""
        command = request.command
        self.calls.append(MockCall(command, request.args))
        refused = None if self._shape is None else self._shape.fault(command, request.args)
        if refused is not None:
            return Reply(request.call_id, error=refused)
        for fault in self._faults.get(command, ()):
            if fault.is_due():
                reply: Reply | None = fault.what(request)
                break
        else:
            reply = self._answer(request, commands, limit, session)
        if command in self._delays and reply is not None:
            seconds = next((delay.what for delay in self._delays[command] if delay.is_due()), 0.0)
            reply = replace(reply, delay=seconds)
        return reply

    def _answer(
        self,
        request: Request,
        commands: Mapping[str, Callable[..., Any]],
        limit: int,
        session: dict[str, Any] | None,
    ) -> Reply:
        command = request.command
        reply = None
        if command in self._answers:
            reply = reply_with(self._answers[command], request, limit, session)
        elif self._for_all is not None:
            whole = replace(request, args=[command, request.args])
            reply = reply_with(self._for_all, whole, limit, session)
        elif command in commands:
            reply = reply_of(commands[command], request, limit, session)
        if reply is None:
            answered = tuple(sorted({*self._answers, *commands}))
            reply = Reply(request.call_id, error=UnexpectedCall(command, answered=answered))
        return reply


class MockChannel:
    """One worker that isn't there."""

    def __init__(self, adapter: MockAdapter, fake: Any, spec: WorkerSpec) -> None:
        self.info = WorkerInfo(spec.generation)
        self._adapter, self._limit = adapter, spec.max_frame_bytes
        known = fake is not None
        self._commands = commands_of(fake) if known else {}
        self._hooks = hooks_of(fake) if known else {}
        self.hooks = frozenset(self._hooks)
        self._states = States(self._hooks)

    def fileno(self) -> None:
        """None: calls go through `submit`."""

    def submit(self, request: Request, done: Callable[[Reply], None]) -> None:
        """Answer now, or never."""
        entry, session = request.session, None
        self._states.end(request.ended, run_here)
        if request.hook:
            if request.command == "on_close":
                self._states.end_all(run_here)
            done(reply_of(self._hooks.get(request.command, bool), request, self._limit))
            return
        if entry is not None:
            state = None if entry.state is None else decode_json(entry.state)
            try:
                session = self._states.enter(entry.key, entry.epoch, state, run_here)
            except RAISED as error:
                done(failed(error, self._hooks["on_session_start"], request))
                return
        reply = self._adapter.play(request, self._commands, self._limit, session)
        if reply is not None:
            done(reply if session is None else sealed(reply, request, session, self._limit))

    def cancel(self, call_id: int) -> None:
        """Never: CapabilityError."""
        raise CapabilityError(f"a mock can't cancel call {call_id} softly; kill the worker")

    def kill(self) -> None:
        """Nothing runs that could be ended; whoever waits for a delayed answer is told by the driver."""

    def sentinel(self) -> None:
        """None: there is no process."""

    def stderr_tail(self) -> str:
        """Nothing."""
        return ""
