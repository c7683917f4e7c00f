"""What goes to stdout and stderr.

Rules: whole lines of text that any stream can carry; a stream that can't be written is an error of its own kind, which
main tells apart from those of a handler or of ours. Apart from the subcommands because each of them writes.
"""

from __future__ import annotations

import json
import os
import sys
from enum import Enum
from io import RawIOBase
from typing import Any, TextIO

from bridge.errors import CallError
from bridge.settings import wants_no_colour


class Colour(Enum):
    """How a word stands out on a terminal: the number that terminals know it by."""

    BOLD = 1
    FAINT = 2
    RED = 31
    GREEN = 32
    YELLOW = 33


class NobodyError(Exception):
    """There is nobody who answers on a socket, or not to us; says why."""


class UnwritableError(Exception):
    """A stream can't take what it was given, though somebody may read it: a full disk, for instance."""


def put(text: str, stream: TextIO | None) -> None:
    """Write and flush; nothing where the stream was closed.

    Raises:
        BrokenPipeError: Its reader went away.
        UnwritableError: Anything else.
    """
    if stream is None:
        return
    try:
        if isinstance(getattr(stream, "buffer", None), RawIOBase):  # PYTHONUNBUFFERED
            _write_whole(text.encode(stream.encoding, stream.errors or "strict"), stream.fileno())
        else:
            stream.write(text)
            stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UnwritableError(f"{stream.name} can't be written: {error.strerror or error}") from error


def _write_whole(data: bytes, fd: int) -> None:
    """Past any buffer; Python's own streams without one lose what a disk has no more room for. Nothing is written, too:
    that tells whether a device takes anything, after argparse has ignored that it doesn't."""
    while data := data[os.write(fd, data) :]:
        pass


def painted(text: str, colour: Colour, stream: TextIO | None) -> str:
    """The text in a colour, if the stream is a terminal whose user wants that; else as it is."""
    if stream is None or not stream.isatty() or wants_no_colour():
        return text
    return f"\x1b[{colour.value}m{text}\x1b[0m"


def harmless(text: str) -> str:
    """A text without characters that a terminal obeys, and that any stream can carry."""
    text = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def put_all(data: bytes, fd: int, name: str) -> None:
    """Write all of it to a file, past any buffer.

    Raises:
        UnwritableError: Some of it may have been written.
    """
    try:
        _write_whole(data, fd)
    except OSError as error:
        raise UnwritableError(f"{name} can't be written: {error.strerror or error}") from error


def json_line(value: Any, encoding: str | None) -> str:
    """One line of JSON: readable where the stream can carry it, else escaped.

    Raises:
        TypeError: It has something inside that JSON doesn't know.
    """
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode(encoding or "ascii")
    except UnicodeEncodeError:
        text = json.dumps(value)
    return text + "\n"


def result_line(value: Any, command: str, encoding: str | None) -> str:
    """A handler's result as one line of JSON.

    Raises:
        CallError: It can't be told so: bytes and buffers travel, but not in JSON.
    """
    try:
        return json_line(value, encoding)
    except (TypeError, ValueError) as error:  # or a circle, which only a pickle has
        detail = f"the result can't be printed as JSON: {error}. Return text or numbers, for instance bytes.hex()"
        raise CallError("result", detail, command=command, side="handler") from None


def print_json(value: Any) -> None:
    """One line of JSON on stdout."""
    put(json_line(value, getattr(sys.stdout, "encoding", None)), sys.stdout)


def print_result(value: Any, command: str) -> None:
    """A handler's result, as one line of JSON on stdout. Raises CallError if it can't be told so."""
    put(result_line(value, command, getattr(sys.stdout, "encoding", None)), sys.stdout)
