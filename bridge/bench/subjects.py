"""Bridges to measure, and the pools of the standard library beside them.

Rules: by the public API, on real workers of this interpreter, whatever BRIDGE_* says of adapter and handler; whoever
opens one closes it (`with`). Apart from the sections, which share them.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.pool import Pool
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import bridge
from bridge.settings import LEAVES

PAYLOAD: Final = MappingProxyType({"text": "hi, this is a small request", "n": 17, "flag": True})
"""64 bytes of JSON, with the command."""
HANDLER: Final = f"{Path(__file__).with_name('echo.py')}:Echo"


def opened(size: int, **settings: Any) -> bridge.Bridge:
    """A bridge to Echo; `with` starts and warms it."""
    fixed: dict[str, Any] = {"adapter": "python_port", "adapter_options": {}, "options": {}, "python": sys.executable}
    fixed["status_socket"] = None  # that of the variable is an application's
    return bridge.connect(HANDLER, size=size, **fixed, **settings)


def lacking(*settings: str) -> str | None:
    """Why a variant can't be measured: there is no such setting. None when there is."""
    unknown = [name for name in settings if name not in LEAVES]
    return f"there is no setting {' or '.join(unknown)}" if unknown else None


def echo(value: Any) -> Any:
    """What the peers call."""
    return value


@contextmanager
def executor(workers: int) -> Iterator[ProcessPoolExecutor]:
    """A ProcessPoolExecutor, all of whose workers are up.

    Forked, before there are bridges: the other ways of starting leave a process behind that tracks resources.
    """
    others = {child.pid for child in multiprocessing.active_children()}
    made = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("fork"))
    try:
        with _forking():
            list(made.map(echo, range(100 * workers)))
        yield made
    except BaseException:  # interrupted anywhere inside it, it may wait for ever
        for child in multiprocessing.active_children():
            if child.pid not in others:
                child.kill()
        raise
    finally:
        with _uninterrupted():
            made.shutdown()


@contextmanager
def pool(workers: int) -> Iterator[Pool]:
    """A multiprocessing.Pool, all of whose workers are up. Forked as well."""
    made: Pool | None = None
    try:
        with _forking():
            made = multiprocessing.get_context("fork").Pool(workers)
            made.map(echo, range(100 * workers), chunksize=1)
        yield made
    finally:
        if made is not None:
            with _uninterrupted():
                made.terminate()
                made.join()


@contextmanager
def _forking() -> Iterator[None]:
    """Python 3.12 and newer warn of forks beside threads; these children do nothing but the peer's own work.

    They inherit that Ctrl-C is blocked: a terminal interrupts all of a group, and a pool is its parent's to end.
    """
    with _uninterrupted(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C waits until the end of this; no pool of the standard library can be interrupted at every place."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
