"""What a recording adapter hands on: to the adapter that it records, and from channels without descriptors."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any

import pytest

import bridge
from bridge.adapters.recording import RecordedChannel
from bridge.cassette import Tape
from bridge.contract import Reply, Request, WorkerSpec
from bridge.takes import Recorder
from bridge.testing import verify
from tests.contract.recorded import Shop
from tests.contract.test_recording import opened, record


class Inner(bridge.MockAdapter):
    """Says what it is asked to do besides answering."""

    def __init__(self) -> None:
        super().__init__(Shop)
        self.told: list[str] = []

    def forget(self) -> None:
        """In a forked child."""
        self.told.append("forget")

    def settle(self) -> int:
        """A guard's sentinel."""
        self.told.append("settle")
        return 7

    def close(self) -> None:
        """At the end."""
        self.told.append("close")


def test_the_other_adapter_is_told_all(tmp_path: Path) -> None:
    """Its guard is settled, and a forked child makes it forget. Fails when workers of a recording outlive a program
    that was killed, or a child keeps its parent's descriptors."""
    inner = Inner()
    adapter = bridge.RecordingAdapter(tmp_path / "c.jsonl", mode="record", of=lambda: inner)

    assert adapter.settle() == 7
    adapter.forget()
    adapter.close()
    assert inner.told == ["settle", "forget", "close"]
    assert bridge.RecordingAdapter(tmp_path / "c.jsonl", mode="record", of="mock").settle() is None


def test_a_forked_child_holds_nothing_of_the_recording(tmp_path: Path) -> None:
    """Neither the file nor, by it, the lock. Fails when a recording can't begin while a child of a dead one lives."""
    path = tmp_path / "c.jsonl"
    adapter = bridge.RecordingAdapter(path, mode="record", of="mock")
    adapter.open(WorkerSpec(""), deadline=inf)
    with pytest.raises(bridge.ConfigurationError, match="another recording"):
        Tape(str(path), {})
    adapter.forget()

    Tape(str(path), {}).finish([], None)
    adapter.close()


class Late:
    """A channel that answers when it is asked to."""

    info = bridge.WorkerInfo(1)

    def __init__(self) -> None:
        self.answer: Callable[[Reply], None] = print
        self.killed = False

    def submit(self, _request: Request, done: Callable[[Reply], None]) -> None:
        """Keep it."""
        self.answer = done

    def kill(self) -> None:
        """Note it."""
        self.killed = True


def test_an_answer_that_comes_after_the_kill_is_nobodys() -> None:
    """Its caller left, and got a CallTimeout. Fails when an engine's late answer is recorded as if it had been in
    time."""
    inner: Any = Late()
    recorder = Recorder(lambda exchange: exchange, None)
    channel = RecordedChannel(inner, recorder)
    channel.submit(Request(1, "late", None), lambda _: None)
    channel.kill()
    inner.answer(Reply(1, "too late"))

    assert (inner.killed, recorder.takes) == (True, [])
    assert [exchange["command"] for exchange in recorder.unanswered] == ["late"]


def test_a_caller_is_asked_as_often_as_he_was(tmp_path: Path) -> None:
    """Each question before the item that followed it. Fails when a replayed stream asks all of them each time."""
    asked: list[Any] = []

    def page(number: int) -> str:
        asked.append(number)
        return f"page {number}"

    def use(b: bridge.Bridge) -> None:
        b.expose("page", page)
        for item in b.stream("pages", [3]):
            asked.append(item)  # noqa: PERF402  what is asked between two items counts

    path = tmp_path / "c.jsonl"
    record(path, use)
    asked.clear()
    with opened(path) as b:
        use(b)

    assert asked == [0, "page 0", 1, "page 1", 2, "page 2"]


def test_a_stream_that_is_taken_further_than_it_was_is_no_drift(tmp_path: Path) -> None:
    """How far is its caller's to say; what both have taken has to be the same. Fails when leaving later is a drift."""
    path = tmp_path / "c.jsonl"

    def leave(b: bridge.Bridge) -> None:
        with b.stream("count", [5]) as stream:
            assert [next(stream), next(stream)] == [0, 1]

    record(path, leave)
    with opened(path, "verify") as b:
        assert list(b.stream("count", [5])) == [0, 1, 2, 3, 4]

    path.write_text(path.read_text().replace('"items": [0, 1]', '"items": [0, 7]'))
    with pytest.raises(bridge.CassetteDrift, match=r"recorded: items \[0, 7\]"), opened(path, "verify") as b:
        list(b.stream("count", [5]))


def test_verify_leaves_a_stream_where_it_was_left(tmp_path: Path) -> None:
    """It may have no end. Fails when it is taken further than its caller did."""
    path, made = tmp_path / "c.jsonl", list[int]()

    def count(items: int) -> Any:
        for number in range(items):
            made.append(number)
            yield number

    mock = bridge.MockAdapter({"count": count})

    def leave(b: bridge.Bridge) -> None:
        with b.stream("count", [1000]) as stream:
            assert [next(stream), next(stream)] == [0, 1]

    record(path, leave, of=mock)
    made.clear()

    assert verify(path, "tests.contract.recorded:Shop", of=mock) == 1
    assert made == [0, 1]
