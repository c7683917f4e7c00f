"""What an application says of itself on its status socket, and how that reads.

Rules: whoever serves there may be somebody else, or another version: what is missing is shown as such, and no text of
theirs reaches a terminal as more than text. A line has one colour or none, so that it can be cut anywhere. Apart from
the commands that show it, once or again and again.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from bridge.cli.output import Colour, NobodyError

PATIENCE: Final = 5.0
"""Seconds for an answer; it takes milliseconds, but a machine may be busy."""
BREATH: Final = 0.05
"""Seconds between two tries to be heard, where many ask."""
MOST: Final = 64 << 20
"""Bytes of an answer."""
UNKNOWN: Final = "-"

Line = tuple[str, "Colour | None"]


def read(path: str) -> Reading:
    """Ask once.

    Raises:
        NobodyError: Nobody serves there.
    """
    where = f"no status of a bridge at {path}"
    try:
        data = _asked(path)
    except FileNotFoundError:
        raise NobodyError(
            f"{where}: there is no such socket. Is the application running, with status_socket={path}?"
        ) from None
    except ConnectionRefusedError:
        if not _is_socket(path):
            raise NobodyError(f"{where}: that is no socket. Name the path of a status_socket") from None
        raise NobodyError(f"{where}: nobody serves that socket. Its application has ended; start it again") from None
    except PermissionError:
        raise NobodyError(f"{where}: it is another user's. Ask as the user that the application runs as") from None
    except (TimeoutError, BlockingIOError):
        raise NobodyError(f"{where}: no answer within {PATIENCE:g} s. Is the application stopped?") from None
    except OSError as error:
        raise NobodyError(f"{where}: {error.strerror or error}. Name the path of a status_socket") from None
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("stats"), dict):
        raise NobodyError(f"{where}: what answers there is something else. Name the path of a status_socket")
    return Reading(found)


def _is_socket(path: str) -> bool:
    """Or there is nothing any more."""
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return True


def _asked(path: str) -> bytes:
    until = time.monotonic() + PATIENCE
    data = bytearray()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(PATIENCE)
        while True:
            try:
                client.connect(os.fsencode(path))
                break
            except BlockingIOError:  # as many as it has room for ask already
                if time.monotonic() >= until:
                    raise
                time.sleep(BREATH)
        while not data.endswith(b"\n"):
            client.settimeout(max(0.001, until - time.monotonic()))
            piece = client.recv(1 << 20)
            if not piece or len(data) > MOST:
                break
            data += piece
    return bytes(data)


@dataclass(frozen=True)
class Reading:
    """One answer."""

    fields: dict[str, Any]

    def of(self, name: str, group: str = "stats") -> Any:
        """A field; None where there is none."""
        found = self.fields.get(group)
        return found.get(name) if isinstance(found, dict) else None

    @property
    def workers(self) -> list[dict[str, Any]]:
        """Each with its fields."""
        found = self.of("workers")
        return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []

    def in_state(self, state: str) -> int:
        """So many workers."""
        return sum(worker.get("state") == state for worker in self.workers)

    @property
    def memory(self) -> int | None:
        """Bytes of all workers; None where that isn't known of any."""
        known = [worker["rss"] for worker in self.workers if isinstance(worker.get("rss"), int)]
        return sum(known) if known else None

    def rate_since(self, before: Reading | None) -> float | None:
        """Calls per second since another reading of the same application."""
        if before is None or before.fields.get("pid") != self.fields.get("pid"):
            return None
        try:
            seconds = self.fields["at"] - before.fields["at"]
            calls = self.of("calls") - before.of("calls")
        except (KeyError, TypeError):
            return None
        return calls / seconds if seconds > 0 and calls >= 0 else None


