"""A concurrent.futures.Executor whose functions run on supervised workers.

Rules: it waits, exits and shuts down as the standard library's executors do, since its jobs are those of a
ThreadPoolExecutor, each of which makes one call. A crash fails one future, a cancel stops what runs. Apart from
client.py, whose calls name commands of a handler; and without pydantic, since no setting is read here.
"""

from __future__ import annotations

import os
import sys
import threading
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from itertools import chain, islice
from math import inf
from types import MappingProxyType
from typing import Any, Final, ParamSpec, TypeVar
from weakref import finalize

from bridge import registry
from bridge.contract import WorkerSpec
from bridge.errors import CapabilityError, RemoteError
from bridge.pickling import encode, program, run_each
from bridge.runtime import Runtime, RuntimeState, calls
from bridge.runtime.claims import Claim
from bridge.runtime.pool_policy import PoolPolicy
from bridge.runtime.supervisor import SupervisorPolicy

P = ParamSpec("P")
T = TypeVar("T")

NOTHING: Final = "builtins"
"""The handler of workers that are sent functions: it has to be there, and costs nothing."""
PREPARED: Final = "bridge.pickling:Prepared"
"""That of workers which run an initializer first."""


class BridgeFuture(Future[T]):
    """What comes of one function. `cancel` stops it, also while it runs."""

    def __init__(self) -> None:
        super().__init__()
        self._stop: Callable[[], None] | None = None

    def begin(self, stop: Callable[[], None]) -> bool:
        """It runs from now on, unless it was cancelled before.

        Args:
            stop: Ends it.
        """
        self._stop = stop
        return self.set_running_or_notify_cancel()

    def cancel(self) -> bool:
        """Cancel it. While it runs, its worker is told to stop, and is replaced if it doesn't. False: it is over."""
        if super().cancel():
            return True
        with self._condition:
            stop = self._stop
            if self._state != "RUNNING" or stop is None:
                return False
            self._state = "CANCELLED_AND_NOTIFIED"
            for waiter in self._waiters:
                waiter.add_cancelled(self)
            self._condition.notify_all()
        stop()
        self._invoke_callbacks()  # type: ignore[attr-defined]
        return True


class BridgeExecutor(Executor):
    """Runs functions on worker processes, one for each of `max_workers`.

    Functions, arguments and results are pickled, so the workers are trusted: they have this program's own code.

    Args:
        max_workers: Workers; they start with the first function.
        initializer: Called in each worker before anything else.
        initargs: Its arguments.
        source: Where a bridge's own executor finds its workers, which it doesn't close.
    """

    def __init__(
        self,
        max_workers: int = 4,
        *,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        source: Callable[[], Runtime] | None = None,
    ) -> None:
        if max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        self._threads = ThreadPoolExecutor(max_workers, "bridge-executor")
        self._max_workers = max_workers  # dask looks at it, as at that of the standard library's executors
        self._own: Runtime | None = None
        if source is None:
            own = self._own = _own_runtime(max_workers, initializer, initargs)
            source = partial(_itself, own)
            # Its jobs hold it, so when it is dropped none is left. At exit the runtime closes by itself.
            finalize(self, own.request_close).atexit = False
        self._source = source

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> BridgeFuture[T]:
        """Have a function called on a worker.

        The future raises the original exception, with a RemoteError that shows the worker's traceback as its cause;
        RemoteError itself where the original can't travel; WorkerCrashed when the worker died, which harms no other
        future; CallError for what can't be pickled.

        Raises:
            TypeError: It can't be called.
            CapabilityError: The bridge's workers take no pickles.
            RuntimeError: The executor was shut down.
        """
        if not callable(fn):
            raise TypeError(f"an executor runs functions, and {fn!r:.80} can't be called")
        runtime, future = self._source(), BridgeFuture[T]()
        if runtime.spec.pickle is None:
            raise CapabilityError("functions need worker.codec='pickle', as in bridge.connect(..., codec='pickle')")
        job = self._threads.submit(self._run, runtime, future, fn, args, kwargs)
        job.add_done_callback(partial(_follow, future))
        return future

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        **more: Any,
    ) -> Iterator[T]:
        """Call a function for the items, in order, as ProcessPoolExecutor does.

        Args:
            timeout: Seconds for all of it, from now on.
            chunksize: Items that are sent at once.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if chunksize == 1:
            return super().map(fn, *iterables, timeout=timeout, **more)
        chunks = super().map(
            partial(run_each, fn), _chunks(zip(*iterables, strict=False), chunksize), timeout=timeout, **more
        )
        return chain.from_iterable(chunks)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more functions, and end the workers when those that are there are done.

        Args:
            wait: Until then.
            cancel_futures: Those that don't run yet are cancelled.
        """
        self._threads.shutdown(wait=wait, cancel_futures=cancel_futures)
        if self._own is None:
            return
        if wait:
            self._own.close()
        elif self._own.state is not RuntimeState.CLOSED:
            threading.Thread(target=_end, args=(self._threads, self._own), name="bridge-executor-end").start()

    def _run(
        self, runtime: Runtime, future: BridgeFuture[Any], fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        claim = Claim()
        try:
            if future.begin(partial(runtime.pool.cancel, claim)):
                try:
                    runtime.start()
                    value = calls.call(runtime, fn, [args, kwargs], None, claim)
                except BaseException as error:
                    future.set_exception(_as_raised(error))  # one that was cancelled refuses it, unheard in its thread
                else:
                    future.set_result(value)
        finally:
            del future  # which holds an error, and that this frame


def _as_raised(error: BaseException) -> BaseException:
    original = error.original if isinstance(error, RemoteError) else None
    if original is None:
        return error
    try:
        original.__cause__ = error
    except Exception:  # of a class that won't have one
        return error
    return original


def _end(threads: ThreadPoolExecutor, runtime: Runtime) -> None:
    threads.shutdown()
    runtime.close()


def _follow(future: BridgeFuture[Any], job: Future[None]) -> None:
    if job.cancelled():
        future.cancel()


def _itself(runtime: Runtime) -> Runtime:
    return runtime


def _chunks(items: Iterator[tuple[Any, ...]], size: int) -> Iterator[list[tuple[Any, ...]]]:
    while chunk := list(islice(items, size)):
        yield chunk


def _own_runtime(size: int, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]) -> Runtime:
    main = program()
    options: dict[str, Any] = {}
    if initializer is not None:
        options = {"main": main, "pickled": b64encode(encode((initializer, initargs))).decode()}
    spec = WorkerSpec(
        handler=NOTHING if initializer is None else PREPARED,
        options=options,
        path=tuple(entry or os.getcwd() for entry in sys.path if isinstance(entry, str)),
        replace_path=True,
        pickle=MappingProxyType(main),
        name="BridgeExecutor",
    )
    policy = PoolPolicy(size, checkout_timeout=inf)
    return Runtime(
        registry.find("python_port")(), spec, pool_policy=policy, supervisor_policy=SupervisorPolicy(), prewarm=0
    )
