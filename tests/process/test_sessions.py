"""Sessions on real workers: whom a call waits for, what a death takes, what comes back, and who is told."""

from __future__ import annotations

import os
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import bridge
from bridge import (
    CallTimeout,
    PoolOverloaded,
    PoolTimeout,
    SessionLost,
    WorkerCrashed,
)
from tests.process.busy import HANDLER, busy, waits
from tests.process.conftest import Connect
from tests.process.waiting import held_open, wait_until, wait_until_gone


def test_a_strict_call_waits_for_its_worker_alone(connect: Connect, tmp_path: Path) -> None:
    """Another session has that worker: a strict call waits though others are idle, which serve everybody else
    meanwhile; a call that fails fast is refused; one with a hint goes to another worker, and begins anew. Fails when
    `aim` doesn't say which worker is wanted, or when `_refuse` doesn't look at `fails_fast`."""
    with connect(HANDLER, size=2) as b:
        affinities = {"strict": "strict_queue", "fast": "strict_fail_fast", "hint": "hint", "others": "hint"}
        sessions = [b.session(key, affinity=affinity) for key, affinity in affinities.items()]
        strict, fast, hint, others = sessions
        with b.lease():  # all in the one that is left
            ((_, pid),) = {tuple(session.call("bump")) for session in sessions}
        with ThreadPoolExecutor(1) as pool, busy(b, tmp_path, lambda fifo: others.call("held", [fifo])):
            waiting = pool.submit(strict.call, "bump")
            wait_until(waits(b))
            with pytest.raises(PoolOverloaded, match="session 'fast' is busy") as refused:
                fast.call("bump")
            assert (refused.value.session, refused.value.retryable) == ("fast", True)
            elsewhere = hint.call("bump")
            assert elsewhere[0] == 1
            assert {b.call("pid") for _ in range(5)} == {elsewhere[1]} != {pid}
            assert not waiting.done()

        assert waiting.result(10) == [2, pid]
        assert fast.call("bump") == [2, pid]
        assert hint.call("bump") == [2, elsewhere[1]]


def test_new_sessions_are_spread(connect: Connect) -> None:
    """One after the other, they begin in all workers in turn. Fails when `aim` leaves a new one to the warmest."""
    with connect(HANDLER, size=4) as b:
        found = Counter(b.session(f"s{number}").call("bump")[1] for number in range(40))
        assert [*found.values()] == [10] * 4


def test_who_waits_for_too_long_is_told_for_whom(connect: Connect, tmp_path: Path) -> None:
    """A strict call keeps to the checkout timeout, and to its own. Fails when `_timeout` forgets the session."""
    with connect(HANDLER, size=2, checkout_timeout=0.05) as b:
        strict = b.session("strict", affinity="strict_queue")
        strict.call("bump")
        with busy(b, tmp_path, lambda fifo: strict.call("held", [fifo])):
            with pytest.raises(PoolTimeout, match="the state of session 'strict' is busy"):
                strict.call("bump")
            assert b.stats().waiting == 0


@pytest.mark.parametrize("affinity", ["hint", "strict_queue"])
@pytest.mark.parametrize("durable", [False, True])
def test_calls_of_a_session_run_one_after_the_other(connect: Connect, affinity: str, durable: bool) -> None:
    """From eight threads at once, and none is lost. Fails when a hint moves while a call of its session is out."""
    with connect(HANDLER, size=3) as b, ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda _: b.session("a", affinity=affinity, durable=durable).call("bump")[0], range(200))

        assert sorted(found) == list(range(1, 201))
        assert b.stats().idle == 3


def test_a_death_is_told_once(connect: Connect) -> None:
    """Of an idle worker: the next call of each strict session, by whatever handle, is told whose death took its state,
    and the one after it begins anew. Fails when `aim` doesn't clear `lost`, or when `worker_gone` doesn't set it."""
    with connect(HANDLER, size=2) as b:
        one, two = (b.session(key, affinity="strict_queue") for key in ("one", "two"))
        with b.lease():
            ((_, pid),) = {tuple(session.call("bump")) for session in (one, two)}
        os.kill(pid, signal.SIGKILL)
        wait_until_gone([pid])

        for session in (one, b.session("two", affinity="strict_fail_fast")):
            with pytest.raises(SessionLost, match="killed by SIGKILL") as lost:
                session.call("bump")
            assert (lost.value.pid, lost.value.retryable) == (pid, True)
        with pytest.raises(SessionLost):  # by a handle that had met the state
            two.call("bump")
        assert one.call("bump")[0] == two.call("bump")[0] == 1


def test_a_death_in_a_call_is_that_calls_and_then_the_sessions(connect: Connect) -> None:
    """WorkerCrashed for the call that was out, SessionLost for the next one; a hint just begins anew."""
    with connect(HANDLER, size=1) as b:
        strict, hint = b.session("strict", affinity="strict_queue"), b.session("hint")
        strict.call("bump")
        hint.call("bump")
        with pytest.raises(WorkerCrashed):
            strict.call("die")
        with pytest.raises(SessionLost, match="exit code 3"):
            strict.call("bump")
        assert strict.call("bump")[0] == hint.call("bump")[0] == 1


