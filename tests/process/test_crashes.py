"""Workers that die or freeze: one call is lost at the most, and full size comes back by itself."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from bridge import Bridge, BridgeError, CallTimeout, WorkerCrashed
from tests.process.conftest import Connect
from tests.process.waiting import held_open, is_gone, read_pid, wait_until, wait_until_gone

PROMPTLY = 15.0
"""Seconds; tells an answer from a hang."""


def pids(b: Bridge) -> set[int]:
    """Of the workers that are ready."""
    return {worker.pid for worker in b.stats().workers if worker.pid and worker.state in ("ready", "busy")}


def wait_until_full(b: Bridge) -> None:
    """Every place is filled, and everybody is idle."""
    wait_until(lambda: b.stats().idle == b.stats().size, 20, what=f"full size of {b}")


@pytest.mark.usefixtures("each_start_method")
@pytest.mark.parametrize(
    ("command", "args", "exit_code", "signal_name"),
    [
        ("say_and_crash", ["last words\n", signal.SIGKILL], None, "SIGKILL"),
        ("say_and_crash", ["last words\n", signal.SIGSEGV], None, "SIGSEGV"),
        ("say_and_crash", ["last words\n", signal.SIGRTMIN + 3], None, f"signal {signal.SIGRTMIN + 3}"),
        ("say_and_leave", ["last words\n", 3], 3, None),
        ("say_and_leave", ["last words\n", 0], 0, None),
    ],
)
def test_a_death_in_a_call_fails_that_call_alone_and_says_how(
    connect: Connect, rough: str, tmp_path: Path, command: str, args: list[object], exit_code: int, signal_name: str
) -> None:
    """Pid, signal or exit code, command and the tail of stderr are in the error; a call on another worker goes on.
    Fails when the status is taken as Popen takes it, or when the caller doesn't wait for it."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    other: list[object] = []
    with connect(f"{rough}:Rough", size=2) as b:
        before = pids(b)
        running = threading.Thread(daemon=True, target=lambda: other.append(b.call("read_fifo", [str(fifo)])))
        running.start()
        with held_open(fifo) as held:
            with pytest.raises(WorkerCrashed) as caught:
                b.call(command, args)
            os.write(held, b"lived on")
        running.join(PROMPTLY)

        error = caught.value
        assert other == ["lived on"]
        assert error.pid in before
        assert (error.exit_code, error.signal_name, error.command) == (exit_code, signal_name, command)
        assert error.stderr_tail == "last words\n"
        assert all(str(part) in str(error) for part in (error.pid, command, "last words", signal_name or exit_code))
        assert not error.retryable
        assert not error.hung_up
        assert ("possibly out of memory" in str(error)) == (signal_name == "SIGKILL")
        wait_until_full(b)
        assert len(pids(b) & before) == 1
        assert (b.stats().crashes, b.stats().restarts, b.health().breaker) == (1, 1, "closed")


@pytest.mark.usefixtures("each_start_method")
def test_a_handler_that_closes_its_workers_descriptors_is_told_as_such(connect: Connect, rough: str) -> None:
    """An end of its own making is no kill, nor want of memory. Fails when each error of a write is taken for the end of
    its caller."""
    with connect(f"{rough}:Rough") as b:
        with pytest.raises(WorkerCrashed) as caught:
            b.call("close_all")

        assert (caught.value.exit_code, caught.value.signal) == (1, None)
        assert "the handler closed its worker's descriptors" in caught.value.stderr_tail
        assert b.call("echo", [1], timeout=20) == 1


@pytest.mark.usefixtures("each_start_method")
def test_an_idle_worker_that_was_killed_costs_nobody_an_error(connect: Connect, rough: str) -> None:
    """Its next caller is served by another one. Fails when `call` doesn't retry what certainly didn't start."""
    with connect(f"{rough}:Rough") as b:
        for number in range(5):
            (victim,) = pids(b)
            os.kill(victim, signal.SIGKILL)
            # Dead, not dying: a read that the kernel is about to finish could still take the call with it.
            wait_until(lambda victim=victim: is_gone(victim), what="its end")  # type: ignore[misc]
            assert b.call("echo", [number]) == number
            wait_until_full(b)

        stats = b.stats()
        assert (stats.calls, stats.crashes, stats.restarts) == (5, 0, 5)
        assert stats.retries <= 5


