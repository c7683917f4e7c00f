"""`map`: one command for each line of stdin.

Rules: every line has one line of output, in its place; a line that can't be used and a call that fails are that item's
error, and only what would hit all that follow ends the job. A bounded number of lines is known at a time. Apart from
call.py, which has one worker and one outcome.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections import deque
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from bridge.cli import exits
from bridge.cli.call import search_path
from bridge.cli.ledger import Ledger
from bridge.cli.lines import Lines
from bridge.cli.output import UnwritableError, put, result_line
from bridge.cli.rate import Rate
from bridge.cli.stopping import Stop
from bridge.client import Bridge
from bridge.door import DEFAULT
from bridge.errors import BridgeError, CallError, ConfigurationError, PoolError, RemoteError, WorkerStartError
from bridge.opening import connect

MOST_BAD: Final = 1000
"""Lines in a row that can't be used and wait for results before them; then those are waited for."""
TOLD: Final = 3
"""Errors that are told on stderr where no file takes them: whatever broke one item may have broken them all."""


class Options(NamedTuple):
    """What the command line says of each call, and of the files."""

    handler: str
    command: str
    arg: str | None
    resume: str | None
    errors: str | None
    size: int | None
    timeout: float | None
    python: str | None
    idempotent: bool


def run(options: Options, program: str) -> int:
    """Call, write the results, and answer the exit code.

    Raises:
        ConfigurationError: The files or the input can't be used, or don't belong together.
        UnwritableError: A file or stdout can't be written any more; says what is done, and how to go on.
        PoolError, WorkerStartError, CallError: What no further item would survive. All before it is written.
    """
    if sys.stdin is None:
        raise ConfigurationError("stdin is closed; give it a file of JSON lines, as in `< in.jsonl`")
    job = {"handler": options.handler, "command": options.command, "arg": options.arg}
    ledger = Ledger(options.resume, options.errors, job)
    try:
        with Stop(program) as stop, ledger:
            return _run(options, program, stop, ledger)
    except UnwritableError as error:
        raise UnwritableError(f"{error}; {_so_far(ledger)}") from error


def _run(options: Options, program: str, stop: Stop, ledger: Ledger) -> int:
    lines = Lines(sys.stdin.fileno(), stop)
    shown = options.resume is not None or not _is_terminal(sys.stdout)  # else results would run into the bar
    rate = Rate(lines.size, "lines", sys.stderr, visible=shown)
    if _is_terminal(sys.stdin):
        rate.line.say(f"{program}: reading items from the terminal, one line of JSON each; Ctrl-D ends them")
    work = Work(options, lines, ledger, rate, stop)
    try:
        if ledger.catch_up(lines, rate.skip):
            work.run()
    except KeyboardInterrupt:
        stop.asked = True
    except UnwritableError:
        rate.line.wipe()
        raise
    except BridgeError:
        rate.line.wipe()
        if ledger.done:
            put(f"{program}: {_so_far(ledger)}\n", sys.stderr)
        raise
    return _conclude(options, ledger, rate, program, stopped=stop.asked)


