"""Calls that are recorded, and what a cassette answers to those that follow."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bridge
from bridge.cassette import UNFINISHED
from bridge.takes import Recorder, Talk
from tests.contract.recorded import Changed, Shop

HANDLER = "tests.contract.recorded:Shop"


def opened(path: Path, mode: str = "replay", of: Any = None, **options: Any) -> bridge.Bridge:
    """A bridge over a recording of the shop."""
    of = of or (lambda: bridge.BridgeMockAdapter(Shop))
    return bridge.connect(HANDLER, adapter="recording", cassette=path, mode=mode, of=of, **{"size": 1, **options})


def record(path: Path, use: Callable[[bridge.Bridge], Any], **options: Any) -> list[dict[str, Any]]:
    """What stands in a cassette when that was recorded, but for its header."""
    with opened(path, "record", **options) as b:
        use(b)
    return [json.loads(line) for line in path.read_text().splitlines()[1:]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of a cassette."""
    return tmp_path / "c.jsonl"


def test_a_cassette_reads_so(path: Path) -> None:
    """A header, and a line for each call: what a person sees and compares. Fails when a format changes unseen, or when
    something is in it that is another one next time."""

    def use(b: bridge.Bridge) -> None:
        b.expose("name", lambda number: f"number {number}")
        b.call("greet", {"name": "Ada"})
        b.call("greet", ["Bo"])
        assert list(b.stream("count", [2])) == [0, 1]
        b.call("work", {"steps": 1}, on_progress=lambda _: None)
        b.call("ask", ["name"])
        b.session("s").call("remember", [b"x"])
        with pytest.raises(bridge.CallError):
            b.call("greet")

    record(path, use)

    assert path.read_text().splitlines() == [
        '{"cassette": 1, "handler": "tests.contract.recorded:Shop", "adapter": "bridge_mock", '
        '"capabilities": ["callbacks", "sessions", "streams"]}',
        '{"command": "greet", "args": {"name": "Ada"}, "result": "Hello, Ada"}',
        '{"command": "greet", "args": ["Bo"], "result": "Hello, Bo"}',
        '{"command": "count", "args": [2], "stream": true, "items": [0, 1], "result": null}',
        '{"command": "work", "args": {"steps": 1}, "said": [{"report": {"step": 0}}], "result": 1}',
        '{"command": "ask", "args": ["name"], "said": [{"ask": ["name", [2]], "answer": {"value": "number 2"}}], '
        '"result": {"answer": "number 2"}}',
        '{"command": "remember", "args": [{"$bytes": "x"}], "session": "s", "result": [{"$bytes": "x"}]}',
        '{"command": "greet", "args": null, "error": {"kind": "arguments", "message": '
        "\"missing a required argument: 'name'; it takes (name: 'str') -> 'str'\"}}",
    ]


def test_what_the_handler_raises_is_replayed_with_its_traceback(path: Path) -> None:
    """Type, words and traceback, whose paths are of no machine. Fails when a folder of this one gets into the file."""
    for mode in ("record", "replay"):
        with opened(path, mode) as b, pytest.raises(bridge.RemoteError) as caught:
            b.call("double", [3])

    assert (caught.value.type, caught.value.message) == ("ValueError", "3 is odd")
    assert 'File "tests/contract/recorded.py", line ' in caught.value.remote_traceback


def test_equal_calls_are_answered_in_their_order_and_no_further(path: Path) -> None:
    """The n-th as the n-th was; then it says that there are no more. Fails when the last answer is given again."""
    record(path, lambda b: [b.call("turn") for _ in range(3)])
    with opened(path, size=2) as b:
        assert [b.call("turn") for _ in range(3)] == [1, 2, 3]
        with pytest.raises(bridge.UnexpectedCall, match=r"on lines 2, 3, 4, and it was made once more") as caught:
            b.call("turn")

    assert caught.value.answered == ("turn",)


