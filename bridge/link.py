"""What a driver of a channel is to whoever holds its worker.

Rules: protocols and what a call on one can end in, nothing that runs. A link is clean exactly when no reply is
outstanding on it. Apart from the drivers because there are several.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from bridge.contract import SessionEntry
from bridge.wire import CALL

HEARING = 1.0
"""Seconds that a caller sleeps at once. Python runs a signal's handler between two steps of the main thread, which a
signal doesn't wake that came just before it slept, or that another thread took."""
SMALL = 4096 - 24
"""Bytes of a body whose frame a pipe takes whole or not at all: PIPE_BUF, less the header."""


class DeadlinePassed(Exception):
    """No reply came before the deadline. `started` is as for WorkerGone."""

    def __init__(self, *, started: bool) -> None:
        self.started = started


class Left(Exception):
    """Another thread has cancelled the call."""


class Cancellable(Protocol):
    """Whose call it is, where other threads may cancel it."""

    cancelled: bool


ClaimRef = Callable[[], Cancellable | None]
"""A weak reference to one: what an interruption left must not seem to be held."""


class Following(Protocol):
    """What a caller wants to hear of its call before it ends, and what goes with it."""

    @property
    def head(self) -> bytes:
        """What stands before the call in its frame."""

    @property
    def streams(self) -> bool:
        """It takes items, one after the other."""

    @property
    def progress(self) -> Callable[[Any], object] | None:
        """Called with what the handler reports."""

    @property
    def context(self) -> Mapping[str, Any]:
        """What the handler's `context` has."""

    @property
    def session(self) -> SessionEntry | None:
        """The session that it belongs to."""

    @property
    def ended(self) -> tuple[tuple[str, int], ...]:
        """Sessions that its worker is to forget before it."""

    def answer(self, asked: Any) -> bytes:
        """The body of ANSWER to what came in an ASK."""


class Listener(Protocol):
    """Whoever waits for a worker by other means than `Link.call`."""

    def ring(self) -> None:
        """Poll, the sooner the better. From any thread; takes no lock, never blocks."""

    @property
    def is_over(self) -> bool:
        """It never will: what it waits in is closed."""


ListenerRef = Callable[[], Listener | None]
"""A weak reference to one: a worker must not keep alive what waits for it."""


class Link(Protocol):
    """How the holder of a lease talks to its worker."""

    @property
    def clean(self) -> bool:
        """No reply is outstanding: the next holder can't be given somebody else's."""

    @property
    def call_id(self) -> int:
        """Of the request that is out, or was last."""

    @property
    def cancellable(self) -> bool:
        """Whether the worker can be asked to end the request that is out: it was wholly written."""

    def call(
        self,
        command: str,
        body: bytes,
        deadline: float,
        kind: int = CALL,
        claim: ClaimRef | None = None,
    ) -> Any:
        """One request and its one reply."""

    snapshot: bytes | None
    """Of the state of a durable session, once a call that asked for it has ended."""

    def open(
        self,
        command: str,
        body: bytes,
        deadline: float,
        seconds: float,
        claim: ClaimRef | None,
        follow: Following,
        kind: int = CALL,
    ) -> None:
        """Send a call that more than one frame may come for."""

    def hear(self, command: str, deadline: float) -> tuple[int, Any]:
        """The next of them."""

    listener: ListenerRef | None
    """The holder, while a call is out that it waits for by other means than `call`."""

    def begin(
        self,
        command: str,
        body: bytes,
        seconds: float,
        kind: int = CALL,
        claim: ClaimRef | None = None,
        follow: Following | None = None,
    ) -> bytes:
        """Send a call, as far as that is possible now; what is left is for `push_on`."""

    def begin_answer(self, body: bytes) -> bytes:
        """The same with the answer to an ASK."""

    def push_on(self, frame: bytes) -> bytes:
        """Write what fits now of the rest; what is left."""

    def poll(self, command: str) -> tuple[int, Any] | None:
        """What has come of a call, as its kind and value; None while there is nothing."""

    @property
    def watched(self) -> tuple[int, int] | None:
        """(read, write): what becomes ready when another step can be made; None: `listener` is called."""

    @property
    def next_look(self) -> float:
        """Monotonic seconds at which to poll, whatever happens."""

    def answer(self, body: bytes, deadline: float) -> None:
        """Answer an ASK."""

    def credit(self, items: int) -> bool:
        """Ask for more items; False when that has to be said again later."""

    def leave(self) -> None:
        """The caller wants no more items. Afterwards the link may be clean."""

    def interrupt(self) -> None:
        """The call was cancelled, by another thread than its own."""

    def abort(self) -> None:
        """The worker is dead: whoever waits for its reply need not any longer."""


def ring(listener: ListenerRef | None) -> None:
    """Have the one who listens poll, if there is one."""
    found = None if listener is None else listener()
    if found is not None:
        found.ring()
