"""What other pools do, seen by doing it: each check answers with the words of its cell in docs/design/comparison.md.

Rules: nothing is asserted here, only found out; nothing is timed. A check runs in an interpreter of its own
(`python -m tests.process.peers NAME CHECK FOLDER`), since what it does to a pool isn't always to be repaired. The pools
are made as one gets them without arguments: the standard library's two, and ours.
"""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from concurrent import futures
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import pool as pools
from pathlib import Path
from typing import Any, Final

import bridge

LONG: Final = 60.0
"""Seconds in which everything that is to happen has happened."""
SOON: Final = 2.0
"""Seconds after which a worker that hasn't ended with its parent is asked to show that it lives."""
ENDLESS: Final = 20_000
"""Items of an iterable that stands for an endless one."""


# -- What workers run --------------------------------------------------------------------------------------


def hold(folder: str) -> int:
    """Tell who runs, wait until the gate is open, and tell that it went on."""
    with open(f"{folder}/told", "w") as told:
        told.write(f"{os.getpid()}\n")
        told.flush()
        with open(f"{folder}/gate", "rb", buffering=0) as gate:
            gate.read(1)
        told.write("went on\n")
    return os.getpid()


def crash() -> None:
    """Die as native code does."""
    sys.stderr.write("last words\n")
    sys.stderr.flush()
    os.abort()


class Money:
    """An object of one's own."""

    def __init__(self, amount: int) -> None:
        self.amount = amount


def double(money: Money) -> Money:
    """Takes and returns such an object."""
    return Money(2 * money.amount)


def negative(number: int) -> int:
    """As quick as can be."""
    return -number


class Handler:
    """The same for a bridge."""

    def hold(self, folder: str) -> int:
        """See `hold`."""
        return hold(folder)

    def crash(self) -> None:
        """See `crash`."""
        crash()

    def negative(self, number: int) -> int:
        """See `negative`."""
        return negative(number)

    def double(self, money: Money) -> Money:
        """See `double`."""
        return double(money)


# -- The pools ---------------------------------------------------------------------------------------------


class Peer:
    """A pool of two workers, asked in its own way. This is that of concurrent.futures."""

    def __init__(self) -> None:
        self.pool: Any = self.make()

    def make(self, size: int = 2) -> Any:
        """A new pool."""
        return ProcessPoolExecutor(size)

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        """Begin a call."""
        return self.pool.submit(function, *args)

    def result(self, call: Any, timeout: float = LONG) -> Any:
        """Its result."""
        return call.result(timeout)

    def late(self, folder: str) -> Any:
        """A call of `hold` whose caller gave up, by the deadline that this pool has."""
        call = self.submit(hold, folder)
        told(folder)
        with suppress(futures.TimeoutError, multiprocessing.TimeoutError):  # one class with TimeoutError from 3.11 on
            self.result(call, 0.01)
        return call

    def map(self, function: Callable[..., Any], items: Iterator[Any]) -> Any:
        """Results for many items."""
        return self.pool.map(function, items)

    def cancel(self, call: Any) -> object:
        """Cancel a call that runs."""
        return call.cancel()

    def gone_with(self, error: BaseException) -> str:
        """What the error of a crash says of it."""
        text = f"{error!r} {error}"
        parts = [name for name, sign in (("signal", "SIGABRT"), ("stderr", "last words")) if sign in text]
        return ", ".join(parts) or "nothing"


class MultiprocessingPool(Peer):
    """multiprocessing.Pool."""

    def make(self, size: int = 2) -> pools.Pool:
        """A new pool."""
        return multiprocessing.Pool(size)

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        """Begin a call."""
        return self.pool.apply_async(function, args)

    def result(self, call: Any, timeout: float = LONG) -> Any:
        """Its result."""
        return call.get(timeout)

    def map(self, function: Callable[..., Any], items: Iterator[Any]) -> Any:
        """Results for many items."""
        return self.pool.imap(function, items)

    def cancel(self, call: Any) -> object:
        """There is no such thing."""
        return getattr(call, "cancel", lambda: False)()


class Ours(Peer):
    """A bridge."""

    def make(self, size: int = 2) -> Any:
        """A new pool."""
        return bridge.connect(f"{__name__}:Handler", size=size, timeout=LONG)

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        """Begin a call."""
        return self.pool.submit(function.__name__, list(args))

    def late(self, folder: str) -> Any:
        """By its own deadline."""
        call = self.pool.submit("hold", [folder], timeout=SOON)
        with suppress(bridge.CallTimeout):
            call.result(LONG)
        return call

    def map(self, function: Callable[..., Any], items: Iterator[Any]) -> Any:
        """Results for many items."""
        return self.pool.map(function.__name__, items, arg="number")


# -- The checks --------------------------------------------------------------------------------------------


@contextmanager
def gate(folder: str) -> Iterator[Callable[[], None]]:
    """Open the gate of `hold`; nobody waits for somebody at the other end."""
    Path(folder).mkdir(exist_ok=True)
    for name in ("told", "gate"):
        os.mkfifo(f"{folder}/{name}")
    ends = [os.open(f"{folder}/{name}", os.O_RDWR) for name in ("told", "gate")]
    try:
        yield lambda: void(os.write(ends[1], b"x"))
    finally:
        for end in ends:
            os.close(end)


