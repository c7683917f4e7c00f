"""The pools of docs/design/comparison.md, each asked in its own way: the standard library's two, and ours.

Rules: what a pool is asked is what its documentation tells a user to write, with its defaults, of two workers or one.
Those of others are in tests/interop/peers.py. Apart from situations.py, which doesn't know one from another.
"""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import cached_property, partial
from multiprocessing import pool as pools
from pathlib import Path
from typing import Any, ClassVar, Final

import bridge
from tests.process import held
from tests.process.held import LONG, SOON, told

STATES: Final = ("session", "actor", "sticky", "affinity")
DOUBLES: Final = ("mock", "fake", "double", "stub", "override", "scope")


class Peer:
    """A pool, and how it is asked. This one is that of concurrent.futures, and of all that have its interface."""

    tells: ClassVar[bool] = True
    """Whether the caller hears of a crash."""
    patience: ClassVar[float] = 0
    """Seconds to wait further for workers that end with their parent in their own time."""
    command: ClassVar[tuple[str, ...]] = ("tests.process.peers", "ProcessPoolExecutor")
    """What makes this pool in another program."""

    def __init__(self) -> None:
        self.size = 2
        self.context: Any = None
        """What starts its workers, in place of the default."""

    @cached_property
    def pool(self) -> Any:
        """Made at the first use."""
        return self.make()

    def make(self) -> Any:
        """A new pool."""
        return ProcessPoolExecutor(self.size, self.context)

    def surface(self) -> tuple[Any, ...]:
        """Whose public names are all that a user has."""
        return futures, ProcessPoolExecutor, futures.Future

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        """Begin a call."""
        return self.pool.submit(function, *args)

    def result(self, call: Any, timeout: float = LONG) -> Any:
        """Its result."""
        return call.result(timeout)

    def late(self, folder: str) -> int:
        """Who runs a call that is held, and whose caller gave up, by the deadline that this pool has."""
        call = self.submit(held.hold, folder)
        worker = told(folder)
        with suppress(futures.TimeoutError, multiprocessing.TimeoutError):  # one class with TimeoutError from 3.11 on
            self.result(call, 0.01)
        return worker

    def can_cancel(self, call: Any) -> bool:
        """Whether there is such a thing."""
        return hasattr(call, "cancel")

    def cancel(self, call: Any) -> bool:
        """Cancel a call. False if there is no such thing, or if it says itself that it did nothing."""
        return self.can_cancel(call) and call.cancel() is not False

    def map(self, function: Callable[..., Any], items: Iterator[Any]) -> Iterator[Any] | None:
        """Results for many items; None where there is no such thing."""
        results: Iterator[Any] = iter(self.pool.map(function, items))
        return results

    def settle(self) -> None:
        """Let a thread that takes items in the background take what it takes."""

    @cached_property
    def settings(self) -> Mapping[str, Callable[[Peer], Peer]]:
        """What may make a value travel, and a pool of that kind."""
        return {"yes": lambda peer: peer}

    def states(self) -> tuple[str, Callable[[], int], Callable[[], int]] | None:
        """Two states in workers, each with a call that counts in it; None where nothing public has such a name."""
        self.lacks(STATES)
        return None

    def items(self, function: Callable[[str], Iterator[int]], folder: str) -> tuple[str, Iterator[int]]:
        """What a call yields."""
        return "results", iter(self.result(self.submit(function, folder)))

    def doubles(self) -> str:
        """What there is for tests; a dash where nothing public has such a name."""
        self.lacks(DOUBLES)
        return "—"

    def lacks(self, words: tuple[str, ...]) -> None:
        """Nothing, if no public name has one of these words in it."""
        found = [
            f"{place}.{name}"
            for place in self.surface()
            for name in dir(place)
            if name[0] != "_" and any(word in name.lower() for word in words)
        ]
        if found:
            raise LookupError(f"there may be such a thing: {found}")

    def elsewhere(self, folder: str) -> str:
        """By the interpreter that multiprocessing is told to start."""
        self.context = multiprocessing.get_context("spawn")
        self.context.set_executable(f"{folder}/bin/python")
        return self.there(folder)

    def there(self, folder: str) -> str:
        """Whether the workers see what is installed there."""
        try:
            return "yes" if Path(self.result(self.submit(held.prefix))) == Path(folder) else "no"
        except ModuleNotFoundError as error:
            return "no" if error.name == "only_there" else repr(error)


