"""The page on which a worker answers plain calls, `Pipes.answer_plain`: what it leaves to others, and what it keeps."""

from __future__ import annotations

import errno
import gc
import os
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

import pytest

from bridge import worker
from bridge.wire import (
    CALL,
    CANCEL,
    CODEC_JSON,
    CODEC_PICKLE,
    ERROR,
    EXTRAS,
    HEADER,
    HOOK,
    READ_SIZE,
    RESULT,
    SHARED,
    STATE,
    STOP,
    TIMED,
    TIMED_HEADER,
    HungUp,
    decode_json,
    encode_value,
    pack,
)
from bridge.worker import PIPE_BUF, Pipes, serve

LIMIT: Final = 2**20


def call_of(body: bytes, call_id: int = 7, flags: int = TIMED, codec: int = CODEC_JSON, kind: int = CALL) -> bytes:
    """A call's frame, plain if nothing else is said."""
    return TIMED_HEADER.pack(kind, codec, flags, len(body) + 8, call_id, 30.0) + body


class Held(dict[str, object]):
    """A result that can be watched."""


class Served:
    """A worker in this thread, whose caller writes one piece after the other.

    Args:
        pieces: The next one comes when the worker has answered, or has nothing to read.
        commands: Of the handler.
        put: Writes, if not whole frames at once.
    """

    def __init__(self, pieces: list[bytes], *, put: Any = None, limit: int = LIMIT, **commands: Any) -> None:
        self.request, self._there = os.pipe()
        os.set_blocking(self.request, False)  # a wait is an error
        self.answers = bytearray()
        self._pieces, self._commands, self._limit = filter(None, pieces), commands, limit
        self.pipes = Pipes(self.request, -1, put or self.put)
        self.pipes.limit = limit
        poll: Any = SimpleNamespace(look=self._more)
        self.pipes.busy_poll = poll

    def _more(self) -> None:
        """Where the worker is about to wait."""
        if (piece := next(self._pieces, b"")) and self._there >= 0:
            os.write(self._there, piece)
        elif self._there >= 0:
            os.close(self._there)
            self._there = -1

    def put(self, _fd: int, data: bytes) -> int:
        """Writes as os.write does."""
        self.answers += data
        return len(data)

    def run(self) -> list[tuple[int, int, Any]]:
        """Serve them to the end; kind, call id and value of each answer."""
        try:
            serve(self.pipes, {CALL: self._commands, HOOK: {"on_reset": lambda: "reset"}}, self._limit)
        except HungUp:
            self.answers += pack(STOP, 0, b"0")
        finally:
            self.pipes.end_loop()
            os.close(self.request)
            if self._there >= 0:
                os.close(self._there)
        found = []
        while self.answers:
            kind, _codec, _flags, length, call_id = HEADER.unpack_from(self.answers)
            found.append((kind, call_id, decode_json(bytes(self.answers[16 : 16 + length]))))
            del self.answers[: 16 + length]
        return found


def same(value: object) -> object:
    """What it was given."""
    return value


def kinds(answers: list[tuple[int, int, Any]]) -> list[Any]:
    """Of the faults among them, in place of their texts; and the values."""
    return [value["kind"] if kind == ERROR else value for kind, _id, value in answers if kind != STOP]


FIRST: Final = call_of(b'["same",[1]]', 1)
NEXT: Final = call_of(b'["same",[2]]', 2)


def test_plain_calls_are_answered_on_the_page_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the values, errors and ids of each. Fails when one goes the long way: that isn't there."""
    served = Served([FIRST, call_of(b'["same",{"value":{"a":1}}]'), call_of(b'["fail",null]', 3)], same=same, fail=dict)
    monkeypatch.setattr(Pipes, "read", lambda _: (_ for _ in ()).throw(HungUp()))

    assert served.run() == [(RESULT, 1, 1), (RESULT, 7, {"a": 1}), (RESULT, 3, {}), (STOP, 0, 0)]


