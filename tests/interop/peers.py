"""The other pools of docs/design/comparison.md, those that have to be installed, each asked in its own way.

Rules: as in tests/process/peers.py. A package is imported by the check that asks it alone.
"""

from __future__ import annotations

import multiprocessing
import subprocess
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from typing import Any, Final

from tests.process import held
from tests.process.held import LONG, SOON, told
from tests.process.peers import Peer


class Counter:
    """A state that lives in a worker."""

    def __init__(self) -> None:
        self.value = 0

    def count(self) -> int:
        """One more."""
        self.value += 1
        return self.value


class Loky(Peer):
    """loky, by the executor that its documentation tells to ask for anew each time."""

    command = ("tests.interop.peers", "loky")

    def make(self) -> Any:
        """The one executor of this program."""
        import loky

        return loky.get_reusable_executor(self.size, self.context)

    def surface(self) -> tuple[Any, ...]:
        """Whose public names are all that a user has."""
        import loky

        return loky, loky.ProcessPoolExecutor, futures.Future

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        """Begin a call."""
        return self.make().submit(function, *args)

    def elsewhere(self, folder: str) -> str:
        """By the interpreter that its context is told to start."""
        from loky.backend import get_context

        self.context = get_context("loky")
        self.context.set_executable(f"{folder}/bin/python")
        return self.there(folder)


class Pebble(Peer):
    """pebble."""

    command = ("tests.interop.peers", "pebble")

    def make(self) -> Any:
        """A new pool."""
        import pebble

        return pebble.ProcessPool(self.size, context=self.context or multiprocessing)

    def surface(self) -> tuple[Any, ...]:
        """Whose public names are all that a user has."""
        import pebble

        return pebble, pebble.ProcessPool, pebble.ProcessFuture

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        """Begin a call."""
        return self.pool.schedule(function, args=args)

    def late(self, folder: str) -> int:
        """By its own deadline."""
        call = self.pool.schedule(held.hold, args=(folder,), timeout=SOON)
        worker = told(folder)
        with suppress(futures.TimeoutError):
            call.result(LONG)
        return worker

    def map(self, function: Callable[..., Any], items: Iterator[Any]) -> Iterator[Any]:
        """Results for many items."""
        return iter(self.pool.map(function, items).result())


class Execnet(Peer):
    """execnet has gateways, each with a process, and no pool: calls go to two of them by turns."""

    command = ("tests.interop.peers", "execnet")
    patience = 20

    def make(self) -> Any:
        """Its gateways, and whose turn it is."""
        import execnet

        return cycle(list(execnet.Group(["popen"] * self.size)))

    def surface(self) -> tuple[Any, ...]:
        """Whose public names are all that a user has."""
        import execnet
        from execnet.gateway import Gateway
        from execnet.gateway_base import Channel

        return execnet, execnet.Group, execnet.MultiChannel, Gateway, Channel

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        """Send code, and then what it needs."""
        channel = next(self.pool).remote_exec(run)
        channel.send((function.__module__, function.__name__, args))
        return channel

    def result(self, call: Any, timeout: float = LONG) -> Any:
        """What the code sends back."""
        return call.receive(timeout)

    def late(self, folder: str) -> int:
        """By the time that `receive` waits."""
        call = self.submit(held.hold, folder)
        worker = told(folder)
        with suppress(call.TimeoutError):
            call.receive(0.01)
        return worker

    def map(self, function: Callable[..., Any], items: Iterator[Any]) -> None:
        """There is no such thing."""
        self.lacks(("map",))

    def states(self) -> tuple[str, Callable[[], int], Callable[[], int]]:
        """By what the code behind a channel keeps."""

        def counts(channel: Any) -> Callable[[], int]:
            def ask() -> int:
                channel.send(None)
                return int(channel.receive(LONG))

            return ask

        one, other = (counts(next(self.pool).remote_exec(count)) for _ in range(2))
        return "channels", one, other

    def items(self, function: Callable[[str], Iterator[int]], folder: str) -> tuple[str, Iterator[int]]:
        """By what the code sends."""
        channel = next(self.pool).remote_exec(run_each)
        channel.send((function.__module__, function.__name__, (folder,)))
        return "channels", iter(channel)

    def elsewhere(self, folder: str) -> str:
        """By the interpreter that its gateway is told to start."""
        import execnet

        channel = execnet.makegateway(f"popen//python={folder}/bin/python").remote_exec(prefix)
        return "yes" if Path(channel.receive(LONG)) == Path(folder) else "no"