def test_an_unknown_call_names_the_nearest_and_the_way_to_record_it(path: Path) -> None:
    """With the cassette. Fails when a reader has to search the file for what he misspelt."""
    record(path, lambda b: [b.call("greet", {"name": name}) for name in ("Ada", "Zoe", "Bob", "Eve", "Max")])
    with opened(path) as b:
        with pytest.raises(bridge.UnexpectedCall) as caught:
            b.call("greet", {"name": "Adam"})
        with pytest.raises(bridge.UnexpectedCall, match="Nearest to it: line"):
            b.call("gret", {"name": "Ada"})
        with pytest.raises(bridge.UnexpectedCall, match="no call like stream greet"):
            list(b.stream("greet", {"name": "Ada"}))
        with pytest.raises(bridge.UnexpectedCall, match="in session 's'"):
            b.session("s").call("greet", {"name": "Ada"})

    text = str(caught.value)
    assert f"the cassette {path} has no call like greet" in text
    assert 'Nearest to it: line 2, greet {"name": "Ada"};' in text
    assert 'mode="record"' in text


def test_replaying_needs_no_handler(path: Path) -> None:
    """Not even one that can be imported. Fails when something of it runs."""
    record(path, lambda b: b.call("greet", ["Ada"]))
    with bridge.connect("no.such:Handler", adapter="recording", cassette=path) as b:
        assert b.call("greet", ["Ada"]) == "Hello, Ada"
        assert (b.stats().adapter, b.stats().workers[0].pid) == ("recording", None)


def test_a_cassette_can_do_what_its_workers_could(path: Path) -> None:
    """What they couldn't is the same CapabilityError as there. Fails when a cassette promises more."""
    record(path, lambda b: b.call("greet", ["Ada"]), of=lambda: _Deaf(Shop()))
    with opened(path) as b:
        assert b.call("greet", ["Ada"]) == "Hello, Ada"
        with pytest.raises(bridge.CapabilityError):
            b.stream("count", [1])
        with pytest.raises(bridge.CapabilityError):
            b.session("s").call("remember", [1])


class _Deaf(bridge.MockAdapter):
    """It can do nothing but answer."""

    capabilities = frozenset()


def test_pickles_are_refused(path: Path) -> None:
    """Nobody could read them, nor trust them. Fails when a cassette with pickles in it can be made."""
    with pytest.raises(bridge.CapabilityError, match="recording can't carry pickles"):
        opened(path, "record", codec="pickle").call("turn")


def test_a_stream_that_was_left_has_what_was_taken(path: Path) -> None:
    """And says so where it ends, instead of an item that nobody has seen. Fails when it ends there as if it were
    over, or when what its worker made ahead is in it."""

    def use(b: bridge.Bridge) -> None:
        with b.stream("count", [1000]) as stream:
            assert [next(stream), next(stream)] == [0, 1]

    (found,) = record(path, use)
    assert (found["items"], found["left"]) == ([0, 1], True)
    with opened(path) as b, b.stream("count", [1000]) as stream:
        assert [next(stream), next(stream)] == [0, 1]
        with pytest.raises(bridge.UnexpectedCall, match="knows 2 items of this stream"):
            next(stream)


def test_what_the_caller_is_asked_has_to_be_answered_as_it_was(path: Path) -> None:
    """In calls and between the items of streams: what follows was the handler's answer to that. Fails when a recorded
    result is given to a caller who said something else."""

    def use(b: bridge.Bridge, page: Callable[[int], Any] = lambda number: f"page {number}") -> list[Any]:
        b.expose("page", page)
        return [b.call("ask", ["page"]), list(b.stream("pages", [2])), b.call("ask", ["nothing"])["kind"]]

    before: list[Any] = []
    found = record(path, lambda b: before.extend(use(b)))
    with opened(path) as b:
        assert use(b) == before
    with opened(path) as b, pytest.raises(bridge.UnexpectedCall, match=r'"page 2"}; now it answers {"value": 3}'):
        use(b, lambda _: 3)
    with opened(path) as b, pytest.raises(bridge.UnexpectedCall, match="LookupError"):
        b.call("ask", ["page"])

    assert [said.get("after") for said in found[1]["said"]] == [None, 1]
    assert found[2]["said"][0]["answer"]["error"]["type"] == "LookupError"


def test_a_map_is_as_many_calls(path: Path) -> None:
    """However many went together, which is a matter of time; with the errors of single ones. Fails when chunks get
    into the cassette, or the outcomes of their items get lost."""

    def use(b: bridge.Bridge) -> list[Any]:
        found = list(b.map("double", range(40), arg="value", return_exceptions=True))
        found += list(b.map("same", [[b"x"], ["y"]]))
        return [getattr(each, "message", each) for each in found]

    before: list[Any] = []
    found = record(path, lambda b: before.extend(use(b)), size=2)

    assert sorted(each["args"]["value"] for each in found[:40]) == list(range(40))
    assert before[:4] == [0, "1 is odd", 4, "3 is odd"]
    with opened(path, size=2) as b:
        assert use(b) == before


