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
    context = multiprocessing.get_context("fork")
    with _forking(), ProcessPoolExecutor(workers, mp_context=context, initializer=_leave_ctrl_c) as pool:
        list(pool.map(echo, range(100 * workers)))
        yield pool


@contextmanager
def pool(workers: int) -> Iterator[Pool]:
    """A multiprocessing.Pool, all of whose workers are up."""
    with _forking():
        made = multiprocessing.get_context("fork").Pool(workers, initializer=_leave_ctrl_c)
    try:
        made.map(echo, range(100 * workers), chunksize=1)
        yield made
    finally:
        made.terminate()
        made.join()


def _leave_ctrl_c() -> None:
    """To the parent, which ends its pool: a terminal interrupts all of them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _forking() -> Iterator[None]:
    """Python 3.12 and newer warn of forks beside threads; these children do nothing but the peer's own work."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
