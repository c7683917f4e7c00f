"""How sessions end: by close, in time, by a move, with their worker, with their bridge; and who is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import bridge
from bridge import SessionLost, WorkerError
from bridge.runtime.calls import reset_workers
from tests.process.busy import HANDLER, busy
from tests.process.conftest import Connect
from tests.process.waiting import wait_until, wait_until_gone


@pytest.fixture
def diary(tmp_path: Path) -> Path:
    """What the hooks were told, a line for each."""
    path = tmp_path / "diary"
    path.touch()
    return path


def test_a_worker_is_told_of_its_sessions_ends(connect: Connect, diary: Path) -> None:
    """By close at once; when its time is over and when it moved, by the supervisor; at the worker's own end.
    Fails when `Checkups.look` doesn't look who is owed, or `end_sessions` isn't called."""
    with connect(HANDLER, size=1, worker={"options": {"diary": str(diary)}}, ttl=0.3) as b:
        with b.session("closed") as session:
            session.call("bump")
        assert diary.read_text() == "start closed None\nend closed 1\n"
        late = b.session("late", durable=True)
        late.call("bump")
        wait_until(lambda: "end late 1\n" in diary.read_text(), 10, "the end of the session")
        wait_until(lambda: not b._source.runtime().pool.sessions.farewells, 10, "its end to be known")
        with pytest.raises(SessionLost, match=r"session\.ttl"):
            late.call("bump")
        late.call("bump")
        b.call("pid")
    assert diary.read_text().splitlines()[-1].startswith("end late 1")


@pytest.mark.parametrize("adapter", ["mock", "bridge_mock"])
def test_what_stands_in_for_a_worker_is_told_of_ends_too(connect: Connect, diary: Path, adapter: str) -> None:
    """At once, though no thread looks after it, and at its own end. Fails when `spread_news` tells nobody, and when the
    end of a mock isn't told to its sessions."""
    worker = {"options": {"diary": str(diary)}, "fake": HANDLER}
    with connect(HANDLER, adapter=adapter, size=2, max_sessions=1, worker=worker) as b:
        b.session("a").call("bump")
        b.session("b").call("bump")
        assert diary.read_text() == "start a None\nstart b None\nend a 1\n"
    wait_until(lambda: diary.read_text().endswith("end b 1\n"), 10, "the end of the last one")


def test_a_session_that_only_streamed_ends_in_time(connect: Connect, diary: Path) -> None:
    """Its end is looked for like that of one that called. Fails when a stream's end spreads no news."""
    with connect(HANDLER, size=1, worker={"options": {"diary": str(diary)}}, ttl=0.1) as b:
        assert list(b.session("a").stream("numbers", [3])) == [0, 1, 2]
        wait_until(lambda: "end a 3\n" in diary.read_text(), 10, "the end of the session")


def test_a_session_that_moved_ends_where_it_was(connect: Connect, diary: Path, tmp_path: Path) -> None:
    """The worker that a hint left for another is told, once it is idle. Fails when `land` owes it nothing."""
    with connect(HANDLER, size=2, worker={"options": {"diary": str(diary)}}) as b:
        session = b.session("a")
        session.call("bump")
        with busy(b, tmp_path, lambda fifo: b.call("held", [fifo])):
            assert session.call("bump")[0] == 1
            assert "end" not in diary.read_text()
        wait_until(lambda: diary.read_text().endswith("end a 1\n"), 10, "the end at the first worker")
        assert session.call("bump")[0] == 2


def test_closing_a_session_in_a_call_ends_it_afterwards(connect: Connect, diary: Path, tmp_path: Path) -> None:
    """The call goes on to its end; its worker is told then; nobody else meets its state."""
    with connect(HANDLER, size=1, worker={"options": {"diary": str(diary)}}) as b:
        session = b.session("a")
        with busy(b, tmp_path, lambda fifo: session.call("held", [fifo])):
            b.session("a").close()
            assert b.stats().sessions == 0
        assert b.session("a").call("bump")[0] == 1
        assert diary.read_text() == "start a None\nend a 1\nstart a None\n"


def test_a_fork_has_sessions_of_its_own(connect: Connect) -> None:
    """The child's bridge begins anew, and the parent's session stands as it was."""
    with connect(HANDLER, size=1) as b:
        session = b.session("a", durable=True)
        session.call("bump")
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = 0 if session.call("bump")[0] == 1 else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert session.call("bump")[0] == 2


def test_between_tests_that_share_a_worker_sessions_end(connect: Connect, diary: Path) -> None:
    """The next test begins anew, and the handler was told before. Fails when `reset_workers` doesn't clear them, or
    when it doesn't tell those that it has."""
    with connect(HANDLER, size=2, worker={"options": {"diary": str(diary)}}) as b:
        for number in range(4):
            b.session(f"s{number}", durable=True).call("bump")
        reset_workers(b._source.runtime())
        assert b.stats().sessions == 0
        assert sorted(line for line in diary.read_text().splitlines() if line.startswith("end")) == [
            f"end s{number} 1" for number in range(4)
        ]
        assert b.session("s0", durable=True).call("bump")[0] == 1


def test_a_closed_bridge_ends_its_sessions_workers(connect: Connect) -> None:
    """A handle of it is told that the pool is closed; nothing of it lives on."""
    b = connect(HANDLER, size=1)
    session = b.session("a")
    _, pid = session.call("bump")
    b.close()
    wait_until_gone([pid])
    with pytest.raises(bridge.PoolClosed):
        session.call("bump")
    session.close()
    with pytest.raises(WorkerError, match="closed by this handle"):
        session.call("bump")