def test_recorded_again_it_is_the_same_file(path: Path) -> None:
    """Whoever of those that ran at the same time ended first. Fails when time decides what a diff shows."""

    gates = {name: threading.Event() for name in "abc"}

    class Waiting(Shop):
        def wait(self, name: str) -> str:
            gates[name].wait(20)
            return name

    def use(*order: str) -> Callable[[bridge.Bridge], None]:
        def run(b: bridge.Bridge) -> None:
            b.call("greet", ["first"])
            for gate in gates.values():
                gate.clear()
            calls = {name: b.submit("wait", [name]) for name in order}
            while sum(worker.calls for worker in b.stats().workers) < 4:
                pass  # until all three are on their way
            for name in reversed(order):
                gates[name].set()
                assert calls[name].result() == name

        return run

    of = bridge.BridgeMockAdapter(Waiting())
    record(path, use("b", "a", "c"), of=of, size=3)
    before = path.read_text()
    record(path, use("c", "a", "b"), of=of, size=3)

    assert path.read_text() == before


def test_a_changed_answer_changes_its_line_alone(path: Path) -> None:
    """So that a diff says what changed. Fails when lines move."""

    def use(b: bridge.Bridge) -> None:
        for name in ("Ada", "Bo"):
            b.call("turn")
            b.call("greet", [name])

    record(path, use)
    before = path.read_text().splitlines()
    record(path, use, of=bridge.BridgeMockAdapter(Changed))
    after = path.read_text().splitlines()

    assert [number for number in range(5) if before[number] != after[number]] == [2, 4]


def test_tasks_are_recorded_and_answered(path: Path) -> None:
    """Under asyncio, calls and streams alike. Fails when only threads are heard."""

    async def use(mode: str) -> list[Any]:
        async with opened(path, mode, size=2).aio as ab:
            greetings = await asyncio.gather(*(ab.call("greet", [name]) for name in "abcdef"))
            return [*greetings, [item async for item in ab.stream("count", [3])]]

    assert asyncio.run(use("record")) == asyncio.run(use("replay"))
    assert len(path.read_text().splitlines()) == 8


def test_args_can_be_matched_otherwise(path: Path) -> None:
    """By what of them counts. Fails when `match` isn't asked on either side."""
    record(path, lambda b: b.call("same", {"value": {"id": 1, "now": "12:00"}}))
    with opened(path, match=lambda command, args: (command, args["value"]["id"])) as b:
        assert b.call("same", {"value": {"id": 1, "now": "12:01"}})["now"] == "12:00"
        with pytest.raises(bridge.UnexpectedCall):
            b.call("same", {"value": {"id": 2, "now": "12:00"}})


def test_what_nobody_asked_for_is_known(path: Path) -> None:
    """By its lines. Fails when a test can't see that it does less than it did."""
    record(path, lambda b: [b.call("greet", [name]) for name in "abc"])
    adapter = bridge.RecordingAdapter(path)
    with bridge.connect(HANDLER, adapter=adapter) as b:
        b.call("greet", ["b"])

    assert adapter.unplayed == (2, 4)


