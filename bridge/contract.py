"""What an adapter is: all that its author has to read.

Rules: protocols and plain values, nothing that runs. An adapter opens channels; a channel is one live conversation
with one worker. A channel with descriptors is driven by the runtime (it speaks the frames of core/protocol.py); one
without answers `submit`. Apart from both runtime and adapters because it is the only place where they meet.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from math import inf
from types import MappingProxyType
from typing import Any, Final, Protocol, runtime_checkable

NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
"""What isn't said, where things are said by name."""


class Capability(str, Enum):
    """What the channels of an adapter can do."""

    PROCESSES = "processes"
    """Each channel is a process: it has a sentinel, and is a ProcessChannel."""
    KILL = "kill"
    """`kill` ends the work at once, whatever it is doing."""
    SOFT_CANCEL = "soft_cancel"
    SESSIONS = "sessions"
    """Its workers keep a state for each session."""
    STREAMS = "streams"
    CALLBACKS = "callbacks"
    FDS = "fds"
    """`fileno` answers: the real codec over real descriptors."""
    PICKLE = "pickle"
    """Values may be pickled, and functions sent (`worker.codec`)."""
    SENTINEL = "sentinel"
    """It is the worker's own, as are its exit status and `pid`; else it is that of what started the worker elsewhere,
    where `pid` is a number."""
    OUT_OF_MEMORY = "out_of_memory"
    """That the kernel killed a worker for want of memory is told apart from any other SIGKILL."""
    SHARED_MEMORY = "shared_memory"
    """Long values go through memory that both ends have (SharingChannel)."""
    MAX_RSS = "max_rss"
    """The memory of a worker can be measured (`recycle.max_rss`)."""
    LIMITS = "limits"
    """`worker.limits` and `worker.umask` are kept."""
    ENV_ALLOW = "env_allow"
    """The worker's environment is this process's to decide (`worker.env_allow`)."""
    ZYGOTE = "zygote"
    """Workers can be forked from one process (`worker.start_method`)."""


@dataclass(frozen=True)
class Cargo:
    """Modules and packages that are sent to a worker (`worker.ship`)."""

    archive: bytes = field(repr=False)
    """A zip file, which becomes an entry of sys.path."""
    files: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    """Paths here, and the names of the modules that they are in it."""


@dataclass(frozen=True)
class WorkerSpec:
    """What to start. Everything is decided: an adapter adds nothing of its own, and reads no configuration."""

    handler: str
    fake: str | None = None
    """What a mock calls and bridge_mock serves in its place; named in the same way. A process never sees it."""
    options: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    python: str | None = None
    """Path of the interpreter; None is the caller's own."""
    cargo: Cargo | None = None
    """What is sent there beside the worker's own files."""
    launcher: tuple[str, ...] = ()
    """Argv prefix of its command: what starts it somewhere else, with its stdin and stdout connected. Then python,
    path, cwd, env, umask and limits are meant there. Empty: it is started right here."""
    elsewhere: WorkerSpec | None = None
    """The same for those of several hosts (`pool.hosts`) that are behind a launcher, but for this launcher. An adapter
    never sees it."""
    path: tuple[str, ...] = ()
    """Entries of the worker's sys.path: all of it with `replace_path`, else in front of its own."""
    replace_path: bool = False
    cwd: str | None = None
    env: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    """Added to the environment that the caller's process has, or to what `env_allow` leaves of it."""
    env_allow: tuple[str, ...] | None = None
    """Names of the caller's variables that the worker gets, or patterns like LC_*; None is all of them."""
    umask: int | None = None
    limits: Mapping[str, int] = field(default_factory=lambda: NOTHING)
    """By the names of the setting `worker.limits`; only those that are set. START carries these and the umask, so a
    worker that takes START from the runtime sets them itself."""
    pickle: Mapping[str, str] | None = None
    """Not None: calls are pickled (`worker.codec`); it is what bridge.pickling.program says of the caller's program."""
    max_frame_bytes: int = 256 * 1024 * 1024
    propagate: tuple[str, ...] = ()
    """Names of ContextVars that travel with each call."""
    start_method: str = "spawn"
    """`spawn`: an interpreter of its own; `zygote`: forked from one process that has imported the handler's module."""
    busy_poll_us: float = 0.0
    """Microseconds that the worker looks for the next frame before it sleeps."""
    stderr_tail_bytes: int = 8192
    name: str = "bridge"
    generation: int = 0
    """Number of this start within its runtime; never repeats."""