def in_one_line(reading: Reading, before: Reading | None = None) -> str:
    """For a log."""
    at = reading.fields.get("at")
    clock = time.strftime("%H:%M:%S", time.localtime(at)) if isinstance(at, (int, float)) else UNKNOWN
    parts = [
        f"{clock} {text(reading.of('name'))} {text(reading.of('state'))}",
        f"workers {len(reading.workers)}/{number(reading.of('size'))}",
        f"busy {reading.in_state('busy')}",
        f"waiting {number(reading.of('waiting'))}",
        f"calls {number(reading.of('calls'))}",
        f"calls/s {number(reading.rate_since(before))}",
        f"p50 {duration(reading.of('p50'))}",
        f"p99 {duration(reading.of('p99'))}",
        f"memory {size(reading.memory)}",
        f"restarts {number(reading.of('restarts'))}",
        f"crashes {number(reading.of('crashes'))}",
        f"last error {text(reading.of('last_error', 'health'))}",
    ]
    return "  ".join(parts)


def in_lines(reading: Reading, before: Reading | None = None) -> Iterator[Line]:
    """For people: what there is of all, then a row for each worker."""
    state, breaker = reading.of("state"), reading.of("breaker", "health")
    title = (
        f"{text(reading.of('name'))} on {text(reading.of('adapter'))}, process {number(reading.fields.get('pid'), '')}"
    )
    yield f"{title}: {text(state)}", Colour.GREEN if state == "open" else Colour.YELLOW
    waiting = reading.of("waiting")
    yield (
        f"workers   {len(reading.workers)} of {number(reading.of('size'))}, {reading.in_state('busy')} busy, "
        f"{number(waiting)} callers wait, {size(reading.memory)}",
        Colour.YELLOW if waiting else None,
    )
    yield (
        f"calls     {number(reading.of('calls'))}, {number(reading.rate_since(before))}/s, "
        f"p50 {duration(reading.of('p50'))}, p99 {duration(reading.of('p99'))}",
        None,
    )
    failures = [(reading.of(name), word) for name, word in FAILURES]
    yield (
        f"failures  {', '.join(f'{word} {number(count)}' for count, word in failures)}",
        Colour.YELLOW if any(count for count, _ in failures) else None,
    )
    error = reading.of("last_error", "health")
    told = f"starts    restarts {number(reading.of('restarts'))}, breaker {text(breaker)}, last error: {text(error)}"
    yield told, Colour.RED if error is not None or breaker != "closed" else None
    yield "", None
    yield ROW.format("start", "pid", "state", "calls", "age", "memory", "host").rstrip(), Colour.BOLD
    for worker in sorted(reading.workers, key=lambda each: str(each.get("generation")).zfill(12)):
        yield _row(worker), None if worker.get("state") in ("ready", "busy", "spare") else Colour.YELLOW


FAILURES: Final = (("crashes", "crashes"), ("timeouts", "timeouts"), ("failed_starts", "failed starts"))
ROW: Final = "{:>6}  {:>8}  {:<9}  {:>12}  {:>8}  {:>9}  {}"


def _row(worker: dict[str, Any]) -> str:
    return ROW.format(
        number(worker.get("generation")),
        number(worker.get("pid"), ""),
        text(worker.get("state")),
        number(worker.get("calls")),
        duration(worker.get("age")),
        size(worker.get("rss")),
        "" if worker.get("host") is None else text(worker["host"]),
    ).rstrip()


def text(value: Any) -> str:
    """In one line, and nothing but printable ASCII: a terminal obeys the rest."""
    if value is None:
        return UNKNOWN
    plain = " ".join(str(value).split())
    return "".join(each if each.isprintable() else "?" for each in plain).encode("ascii", "backslashreplace").decode()


def number(value: Any, comma: str = ",") -> str:
    """1,234."""
    return format(round(value), comma) if isinstance(value, (int, float)) else UNKNOWN


def duration(value: Any) -> str:
    """Seconds, by their size: 0.12 ms, 3.4 s, 12 min, 5.1 h."""
    if not isinstance(value, (int, float)):
        return UNKNOWN
    for limit, unit, digits in ((0.01, 1e-3, "2f} ms"), (1, 1e-3, "0f} ms"), (100, 1, "1f} s"), (6000, 60, "0f} min")):
        if value < limit:
            return ("{:." + digits).format(value / unit)
    return f"{value / 3600:.1f} h"


def size(value: Any) -> str:
    """Bytes: a megabyte is 10^6 of them."""
    return f"{value / 1e6:,.1f} MB" if isinstance(value, int) else UNKNOWN
