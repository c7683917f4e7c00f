"""Calls of sessions that are left at any moment: by a cancelled task, by an exception between two lines.

A durable session counts what came back. Whatever was left, no worker is lost, and the session goes on from its last
result: one that came, though its caller was cut short before it had it, counts too.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from linecache import getline
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import bridge
from bridge import (
    AsyncBridge,
    Bridge,
    Capability,
    CapabilityError,
    ConfigurationError,
    MockAdapter,
    ProtocolError,
    Reply,
    Request,
    SessionLost,
    WorkerSpec,
)
from bridge.adapters.mock import MockChannel
from bridge.channel_submit import SubmitLink
from tests.facade.looping import turns
from tests.process.busy import HANDLER
from tests.process.conftest import Connect
from tests.process.waiting import wait_until

OURS = str(Path(bridge.__file__).parent)
ADAPTERS = ("mock", "bridge_mock", "python_port")


class Cut(BaseException):
    """What a signal handler raises."""


def opened(connect: Connect, adapter: str, **settings: Any) -> Bridge:
    """A bridge with the counting handler, whatever it is called through."""
    fake = {} if adapter == "python_port" else {"worker": {"fake": HANDLER}}
    return connect(HANDLER, adapter=adapter, size=2, cancel_grace=0.5, **fake, **settings)


async def counted(ab: AsyncBridge, key: str, steps: int) -> tuple[int, bool]:
    """One call, whose task is cancelled after so many steps of the loop: where the session stands, and whether the call
    came through."""
    session = ab.session(key, durable=True)
    task = asyncio.ensure_future(session.call("bump"))
    await turns(steps)
    through = task.done()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return (await session.call("look")).get("n", 0), through


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_task_that_is_cancelled_at_any_step_costs_its_session_nothing(connect: Connect, adapter: str) -> None:
    """After each step, until it comes through by itself. Fails when what a cancelled call left is taken for the
    session's state, or when its claim isn't given back."""

    async def sweep() -> None:
        n = 0
        async with opened(connect, adapter) as ab:
            for steps in [*range(40), 64, 128, 256, 1024, 4096]:
                now, through = await counted(ab, "a", steps)
                assert now in (n, n + 1)
                n = now
            while not through:  # on a busy machine
                steps *= 2
                _, through = await counted(ab, "a", steps)
            stats = ab.stats()
            assert (stats.idle, stats.waiting) == (2, 0)
            assert stats.restarts == 0 or adapter == "bridge_mock"  # whose calls can't be cancelled

    asyncio.run(sweep())


def test_tasks_and_threads_share_a_session(connect: Connect) -> None:
    """Each call counts, whoever makes it; a task's stream has the state to itself."""

    async def both(b: Bridge) -> None:
        ab = b.aio
        calls = [ab.call("bump", session="a") for _ in range(50)]
        others = [asyncio.to_thread(b.call, "bump", session="a") for _ in range(50)]
        found = await asyncio.gather(*calls, *others)
        async with ab.session("a", affinity="strict_queue") as session:
            assert session.key == "a"
            stream = session.stream("numbers", [3])
            first = await anext(stream)
            waiting = asyncio.ensure_future(session.call("bump"))
            await turns(20)
            assert not waiting.done()
            assert [first, *[item async for item in stream]] == [0, 1, 2]
            assert (await waiting)[0] == 4
        assert sorted(n for n, _ in found) == list(range(1, 101))
        assert b.stats().sessions == 0

    with opened(connect, "python_port", affinity="strict_queue") as b:
        asyncio.run(both(b))


def test_a_task_is_told_of_a_death(connect: Connect) -> None:
    """Those that wait for the worker, and the next call. Fails when `checkout_for` doesn't hear of it."""

    async def die(b: Bridge) -> None:
        session = b.aio.session("a", affinity="strict_queue")
        pid = (await session.call("bump"))[1]
        calls = [asyncio.ensure_future(session.call(command)) for command in ("stuck", "bump", "bump")]
        while b.stats().waiting < 2:
            await turns(1)
        os.kill(pid, signal.SIGKILL)
        found = await asyncio.gather(*calls, return_exceptions=True)
        assert type(found[0]) in (bridge.WorkerCrashed, SessionLost)  # the kill may come before it was read
        assert [type(each) for each in found[1:]] == [SessionLost, SessionLost]
        assert (await session.call("bump"))[0] == 1

    with opened(connect, "python_port") as b:
        asyncio.run(die(b))


