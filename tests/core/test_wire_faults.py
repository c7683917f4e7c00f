"""What the worker makes of a handler's exception: text, and whose fault it is."""

from __future__ import annotations

import functools
import pickle
import sys
import types
import weakref
from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from bridge.handler import answer, arguments_fault, describe, fault_frame, invoke, result_of
from bridge.wire import CODEC_PICKLE, ERROR, HEADER, MAX_TEXT, decode_json, let_go
from bridge.worker import Pipes

# -- Exceptions as data ------------------------------------------------------------------------------------


class Unspeakable(Exception):
    """Its text can't be had."""

    def __str__(self) -> str:
        raise RuntimeError("no")


def caught(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Exception:
    try:
        function(*args, **kwargs)
    except Exception as error:
        return error
    raise AssertionError("it didn't raise")


def test_an_exception_is_described_in_full() -> None:
    """Qualified type, message, traceback with the handler's lines and the cause."""

    def fail() -> None:
        try:
            raise KeyError("first")
        except KeyError as error:
            raise LookupError("second") from error

    fields = describe(caught(fail))

    assert (fields["type"], fields["message"]) == ("LookupError", "second")
    assert "KeyError: 'first'" in fields["traceback"]
    assert "in fail" in fields["traceback"]


def test_an_exception_whose_text_raises_is_described_all_the_same() -> None:
    """The handler's second fault doesn't hide its first. Fails when `str` isn't guarded."""
    fields = describe(Unspeakable())

    assert fields["type"] == f"{__name__}.Unspeakable"
    assert fields["message"] == "(its __str__ raised RuntimeError)"


class WithoutModule(Exception):
    """As made by some libraries."""

    __module__ = None  # type: ignore[assignment]


class OddSyntax(SyntaxError):
    """Its fields aren't what traceback expects."""

    def __init__(self) -> None:
        super().__init__("odd", ("file", 1, 1, "text"))
        self.lineno, self.offset = "x", "q"  # type: ignore[assignment]


class Interrupting(Exception):
    """To ask for its text ends the asker."""

    def __str__(self) -> str:
        raise KeyboardInterrupt


@pytest.mark.parametrize("kind", [WithoutModule, OddSyntax, Interrupting])
def test_an_exception_of_any_make_is_described_with_its_traceback(kind: type[Exception]) -> None:
    """Whatever is wrong with it, its line is told. Fails when `describe` trusts the class's module, lets
    `format_exception` raise, or survives less than a BaseException."""

    def fail() -> None:
        raise kind()

    fields = describe(caught(fail))

    assert fields["type"].endswith(kind.__qualname__)
    assert "in fail" in fields["traceback"]


def test_who_describes_in_a_callers_thread_lets_an_interrupt_pass() -> None:
    """A mock's caller may be interrupted there. Fails when `survive` isn't asked."""
    with pytest.raises(KeyboardInterrupt):
        describe(Interrupting(), Exception)


class Hostile(dict[str, object]):
    """A result that ends whoever looks into it."""

    def values(self) -> NoReturn:
        raise SystemExit(3)


def test_a_result_that_raises_while_it_is_encoded_is_the_handlers_error() -> None:
    """Of whatever kind. Fails when `result_of` catches Exception only."""
    fault, _ = result_of(Hostile(a=1), 2**20)

    assert fault == {"kind": "result", "message": "encoding it raised SystemExit: 3"}


def test_arguments_that_the_worker_cannot_read_are_an_answer() -> None:
    """What one Python writes another may be unable to read. Fails (with a RecursionError) when `answer` doesn't guard
    its decoding: the worker would die of it."""
    frame = answer(Pipes(-1, -1), {}, 0, 7, b'["echo",' + b"[" * 100_000 + b"]" * 100_000 + b"]", 2**20)

    assert HEADER.unpack_from(frame)[0] == ERROR
    assert decode_json(frame[HEADER.size :])["kind"] == "arguments"


@pytest.mark.parametrize("body", [b"7", b"null", b"[[],null]", b"[]", b'["echo"]', b"{"])
def test_a_call_that_is_none_is_an_answer(body: bytes) -> None:
    """Neither its form nor its command's type ends the worker. Fails when `answer` guards less."""
    frame = answer(Pipes(-1, -1), {}, 0, 7, body, 2**20)

    assert HEADER.unpack_from(frame)[0] == ERROR
    assert decode_json(frame[HEADER.size :])["kind"] == "arguments"


def test_a_callable_with_an_odd_signature_is_no_more_than_that() -> None:
    """Fails when `arguments_fault` lets what `signature` raises pass."""
    function = counting(plain)
    function.__signature__ = 5  # type: ignore[attr-defined]

    assert arguments_fault(caught_type_error(function, [1, 2, 3]), function, [1, 2, 3]) is None


def test_a_described_exception_shows_the_handlers_lines_alone() -> None:
    """Users see where they went wrong, not how they were called. Fails when our frames aren't skipped."""

    def fail() -> None:
        raise LookupError("no")

    fields = decode_json(answer(Pipes(-1, -1), {"fail": fail}, 0, 7, b'["fail",null]', 2**20)[HEADER.size :])

    assert fields["kind"] == "raised"
    assert "in fail" in fields["traceback"]
    assert "worker.py" not in fields["traceback"]
    assert "handler.py" not in fields["traceback"]


def test_a_long_text_is_cut() -> None:
    """A megabyte of it helps nobody; of a traceback the end counts. Fails when the cut goes."""
    fields = decode_json(fault_frame(ERROR, 7, 2**28, **describe(ValueError("x" * 200_000 + "end")))[HEADER.size :])

    assert len(fields["message"]) == len(fields["traceback"]) == MAX_TEXT
    assert fields["message"].startswith("x")
    assert fields["traceback"].rstrip().endswith("end")


@pytest.mark.parametrize("limit", [1024, 5000, 2**28])
def test_an_error_frame_fits_under_any_limit(limit: int) -> None:
    """Even of characters that JSON writes as twelve. Fails when the room isn't cut down to the limit."""
    text = "\U0001f4a9" * 100_000 + "end"
    frame = fault_frame(ERROR, 7, limit, kind="raised", type=text, message=text, traceback=text)

    kind, _codec, _flags, length, call_id = HEADER.unpack_from(frame)
    fields = decode_json(frame[HEADER.size :])
    assert (kind, call_id) == (ERROR, 7)
    assert length == len(frame) - HEADER.size <= limit
    assert fields["traceback"].endswith("end")


# -- Whose TypeError it is ---------------------------------------------------------------------------------


def plain(a: int, b: int = 0) -> None:
    if a == 0:
        raise TypeError("its own")


def counting(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator like most."""

    @functools.wraps(function)
    def counted(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return counted


def connected(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that passes on an argument more than it got."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return function(0, *args, **kwargs)

    return call


@pytest.mark.parametrize("function", [plain, counting(plain), functools.partial(plain)])
@pytest.mark.parametrize("args", [{"c": 1}, {}, [1, 2, 3], None, (1, 2, 3)])
def test_wrong_arguments_are_the_callers_fault(function: Callable[..., Any], args: Any) -> None:
    """Also through a decorator; the report says what is taken. Fails when the signature isn't asked."""
    error = caught(lambda: function(**args) if isinstance(args, dict) else function(*args or ()))
    assert isinstance(error, TypeError)

    assert str(arguments_fault(error, function, args)).endswith("it takes (a: 'int', b: 'int' = 0) -> 'None'")


@pytest.mark.parametrize("function", [plain, counting(plain), functools.partial(plain)])
def test_a_type_error_inside_the_handler_is_not_anarguments_fault(function: Callable[..., Any]) -> None:
    """It is the handler's, with its traceback. Fails when any TypeError is blamed on the caller."""
    error = caught(function, 0)
    assert isinstance(error, TypeError)

    assert arguments_fault(error, function, [0]) is None
    assert arguments_fault(caught_type_error(function, {"a": 0}), function, {"a": 0}) is None


def caught_type_error(function: Callable[..., Any], args: Any) -> TypeError:
    error = caught(invoke, function, args)
    assert isinstance(error, TypeError)
    return error


def test_a_function_in_c_blames_its_caller() -> None:
    """It has no frame of its own, and often no signature. Fails when that isn't provided for."""
    assert arguments_fault(caught_type_error(max, [1]), max, [1]) == "'int' object is not iterable"
    assert arguments_fault(caught_type_error(len, [1]), len, [1]) == "object of type 'int' has no len()"


def test_what_a_decorator_passes_on_is_not_the_callers() -> None:
    """A TypeError of the handler's own lines is the handler's, whatever its signature says. Fails when unasked."""

    def needs_two(connection: int, key: str) -> None:
        raise TypeError("its own")

    function = connected(needs_two)

    assert arguments_fault(caught_type_error(function, ["k"]), function, ["k"]) is None


class Held:
    """Something that a frame keeps alive."""


def test_what_the_handler_held_is_let_go_before_its_memory_error_is_told() -> None:
    """Only then is there memory for the report. Frames of another error keep theirs, since a debugger may want that.
    Fails when `let_go` leaves the frames as they are, or doesn't look at the error's type."""

    def handler(kind: type[Exception]) -> None:
        held = Held()
        seen.append(weakref.ref(held))
        raise kind

    seen: list[weakref.ref[Held]] = []
    for kind in (MemoryError, ValueError):
        try:
            handler(kind)
        except kind as error:
            let_go(error)
            assert (seen[-1]() is None) is (kind is MemoryError)
    let_go(MemoryError())


def test_the_reserve_is_given_up_for_a_memory_error_and_for_nothing_else() -> None:
    """Before anything is called, since that may fail for want of memory too. Fails when `answer` keeps it, or gives it
    up for any error. (That a process has one: tests/house/test_worker_file.py.)"""

    def fail(kind: str) -> None:
        raise MemoryError if kind == "memory" else LookupError

    pipes = Pipes(-1, -1)
    pipes.spare = b"addresses"
    answer(pipes, {"fail": fail}, 0, 7, b'["fail",["lookup"]]', 2**20)
    assert pipes.spare == b"addresses"

    answer(pipes, {"fail": fail}, 0, 8, b'["fail",["memory"]]', 2**20)
    assert pipes.spare == b""


def test_a_frame_that_still_runs_is_no_second_error() -> None:
    """A MemoryError can come from another thread, which goes on. Fails when `let_go` lets that out."""
    try:
        raise MemoryError
    except MemoryError as error:
        below = types.TracebackType(error.__traceback__, sys._getframe(), 0, 1)

        let_go(error.with_traceback(below))


def test_a_worker_reads_no_pickle_that_it_was_not_told_of() -> None:
    """START says whether its caller may send any. Fails when the frame alone decides."""
    pipes = Pipes(-1, -1)
    pipes.codec = CODEC_PICKLE
    fields = decode_json(answer(pipes, {}, 0, 7, pickle.dumps(("echo", None)), 2**20)[HEADER.size :])

    assert (fields["kind"], "can't read" in fields["message"]) == ("arguments", True)
