"""Cassettes as files: what values look like in them, in which order calls stand, and what happens to broken ones."""

from __future__ import annotations

import json
import random
from array import array
from itertools import count
from math import inf, isnan, nan
from pathlib import Path
from typing import Any

import pytest

from bridge.cassette import (
    UNFINISHED,
    Line,
    Take,
    Tape,
    in_order,
    key_of,
    places_of,
    plain_of,
    read,
    text_of,
    value_of,
)
from bridge.errors import ConfigurationError

HEADER = {"handler": "m:H"}


def exchange(command: str, result: Any = None, **more: Any) -> dict[str, Any]:
    """One that returned."""
    return {"command": command, "args": None, **more, "result": result}


def taken(*spans: tuple[int, int, str]) -> list[Take]:
    """Begin, end and command of each."""
    return [Take(begun, ended, exchange(command)) for begun, ended, command in spans]


def commands(takes: list[Take]) -> str:
    """Of each, as one text."""
    return "".join(take.exchange["command"] for take in takes)


def recorded(path: Path, *exchanges: dict[str, Any]) -> Path:
    """A cassette of calls that were made one after the other."""
    ticks = count(1)
    tape = Tape(str(path), HEADER)
    for each in exchanges:
        tape.add(text_of(each))
    tape.finish([Take(next(ticks), next(ticks), each) for each in exchanges], None)
    return path


# -- Values ------------------------------------------------------------------------------------------------

