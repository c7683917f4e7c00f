"""A cluster of Dask's, of processes, as the engine of ExecutorAdapter: the suite of all adapters, and its own ways."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import dask
import pytest
from distributed import Client, LocalCluster

import bridge
from bridge.adapters.executor import ExecutorAdapter
from bridge.contract import Adapter
from bridge.testing import AdapterContract
from tests.contract.engines import HANDLER, all_at_once
from tests.process.waiting import is_gone, wait_until

pytestmark = [
    pytest.mark.filterwarnings("default"),  # Dask's own
    pytest.mark.leaks,  # connections between a client and its scheduler, which Dask opens and keeps as it likes
]

QUIET = {"distributed.scheduler.allowed-failures": 0, "distributed.admin.tick.limit": "1h"}


@contextmanager
def cluster(workers: int) -> Iterator[Client]:
    """Processes of one thread each, on loopback, and a client of them; what a settings' text names, too."""
    with (
        dask.config.set(QUIET),
        LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0") as made,
        Client(made) as client,
    ):
        yield client


@contextmanager
def executor(workers: int) -> Iterator[Executor]:
    """The executor of a cluster of its own."""
    with cluster(workers) as client:
        yield client.get_executor()


@pytest.fixture(scope="module")
def one() -> Iterator[Client]:
    """A cluster of one process."""
    with cluster(1) as client:
        client.submit(os.getpid).result()
        yield client


@pytest.fixture(scope="module")
def two() -> Iterator[Client]:
    """A cluster of two."""
    with cluster(2) as client:
        yield client


class TestDask(AdapterContract):
    """A bridge after the other, on one cluster."""

    shares_handlers = True
    slack = 1.0
    nap = 1.5
    client: ClassVar[Client]

    @pytest.fixture(autouse=True)
    def _on(self, one: Client) -> None:
        type(self).client = one

    def make_adapter(self) -> Adapter:
        """The cluster outlives it."""
        return ExecutorAdapter(self.client.get_executor())

    def left_behind(self, before: set[str]) -> set[str]:
        """But for connections, which Dask opens and keeps as it likes."""
        return {each for each in super().left_behind(before) if "socket:" not in each}


def test_a_handler_is_made_once_in_each_process(two: Client, tmp_path: Path) -> None:
    """Fails when each job makes one, or when Dask takes equal calls for one."""
    diary = tmp_path / "diary"
    adapter = ExecutorAdapter(two.get_executor())
    with bridge.connect(HANDLER, adapter=adapter, size=4, options={"diary": str(diary)}) as b:
        assert [b.call("keep") for _ in range(3)][-1] > 1
        pids = {pid for pid, _ in all_at_once(b, tmp_path)}
        started = Counter(diary.read_text().splitlines())

    assert len(pids) == 2
    assert os.getpid() not in pids
    assert started == Counter(f"on_start {pid}" for pid in pids)


def test_a_process_that_dies_fails_one_call(two: Client, tmp_path: Path) -> None:
    """With Dask's words, as it is set to try nothing again; the cluster replaces it. Fails when the caller waits, or
    when the bridge is no use after that."""
    with bridge.connect(HANDLER, adapter=ExecutorAdapter(two.get_executor()), size=2) as b:
        pids = {pid for pid, _ in all_at_once(b, tmp_path)}
        with pytest.raises(bridge.WorkerCrashed, match="said KilledWorker"):
            b.call("crash", timeout=60)
        wait_until(lambda: any(map(is_gone, pids)), 30)
        assert b.call("pid", timeout=60) not in {pid for pid in pids if is_gone(pid)}


def test_a_deadline_frees_the_caller(one: Client, tmp_path: Path) -> None:
    """While the process works on. Fails when either caller waits, or when the process is no use after that. Whether the
    call that waited for it is run after all is Dask's matter: it cancels when its scheduler comes to it."""
    go = tmp_path / "go"
    with bridge.connect(HANDLER, adapter=ExecutorAdapter(one.get_executor()), size=1) as b:
        with pytest.raises(bridge.CallTimeout):
            b.call("until", [str(go)], timeout=1.0)
        with pytest.raises(bridge.CallTimeout):
            b.call("keep", timeout=0.2)
        go.touch()
        assert b.call("keep", timeout=60) in (1, 2)


def test_settings_alone_choose_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text names what makes the cluster, which is ended with the bridge. Fails when its processes are left."""
    monkeypatch.delenv("TEST_MODE", raising=False)
    monkeypatch.setenv("BRIDGE_ADAPTER", "executor")
    monkeypatch.setenv(
        "BRIDGE_ADAPTER_OPTIONS", f'{{"executor": "{__name__}:executor", "arguments": {{"workers": 1}}}}'
    )
    with bridge.connect(HANDLER, size=1) as b:
        pid: Any = b.call("pid")
        assert pid != os.getpid()
    wait_until(lambda: is_gone(pid), 30)


def test_the_placement_example_runs_on_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is, by settings alone. Fails when the cluster's processes don't find what the program's own path has."""
    monkeypatch.delenv("TEST_MODE", raising=False)
    root = Path(__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", str(root))
    monkeypatch.setenv("BRIDGE_ADAPTER", "executor")
    monkeypatch.setenv(
        "BRIDGE_ADAPTER_OPTIONS", f'{{"executor": "{__name__}:executor", "arguments": {{"workers": 2}}}}'
    )
    example = root / "docs" / "examples" / "placement"
    done = subprocess.run([sys.executable, "-m", "main"], cwd=example, capture_output=True, text=True, timeout=120)

    assert (done.returncode, done.stdout) == (0, "8 EUR\n"), done.stderr