@dataclass(frozen=True)
class WorkerInfo:
    """Who a channel talks to. None where there is no such thing, or while it isn't known."""

    generation: int
    pid: int | None = None
    python: str | None = None
    path: str | None = None
    launcher: str | None = None
    """What it is behind (`worker.launcher`), as one text. Then `pid` is its number there, and isn't to be used here."""
    launcher_pid: int | None = None
    """Of the launcher, which is a process here, and leads a group of its own."""


@dataclass(frozen=True)
class ExitStatus:
    """How a process ended. Both None: somebody else took its status, or nobody knows it yet."""

    code: int | None = None
    signal: int | None = None
    out_of_memory: bool = False
    """The kernel killed it for want of memory: only when that is certain."""
    why: str = ""
    """What else is known of the reason, for an error's text; without a capital or a full stop."""
    replaced: bool = True
    """Another worker can be started in its place; else what it ran on was handed in, and is broken."""
    launcher: str = ""
    """The launcher's, if a signal ended that: the worker behind it is another process."""


@dataclass(frozen=True)
class SessionEntry:
    """The session that a call belongs to: which state its worker is to give to it, and whether it is to be shown."""

    key: str
    epoch: int
    """Of the state: another one under the same key is another state, and ends the one that is kept."""
    state: bytes | None = None
    """What a state begins with that isn't kept: a snapshot, as it came in a reply."""
    snapshot: int | None = None
    """The reply is to have a snapshot of the state, of so many bytes at the most; None: it isn't durable."""


# Not frozen, here and below: that costs each call of a mock 2 us. Nobody changes one.
@dataclass(slots=True)
class Request:
    """One call, for a channel without descriptors. Its values passed the codec's check."""

    call_id: int
    command: str
    args: Any
    deadline: float = inf
    """Monotonic seconds, after which nobody waits for the answer."""
    hook: bool = False
    """`command` names a hook of the handler."""
    streams: bool = False
    """The caller takes items: the reply is to have `items`."""
    progress: Callable[[Any], object] | None = None
    """To be called with what the handler reports; None: nobody listens."""
    ask: Callable[[Any], bytes] | None = None
    """Answers what the handler asks of its caller: [name, args] to the body of an ANSWER frame."""
    context: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    """What came with the call."""
    session: SessionEntry | None = None
    ended: tuple[tuple[str, int], ...] = ()
    """Sessions whose state is to be dropped before the call: key and epoch."""


@dataclass(slots=True)
class Reply:
    """The one answer to a Request: a value, or the error that the caller gets."""

    call_id: int
    value: Any = None
    error: BaseException | None = None
    """WorkerGone means that the worker died."""
    delay: float = 0.0
    """Seconds after which the caller is to have it. The driver waits, so that the channel needs no thread for that."""
    items: Generator[Any, None, bytes | None] | None = None
    """Of a stream, in place of a value: taken as they are wanted, in the caller's thread; closed if not to the end.
    What it returns is the snapshot."""
    snapshot: bytes | None = None
    """The state of a durable session after the call, encoded."""


class WorkerGone(Exception):
    """The worker died, or closed its end, while a reply was due.

    `started` is False when the handler certainly never saw the request.
    """

    def __init__(self, *, started: bool) -> None:
        self.started = started


class Channel(Protocol):
    """One live conversation with one worker."""

    @property
    def info(self) -> WorkerInfo:
        """Who is at the other end."""

    def fileno(self) -> tuple[int, int] | None:
        """(read, write), both non-blocking; None when `submit` is the way in."""

    def submit(self, request: Request, done: Callable[[Reply], None]) -> None:
        """Begin one call; `done` is called once, from any thread. Only when `fileno` is None."""

    def cancel(self, call_id: int) -> None:
        """Ask the handler to stop; CapabilityError where that isn't possible."""

    def kill(self) -> None:
        """End it now, and all that it started. Idempotent; never blocks."""

    def sentinel(self) -> int | None:
        """A descriptor that becomes readable when the worker is dead."""

    def stderr_tail(self) -> str:
        """The last of what the worker wrote to stderr."""


@runtime_checkable
class HookChannel(Channel, Protocol):
    """What a channel without descriptors has besides, if its handler may have hooks."""

    @property
    def hooks(self) -> frozenset[str]:
        """Those that it has. `on_reset` and `on_close` come as requests, marked as hooks."""


@runtime_checkable
class TellingChannel(Channel, Protocol):
    """What a channel without a process has besides, if it knows why its worker is gone."""

    def ending(self) -> ExitStatus:
        """Asked once it was killed."""