@pytest.mark.parametrize("size", [1, 15, 16, 23, len(FIRST) - 1])
@pytest.mark.thread_unsafe  # `os` is replaced in the worker's module
def test_what_comes_in_pieces_is_put_together(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails when the page answers, or drops, what isn't whole."""
    served = Served([FIRST, NEXT], same=same)
    monkeypatch.setattr(worker, "os", SimpleNamespace(read=lambda fd, most: os.read(fd, min(most, size))))

    assert kinds(served.run()) == [1, 2]


@pytest.mark.parametrize("size", [1, 15, len(NEXT)])
def test_what_stands_behind_a_call_is_kept(size: int) -> None:
    """Fails when the page takes no notice of what a read brought more, or reads on before that is looked at."""
    assert kinds(Served([FIRST + NEXT[:size], NEXT[size:], FIRST], same=same).run()) == [1, 2, 1]


def test_a_cancel_that_came_with_its_call_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails when the page takes the call and leaves what stands behind it: the handler runs on."""
    cancel = HEADER.pack(CANCEL, 0, 0, 0, 1)

    def nudged(value: object) -> object:
        if value == 1:
            served.pipes.nudge(0, None)
        return value

    served = Served([FIRST + cancel, cancel + NEXT], same=nudged)

    assert kinds(served.run()) == ["cancelled", 2]


@pytest.mark.thread_unsafe
def test_a_body_ends_where_its_header_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its JSON may end before, or go on. Fails when the page takes the end of that, or of what came, for it."""
    behind, within = call_of(b'["same",[1]]' + b"  2"), call_of(b'["same",[1]]')
    monkeypatch.setattr(worker, "os", SimpleNamespace(read=lambda fd, most: os.read(fd, min(most, len(within)))))

    assert kinds(Served([behind, NEXT], same=same).run()) == ["arguments", 2]
    assert kinds(Served([call_of(b'["sam')[:24] + within[24:]], same=same).run()) == ["arguments"]


def test_a_cancel_during_the_handlers_code_ends_it() -> None:
    """Fails when the page doesn't arm it."""

    def nudged(value: object) -> object:
        if value == 1:
            os.write(served._there, HEADER.pack(CANCEL, 0, 0, 0, 1))
            served.pipes.nudge(0, None)
        return value

    served = Served([FIRST, NEXT], same=nudged)

    assert kinds(served.run()) == ["cancelled", 2]


def test_what_a_signal_read_during_a_call_comes_first() -> None:
    """A frame that the handler of the signal found. Fails when the page reads on before it looks there."""

    def nudged(value: object) -> object:
        if value == 1:
            os.write(served._there, NEXT)
            served.pipes.nudge(0, None)
        return value

    served = Served([FIRST, call_of(b'["same",[3]]')], same=nudged)

    assert kinds(served.run()) == [1, 2, 3]


def test_a_cancel_that_was_heard_before_its_call_began_is_seen() -> None:
    """Fails when the page doesn't look after it is armed, or keeps the number of the call before."""
    ran: list[object] = []

    def runs(value: object) -> object:
        ran.append(value)
        return value

    served = Served([FIRST, NEXT], same=runs)
    look = served.pipes.busy_poll.look

    def late() -> None:
        look()
        served.pipes.nudge(0, None)

    served.pipes.busy_poll.look = late
    served.pipes._hear = lambda: served.pipes._current == 1  # type: ignore[method-assign]

    assert kinds(served.run()) == ["cancelled", 2]
    assert ran == [2]


@pytest.mark.parametrize("fails", [False, True])
def test_a_cancel_after_the_handlers_code_meets_nobody(fails: bool) -> None:
    """Fails when the page stays armed after a call, however that ended."""

    def put(_fd: int, data: bytes) -> int:
        served.pipes._hear = lambda: True  # type: ignore[method-assign]
        served.pipes.nudge(0, None)
        del served.pipes._hear
        served.pipes._nudged = False
        return served.put(0, data)

    served = Served([call_of(b'["fail",[]]') if fails else FIRST, NEXT], put=put, same=same, fail=lambda: 1 / 0)

    assert kinds(served.run()) == ["raised" if fails else 1, 2]


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (call_of(b'["on_reset",null]', kind=HOOK), "reset"),
        (pack(CALL, 7, b'["same",[1]]', CODEC_JSON), 1),
        (call_of(len(b"{}").to_bytes(4, "little") + b'{}["same",[1]]', flags=TIMED | EXTRAS), 1),
        (call_of(b'["same",[1]] 2'), "arguments"),
        (call_of(b'["same",[1]'), "arguments"),
        (call_of(b'["same",[1]]\xff'), "arguments"),
        (call_of(b"7"), "arguments"),
        (call_of(b"[[],null]"), "arguments"),
        (call_of(b""), "arguments"),
        (call_of(b"[" * 30_000), "arguments"),
        (call_of(b'["other",null]'), "command"),
        (call_of(encode_value(("same", [b"abc"]), "call")), None),
    ],
    ids=["hook", "untimed", "extras", "more", "less", "no-text", "number", "list", "nothing", "deep", "other", "bytes"],
)
def test_what_is_not_plain_is_answered_as_ever(frame: bytes, expected: object) -> None:
    """And the worker lives on. Fails when the page takes a frame for plain that isn't, or what can't be read gets out
    of it."""
    answers = Served([frame, NEXT], same=lambda value: None if value == b"abc" else value).run()

    assert kinds(answers) == [expected, 2]


