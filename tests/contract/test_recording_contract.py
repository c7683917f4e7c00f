"""What is recorded behaves as what it is recorded from, and so does the recording.

The suite of adapters is run through a recording adapter, and then each of its tests a second time on the cassettes that
it has left behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, Final

import pytest

from bridge.adapters.bridge_mock import BridgeMockAdapter
from bridge.adapters.mock import MockAdapter
from bridge.adapters.python_port import PythonPortAdapter
from bridge.adapters.recording import RecordingAdapter
from bridge.client import Bridge
from bridge.contract import Adapter
from bridge.runtime import Runtime
from bridge.testing import AdapterContract

WITHOUT_A_WORKER: Final = frozenset(
    {
        "test_a_call_that_takes_too_long_frees_its_caller",  # it got no answer, so none is recorded
        "test_a_lease_can_be_cancelled_from_another_thread",
        "test_a_handler_that_cannot_be_made_is_reported_with_its_traceback",  # none is made
        "test_each_worker_starts_and_ends_with_its_hooks",
    }
)
"""What of the suite a cassette can't do."""


class Recorded(AdapterContract):
    """Through a recording; each bridge has a cassette of its own."""

    folder: Path
    mode = "record"
    opens = 0

    @pytest.fixture(autouse=True)
    def cassettes(self, tmp_path: Path) -> None:
        """Where they are."""
        self.folder = tmp_path

    def make_adapter(self) -> Adapter:
        """Around the one that is meant."""
        return RecordingAdapter(self.folder / f"{self.opens}.jsonl", mode=self.mode, of=self.make_recorded)

    def make_recorded(self) -> Adapter:
        """What is recorded: as it comes."""
        return BridgeMockAdapter()

    @contextmanager
    def opened(self, *args: Any, **kwargs: Any) -> Iterator[tuple[Bridge, Runtime]]:
        """As ever, on the next cassette."""
        self.opens += 1
        with super().opened(*args, **kwargs) as found:
            yield found


class TestRecorded(Recorded):
    """By frames. Fails when an ear changes what is said, or costs a worker."""

    nap = 0.35
    slack = 0.3


@pytest.mark.deep
class TestRecordedProcesses(Recorded):
    """By frames, of processes."""

    def make_recorded(self) -> Adapter:
        """The real one."""
        return PythonPortAdapter()


class TestRecordedMock(Recorded):
    """By requests and replies. Fails when what the wrapper hands on isn't what it got."""

    def make_recorded(self) -> Adapter:
        """Its slow command never answers."""
        adapter = MockAdapter()
        adapter.timeout("nap")
        return adapter


class TestReplayed(Recorded):
    """Each test once to record, and once on what was recorded. Fails when a cassette says less than its workers did."""


def _twice(test: Callable[[Any], None]) -> Callable[[Any], None]:
    @wraps(test)
    def run(self: Any) -> None:
        with self.opened() as (b, _):  # the suite asks what an adapter can do before it opens one
            b.call("echo")
        test(self)
        self.mode, self.opens = "replay", 1
        test(self)

    return run


for _name in (name for name in dir(AdapterContract) if name.startswith("test_")):
    setattr(TestReplayed, _name, None if _name in WITHOUT_A_WORKER else _twice(getattr(AdapterContract, _name)))
