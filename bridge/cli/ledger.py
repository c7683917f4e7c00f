"""What became of each line of a map, in files that outlive it.

Rules: a result's line in OUT is the one proof that its item is done, and it is written by one system call; whatever a
kill leaves half written is cut off before anything is added. An error is told before the line that stands for it. Apart
from map.py, which knows no file.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from hashlib import blake2b
from types import TracebackType
from typing import Any, Final

from bridge.cli.lines import Lines
from bridge.cli.output import UnwritableError, json_line, put, put_all
from bridge.errors import ConfigurationError
from bridge.locks import lock_alone

FAILED: Final = "null\n"
"""The line of an item that has no result."""
NOTE_EVERY: Final = 1.0
"""Seconds between two notes of how far it is."""


class Ledger:
    """Where results and errors go. `with` closes the files.

    Args:
        out: The file of the results, to which they are added; None is stdout.
        errors: The file of the errors; None: they are only counted.
        job: What is done with each line, to be recognised.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        out: str | None,
        errors: str | None,
        job: Mapping[str, Any],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.done = self.failed = 0
        self.out = out
        self._job, self._clock = job, clock
        self._note: Mapping[str, Any] = {}
        self._noted_at = float("-inf")
        self._digest = blake2b(digest_size=16)
        self._out_fd = self._errors_fd = -1
        self._errors = errors
        self._ends: dict[int, int] = {}  # of each file, without what is to be cut off
        self._open = False
        with ExitStack() as files:
            if out is not None:
                self._out_fd = files.enter_context(_opened(out, os.O_RDWR | os.O_CREAT | os.O_APPEND))
                self._look_at_out(out)
            if errors is not None:
                self._refuse_overwriting(errors)
                how = os.O_TRUNC if out is None else 0
                self._errors_fd = files.enter_context(_opened(errors, os.O_RDWR | os.O_CREAT | os.O_APPEND | how))
                if out is not None:
                    self._look_at_errors(errors)
            self._files = files.pop_all()

    # -- What an earlier run left ------------------------------------------------------------------------

    def _refuse_overwriting(self, errors: str) -> None:
        with suppress(FileNotFoundError):
            found = os.stat(errors)
            if self.out is not None and os.path.samestat(found, os.stat(self.out)):
                raise ConfigurationError(
                    f"{errors} is named twice, for the results and for the errors: name another file"
                )
            if _is_input(found):
                raise ConfigurationError(f"--errors {errors}: that is the input itself; name another file")

    def _look_at_out(self, out: str) -> None:
        found = os.fstat(self._out_fd)
        if not stat.S_ISREG(found.st_mode):
            raise ConfigurationError(f"--resume {out}: that is no regular file, so it can't say what is done")
        if _is_input(found):
            raise ConfigurationError(f"--resume {out}: that is the input itself; name another file for the results")
        try:
            lock_alone(self._out_fd)
        except BlockingIOError:
            raise ConfigurationError(f"another run is writing to {out}; wait for its end, or stop it") from None
        end, last = 0, b"null"
        with open(out, "rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    self.done, end, last = self.done + 1, end + len(line), line
        if _value(last) is _NOTHING:
            raise ConfigurationError(f"line {self.done} of {out} is no JSON: that is no output of `map`")
        self._read_note(out)
        self._ends[self._out_fd] = end

    def _read_note(self, out: str) -> None:
        try:
            with open(_note_of(out), "rb") as file:
                note = _value(file.read())
        except FileNotFoundError:
            return
        if not isinstance(note, dict) or not isinstance(note.get("failed"), int):
            raise ConfigurationError(f"{_note_of(out)} is no note of ours; remove it, or name another --resume")
        was = {name: note.get(name) for name in self._job}
        if was != self._job:
            told, ours = json.dumps(was), json.dumps(self._job)
            raise ConfigurationError(
                f"{out} has results of {told}, and this run is {ours}: name another file, or remove {_note_of(out)} if "
                "they belong together all the same"
            )
        self._note, self.failed = note, note["failed"]

    def _look_at_errors(self, errors: str) -> None:
        """Keep those of lines that are done: the others are done again."""
        if not stat.S_ISREG(os.fstat(self._errors_fd).st_mode):
            return
        kept = end = 0
        with open(errors, "rb") as file:
            for line in file:
                told = _value(line) if line.endswith(b"\n") else None
                if told is not None and not (isinstance(told, dict) and isinstance(told.get("line"), int)):
                    raise ConfigurationError(f"{errors} has other lines than errors of `map`; name another file")
                if told is None or told["line"] > self.done:
                    break
                kept, end = kept + 1, end + len(line)
        self._ends[self._errors_fd] = end
        self.failed = max(self.failed, kept)

    def catch_up(self, lines: Lines, skipped: Callable[[int], object]) -> bool:
        """Pass over the lines that are done. False: the end was asked for meanwhile.

        Args:
            skipped: Told of each how long it is.

        Raises:
            ConfigurationError: They aren't those whose results are there; nothing was changed.
        """
        for number in range(1, self.done + 1):
            line = lines.next(wait=True)
            if line is None and not lines.ended:
                return False
            if line is None:
                raise ConfigurationError(
                    f"{self.out} has results of {self.done:,} lines, and the input ends after {number - 1:,}: that is "
                    "another input"
                )
            self._digest.update(line + b"\n")
            if number == self._note.get("lines") and self._digest.hexdigest() != self._note.get("input"):
                raise ConfigurationError(
                    f"the first {number:,} lines of the input aren't those whose results are in {self.out}: name "
                    f"another file, or remove {_note_of(str(self.out))} if they belong together all the same"
                )
            skipped(len(line) + 1)
        for fd, end in self._ends.items():
            os.ftruncate(fd, end)
        self._open = True
        return True

    # -- What this one adds ------------------------------------------------------------------------------

    def succeed(self, line: bytes, text: str) -> None:
        """The next one has a result, as a line of JSON."""
        self._add(line, text)

    def fail(self, line: bytes, kind: str, message: str, traceback: str | None) -> None:
        """The next one has none."""
        self.failed += 1
        if self.failed == 1:
            self._write_note()  # now: that there was one must not get lost
        if self._errors_fd >= 0:
            fields = {"line": self.done + 1, "kind": kind, "message": message, "traceback": traceback}
            put_all(json_line(fields, "utf-8").encode(), self._errors_fd, str(self._errors))
        self._add(line, FAILED)

    def _add(self, line: bytes, text: str) -> None:
        if self.out is None:
            put(text, sys.stdout)
        else:
            put_all(text.encode(), self._out_fd, self.out)
            self._digest.update(line + b"\n")
        self.done += 1
        if self._clock() - self._noted_at >= NOTE_EVERY:
            self._write_note()

    def _write_note(self) -> None:
        if self.out is None or not self._open:
            return  # nothing was done, and what is known must not get lost
        self._noted_at = self._clock()
        note = {**self._job, "lines": self.done, "input": self._digest.hexdigest(), "failed": self.failed}
        path = _note_of(self.out)
        try:
            with open(f"{path}.new", "w") as file:
                json.dump(note, file)
            os.replace(f"{path}.new", path)  # whole, whenever we are killed
        except OSError as error:
            with suppress(OSError):
                os.unlink(f"{path}.new")
            raise UnwritableError(f"{path} can't be written: {error.strerror or error}") from error

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._files:
            try:
                self._write_note()
            except UnwritableError:
                if error is None:  # else that one is told: on a full disk, which file met it first
                    raise


_NOTHING: Final = object()


def _value(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return _NOTHING


def _is_input(found: os.stat_result) -> bool:
    return sys.stdin is not None and os.path.samestat(found, os.fstat(sys.stdin.fileno()))


def _note_of(out: str) -> str:
    return f"{out}.resume"


@contextmanager
def _opened(path: str, how: int) -> Iterator[int]:
    try:
        fd = os.open(path, how | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise ConfigurationError(f"{path} can't be opened: {error.strerror}") from error
    try:
        yield fd
    finally:
        os.close(fd)