@pytest.mark.parametrize("flags", [0, TIMED | STATE, TIMED | SHARED])
def test_flags_and_codecs_are_for_the_long_way(flags: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails when the page looks at less than kind, codec and flags."""
    went: list[tuple[int, int]] = []

    def read(pipes: Pipes) -> Any:
        went.append(HEADER.unpack_from(pipes.pending)[1:3])
        raise HungUp

    monkeypatch.setattr(Pipes, "read", read)
    for each in (call_of(b'["same",[1]]', flags=flags), call_of(b'["same",[1]]', codec=CODEC_PICKLE)):
        Served([each], same=same).run()

    assert went == [(CODEC_JSON, flags), (CODEC_PICKLE, TIMED)]


def test_a_command_that_has_something_filled_in_is_for_the_dialogue() -> None:
    """Fails when `serve` doesn't leave it out of the page's commands: the parameter is missing."""

    def asks(*, context: Any) -> bool:
        return bool(context.remaining() > 20)

    served = Served([call_of(b'["asks",null]')], asks=asks)
    served.pipes.wants = {"asks": ("context",)}

    assert kinds(served.run()) == [True]


@pytest.mark.parametrize(("more", "expected"), [(0, [1016, 2]), (1, [])])
def test_a_frame_over_the_limit_is_not_our_callers(more: int, expected: list[int]) -> None:
    """Fails when the page reads more than that at once, or less."""
    frame = call_of(b'["same",["%s"]]' % (b"x" * (1024 - len(b'["same",[""]]') + more)))
    length = 1024 - len(b'["same",[""]]')
    answers = Served([frame, NEXT], limit=1024, same=lambda value: value if value == 2 else len(value) + 1016 - length)

    assert kinds(answers.run()) == expected


def test_a_coroutine_is_run_to_its_end() -> None:
    """And what it raises is told. Fails when the page encodes the coroutine, or lets the error out."""

    async def waits(value: int) -> float:
        return 1 / value

    assert kinds(Served([call_of(b'["waits",[1]]'), call_of(b'["waits",[0]]')], waits=waits).run()) == [1.0, "raised"]


def test_what_a_handler_gave_or_held_is_gone_before_the_answer() -> None:
    """Fails when the page keeps arguments, the value or the frames of an error while it writes or waits."""
    seen: list[weakref.ref[Held]] = []
    alive: list[bool] = []

    def makes(*, fails: bool) -> Held:
        made = Held()
        seen.append(weakref.ref(made))
        if fails:
            raise ValueError
        return made

    def put(_fd: int, data: bytes) -> int:
        alive.append(seen[-1]() is not None)
        return len(data)

    gc.disable()
    try:
        Served([call_of(b'["makes",{"fails":%s}]' % each) for each in (b"false", b"true")], put=put, makes=makes).run()
    except ValueError:  # `run` reads answers, which aren't there
        pass
    finally:
        gc.enable()

    assert alive == [False, False]


def test_a_memory_error_has_the_reserve_given_up_and_the_frames_let_go() -> None:
    """Before it is told. Fails when the page keeps either, or gives the reserve up for another error."""
    seen: list[weakref.ref[Held]] = []
    left: list[tuple[bytes, bool]] = []

    def fails(memory: bool) -> None:
        held = Held()
        seen.append(weakref.ref(held))
        raise MemoryErrors(lambda: left.append((served.pipes.spare, seen[-1]() is None))) if memory else LookupError

    class MemoryErrors(MemoryError):
        def __init__(self, when_told: Callable[[], None]) -> None:
            self._when_told = when_told

        def __str__(self) -> str:
            self._when_told()
            return "none"

    served = Served([call_of(b'["fails",[false]]'), call_of(b'["fails",[true]]')], fails=fails)
    served.pipes.spare = b"spare"
    spares = []
    put = served.put

    def noting(fd: int, data: bytes) -> int:
        spares.append(served.pipes.spare)
        return put(fd, data)

    served.pipes._put = noting

    assert kinds(served.run()) == ["raised", "raised"]
    assert left[0] == (b"", True)
    assert spares == [b"spare", b""]


@pytest.mark.parametrize("length", [5, PIPE_BUF - 18, PIPE_BUF, 3 * PIPE_BUF])
def test_an_answer_that_is_written_in_part_is_written_on(length: int) -> None:
    """From where it stopped. Fails when the page doesn't look how much was written."""
    served = Served([call_of(b'["times",[%d]]' % length), NEXT], times=lambda n: "x" * n, same=same)
    put = served.put
    served.pipes._put = lambda fd, data: put(fd, data[:7])

    assert kinds(served.run()) == ["x" * length, 2]


def test_a_long_answer_is_written_by_what_knows_of_ropes_and_grants(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a short one isn't. Fails when the page writes whatever there is."""
    sent: list[bool] = []
    monkeypatch.setattr(Pipes, "send", lambda _, frame: sent.append(type(frame) is bytes))
    made: dict[str, Any] = {"short": lambda: "x", "long": lambda: "x" * PIPE_BUF, "rope": lambda: b"x" * READ_SIZE}
    Served([call_of(b'["%s",null]' % each.encode()) for each in made], **made).run()

    assert sent == [True, False]


@pytest.mark.parametrize(
    ("number", "expected"), [(errno.EPIPE, HungUp), (errno.EBADF, OSError)], ids=["gone", "closed-by-the-handler"]
)
def test_what_a_failed_write_means_is_told_as_ever(number: int, expected: type[BaseException]) -> None:
    """Fails when the page lets the system's own error out."""

    def put(_fd: int, _data: bytes) -> int:
        raise OSError(number, "no")

    served = Served([FIRST], put=put, same=same)
    served.pipes.reply = 10**6
    with pytest.raises(expected) as caught:
        serve(served.pipes, {CALL: {"same": same}, HOOK: {}}, LIMIT)
    os.close(served.request)
    os.close(served._there)

    assert expected is HungUp or str(caught.value) == "the handler closed its worker's descriptors"