@runtime_checkable
class WithdrawingChannel(Channel, Protocol):
    """What a channel without descriptors has besides, if what it was submitted may wait there to be begun."""

    def withdraw(self, call_id: int) -> bool:
        """Never begin that call; False when it may have been. Asked once nobody waits for it."""


@runtime_checkable
class PlacedChannel(Channel, Protocol):
    """What a channel of a PlacingAdapter has besides."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What it can do, where its worker is."""


@runtime_checkable
class FdChannel(Channel, Protocol):
    """What a channel of an adapter with the capability `fds` has besides."""

    def close(self) -> None:
        """Give the descriptors back. Only when no lease is out: they belong to its holder."""

    def forget(self) -> None:
        """In a forked child: close whatever descriptors of it were inherited, at either end; stop nothing."""


@runtime_checkable
class SharingChannel(FdChannel, Protocol):
    """What a channel has besides whose worker was given memory to share. This tells it apart."""

    @property
    def arena(self) -> int:
        """The descriptor of that, made by bridge.arena.make; -1: there is none."""


@runtime_checkable
class ProcessChannel(FdChannel, Protocol):
    """What a channel of an adapter with the capability `processes` has besides: the supervisor drives these."""

    def stderr_fileno(self) -> int | None:
        """Readable when there is something for `drain_stderr`; None after its end, but open until `close`."""

    def drain_stderr(self) -> list[str]:
        """Read what is there without blocking; the whole lines that it completed."""

    def reap(self) -> ExitStatus:
        """Kill what is left of the group, then take the status. Only once the sentinel is readable."""

    def sweep(self) -> None:
        """Have every process killed that the dead worker left behind, wherever it went. Never blocks."""


@runtime_checkable
class PrefacedChannel(ProcessChannel, Protocol):
    """What a channel has besides whose other end has to be told what a worker is, and may say something else first.
    These two tell it apart."""

    @property
    def preface(self) -> bytes:
        """To be written before START."""

    def skip(self) -> bytes | None:
        """Read, without blocking, up to where the worker begins to speak: what came behind that. None: not there yet.

        Raises:
            EOFError: It never will.
            ProtocolError: Whatever speaks there doesn't stop.
        """


@runtime_checkable
class LateChannel(ProcessChannel, Protocol):
    """What a channel has besides whose process comes, and is known, only some time after `open`. This tells it
    apart."""

    def is_over(self) -> bool:
        """Whether the sentinel is readable since it is dead, or will never live. If not, ask `info` again."""


class Ear(Protocol):
    """Hears what goes over a channel with descriptors, frame by frame: in the thread that writes or reads it."""

    def said(self, kind: int, flags: int, body: Any) -> None:
        """A frame is on its way to the worker; its body without the seconds that a call has left."""

    def heard(self, kind: int, flags: int, body: Any) -> None:
        """A frame has come from there, and was legal."""


class Adapter(Protocol):
    """Opens channels. One runtime owns it, unless the user handed it in."""

    @property
    def name(self) -> str:
        """Under which it is shown in stats and errors."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What its channels can do."""

    def open(self, spec: WorkerSpec, *, deadline: float) -> Channel:
        """Start one worker; it need not be ready yet. May block; processes: on the supervisor's thread.

        Args:
            deadline: Monotonic seconds.

        Raises:
            WorkerStartError: Nothing was started, nothing is left behind.
            ConfigurationError: The same, and another start would end so too. Callers get this very error.
        """

    def close(self) -> None:
        """Release what all channels share. Every channel is dead by then."""


@runtime_checkable
class PlacingAdapter(Adapter, Protocol):
    """What an adapter has besides whose channels can't do the same wherever their worker is."""

    def lacks(self, spec: WorkerSpec) -> Mapping[Capability, str]:
        """What a channel to that worker can't do of what the adapter can: with the reason, and what there is instead,
        for an error's text."""


@runtime_checkable
class ForkedAdapter(Adapter, Protocol):
    """What an adapter has besides that keeps anything which a forked child must not."""

    def forget(self) -> None:
        """In a forked child: close all that belongs to the parent's workers; kill and await nothing."""


@runtime_checkable
class ProcessAdapter(ForkedAdapter, Protocol):
    """What an adapter with the capability `processes` has besides."""

    def settle(self) -> int | None:
        """Called after the first start and when the returned sentinel fires: see to what guards the workers.

        Returns a descriptor that becomes readable when that guard is gone, or None.
        """


@runtime_checkable
class HearingAdapter(Adapter, Protocol):
    """What an adapter has besides that wants to hear what goes over its channels."""

    def ear(self) -> Ear | None:
        """For another channel with descriptors. Then nothing goes through memory that both ends have."""