class MultiprocessingPool(Peer):
    """multiprocessing.Pool."""

    tells = False
    command = ("tests.process.peers", "multiprocessing.Pool")

    def make(self) -> Any:
        """A new pool."""
        return (self.context or multiprocessing).Pool(self.size)

    def surface(self) -> tuple[Any, ...]:
        """Whose public names are all that a user has."""
        return multiprocessing, pools.Pool, pools.AsyncResult

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        """Begin a call."""
        return self.pool.apply_async(function, args)

    def result(self, call: Any, timeout: float = LONG) -> Any:
        """Its result."""
        return call.get(timeout)

    def map(self, function: Callable[..., Any], items: Iterator[Any]) -> Iterator[Any]:
        """The map that doesn't wait for all results."""
        return iter(self.pool.imap(function, items))

    def settle(self) -> None:
        """Once it is closed, its thread takes the rest."""
        self.pool.close()
        self.pool.join()


class Ours(Peer):
    """A bridge."""

    command = ("tests.process.peers", "scoped-bridge")

    def make(self) -> Any:
        """A new pool."""
        return bridge.connect(f"{held.__name__}:Handler", size=self.size, timeout=LONG)

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        """Begin a call."""
        return self.pool.submit(function.__name__, list(args))

    def late(self, folder: str) -> int:
        """By its own deadline."""
        call = self.pool.submit("hold", [folder], timeout=SOON)
        worker = told(folder)
        with suppress(bridge.CallTimeout):
            call.result(LONG)
        return worker

    def map(self, function: Callable[..., Any], items: Iterator[Any]) -> Iterator[Any]:
        """Results for many items."""
        return iter(self.pool.map(function.__name__, items, arg="number"))

    @cached_property
    def settings(self) -> Mapping[str, Callable[[Peer], Peer]]:
        """A bridge carries what JSON has, and by a setting what pickles."""
        return {**super().settings, 'by `codec="pickle"`': Pickling}

    def states(self) -> tuple[str, Callable[[], int], Callable[[], int]]:
        """By sessions."""
        one, other = (partial(self.pool.session(key).call, "count") for key in "ab")
        return "sessions", one, other

    def items(self, function: Callable[[str], Iterator[int]], folder: str) -> tuple[str, Iterator[int]]:
        """By a stream."""
        return "streams", iter(self.pool.stream(function.__name__, {"folder": folder}))

    def doubles(self) -> str:
        """By scopes: both threads are in their calls of one bridge at once, only one of them in a scope."""
        here, found = threading.Barrier(2), dict[str, Any]()
        self.result(self.submit(held.negative, 1))  # out of any scope

        def real() -> None:
            here.wait(LONG)
            found["real"] = self.result(self.submit(held.negative, 2))
            here.wait(LONG)

        thread = threading.Thread(target=real)
        thread.start()
        with bridge.with_adapter("mock", answers={"negative": 0}):
            here.wait(LONG)
            double = self.result(self.submit(held.negative, 2))
            here.wait(LONG)
        thread.join(LONG)
        return "scopes" if (double, found) == (0, {"real": -2}) else f"{double}, {found}"

    def elsewhere(self, folder: str) -> str:
        """By the setting that names the environment."""
        self.pool = bridge.connect(f"{held.__file__}:Handler", python=f"venv:{folder}", size=self.size)
        return self.there(folder)


class Pickling(Ours):
    """A bridge that carries what pickles."""

    def __init__(self, plain: Peer) -> None:
        super().__init__()

    def make(self) -> Any:
        """A new pool."""
        return bridge.connect(f"{held.__name__}:Handler", size=self.size, timeout=LONG, codec="pickle")


PEERS: Final[Mapping[str, type[Peer]]] = {
    "scoped-bridge": Ours,
    "ProcessPoolExecutor": Peer,
    "multiprocessing.Pool": MultiprocessingPool,
}


if __name__ == "__main__":
    from tests.process import peers, situations  # by its name, so that what is pickled is found there

    situations.main(peers.PEERS)