class Line:
    """Raises before the n-th line that its thread runs of ours."""

    def __init__(self, count: int) -> None:
        self.left = count

    def _trace(self, frame: FrameType, event: str, _arg: Any) -> Any:
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        # Not at a `with`: a tracer is called there once more, before a lock is let go, where no signal can come.
        if event == "line" and not getline(frame.f_code.co_filename, frame.f_lineno).lstrip().startswith("with "):
            self.left -= 1
            if self.left == -1:
                raise Cut
        return self._trace

    def run(self, act: Callable[[], object]) -> None:
        """Do something, up to that line."""
        before = sys.gettrace()
        sys.settrace(self._trace)
        try:
            act()
        finally:
            sys.settrace(before)


def sweep(b: Bridge, act: Callable[[], object], check: Callable[[], None], step: int) -> int:
    """Cut it short before each step-th line, until it comes through; afterwards everything is in order."""
    for count in range(0, 5000, step):
        line = Line(count)
        with contextlib.suppress(Cut):
            line.run(act)
        check()
        b._source.runtime().supervisor.notice()  # else whoever needs it next would find a worker that was left
        wait_until(lambda: b.stats().idle == 2, 10, f"both workers of {b} after line {count}")
        assert b.stats().waiting == 0
        if line.left >= 0:
            return count
    raise AssertionError("it never came through")


@pytest.mark.parametrize(
    ("adapter", "step"),
    [
        ("mock", 1),
        pytest.param("bridge_mock", 1, marks=pytest.mark.deep),
        pytest.param("python_port", 1, marks=pytest.mark.deep),
        ("bridge_mock", 19),
        ("python_port", 19),
    ],
)
@pytest.mark.parametrize("durable", [False, True])
def test_an_exception_before_any_line_costs_no_state(connect: Connect, adapter: str, step: int, durable: bool) -> None:
    """A durable session stands at its last result; a strict one stands where it stood, or one further, unless its
    worker had to be ended: then its user is told. Fails when `land` makes a new epoch before it has dropped `live`, or
    when the worker's copy is used after a call whose result never came."""
    with opened(connect, adapter) as b:
        session = b.session("a", durable=durable, affinity="strict_queue")
        other = b.session("a", durable=durable, affinity="strict_queue")
        stands = [0]

        def check() -> None:
            try:
                n = other.call("look").get("n", 0)
            except SessionLost:
                assert not durable
                n = other.call("look").get("n", 0)
                assert n == 0
                stands[0] = 0
            assert n in (stands[0], stands[0] + 1)
            stands[0] = n

        def act() -> None:
            try:
                session.call("bump")
            except SessionLost:  # each handle is told
                assert not durable

        assert sweep(b, act, check, step) > 100


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_more_callers_than_sessions_get_on(connect: Connect, adapter: str) -> None:
    """Each ends the others' sessions all the time, and is told; all come to their end. Fails when `land` has a session
    look again that had ended before it had begun: each of four threads ended the other three's, for ever."""
    with opened(connect, adapter, max_sessions=1) as b, ThreadPoolExecutor(4) as pool:

        def call_often(key: str) -> int:
            session, answered = b.session(key, durable=True), 0
            while answered < 30:
                with contextlib.suppress(SessionLost):
                    assert session.call("bump", timeout=10)[0] > 0
                    answered += 1
            return answered

        assert list(pool.map(call_often, "abcd", timeout=60)) == [30] * 4
        assert b.stats().sessions == 1


def test_a_session_of_another_bridge_is_refused(connect: Connect) -> None:
    """And so is what is no session, and no key. Fails when `check_home` isn't asked."""
    with opened(connect, "mock") as one, opened(connect, "mock") as two:
        with pytest.raises(ConfigurationError, match="of another bridge"):
            two.call("bump", session=one.session("a"))
        for odd in (3, "", "x" * 257):
            with pytest.raises(ConfigurationError, match="1 to 256 characters"):
                one.call("bump", session=odd)  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="hint, strict_queue, strict_fail_fast"):
            one.session("a", affinity="strict")
        assert one.call("bump", session=one.session("x" * 256))[0] == 1


class Stateless(MockAdapter):
    """Keeps no states."""

    capabilities = MockAdapter.capabilities - {Capability.SESSIONS}