class Work:
    """The calls of one run."""

    def __init__(self, options: Options, lines: Lines, ledger: Ledger, rate: Rate, stop: Stop) -> None:
        self._options, self._lines, self._ledger, self._rate, self._stop = options, lines, ledger, rate, stop
        self._ahead: deque[tuple[bytes, str | None]] = deque()  # lines without an outcome, and what is wrong with them
        self._encoding = getattr(sys.stdout, "encoding", None) if options.resume is None else "utf-8"
        self._told = 0

    def run(self) -> None:
        """Until the input ends, or the end is asked for."""
        first = self._lines.next(wait=True)
        if first is None:
            return  # no worker is started for nothing
        self._lines.put_back(first)
        options = self._options
        bridge = connect(
            options.handler,
            size=options.size,
            adapter="python_port",
            adapter_options={},
            prewarm=1,
            python=options.python,
            path=search_path(),
            status_socket=None,  # that of the variable is an application's
        )
        with bridge as b:
            while not (self._lines.ended or self._stop.asked):
                self._run_some(b)

    def _run_some(self, bridge: Bridge) -> None:
        """As many as come without a pause."""
        options = self._options
        timeout: Any = DEFAULT if options.timeout is None else options.timeout
        found = bridge.map(
            options.command,
            self._items(),
            arg=options.arg,
            return_exceptions=True,
            timeout=timeout,
            idempotent=options.idempotent,
        )
        for result in found:
            self._write_bad()
            line, _ = self._ahead.popleft()
            self._write(line, result)
            self._write_bad()

    def _items(self) -> Iterator[Any]:
        bad = 0
        while bad < MOST_BAD and not self._stop.asked:
            line = self._lines.next(wait=not self._ahead)
            if line is None:
                return
            item, fault = _item(line, plain=self._options.arg is not None)
            self._ahead.append((line, fault))
            if fault is None:
                bad = 0
                yield item
            else:
                bad += 1
                self._write_bad()

    def _write_bad(self) -> None:
        """Those whose turn it is."""
        while self._ahead and (fault := self._ahead[0][1]) is not None:
            line, _ = self._ahead.popleft()
            self._fail(line, "BadLine", fault, None)

    def _write(self, line: bytes, result: Any) -> None:
        if isinstance(result, BaseException):
            if not isinstance(result, BridgeError) or _hits_all(result):
                raise result
            self._fail(line, type(result).__name__, *_told(result))
            return
        try:
            text = result_line(result, self._options.command, self._encoding)
        except CallError as error:
            self._fail(line, "CallError", str(error), None)
            return
        self._ledger.succeed(line, text)
        self._rate.step(len(line) + 1)

    def _fail(self, line: bytes, kind: str, message: str, traceback: str | None) -> None:
        self._ledger.fail(line, kind, message, traceback)
        self._rate.step(len(line) + 1)
        if self._options.errors is None and self._told < TOLD:
            self._told += 1
            self._rate.line.say(f"line {self._ledger.done:,}: {kind}: {message}")


def _item(line: bytes, *, plain: bool) -> tuple[Any, str | None]:
    """What a line says, or what is wrong with it."""
    try:
        item = json.loads(line.decode())
    except (ValueError, RecursionError) as error:
        return None, f"{line.decode(errors='backslashreplace')!r:.60} is not JSON: {error}"
    if not plain and not isinstance(item, (dict, list)):
        return None, f"{line.decode()!r:.60} is neither an object nor an array: plain values need --arg NAME"
    return item, None


def _hits_all(error: BridgeError) -> bool:
    """Whether every item after this one would fail in the same way."""
    unknown = isinstance(error, CallError) and error.kind == "command"
    return unknown or isinstance(error, (PoolError, WorkerStartError, ConfigurationError))


def _told(error: BridgeError) -> tuple[str, str | None]:
    """Message and traceback."""
    if isinstance(error, RemoteError):
        return f"{error.type}: {error.message}", error.remote_traceback or None
    return str(error), None


def _conclude(options: Options, ledger: Ledger, rate: Rate, program: str, *, stopped: bool) -> int:
    if stopped:
        rate.line.wipe()
        put(f"{program}: interrupted; {_so_far(ledger)}\n", sys.stderr)
        return exits.INTERRUPTED
    rate.end()
    if not ledger.failed:
        return exits.OK
    why = f"see {options.errors}" if options.errors else "--errors F.jsonl keeps what each of them said"
    put(f"{program}: {ledger.failed:,} of {ledger.done:,} lines failed; {why}\n", sys.stderr)
    return exits.FAULT


def _so_far(ledger: Ledger) -> str:
    """What is done, and how to go on."""
    done = f"done: {ledger.done:,} line{'s' * (ledger.done != 1)}, failed: {ledger.failed:,}"
    file = ledger.out or _file_behind(sys.stdout)
    if file is None:
        return f"{done}. Results in a file can be resumed: --resume OUT"
    return f"{done}. To go on: the same command and input, with --resume {file}"


def _file_behind(stream: Any) -> str | None:
    """The name of the file that a shell has put in a stream's place."""
    try:
        fd = stream.fileno()
        return os.readlink(f"/proc/self/fd/{fd}") if stat.S_ISREG(os.fstat(fd).st_mode) else None
    except (AttributeError, OSError, ValueError):
        return None


def _is_terminal(stream: Any) -> bool:
    return stream is not None and bool(stream.isatty())