def test_who_waits_for_a_worker_that_dies_unused_is_served_by_the_next(connect: Connect, rough: str) -> None:
    """A death between readiness and the first call is no error of those who wait. Fails when `Fleet.exited` refuses
    them before the breaker is open."""
    with connect(f"{rough}:Rough") as b:
        lease = b.lease()
        answers: list[object] = []
        caller = threading.Thread(daemon=True, target=lambda: answers.append(b.call("pid", timeout=20)))
        caller.start()
        wait_until(lambda: b.stats().waiting == 1, what="the caller")
        assert lease.info.pid is not None
        os.kill(lease.info.pid, signal.SIGKILL)
        caller.join(20)

        assert answers == [*pids(b)] != [lease.info.pid]
        assert b.health().breaker == "closed"
        with contextlib.suppress(BridgeError):  # its reset meets the death
            lease.close()


@pytest.mark.usefixtures("each_start_method")
def test_a_worker_that_died_before_it_read_the_call_is_a_retry(connect: Connect, rough: str) -> None:
    """A frozen worker gets the call and is killed before it reads a byte of it: the call is sent again, and counted.
    Fails when `_was_read` isn't asked: then this is a WorkerCrashed; and, for the reason, without `Tally.explain` in
    either place: the call may be sent again before or after its worker was reaped."""
    with connect(f"{rough}:Rough") as b:
        (victim,) = pids(b)
        os.kill(victim, signal.SIGSTOP)
        wait_until(lambda: state_of(victim) == "T", what="the stop")
        answers: list[object] = []
        caller = threading.Thread(daemon=True, target=lambda: answers.append(b.call("pid")))
        caller.start()
        wait_until(lambda: b.stats().workers[0].calls == 1, what="the call")
        os.kill(victim, signal.SIGKILL)
        caller.join(PROMPTLY)

        assert answers == [*pids(b)] != [victim]
        assert (b.stats().retries, b.stats().crashes) == (1, 0)
        assert b.stats().sent_again == {"killed by SIGKILL": 1}


def state_of(pid: int) -> str:
    """R, S, T and so on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.usefixtures("each_start_method")
def test_a_frozen_worker_costs_one_time_out_and_is_replaced(connect: Connect, rough: str) -> None:
    """The caller is released on time, the frozen process is killed. Fails when the end is asked for by SIGTERM."""
    with connect(f"{rough}:Rough", cancel_grace=0.1) as b:
        (victim,) = pids(b)
        os.kill(victim, signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(CallTimeout) as caught:
            b.call("echo", [1], timeout=0.1)

        assert 0.1 <= time.monotonic() - began < PROMPTLY
        assert caught.value.pid == victim
        assert b.call("echo", [2], timeout=PROMPTLY) == 2
        wait_until_gone({victim})
        assert b.stats().timeouts == 1


def sweep_around_a_timeout(b: Bridge, rounds: int) -> Counter[str]:
    """Call handlers that take about as long as their time-out; each time look whether a late reply reached somebody."""
    limit = 0.02
    found: Counter[str] = Counter()
    for round_ in range(rounds):
        duration = limit * (0.5 + round_ / rounds)
        try:
            assert b.call("slow_echo", [f"late {round_}", duration], timeout=limit) == f"late {round_}"
            found["answered"] += 1
        except CallTimeout:
            found["late"] += 1
        assert [b.call("echo", [f"{round_} {i}"]) for i in range(3)] == [f"{round_} {i}" for i in range(3)]
    return found


def test_a_late_reply_reaches_nobody(connect: Connect, rough: str) -> None:
    """A time-out kills; whatever the worker was about to say is never read. Fails when `checkin` lends a worker with
    an outstanding reply again, or when ids aren't compared."""
    with connect(f"{rough}:Rough", size=2) as b:
        found = sweep_around_a_timeout(b, 12)

    assert found["late"] > 0


@pytest.mark.deep
def test_late_replies_reach_nobody_in_a_fine_sweep(connect: Connect, rough: str) -> None:
    """The same in steps of 40 us around the time-out."""
    with connect(f"{rough}:Rough", size=2) as b:
        found = sweep_around_a_timeout(b, 500)

    assert min(found["late"], found["answered"]) > 0


