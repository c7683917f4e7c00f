"""BridgeExecutor where a ProcessPoolExecutor would stand: dask's schedulers, joblib, pandas, and asyncio's own."""

from __future__ import annotations

import asyncio
import operator
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import dask
import joblib
import pandas as pd
import pytest
from joblib import parallel
from joblib._parallel_backends import AutoBatchingMixin, ParallelBackendBase

import bridge
from bridge import BridgeExecutor


def pid_of(_: int) -> int:
    """Of whoever runs this."""
    return os.getpid()


def crash(_: int) -> None:
    """End the process."""
    os._exit(3)


def total(frame: Any) -> Any:
    """A part of a sum."""
    return frame.groupby("key").value.sum()


@pytest.fixture
def executor() -> Iterator[BridgeExecutor]:
    """Two workers."""
    with BridgeExecutor(max_workers=2) as made:
        yield made


@pytest.mark.parametrize("how", ["threads", "processes", "itself"])
def test_dask_runs_its_graphs_on_it(executor: BridgeExecutor, how: str) -> None:
    """As the pool of its threaded and of its process scheduler, and as the scheduler itself. Fails without
    `_max_workers`, which dask reads of an executor."""
    adding = [dask.delayed(operator.add)(number, 1) for number in range(20)]
    chosen = {"scheduler": executor} if how == "itself" else {"scheduler": how, "pool": executor}
    with dask.config.set(**chosen):
        assert dask.compute(*adding) == tuple(range(1, 21))
        assert dask.compute(dask.delayed(sum)(adding)) == (210,)
        pids = set(dask.compute(*(dask.delayed(pid_of)(number) for number in range(20))))
        assert os.getpid() not in pids
        with pytest.raises(bridge.WorkerCrashed):
            dask.compute(dask.delayed(crash)(0))
        assert dask.compute(*adding) == tuple(range(1, 21))


def test_pandas_maps_its_parts(executor: BridgeExecutor) -> None:
    """Frames travel, and their sums come back."""
    frame = pd.DataFrame({"key": [1, 2] * 500, "value": range(1000)})
    parts = list(executor.map(total, [frame[:300], frame[300:]]))

    assert pd.concat(parts).groupby(level=0).sum().to_dict() == total(frame).to_dict()


def test_joblib_runs_its_batches_on_it(executor: BridgeExecutor) -> None:
    """By a backend of its documented kind, which hands them to an executor."""

    class Backend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
        supports_retrieve_callback = True

        def effective_n_jobs(self, n_jobs: int) -> int:
            return 2

        def configure(self, n_jobs: int = 1, parallel: Any = None, **_: Any) -> int:
            self.parallel = parallel
            return 2

        def submit(self, func: Callable[[], Any], callback: Callable[[Any], Any] | None = None) -> Future[Any]:
            future = executor.submit(func)
            if callback is not None:
                future.add_done_callback(callback)
            return future

        def retrieve_result_callback(self, out: Future[Any]) -> Any:
            return out.result()

        def terminate(self) -> None: ...

        def abort_everything(self, ensure_ready: bool = True) -> None: ...

    parallel.register_parallel_backend("bridge", Backend)
    with joblib.parallel_config(backend="bridge", n_jobs=2):
        assert joblib.Parallel()(joblib.delayed(pow)(number, 2) for number in range(50)) == [n * n for n in range(50)]


def test_asyncio_runs_functions_on_it(executor: BridgeExecutor) -> None:
    """`loop.run_in_executor`."""

    async def run() -> Any:
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(executor, pow, 2, number) for number in range(50)))

    assert asyncio.run(run()) == [2**number for number in range(50)]