def test_calls_without_an_answer_are_not_recorded_but_told(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A timeout says how patient a caller was, and nothing of the handler. Fails when one gets into the cassette, or
    is left out without a word."""
    gate = threading.Event()

    class Late(Shop):
        def late(self) -> None:
            gate.wait(20)

    def use(b: bridge.Bridge) -> None:
        b.call("greet", ["Ada"])
        with pytest.raises(bridge.CallTimeout):
            b.call("late", timeout=0.2)
        gate.set()

    with caplog.at_level(logging.WARNING, "bridge.recording"):
        found = record(path, use, of=bridge.BridgeMockAdapter(Late()))

    assert [each["command"] for each in found] == ["greet"]
    assert [record.getMessage() for record in caplog.records if record.name == "bridge.recording"] == [
        f"calls that got no answer aren't in {path}: late null"
    ]


def test_an_instance_is_finished_by_its_own_close(path: Path) -> None:
    """It outlives the bridges that it is handed to, and so does what it records. Fails when their end ends it."""
    adapter = bridge.RecordingAdapter(path, mode="record", of="bridge_mock")
    for name in "ab":
        with bridge.connect(HANDLER, adapter=adapter, size=1) as b:
            b.call("greet", [name])
    assert not path.exists()
    adapter.close()
    adapter.close()

    assert len(path.read_text().splitlines()) == 3
    assert not Path(f"{path}{UNFINISHED}").exists()


def test_a_disk_that_is_full_for_a_while_costs_nothing() -> None:
    """What couldn't be written as it ended is kept for the end. Fails when it fails a call, or is lost."""

    def full(_: Any) -> None:
        raise OSError(28, "No space left on device")

    recorder = Recorder(lambda exchange: exchange, full)
    recorder.begin("a", None).result(1)

    assert (recorder.faults, len(recorder.takes)) == ([], 1)


def test_a_redaction_that_fails_is_told_when_the_bridge_is_closed(path: Path) -> None:
    """With its words; nothing that it was asked about is in any file. Fails when an exchange is written unseen."""
    b = opened(path, "record", redact=lambda exchange: exchange["no such key"])
    assert b.call("greet", ["a secret"]) == "Hello, a secret"
    with pytest.raises(bridge.ConfigurationError, match=r"1 exchanges aren't in (.|\n)*KeyError: 'no such key'"):
        b.close()

    assert "secret" not in path.read_text()


class Unreadable(dict[str, Any]):
    """As what is nested too deeply: looking at it raises."""

    def items(self) -> Any:
        """Raise."""
        raise RecursionError("too deep")


@pytest.mark.parametrize(
    "say",
    [
        lambda talk: talk.result(Unreadable(a=1)),
        lambda talk: (talk.item(Unreadable(a=1)), talk.result(1)),
        lambda talk: (talk.ask(["f", Unreadable(a=1)]), talk.answer([None, Unreadable(a=1)]), talk.result(1)),
        lambda talk: talk.result(object()),
    ],
    ids=["result", "report", "question", "line"],
)
def test_what_cannot_be_recorded_costs_its_own_line_alone(say: Callable[[Talk], Any]) -> None:
    """Nothing is raised into the call, and its fault is kept once, as text. Fails when a recording can fail a call, or
    one exchange all others."""
    lines: list[str] = []
    recorder = Recorder(lambda exchange: exchange, lines.append)
    for value in (1, Unreadable(a=1), 2):
        talk = recorder.begin("same", [1])
        talk.result(value) if value in (1, 2) else say(talk)
    recorder.leave_all()

    assert [json.loads(line)["result"] for line in lines] == [1, 2]
    assert (len(recorder.takes), len(recorder.faults), recorder.unanswered) == (2, 1, [])
    assert "Error" in recorder.faults[0]


def test_a_redaction_that_fails_on_a_call_is_told_to_its_caller(path: Path) -> None:
    """Replaying it knows less than recording, and a function may ask for more. Fails when that is no error of ours."""
    record(path, lambda b: b.call("greet", ["Ada"]))
    with opened(path, redact=lambda exchange: exchange["result"]) as b:
        with pytest.raises(bridge.ConfigurationError, match=r"raised KeyError: 'result', asked about 'greet'"):
            b.call("greet", ["Ada"])
        assert b.stats().restarts == 0


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"mode": "rec"}, "mode is one of replay, record, verify"),
        ({"match": 1}, "match is a function"),
        ({"redact": 1}, "redact takes names of keys"),
        ({"redact": [1]}, "redact takes names of keys"),
        ({"cassette": 7}, "cassette is the path of a file"),
        ({"mode": "record", "of": "recording"}, "of='recording' can't be recorded"),
        ({"mode": "record", "of": "recordin"}, "there is no adapter 'recordin'"),
        ({"mode": "record", "of": 7}, "of=7 can't be recorded"),
    ],
)
def test_an_option_that_cannot_be_used_is_named(options: dict[str, Any], fault: str, path: Path) -> None:
    """At once, with the ways out. Fails when it shows in the middle of a call."""
    with pytest.raises(bridge.ConfigurationError) as caught:
        bridge.RecordingAdapter(**{"cassette": path, **options})

    assert fault in str(caught.value)