class Forgetful(MockAdapter):
    """Says that it keeps states, and shows none."""

    def open(self, spec: WorkerSpec, *, deadline: float) -> MockChannel:
        """A channel whose replies lack the snapshot."""
        channel = super().open(spec, deadline=deadline)
        submit = channel.submit

        def forget(request: Request, done: Callable[[Reply], None]) -> None:
            submit(request, lambda reply: done(replace(reply, snapshot=None)))

        channel.submit = forget  # type: ignore[method-assign]
        return channel


class Watched(MockAdapter):
    """Notes which states are sent."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.states: list[bytes | None] = []

    def open(self, spec: WorkerSpec, *, deadline: float) -> MockChannel:
        """A channel that is watched."""
        channel = super().open(spec, deadline=deadline)
        submit = channel.submit

        def watch(request: Request, done: Callable[[Reply], None]) -> None:
            if request.session is not None:
                self.states.append(request.session.state)
            submit(request, done)

        channel.submit = watch  # type: ignore[method-assign]
        return channel


def test_a_state_is_sent_only_where_it_begins_anew(connect: Connect) -> None:
    """After a call that failed, not after one that returned. Fails when `equip` always sends it."""
    adapter = Watched(HANDLER)
    with connect(HANDLER, adapter=adapter, size=1) as b:
        session = b.session("a", durable=True)
        for command, args in (("bump", None), ("bump", None), ("look", {"odd": 1}), ("look", None), ("look", None)):
            with contextlib.suppress(bridge.CallError):
                session.call(command, args)
        assert adapter.states == [None, None, None, b'{"n":2}', None]


def test_an_adapter_without_states_has_no_sessions(connect: Connect) -> None:
    """A CapabilityError that names those that have, and nothing was sent. Fails when `Visit` doesn't ask."""
    adapter = Stateless({"bump": 1})
    with connect(HANDLER, adapter=adapter) as b:
        with pytest.raises(CapabilityError, match="python_port, bridge_mock and mock do"):
            b.call("bump", session="a")
        assert adapter.calls == []
        assert b.call("bump") == 1


def test_a_result_without_the_state_of_a_durable_session_is_an_error(connect: Connect) -> None:
    """Nothing that returned may be lost without a word. Fails when `heard` stores what isn't there."""
    with connect(HANDLER, adapter=Forgetful(HANDLER), size=1) as b:
        assert b.session("plain").call("bump")[0] == 1
        with pytest.raises(ProtocolError, match="without its state"):
            b.session("a", durable=True).call("bump")


def test_an_end_counts_as_said_when_the_call_was_answered(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A call that was to carry it and was never sent: whoever comes next says it. Fails when `leave` doesn't look
    whether the call was answered."""
    diary = tmp_path / "diary"
    worker = {"options": {"diary": str(diary)}, "fake": HANDLER}
    with connect(HANDLER, adapter="mock", size=1, worker=worker) as b:
        b.call("bump", session="a")
        pool, send = b._source.runtime().pool, SubmitLink.open
        with pool.lock:
            pool.sessions.clear("it was closed")

        def cut(*_: Any) -> None:
            monkeypatch.setattr(SubmitLink, "open", send)
            raise Cut

        monkeypatch.setattr(SubmitLink, "open", cut)
        with pytest.raises(Cut):
            b.call("bump", session="b")
        assert diary.read_text() == "start a None\nend a 1\n"


def test_ending_a_session_can_be_cut_short_anywhere(connect: Connect) -> None:
    """It has ended then or not; the next call begins anew, or finds what there was. Fails when `end` removes it before
    its worker is owed the end."""
    with opened(connect, "mock") as b:
        count = [0]

        def act() -> None:
            b.session("a").close()

        def check() -> None:
            n = b.session("a").call("bump")[0]
            assert n in (1, count[0] + 1)
            count[0] = n

        check()
        sweep(b, act, check, 1)


def test_a_mock_that_dies_takes_its_sessions(connect: Connect) -> None:
    """A crash that a mock plays is a worker's death for its sessions too."""
    mock = MockAdapter(HANDLER)
    with connect(HANDLER, adapter=mock, size=2) as b:
        session = b.session("a", affinity="strict_queue")
        session.call("bump")
        mock.crash("look", times=1)
        with pytest.raises(bridge.WorkerCrashed):
            session.call("look")
        with pytest.raises(SessionLost):
            session.call("look")
        assert session.call("bump")[0] == 1
