"""The pool never reads configuration: with a tripwire in its place, a full life of a real pool trips nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, MutableMapping
from types import FrameType
from typing import Any

import pytest

from bridge import BridgeContainer, PoolClosed, WorkerCrashed
from tests.process.waiting import wait_until

ALLOWED = ("python_port.py", "_variables")
"""File and function that hand the caller's environment on to a worker."""
READERS = ("BridgeSettings", "_EnvSettings", "mode_in_force", "forbidding", "refuse_misspelt", "sort_keywords")
"""Whatever makes settings, by any name under which a module of ours has it."""


class Tripwire(MutableMapping[str, str]):
    """An environment that notes who looks into it."""

    def __init__(self, real: MutableMapping[str, str]) -> None:
        self._real = real
        self.tripped: list[str] = []

    def note(self, frame: FrameType | None) -> None:
        """Who called, unless it may."""
        while frame is not None and (
            frame.f_code.co_filename == __file__
            or "_collections_abc" in frame.f_code.co_filename  # frozen, or a file before Python 3.11
            or frame.f_code.co_name == "<dictcomp>"
        ):
            frame = frame.f_back
        assert frame is not None
        code = frame.f_code
        if (os.path.basename(code.co_filename), code.co_name) != ALLOWED:
            self.tripped.append(f"{code.co_filename}:{frame.f_lineno} in {code.co_name}")

    def __getitem__(self, name: str) -> str:
        self.note(sys._getframe())
        return self._real[name]

    def __setitem__(self, name: str, value: str) -> None:
        self.note(sys._getframe())
        self._real[name] = value

    def __delitem__(self, name: str) -> None:
        self.note(sys._getframe())
        del self._real[name]

    def __iter__(self) -> Iterator[str]:
        self.note(sys._getframe())
        return iter(self._real)

    def __len__(self) -> int:
        self.note(sys._getframe())
        return len(self._real)


def replace_all(patch: pytest.MonkeyPatch) -> Tripwire:
    """Put tripwires in the place of the environment and of everything that makes settings."""
    wire = Tripwire(os.environ)

    def trip(*_: Any, **__: Any) -> None:
        wire.tripped.append("a settings class or reader was called")

    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "bridge":
            for reader in READERS:
                if reader in vars(module):
                    patch.setattr(module, reader, trip)
    patch.setattr(os, "environ", wire)
    return wire


def test_the_tripwire_trips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the next test would say nothing."""
    with monkeypatch.context() as patch:
        wire = replace_all(patch)
        os.getenv("HOME")
        container = BridgeContainer()
        with pytest.raises(AttributeError):
            container.settings()  # its reader is a function now, which has no `load`
    assert any(place.endswith(" in getenv") for place in wire.tripped)


def test_a_full_life_reads_no_configuration(handlers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the container has read its settings once: start, calls, a crash and its repair, a recycling, close,
    start, close."""
    for name in ("TEST_MODE", "BRIDGE_TEST_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BRIDGE_WORKER__HANDLER", f"{handlers}:Echo")
    monkeypatch.setenv("BRIDGE_POOL__SIZE", "1")
    container = BridgeContainer()
    assert container.settings().pool.size == 1

    with monkeypatch.context() as patch:
        wire = replace_all(patch)
        client = container.bridge()
        with container:
            assert client.call("echo", ["x"]) == "x"
            with pytest.raises(WorkerCrashed):
                client.call("crash")
            wait_until(lambda: client.health().ready == 1, what="the repair")
            assert client.call("add", {"a": 1, "b": 2}) == 3
            assert list(client.map("echo", [[1], [2]])) == [1, 2]
            with client.lease() as lease:
                assert lease.call("counted") == 1
            client.recycle(timeout=30)
            assert client.call("echo", ["y"]) == "y"
            assert (client.stats().crashes, client.stats().recycled) == (1, 1)
        with pytest.raises(PoolClosed):
            client.call("echo")
        container.init_resources()
        assert container.adapter().name == "python_port"
        container.shutdown_resources()

    assert wire.tripped == []
