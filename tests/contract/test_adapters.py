"""One behaviour suite over every adapter of ours: what is a fake must behave as the real one does."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from bridge.adapters.bridge_mock import BridgeMockAdapter
from bridge.adapters.executor import ExecutorAdapter
from bridge.adapters.mock import MockAdapter
from bridge.adapters.port import PythonPort
from bridge.adapters.python_port import PythonPortAdapter
from bridge.adapters.zygote import ForkedPort
from bridge.contract import Adapter, Capability, WorkerSpec
from bridge.testing import AdapterContract
from tests.contract.engines import processes


class TestMock(AdapterContract):
    """It calls the fake handler in the caller's own thread, so what takes long is scripted."""

    def make_adapter(self) -> Adapter:
        """Its slow command never answers."""
        adapter = MockAdapter()
        adapter.timeout("nap")
        return adapter


class TestBridgeMock(AdapterContract):
    """The handler on threads of this process, which have to be awaited."""

    nap = 0.35
    slack = 0.3

    def make_adapter(self) -> Adapter:
        """As it comes."""
        return BridgeMockAdapter()


class TestThreads(AdapterContract):
    """An engine of threads: two places, but a handler for each call at the same time alone."""

    nap = 0.35
    slack = 0.3
    shares_handlers = True

    def make_adapter(self) -> Adapter:
        """It makes its executor, and ends it."""
        return ExecutorAdapter(ThreadPoolExecutor, arguments={"max_workers": 2})


@pytest.mark.usefixtures("server")
class TestProcesses(AdapterContract):
    """An engine of one process."""

    shares_handlers = True

    def make_adapter(self) -> Adapter:
        """It makes its executor, and ends it."""
        return ExecutorAdapter(processes)


class TestZygote(AdapterContract):
    """The real one, with workers that are forked."""

    def make_adapter(self) -> Adapter:
        """Each of its workers as the zygote's."""
        return Forking()


class Forking(PythonPortAdapter):
    """Forks, whatever is said."""

    def open(self, spec: WorkerSpec, *, deadline: float) -> PythonPort | ForkedPort:
        """As if the setting were `zygote`."""
        return super().open(replace(spec, start_method="zygote"), deadline=deadline)


class TestLaunched(AdapterContract):
    """The real one, with workers that know nothing but 0 and 1."""

    def make_adapter(self) -> Adapter:
        """Each of its workers behind `nice`."""
        return Launching()


class Launching(PythonPortAdapter):
    """Launches, whatever is said."""

    @staticmethod
    def lacks(spec: WorkerSpec) -> Mapping[Capability, str]:
        """As if the setting were `nice`."""
        return PythonPortAdapter.lacks(replace(spec, launcher=("nice",)))

    def open(self, spec: WorkerSpec, *, deadline: float) -> PythonPort | ForkedPort:
        """As if the setting were `nice`."""
        return super().open(replace(spec, launcher=("nice",)), deadline=deadline)


class TestPythonPort(AdapterContract):
    """The real one."""

    def make_adapter(self) -> Adapter:
        """As it comes."""
        return PythonPortAdapter()
