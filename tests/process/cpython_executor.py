"""CPython's own tests of executors, given BridgeExecutor: `python tests/process/cpython_executor.py`.

Rules: run by an interpreter that has CPython's package `test`; standard library only, with this package on PYTHONPATH.
What isn't run stands in NOT_RUN, with the reason, and in docs/design/reliability.md. Apart from the test, which starts
this.
"""

from __future__ import annotations

import importlib
import sys
import unittest
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from bridge import BridgeExecutor, CallError, WorkerCrashed

PACKAGE: Final = "test.test_concurrent_futures"
TESTS: Final = (
    ("executor", "ExecutorTest"),
    ("test_process_pool", "ProcessPoolExecutorTest"),
    ("test_wait", "WaitTests"),
    ("test_as_completed", "AsCompletedTests"),
    ("test_shutdown", "ExecutorShutdownTest"),
    ("test_deadlock", "ExecutorDeadlockTest"),
)
"""Module and class of the tests that any executor is given there."""

OTHER: Final = "it looks into ProcessPoolExecutor, or needs what multiprocessing's contexts make"
NOT_RUN: Final = MappingProxyType(
    {
        "test_killed_child": "it wants the pool to be broken; here one future fails",
        "test_traceback": "it wants a private class as the cause; here that is a RemoteError with the same text",
        "test_max_tasks_per_child": "there is no such parameter; a bridge has recycle.max_calls",
        "test_max_tasks_per_child_defaults_to_spawn_context": "there is no such parameter",
        "test_max_tasks_early_shutdown": "there is no such parameter",
        "test_max_workers_too_large": "it is for Windows",
        "test_idle_process_reuse_one": OTHER,
        "test_idle_process_reuse_multiple": OTHER,
        "test_saturation": OTHER,
        "test_ressources_gced_in_workers": OTHER,
        "test_python_finalization_error": OTHER,
        "test_shutdown_deadlock_pickle": OTHER,
        "test_gh105829_should_not_deadlock_if_wakeup_pipe_full": OTHER,
    }
)
"""Method and why."""
ROOT: Final = str(Path(__file__).parents[2])
OURS: Final = f"""\
import logging, sys
sys.path.insert(0, {ROOT!r})
from bridge import BridgeExecutor
printed = logging.getLogger("bridge.worker")
printed.addHandler(logging.StreamHandler(sys.stdout))
printed.handlers[0].setFormatter(logging.Formatter("%(message)s"))
printed.setLevel(logging.DEBUG)
"""
"""Put in front of programs that they run: where our executor is, and where what a worker prints is to be seen."""


def find_ours(run: Callable[..., Any]) -> Callable[..., Any]:
    """Have programs that they run, which read no PYTHONPATH, import the executor from here."""
    theirs = "from concurrent.futures import BridgeExecutor"

    def run_ours(option: str, code: str) -> Any:
        assert theirs in code
        return run(option, code.replace(theirs, f"exec({OURS!r})"))

    return run_ours


class Contextless(BridgeExecutor):
    """Ours, where they name a context of multiprocessing."""

    def __init__(self, max_workers: int, mp_context: None = None) -> None:
        del mp_context
        super().__init__(max_workers)


def cases() -> unittest.TestSuite:
    """Those that are run."""
    base: Any = importlib.import_module(f"{PACKAGE}.util").BaseTestCase
    mixin: Any = importlib.import_module(f"{PACKAGE}.util").ExecutorMixin
    shutdown: Any = importlib.import_module(f"{PACKAGE}.test_shutdown")
    shutdown.assert_python_ok = find_ours(shutdown.assert_python_ok)
    deadlock: Any = importlib.import_module(f"{PACKAGE}.test_deadlock")
    # Where one function breaks their pool, it is ours that fails alone: by its worker's death, or by name.
    deadlock.BrokenProcessPool, deadlock.PicklingError = (WorkerCrashed, CallError), CallError
    suite, seen = unittest.TestSuite(), set()
    for module, name in TESTS:
        tests: Any = getattr(importlib.import_module(f"{PACKAGE}.{module}"), name)
        kind = Contextless if tests is deadlock.ExecutorDeadlockTest else BridgeExecutor
        ours = {"executor_type": kind, "get_context": lambda _self: None}
        found = type(f"Bridge{name}", (tests, mixin, base), ours)
        for method in unittest.defaultTestLoader.getTestCaseNames(found):
            if method not in NOT_RUN and (method, getattr(found, method)) not in seen:
                seen.add((method, getattr(found, method)))
                suite.addTest(found(method))
    return suite


if __name__ == "__main__":
    sys.exit(not unittest.TextTestRunner(verbosity=2).run(cases()).wasSuccessful())