def test_whoever_waits_for_a_worker_that_dies_is_told(connect: Connect, tmp_path: Path) -> None:
    """All of them, at once; who is durable goes on elsewhere. Fails when `bury` refuses nobody."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with connect(HANDLER, size=2) as b, ThreadPoolExecutor(8) as pool:
        strict = b.session("strict", affinity="strict_queue")
        durable = b.session("durable", affinity="strict_queue", durable=True)
        with b.lease():
            ((_, pid),) = {tuple(session.call("bump")) for session in (strict, durable)}
        running = pool.submit(strict.call, "held", [str(fifo)])
        with held_open(fifo):
            refused = [pool.submit(strict.call, "bump") for _ in range(3)]
            served = pool.submit(durable.call, "bump")
            wait_until(lambda: b.stats().waiting == 4)
            os.kill(pid, signal.SIGKILL)
            assert isinstance(running.exception(10), WorkerCrashed)
            assert [type(each.exception(10)) for each in refused] == [SessionLost] * 3
            n, elsewhere = served.result(10)
            assert (n, elsewhere != pid) == (2, True)
        assert strict.call("bump")[0] == 1


def test_a_cancelled_call_leaves_what_it_did_unless_it_is_durable(connect: Connect) -> None:
    """After a soft cancel the worker has the state still, for a hint too, which waits for the end of the cancelled
    call; a durable session stands at its last call that returned. Fails when a hint doesn't wait for a worker that is
    away, and when `land` leaves a durable session alive."""
    with connect(HANDLER, size=4, cancel_grace=10) as b:
        for affinity in ("hint", "strict_queue"):
            plain = b.session(f"plain {affinity}", affinity=affinity)
            durable = b.session(f"durable {affinity}", affinity=affinity, durable=True)
            for session in (plain, durable):
                session.call("bump")
                with pytest.raises(CallTimeout):
                    session.call("linger", [0.2], timeout=0.1)
            assert plain.call("look") == {"n": 2}
            assert durable.call("look") == {"n": 1}
        assert b.stats().restarts == 0


def test_recycling_takes_only_what_is_not_durable(connect: Connect) -> None:
    """A durable session goes on in the successor; a strict one is told why. Fails when a worker that is told to stop
    isn't buried."""
    with connect(HANDLER, size=1) as b:
        durable, strict = b.session("durable", durable=True), b.session("strict", affinity="strict_queue")
        _, before = durable.call("bump")
        strict.call("bump")
        b.recycle()
        n, after = durable.call("bump")
        assert (n, before != after) == (2, True)
        with pytest.raises(SessionLost, match=r"recycle\(\)"):
            strict.call("bump")


def test_a_call_waits_for_the_one_before_it(connect: Connect, tmp_path: Path) -> None:
    """Of the same session, by a hint too: it sleeps in a queue. Fails when `aim` doesn't look whether the session is
    in use: it was lent one other worker after the other, and sent them back."""
    with connect(HANDLER, size=3) as b:
        session = b.session("a")
        session.call("bump")
        with ThreadPoolExecutor(1) as pool, busy(b, tmp_path, lambda fifo: session.call("held", [fifo])):
            second = pool.submit(session.call, "bump")
            wait_until(waits(b))
        assert second.result(10)[0] == 3


def test_where_nobody_may_wait_an_idle_worker_is_lent_all_the_same(connect: Connect) -> None:
    """To who wants it. Fails when `_refuse` doesn't look whether that worker is idle."""
    with connect(HANDLER, size=1, max_waiting=0) as b:
        session = b.session("a", affinity="strict_queue")
        assert [session.call("bump")[0] for _ in range(3)] == [1, 2, 3]


def test_a_state_and_a_result_share_a_frame(connect: Connect) -> None:
    """Each fits, both together don't: an error of the handler's, and the worker lives on. Fails when `sealed` doesn't
    look at the sum: it was killed for a frame that is too long."""
    with connect(HANDLER, size=1, max_frame_bytes=4096, max_snapshot_bytes=4096) as b:
        session = b.session("a", durable=True)
        assert len(session.call("both", [1000, 2000])) == 2000
        with pytest.raises(bridge.CallError, match=r"with the session's state.*max_frame_bytes=4096"):
            session.call("both", [2000, 3000])
        assert len(session.call("look")["text"]) == 1000
        assert b.stats().restarts == 0


def test_durable_states_are_pickled_where_calls_are(connect: Connect) -> None:
    """A set travels, to another worker too. Fails when the state is read as JSON."""
    with connect(HANDLER, size=1, worker={"codec": "pickle"}) as b:
        session = b.session("a", durable=True)
        session.call("keep", [1, 2])
        with pytest.raises(WorkerCrashed):
            session.call("die")
        assert session.call("keep", [3]) == [1, 2, 3]