VALUES: list[Any] = [
    *(None, True, 0, -1, 10**40, 0.1, inf, -inf, "", "\u00e4\u2028\n", "\ud800", [], {}, [[], {"a": [1]}]),
    *(b"", b"text", b"line\n", b"\xff\x00", {"a": b"x", "b": [b"\xff"]}),
    *({"$bytes": "x"}, {"$dict": {"$float": "nan"}}, {"$": 1}, {"$bytes": 1, "b": 2}, {"$unknown": [b"x"]}),
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_comes_back_from_its_line(value: Any) -> None:
    """Every value that the wire carries, and those that look like our marks. Fails when a mark isn't escaped."""
    line = text_of(plain_of(value)).encode()

    assert value_of(json.loads(line)) == value
    assert b"\n" not in line
    assert b"NaN" not in line
    assert b"Infinity" not in line


def test_what_is_no_number_comes_back_as_such() -> None:
    """NaN, which equals nothing, and which no other reader of JSON knows. Fails when it is written as Python does."""
    assert text_of(plain_of([nan])) == '[{"$float": "nan"}]'
    assert isnan(value_of(plain_of(nan)))


@pytest.mark.parametrize(
    "view",
    [
        memoryview(array("d", [0.5, inf])),
        memoryview(bytes(range(24))).cast("i", (2, 3)),
        memoryview(b""),
        memoryview(bytes(8)).cast("d", ()),
    ],
    ids=lambda view: f"{view.format}{view.shape}",
)
def test_a_buffer_comes_back_with_its_form(view: memoryview) -> None:
    """Read-only, with format and shape. Fails when either is lost."""
    found = value_of(json.loads(text_of(plain_of({"a": view}))))["a"]

    assert (found.format, found.shape, found.readonly) == (view.format, view.shape, True)
    assert found.tobytes() == view.tobytes()


def test_text_is_readable_where_it_is_text() -> None:
    """Bytes that are text, and letters of every alphabet. Fails when a person has to decode it."""
    assert text_of(plain_of({"b": b"plain text", "u": "\u00e4\u4e2d"})) == (
        '{"b": {"$bytes": "plain text"}, "u": "\u00e4\u4e2d"}'
    )


def test_a_call_is_found_whatever_the_order_of_its_keys() -> None:
    """In dicts at any depth. Fails when what is the same by keyword isn't found."""
    one = {"command": "a", "args": {"x": 1, "y": {"p": 1, "q": 2}}}
    two = {"args": {"y": {"q": 2, "p": 1}, "x": 1}, "command": "a"}

    assert key_of(one) == key_of(two)
    assert key_of(one) != key_of({**one, "stream": True}) != key_of({**one, "session": "s"})
    assert key_of(one, lambda command, args: args["x"]) == key_of({**one, "command": "b"}, lambda _, args: args["x"])


# -- Order -------------------------------------------------------------------------------------------------


def test_calls_that_ran_one_after_the_other_stand_so() -> None:
    """Whatever places they had before. Fails when a cassette tells another story than what happened."""
    takes = taken((1, 2, "a"), (3, 4, "b"), (5, 6, "c"))

    assert commands(in_order(takes, [3, 2, 1])) == "abc"
    assert commands(in_order(takes[::-1], [0, 0, 0])) == "abc"


def test_calls_that_ran_at_the_same_time_keep_their_places() -> None:
    """A recording again is the same file, whoever was quicker; without a recording before they stand as they began.
    Fails when the order in which they end decides."""
    takes = taken((1, 6, "a"), (2, 5, "b"), (3, 4, "c"))

    assert commands(in_order(takes, [2, 3, 1])) == "cab"
    assert commands(in_order(takes[::-1], [0, 0, 0])) == "abc"


def test_what_had_ended_stays_before_what_began_later() -> None:
    """Of any calls, whatever their places. Fails when a later answer can come before the call that it depends on."""
    chance = random.Random(7)
    for _ in range(300):
        ticks = list(range(1, 25))
        chance.shuffle(ticks)
        spans = [sorted(ticks[place : place + 2]) for place in range(0, 24, 2)]
        takes = taken(*((begun, ended, "x") for begun, ended in spans))
        ordered = in_order(takes, [chance.randrange(5) for _ in takes])

        assert sorted(take.begun for take in ordered) == sorted(take.begun for take in takes)
        for number, take in enumerate(ordered):
            assert not [late for late in ordered[number:] if late.ended < take.begun]


def test_places_are_those_of_the_same_call_before() -> None:
    """The n-th of equal calls has the place of the n-th, whatever it answers; a new one comes behind the one before
    it. Fails when a changed answer changes the order."""
    before = [Line(2, exchange("a", 1)), Line(3, exchange("b")), Line(4, exchange("a", 2))]
    takes = [Take(1, 2, exchange("a", 9)), Take(3, 4, exchange("new")), Take(5, 6, exchange("a", 8))]

    assert places_of(takes, before, None) == [2, 2, 4]
    assert places_of(takes, [], None) == [-inf, -inf, -inf]


# -- Writing -----------------------------------------------------------------------------------------------


def test_what_was_recorded_is_safe_before_the_end(tmp_path: Path) -> None:
    """Each exchange is in a file as soon as it has ended, and the cassette is what it was. Fails when a crash costs
    either."""
    path = recorded(tmp_path / "c.jsonl", exchange("old"))
    before = path.read_bytes()
    tape = Tape(str(path), HEADER)
    tape.add(text_of(exchange("new")))
    unfinished = Path(f"{path}{UNFINISHED}")

    assert path.read_bytes() == before
    assert [line.exchange["command"] for line in read(str(unfinished)).lines] == ["new"]

    tape.finish([Take(1, 2, exchange("new"))], None)
    assert [line.exchange["command"] for line in read(str(path)).lines] == ["new"]
    assert [each.name for each in tmp_path.iterdir()] == ["c.jsonl"]


def test_one_recording_at_a_time(tmp_path: Path) -> None:
    """A second one is refused while the first goes on, and not afterwards. Fails when two mix their lines."""
    path = str(tmp_path / "deep" / "c.jsonl")
    tape = Tape(path, HEADER)
    with pytest.raises(ConfigurationError, match=r"another recording of .*c\.jsonl goes on"):
        Tape(path, HEADER)
    tape.finish([], None)

    Tape(path, HEADER).finish([], None)
    assert read(path).lines == []


def test_a_recording_without_a_call_leaves_the_cassette(tmp_path: Path) -> None:
    """A start that failed must not cost what was recorded before. Fails when nothing replaces something."""
    path = recorded(tmp_path / "c.jsonl", exchange("old"))
    Tape(str(path), HEADER).finish([], None)

    assert [line.exchange["command"] for line in read(str(path)).lines] == ["old"]


def test_a_broken_cassette_can_be_recorded_again(tmp_path: Path) -> None:
    """It has no places to keep. Fails when what can't be read can't be replaced."""
    path = tmp_path / "c.jsonl"
    path.write_text("garbage")

    assert len(read(str(recorded(path, exchange("a")))).lines) == 1


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """Before anything is recorded. Fails when the recording ends in nothing."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="can't be written: "):
        Tape(str(tmp_path / "file" / "c.jsonl"), HEADER)


def test_what_is_no_file_is_refused_before_anything_is_recorded(tmp_path: Path) -> None:
    """A folder, a device. Fails when that is found out at the end, or when a file is left beside it."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigurationError, match="no regular file"):
        Tape(str(tmp_path / "folder"), HEADER)
    assert [each.name for each in tmp_path.iterdir()] == ["folder"]


def test_a_recording_that_cannot_be_finished_says_where_it_is(tmp_path: Path) -> None:
    """What was recorded stays beside the cassette. Fails when it is lost with the error."""
    path = tmp_path / "c.jsonl"
    tape = Tape(str(path), HEADER)
    tape.add(text_of(exchange("a")))
    path.mkdir()
    with pytest.raises(ConfigurationError, match=r"What was recorded is in .*c\.jsonl\.recording"):
        tape.finish([Take(1, 2, exchange("a"))], None)

    assert len(read(f"{path}{UNFINISHED}").lines) == 1


# -- Reading -----------------------------------------------------------------------------------------------


def test_a_cassette_that_is_not_there_says_how_to_record_one(tmp_path: Path) -> None:
    """And names what a recording left that didn't end. Fails when a reader has to guess."""
    path = tmp_path / "c.jsonl"
    with pytest.raises(ConfigurationError, match='mode="record"'):
        read(str(path))
    Tape(str(path), HEADER).forget()
    with pytest.raises(ConfigurationError, match=r"that didn't end left .*c.jsonl.recording"):
        read(str(path))


def test_a_torn_last_line_is_named(tmp_path: Path) -> None:
    """By its number. Fails when half a line is read as something, or as nothing."""
    path = recorded(tmp_path / "c.jsonl", exchange("a"), exchange("b"))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ConfigurationError, match=r"c\.jsonl:3: the last line is cut short"):
        read(str(path))


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("nonsense", ":2: this line is no JSON"),
        ("[1]", ":2: this line is no JSON object"),
        ("[" * 100_000, ":2: this line is no JSON"),
        ('{"args": null, "result": 1}', ":2: an exchange has a command"),
        ('{"command": 1, "args": null, "result": 1}', ":2: an exchange has a command"),
        ('{"command": "a", "result": 1}', ":2: an exchange has a command, which is a text, and args"),
        ('{"command": "a", "args": null}', ":2: an exchange has one of error, left, result"),
        ('{"command": "a", "args": null, "result": 1, "left": true}', ":2: an exchange has one of"),
        ('{"command": "a", "args": null, "result": 1, "items": 1}', ":2: items and said are lists"),
        ('{"command": "a", "args": null, "result": 1, "said": [1]}', ":2: items and said are lists"),
        ('{"command": "a", "args": null, "result": 1, "said": [{"ask": "f"}]}', ":2: what was asked is [name, args]"),
        ('{"command": "a", "args": null, "error": "no"}', ":2: an error has fields"),
        ('{"command": "a", "args": null, "result": {"$base64": "!"}}', ":2: a value can't be read"),
        ('{"command": "a", "args": null, "result": {"$buffer": {}}}', ":2: a value can't be read"),
    ],
)
def test_a_line_that_was_edited_wrongly_is_named(line: str, fault: str, tmp_path: Path) -> None:
    """With what is wrong: people edit cassettes. Fails when it is a KeyError in the middle of a test."""
    path = tmp_path / "c.jsonl"
    path.write_text('{"cassette": 1}\n' + line + "\n")
    with pytest.raises(ConfigurationError) as caught:
        read(str(path))

    assert f"{path}{fault}" in str(caught.value)


@pytest.mark.parametrize("text", ["", "\n", '{"cassette": 2}\n', '{"command": "a", "args": null, "result": 1}\n'])
def test_another_file_is_no_cassette(text: str, tmp_path: Path) -> None:
    """Its first line says what it is. Fails when a later version is read as this one."""
    path = tmp_path / "c.jsonl"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match="is no cassette of version 1"):
        read(str(path))
