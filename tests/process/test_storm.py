"""Threads and loops together on one small pool, with deadlines, cancels and kills: nobody's answer is another's."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import pytest

import bridge
from bridge import Bridge
from tests.facade.looping import LoopThread
from tests.process.conftest import Connect
from tests.process.waiting import wait_until

ECHO: Final = f"{Path(__file__).parent.parent / 'handlers.py'}:Echo"
EXPECTED: Final = (bridge.CallTimeout, bridge.PoolTimeout, bridge.WorkerCrashed, bridge.CallCancelled)


class Storm:
    """What all of its callers share.

    Args:
        seconds: How long it lasts.
    """

    def __init__(self, b: Bridge, seconds: float, seed: int) -> None:
        self.b, self.seed = b, seed
        self.until = time.monotonic() + seconds
        self.outcomes: Counter[str] = Counter()
        self.wrong: list[Any] = []

    def plan(self, dice: random.Random, who: str, number: int) -> tuple[str, list[Any], float]:
        """Command, arguments, timeout."""
        timeout = dice.choice([0.005, 0.05, 5.0, 5.0])
        return ("sleep", [0.02], timeout) if dice.random() < 0.1 else ("echo", [[who, number]], timeout)

    def came(self, command: str, args: list[Any], value: Any) -> None:
        """A call was answered."""
        self.outcomes["answered"] += 1
        if command == "echo" and value != args[0]:
            self.wrong.append((args, value))

    def failed(self, error: BaseException) -> None:
        """A call ended in an error that belongs here."""
        self.outcomes[type(error).__name__] += 1

    def call_plainly(self, number: int) -> None:
        """One thread's part; now and then a lease, dropped."""
        dice = random.Random(f"{self.seed} {number}")
        for turn in range(10**9):
            if time.monotonic() > self.until:
                return
            command, args, timeout = self.plan(dice, f"thread {number}", turn)
            try:
                if dice.random() < 0.02:
                    self.b.lease(timeout=timeout).call(command, args, timeout=timeout)
                else:
                    self.came(command, args, self.b.call(command, args, timeout=timeout))
            except EXPECTED as error:
                self.failed(error)
            except BaseException as error:
                self.wrong.append(error)
                return

    async def call_in_tasks(self, number: int) -> None:
        """One loop's part: five hundred tasks, some of which are cancelled."""
        ab, dice = self.b.aio, random.Random(f"{self.seed} loop {number}")

        async def one(who: str, turn: int) -> None:
            command, args, timeout = self.plan(dice, who, turn)
            try:
                value = await asyncio.wait_for(ab.call(command, args, timeout=timeout), dice.choice([0.01, 1, 10, 10]))
                self.came(command, args, value)
            except (*EXPECTED, asyncio.TimeoutError) as error:
                self.failed(error)

        async def many(task: int) -> None:
            turn = 0
            while time.monotonic() < self.until:
                turn += 1
                await one(f"task {number} {task}", turn)

        for ended in await asyncio.gather(*(many(task) for task in range(500)), return_exceptions=True):
            if ended is not None:
                self.wrong.append(ended)

    def kill_now_and_then(self, over: threading.Event) -> None:
        """Some worker, every tenth of a second or so."""
        dice = random.Random(f"{self.seed} kills")
        while not over.wait(dice.uniform(0.02, 0.2)):
            pids = [worker.pid for worker in self.b.stats().workers if worker.pid is not None]
            if pids:
                try:
                    os.kill(dice.choice(pids), signal.SIGKILL)
                except ProcessLookupError:
                    continue
                self.outcomes["kills"] += 1


def ride(b: Bridge, seconds: float, threads: int, loops: int) -> Storm:
    """The storm, and calm after it."""
    storm, over = Storm(b, seconds, random.randrange(10**6)), threading.Event()
    crew = [threading.Thread(target=storm.call_plainly, args=(number,)) for number in range(threads)]
    killer = threading.Thread(target=storm.kill_now_and_then, args=(over,))
    riding = [LoopThread() for _ in range(loops)]
    try:
        parts = [loop.submit(storm.call_in_tasks(number)) for number, loop in enumerate(riding)]
        for thread in [*crew, killer]:
            thread.start()
        for part in parts:
            part.result(seconds + 60)
        for thread in crew:
            thread.join(seconds + 60)
        assert not any(thread.is_alive() for thread in crew), storm.seed
    finally:
        over.set()
        killer.join(10)
        for loop in riding:
            loop.close()
    return storm


def check_calm(b: Bridge, storm: Storm) -> None:
    """Nobody got another's answer; every worker is there, and free; the pool serves."""
    assert storm.wrong == [], (storm.seed, storm.wrong[:5])
    assert storm.outcomes["answered"] > 0
    size = b.stats().size
    wait_until(lambda: (b.stats().busy, b.stats().waiting) == (0, 0), 30, f"all to be free (seed {storm.seed})")
    wait_until(lambda: b.health().ready == size, 30, f"all to be ready (seed {storm.seed})")
    for number in range(100):
        assert b.call("echo", [number]) == number


def test_a_short_storm_leaves_nothing_wrong(connect: Connect) -> None:
    """Eight threads and two loops of 500 tasks on four workers. Fails when a lease whose reply is due is lent again."""
    b = connect(ECHO, size=4, cancel_grace=0.5, max_restarts=100)
    check_calm(b, ride(b, 1.5, threads=8, loops=2))


@pytest.mark.deep
def test_a_long_storm_leaves_nothing_wrong(connect: Connect) -> None:
    """Sixty-four threads and three loops of 500 tasks on four workers, for 30 s."""
    b = connect(ECHO, size=4, cancel_grace=0.5, max_restarts=100)
    storm = ride(b, 30, threads=64, loops=3)
    check_calm(b, storm)
    print(dict(storm.outcomes))