@pytest.mark.usefixtures("each_start_method")
@pytest.mark.parametrize("anonymous", [False, True])
def test_a_stray_that_holds_the_pipes_cannot_hide_a_death(
    connect: Connect, rough: str, tmp_path: Path, anonymous: bool
) -> None:
    """The worker is dead, a process it forked in C keeps the reply pipe and stderr open: the caller gets WorkerCrashed
    at once, and the stray is swept unless it took off its mark. Fails when `_wait` watches the pipe alone (anonymous),
    or without `sweep`."""
    with connect(f"{rough}:Rough") as b:
        began = time.monotonic()
        with pytest.raises(WorkerCrashed) as caught:
            b.call("abandon_a_child", [str(tmp_path / "pid"), anonymous], timeout=30)

        assert time.monotonic() - began < PROMPTLY
        assert caught.value.exit_code == 3
        assert b.call("echo", [1]) == 1
        stray = read_pid(tmp_path / "pid")
        if anonymous:
            assert not is_gone(stray)  # out of reach, as the documentation says
            os.kill(stray, signal.SIGKILL)
        wait_until_gone({stray})


def storm(b: Bridge, *, callers: int, kills: int, calls: int, seed: int) -> tuple[Counter[str], set[int]]:
    """Call from many threads while workers are killed at random; outcomes of all calls, and who was killed."""
    outcomes: list[str] = []
    killed: set[int] = set()
    numbers = iter(range(calls))
    rng = random.Random(seed)

    def work() -> None:
        for number in numbers:
            try:
                assert b.call("slow_echo", [number, 0.002]) == number
                outcomes.append("answered")
            except (BridgeError, AssertionError) as error:
                outcomes.append(type(error).__name__)

    threads = [threading.Thread(daemon=True, target=work) for _ in range(callers)]
    for thread in threads:
        thread.start()
    while len(killed) < kills and any(thread.is_alive() for thread in threads):
        for victim in rng.sample(sorted(pids(b)), min(1, len(pids(b)))):
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
                killed.add(victim)
        mark = len(outcomes) + rng.randint(1, max(1, calls // kills // 2))
        wait_until(lambda mark=mark: len(outcomes) >= min(mark, calls), 20)  # type: ignore[misc]
    for thread in threads:
        thread.join(60)
    return Counter(outcomes), killed


@pytest.mark.usefixtures("each_start_method")
@pytest.mark.parametrize(
    ("size", "callers", "kills", "calls"),
    [(4, 8, 10, 120), pytest.param(8, 8, 30, 400, marks=pytest.mark.deep)],
)
def test_in_a_storm_of_kills_each_call_has_one_outcome(
    connect: Connect, rough: str, size: int, callers: int, kills: int, calls: int
) -> None:
    """An answer of its own or WorkerCrashed, never both or neither; as many crashes as kills at the most; full size
    and nobody left of the killed. Fails when a crash takes other calls with it."""
    with connect(f"{rough}:Rough", size=size) as b:
        outcomes, killed = storm(b, callers=callers, kills=kills, calls=calls, seed=7)

        assert set(outcomes) <= {"answered", "WorkerCrashed"}, outcomes
        assert sum(outcomes.values()) == calls
        assert len(killed) >= kills // 2
        assert outcomes["WorkerCrashed"] <= len(killed)
        wait_until_full(b)
        assert all(is_gone(pid) for pid in killed)
        assert not pids(b) & killed
        assert b.health().breaker == "closed"


def test_a_stderr_that_ended_is_watched_no_more_when_its_number_is_free_again(connect: Connect, rough: str) -> None:
    """A process that another thread forks holds copies of all our descriptors until its exec, so that a descriptor
    that is closed while it is watched goes on being reported; by its number, which is the successor's pidfd by then:
    that one was taken for dead, and killed. Fails when `drain_stderr` closes what it has read to its end."""
    with connect(f"{rough}:Rough") as b:
        supervisor = b._source.peek().supervisor
        (first,) = supervisor.workers.values()
        assert first.process is not None
        copy = os.dup(first.process.stderr_fileno() or -1)  # as in that process
        try:
            os.kill(first.info.pid or 0, signal.SIGKILL)
            wait_until(lambda: b.stats().restarts == 1 and b.stats().idle == 1, what="another worker")

            assert supervisor.poller is not None
            registered = Path(f"/proc/self/fdinfo/{supervisor.poller._epoll.fileno()}").read_text()
            assert {int(line.split()[1]) for line in registered.splitlines() if line.startswith("tfd:")} == {
                *supervisor.poller._callbacks
            }
        finally:
            os.close(copy)
