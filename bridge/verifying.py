"""A cassette, run against the real handler.

Rules: its calls are made one after the other on one worker, in the order of its lines, so that a handler that keeps
something is asked as it was then. Apart from drift.py, which compares, and from the adapters because this needs a
bridge; from bridge/testing, which has it for tests, because the command line has it too.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from bridge.cassette import Exchange, read, value_of
from bridge.client import Bridge
from bridge.errors import BridgeError, CapabilityError, PoolError, PoolTimeout, WorkerStartError
from bridge.opening import connect
from bridge.redaction import REDACTED

PATIENCE: Final = 60.0
"""Seconds for another worker in place of one that gave no answer, before verify gives up."""
NOT_ASKED: Final = (CapabilityError, PoolError, WorkerStartError)
"""A call that ends so has reached no handler: there is nothing to compare, which doesn't mean that it is the same."""


def verify(
    cassette: str | os.PathLike[str], handler: Any, /, *, of: Any = "python_port", redact: Any = None, **settings: Any
) -> int:
    """Make every call of a cassette on the real handler, and compare what comes.

    Args:
        handler: As `bridge.connect` takes it.
        of: The adapter whose workers answer.
        redact: As the cassette was recorded with.
        settings: Others for `bridge.connect`; `match` as the cassette is replayed with.

    Returns:
        How many calls were made. Those aren't whose arguments are redacted: nobody knows what they were.

    Raises:
        CassetteDrift: Something differs; it says what.
        WorkerStartError, PoolError, CapabilityError: The handler can't be asked. What differed before is in the log.
    """
    lines = [line.exchange for line in read(os.path.abspath(cassette)).lines]
    known = [exchange for exchange in lines if not _is_redacted(exchange["args"])]
    options = {"cassette": cassette, "mode": "verify", "of": of, "redact": redact, "size": 1, **settings}
    with connect(handler, adapter="recording", **options) as bridge:
        caller = _Caller()
        for name in {said["ask"][0] for exchange in lines for said in exchange.get("said", []) if "ask" in said}:
            bridge.expose(name, caller.function(name))
        for exchange in known:
            caller.answers = deque(said["answer"] for said in exchange.get("said", []) if "answer" in said)
            _ask(bridge, exchange)
    return len(known)


def _ask(bridge: Bridge, exchange: Exchange) -> None:
    """One call, sent for certain; what comes of it is heard, and compared when the bridge is closed."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return _call(bridge, exchange)
        except PoolTimeout:  # its worker may have to end the call before, or to be replaced, for longer than `timeout`
            if time.monotonic() >= until:
                raise
        except NOT_ASKED:
            raise
        except BridgeError:
            return None


def _call(bridge: Bridge, exchange: Exchange) -> None:
    command, args, session = exchange["command"], value_of(exchange["args"]), exchange.get("session")
    if exchange.get("stream"):
        source = bridge if session is None else bridge.session(session)
        with source.stream(command, args) as stream:
            for taken, _ in enumerate(stream, 1):
                if "left" in exchange and taken == len(exchange["items"]):
                    return
        return
    reports = any("report" in said for said in exchange.get("said", []))
    bridge.call(command, args, session=session, on_progress=bool if reports else None)


class _Caller:
    """Answers what the handler asks as its caller did when that was recorded."""

    def __init__(self) -> None:
        self.answers: deque[Mapping[str, Any]] = deque()

    def function(self, name: str) -> Callable[..., Any]:
        """What is exposed by a name."""

        def answer(*_args: Any, **_named: Any) -> Any:
            if not self.answers:
                raise LookupError(f"the cassette has no further answer of {name!r}")
            said = self.answers.popleft()
            if "value" in said:
                return value_of(said["value"])
            module, _, kind = said["error"]["type"].rpartition(".")
            raise type(kind, (Exception,), {"__module__": module or "builtins"})(said["error"]["message"])

        return answer


def _is_redacted(value: Any) -> bool:
    """Whether plain JSON isn't what it was."""
    if isinstance(value, dict):
        value = [*value, *value.values()]
    return REDACTED in value if isinstance(value, str) else isinstance(value, list) and any(map(_is_redacted, value))