def void(_: object) -> None:
    """Nothing."""


def told(folder: str) -> int:
    """Wait until `hold` says who runs it."""
    with open(f"{folder}/told") as end:
        return int(end.readline())


def ends(process: int, seconds: float) -> bool:
    """Whether a process ends within so many seconds."""
    try:
        watch = os.pidfd_open(process)
    except ProcessLookupError:
        return True
    with open(watch, "rb"):
        poll = select.poll()
        poll.register(watch, select.POLLIN)
        return bool(poll.poll(1000 * seconds))


def crashing(peer: Peer, folder: str) -> str:
    """What a worker that dies costs, while another one is in a call."""
    with gate(folder) as go:
        held = peer.submit(hold, folder)
        told(folder)
        call = peer.submit(crash)
        if isinstance(peer, MultiprocessingPool):
            peer.result(peer.submit(negative, 1))  # by a worker that was started in its place
            go()
            peer.result(held)
            return "that call, whose caller waits for ever" if not call.ready() else "that call"
        with suppress(Exception):
            peer.result(call)
        go()
        try:
            peer.result(held)
            peer.result(peer.submit(negative, 1))
        except Exception:  # of the pool's, whichever it has for that
            return "all calls, and the pool"
    return "that call"


def report(peer: Peer, folder: str) -> str:
    """What is said of a crash."""
    void(folder)
    if isinstance(peer, MultiprocessingPool):
        return "nothing"  # nobody is told: see `crashing`
    try:
        peer.result(peer.submit(crash))
    except Exception as error:
        return peer.gone_with(error)
    return "nothing"


def deadline(peer: Peer, folder: str) -> str:
    """Whether a deadline stops the work, and what becomes of the worker."""
    with gate(folder) as go:
        call = peer.late(folder)
        go()
        with suppress(Exception):
            if peer.result(call):
                return "frees the caller; the work goes on"
        return "stops the work"


def keeps(peer: Peer, folder: str) -> str:
    """Whether a worker whose call was stopped lives on."""
    if "stops" not in deadline(peer, folder):
        return "nothing is stopped"
    peer.pool = peer.make(1)
    with gate(f"{folder}/again"):
        call = peer.submit(hold, f"{folder}/again")
        worker = told(f"{folder}/again")
        peer.cancel(call)
        return "is killed" if ends(worker, SOON) else "lives on, with its state"


def cancelling(peer: Peer, folder: str) -> str:
    """What `cancel` stops."""
    with gate(folder) as go:
        call = peer.submit(hold, folder)
        told(folder)
        stopped = peer.cancel(call)
        if not stopped:
            go()
            with suppress(Exception):
                peer.result(call)
        return "what runs, too" if stopped else "only what waits" if hasattr(call, "cancel") else "nothing"


def orphans(peer: Peer, folder: str) -> str:
    """What a busy worker does once its parent was killed by SIGKILL."""
    void(peer)
    with gate(folder) as go:
        command = [sys.executable, "-m", "tests.process.peers", sys.argv[1], "parent", folder]
        parent = subprocess.Popen(command)
        worker = told(folder)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        if ends(worker, SOON):
            return "ends"
        go()
        with open(f"{folder}/told") as end:
            return "works on" if end.readline() == "went on\n" else "ends"


def parent(peer: Peer, folder: str) -> str:
    """That parent."""
    peer.result(peer.submit(hold, folder))
    return ""


def endless(peer: Peer, folder: str) -> str:
    """How many items `map` takes before the first result is asked for."""
    void(folder)
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        while taken < ENDLESS:
            taken += 1
            yield taken

    results = iter(peer.map(negative, items()))
    next(results)
    if isinstance(peer, MultiprocessingPool):
        peer.pool.close()  # then the thread that takes items takes the rest of them
        peer.pool.join()
    return "all items" if taken == ENDLESS else "some items ahead"


def own_objects(peer: Peer, folder: str) -> str:
    """Whether an object of a class of one's own travels as it is."""
    void(folder)
    try:
        return "yes" if peer.result(peer.submit(double, Money(2))).amount == 4 else "no"
    except Exception:
        return 'by `codec="pickle"`'


CHECKS: Final = {
    "crashing": crashing,
    "report": report,
    "deadline": deadline,
    "keeps": keeps,
    "cancelling": cancelling,
    "orphans": orphans,
    "endless": endless,
    "own_objects": own_objects,
}
PEERS: Final[dict[str, type[Peer]]] = {
    "scoped-bridge": Ours,
    "ProcessPoolExecutor": Peer,
    "multiprocessing.Pool": MultiprocessingPool,
}


def main(peers: dict[str, type[Peer]]) -> None:
    """Say what a check finds, and leave without waiting for whatever the pool waits for."""
    name, check, folder = sys.argv[1:]
    try:
        print({**CHECKS, "parent": parent}[check](peers[name](), folder), flush=True)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)  # a pool whose worker is in a call would be waited for, for ever


if __name__ == "__main__":
    from tests.process import peers  # by its name, so that what is pickled is found there

    peers.main(peers.PEERS)