class Dask(Peer):
    """Dask, by a client with a cluster of its own on this machine."""

    command = ("tests.interop.peers", "Dask")

    def make(self) -> Any:
        """Processes of one thread each."""
        import distributed

        return distributed.Client(n_workers=self.size, threads_per_worker=1, dashboard_address=None)

    def surface(self) -> tuple[Any, ...]:
        """Whose public names are all that a user has."""
        import distributed

        return distributed, distributed.Client, distributed.Future

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        """Begin a call whose result isn't known from an equal one."""
        return self.pool.submit(function, *args, pure=False)

    def map(self, function: Callable[..., Any], items: Iterator[Any]) -> Iterator[Any]:
        """Futures for many items."""
        return (call.result(LONG) for call in self.pool.map(function, items))

    def states(self) -> tuple[str, Callable[[], int], Callable[[], int]]:
        """By actors."""
        one, other = (self.pool.submit(Counter, actor=True, pure=False).result(LONG) for _ in range(2))
        return "actors", lambda: one.count().result(LONG), lambda: other.count().result(LONG)

    def elsewhere(self, folder: str) -> str:
        """By a worker that is started there."""
        return needs("distributed.cli.dask_worker", "needs Dask there", folder)


class Ray(Peer):
    """Ray, by tasks; RAY_ADDRESS names a cluster on this machine, which has two of what it takes for a processor."""

    command = ("tests.interop.peers", "Ray")

    def make(self) -> Any:
        """A program of that cluster's."""
        import ray

        ray.init(log_to_driver=False)
        return ray

    def surface(self) -> tuple[Any, ...]:
        """Whose public names are all that a user has."""
        import ray

        return (ray,)

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        """Begin a task, that takes one of so many processors."""
        return self.pool.remote(num_cpus=2 // self.size)(function).remote(*args)

    def result(self, call: Any, timeout: float = LONG) -> Any:
        """Its result."""
        return self.pool.get(call, timeout=timeout)

    def can_cancel(self, call: Any) -> bool:
        """By the module."""
        return hasattr(self.pool, "cancel")

    def cancel(self, call: Any) -> bool:
        """As it does by default: without force."""
        self.pool.cancel(call)
        return True

    def map(self, function: Callable[..., Any], items: Iterator[Any]) -> Iterator[Any]:
        """By its pool, which has the interface of multiprocessing's."""
        from ray.util.multiprocessing import Pool

        return iter(Pool(self.size).imap(function, items))

    def states(self) -> tuple[str, Callable[[], int], Callable[[], int]]:
        """By actors."""
        one, other = (self.pool.remote(Counter).remote() for _ in range(2))
        return "actors", lambda: self.result(one.count.remote()), lambda: self.result(other.count.remote())

    def items(self, function: Callable[[str], Iterator[int]], folder: str) -> tuple[str, Iterator[int]]:
        """By a generator of references."""
        return "generators", map(self.result, self.submit(function, folder))

    def elsewhere(self, folder: str) -> str:
        """By the module that its workers run, whichever way one names their interpreter."""
        return needs("ray._private.workers.default_worker", "needs Ray there", folder)


def needs(module: str, words: str, folder: str) -> str:
    """These words, if a module of the package's isn't found there."""
    command = [f"{folder}/bin/python", "-m", module, "--help"]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    return words if "No module named" in said else f"{words}: {said}"


# -- What execnet sends: functions that know only what they import ------------------------------------------


def run(channel):  # type: ignore[no-untyped-def]
    """Call a function that is named, and send its result."""
    import importlib

    module, name, args = channel.receive()
    channel.send(getattr(importlib.import_module(module), name)(*args))


def run_each(channel):  # type: ignore[no-untyped-def]
    """Call a function that is named, and send what it yields."""
    import importlib

    module, name, args = channel.receive()
    for item in getattr(importlib.import_module(module), name)(*args):
        channel.send(item)


def count(channel):  # type: ignore[no-untyped-def]
    """Send how often something came."""
    for value, _ in enumerate(channel, 1):
        channel.send(value)


def prefix(channel):  # type: ignore[no-untyped-def]
    """Send what only the module there knows."""
    import only_there  # type: ignore[import-not-found]

    channel.send(only_there.PREFIX)


PEERS: Final[Mapping[str, type[Peer]]] = {
    "loky": Loky,
    "pebble": Pebble,
    "execnet": Execnet,
    "Ray": Ray,
    "Dask": Dask,
}


if __name__ == "__main__":
    from tests.interop import peers  # by its name, so that what is pickled is found there
    from tests.process import situations

    situations.main(peers.PEERS)