def test_what_the_state_adds_counts_for_the_limit_of_a_frame(connect: Connect) -> None:
    """A call that only fits without the state is refused, nothing is lost, and its worker lives on. Fails when `equip`
    doesn't look at the sum."""
    with connect(HANDLER, size=1, max_frame_bytes=4096, codec="json") as b:
        session = b.session("k" * 200, durable=True)
        session.call("bump")
        with pytest.raises(bridge.CallError, match=r"max_frame_bytes=4096"):
            session.call("look", {"x": "y" * 3900})
        assert session.call("bump")[0] == 2
        assert b.stats().restarts == 0


def test_a_call_of_its_own_session_waits_in_vain(connect: Connect) -> None:
    """A callback that calls in the session whose call asks: it is told by its timeout, and nothing hangs."""
    with connect(HANDLER, size=2, checkout_timeout=0.1) as b:
        session = b.session("a", affinity="strict_queue")
        b.expose("again", lambda: session.call("bump"))
        assert session.call("ask", ["again"]) == "bridge.PoolTimeout"
        assert session.call("bump")[0] == 1


def test_a_session_is_as_strict_as_its_strictest_handle(connect: Connect, tmp_path: Path) -> None:
    """A call by the key alone neither takes the state away from a strict handle, nor hides its loss. Fails when `land`
    or `aim` looks at the caller's affinity alone."""
    with connect(HANDLER, size=2) as b:
        strict = b.session("a", affinity="strict_queue")
        with b.lease():
            _, pid = strict.call("bump")
            assert b.call("bump", session="other")[1] == pid
        with ThreadPoolExecutor(1) as pool, busy(b, tmp_path, lambda fifo: b.call("held", [fifo], session="other")):
            by_key = pool.submit(b.call, "bump", session="a")
            wait_until(waits(b))
        assert by_key.result(10) == [2, pid]

        os.kill(pid, signal.SIGKILL)
        wait_until_gone([pid])
        with pytest.raises(SessionLost):
            b.call("bump", session="a")
        assert b.call("bump", session="a")[0] == 1
        with pytest.raises(SessionLost, match="begun anew"):
            strict.call("bump")
        assert strict.call("bump")[0] == 2


def test_each_strict_handle_is_told_once(connect: Connect) -> None:
    """Of the state that it met, however many there are. Fails when the news belongs to whoever comes first."""
    with connect(HANDLER, size=1) as b:
        handles = [b.session("a", affinity="strict_queue") for _ in range(3)]
        for handle in handles:
            _, pid = handle.call("bump")
        os.kill(pid, signal.SIGKILL)
        wait_until_gone([pid])
        for handle in handles:
            with pytest.raises(SessionLost):
                handle.call("bump")
        assert [handle.call("bump")[0] for handle in handles] == [1, 2, 3]
        assert b.session("a", affinity="strict_queue").call("bump")[0] == 4


def test_a_session_becomes_durable_with_its_first_snapshot(connect: Connect) -> None:
    """What it had before isn't lost by a call that fails; a new one stands at nothing until then. Fails when `land`
    makes it durable: the next call began from a snapshot that there wasn't."""
    with connect(HANDLER, size=1) as b:
        b.call("bump", session="a")
        durable = b.session("a", durable=True)
        for session, stands in ((durable, 1), (b.session("new", durable=True), 0)):
            with pytest.raises(bridge.CallError):
                session.call("look", {"odd": 1})
            assert session.call("look").get("n", 0) == stands
        with pytest.raises(WorkerCrashed):
            durable.call("die")
        assert durable.call("bump")[0] == 2


def test_a_late_answer_does_not_bring_an_ended_session_back(connect: Connect, tmp_path: Path) -> None:
    """A call that was under way when its session was closed: its handle is told once. Fails when `leave` has the handle
    remember a session that has ended."""
    with connect(HANDLER, size=2) as b:
        strict = b.session("a", affinity="strict_queue")
        strict.call("bump")
        with busy(b, tmp_path, lambda fifo: strict.call("held", [fifo])):
            b.session("a").close()
            with pytest.raises(SessionLost, match="it was closed"):
                strict.call("bump")
            assert strict.call("bump")[0] == 1
        assert [strict.call("bump")[0] for _ in range(2)] == [2, 3]


def test_who_wants_one_worker_has_no_other_started(connect: Connect, tmp_path: Path) -> None:
    """It wouldn't help. Fails when `grow` counts those who wait for one."""
    with connect(HANDLER, adapter="bridge_mock", size=1, max_overflow=2) as b:
        strict = b.session("a", affinity="strict_queue")
        strict.call("bump")
        with ThreadPoolExecutor(2) as pool, busy(b, tmp_path, lambda fifo: strict.call("held", [fifo])):
            waiting = [pool.submit(strict.call, "bump") for _ in range(2)]
            wait_until(lambda: b.stats().waiting == 2)
            b._source.runtime().supervisor.grow()
            assert len(b.stats().workers) == 1
        assert sorted(each.result(10)[0] for each in waiting) == [3, 4]
