"""The groups of settings: their fields, and what is legal in each.

Rules: frozen, nothing unknown allowed, nothing read from outside; a description says the unit. Leaf names are unique.
Apart from schema.py, which makes one model of them and knows where values come from.
"""

from __future__ import annotations

import os
import shlex
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from bridge.core.sessions import Affinity
from bridge.settings import Codec, StartMethod

MAX_FRAME: Final = 2**32 - 1
LEAST_SPACE: Final = 32 * 1024 * 1024
"""Bytes of addresses; an interpreter that has done nothing takes some 20 MiB, most of which is never touched."""
MOST_SPACE: Final = 2**63 - 1
MOST_WORKERS: Final = 4096


def _for_the_system(text: str) -> str:
    """What the system can take as one argument, path or value of a variable."""
    if "\0" in text:
        raise ValueError("has a NUL character, which the system takes for its end")
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        raise ValueError("has a character that the system can't take") from None
    return text


def _no_blank(text: str) -> str:
    if not text:
        raise ValueError("is empty; leave it out, or unset its variable")
    return text


def _variable(name: str) -> str:
    if not name or "=" in name:
        raise ValueError(f"{name!r:.60} can't be the name of a variable")
    return name


def _octal(mask: Any) -> Any:
    """Text is octal, as a shell and its users write it: 027 must not be taken for twenty-seven."""
    if not isinstance(mask, str):
        return mask
    try:
        return int(mask, 8)
    except ValueError:
        raise ValueError(f"{mask!r:.60} is no octal number, such as 027") from None


def _argv(launcher: Any) -> Any:
    """Text is split as a shell would split it; nothing in it is expanded. What is wrong is said here, once: pydantic
    tells of each kind that it might have been."""
    parts = launcher
    if isinstance(launcher, str):
        try:
            parts = shlex.split(launcher)
        except ValueError as error:
            raise ValueError(f"{launcher!r:.60} can't be split into arguments: {error}") from None
    elif not isinstance(launcher, (list, tuple)) or not all(isinstance(part, str) for part in launcher):
        raise ValueError(f"is a text such as 'ssh host', or a list of texts, not {launcher!r:.60}")
    return tuple(_for_the_system(part) for part in parts)


_SystemText = Annotated[str, AfterValidator(_for_the_system)]
_Location = Annotated[_SystemText, AfterValidator(_no_blank)]
_Variable = Annotated[_SystemText, AfterValidator(_variable)]
_Launcher = Annotated[tuple[_SystemText, ...], BeforeValidator(_argv)]
_Mask = Annotated[int, BeforeValidator(_octal)]


class Frozen(BaseModel):
    """A group."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LimitSettings(Frozen):
    """What one worker process may use in its whole life; what isn't set is the caller's. Its children inherit it.

    A mock has no process, and no limits.
    """

    address_space: int | None = Field(
        None, ge=LEAST_SPACE, le=MOST_SPACE, description="bytes; beyond, the handler gets a MemoryError"
    )
    cpu_seconds: int | None = Field(
        None, ge=1, le=2**31, description="seconds of computing, of all calls together; then it is ended by SIGXCPU"
    )
    open_files: int | None = Field(None, ge=16, description="highest descriptor, plus one")
    niceness: int = Field(0, ge=0, le=19, description="added to the caller's; the higher, the more others go first")
    core: bool = Field(True, description="false switches core dumps off; true leaves them as they are")


class WorkerSettings(Frozen):
    """What a worker serves, and in which interpreter."""

    handler: str | None = Field(None, description="pkg.mod:Class, pkg.mod or path/to/file.py:Class")
    options: dict[str, Any] = Field({}, description="keywords for the handler's constructor")
    fake: str | None = Field(None, description="stands for the handler in a mock or bridge_mock; written like it")
    python: _Location | None = Field(None, description="interpreter, a path or venv:PATH; the caller's own if not set")
    launcher: Annotated[tuple[_SystemText, ...] | str, BeforeValidator(_argv)] = Field(
        (), description="what starts workers elsewhere, such as `ssh host`: put in front of the interpreter's arguments"
    )
    ship: tuple[_Location, ...] = Field(
        (), description="modules, packages, files or folders that are sent along, behind a launcher"
    )
    path: tuple[_SystemText, ...] = Field((), description="entries in front of the worker's sys.path")
    cwd: _Location | None = Field(None, description="working directory; the caller's if not set")
    env: dict[_Variable, _SystemText] = Field({}, description="added to the caller's environment")
    env_allow: tuple[_Variable, ...] | None = Field(
        None, description="variables of the caller's that it gets, by name or pattern (LC_*); all if not set"
    )
    umask: _Mask | None = Field(
        None, ge=0, le=0o777, description="of new files; text is octal, as in a shell; the caller's if not set"
    )
    limits: LimitSettings = Field(LimitSettings(), description="what each worker process may use; see below")
    propagate: tuple[str, ...] = Field(
        (), description="ContextVars that travel with each call, by dotted path, and traceparent"
    )
    start_method: StartMethod = Field(
        StartMethod.SPAWN, description="zygote forks workers from one process that has imported the handler's module"
    )
    codec: Codec = Field(Codec.JSON, description="pickle is for workers that are trusted: see the guide to executors")
    max_frame_bytes: int = Field(256 * 1024 * 1024, ge=1024, le=MAX_FRAME, description="bytes of one value, encoded")


class HostSettings(Frozen):
    """Where some of the workers are. In the environment a JSON list of these: `[{"launcher": "nice", "size": 4}]`."""

    launcher: _Launcher = Field(
        (),
        description="argv prefix, a list or quoted as in a shell (`nice -n 5`); empty: workers are started right here",
    )
    size: int = Field(4, ge=1, le=MOST_WORKERS, description="workers that are always kept there")
    name: _Location | None = Field(None, description="shown in stats, events and errors; the launcher if not set")

    @property
    def label(self) -> str:
        """Its name, whether it was given one or not."""
        return self.name or shlex.join(self.launcher) or "here"


class PoolSettings(Frozen):
    """How many workers there are, and how long callers wait for one."""

    size: int = Field(4, ge=1, le=MOST_WORKERS, description="workers that are always kept")
    max_overflow: int = Field(0, ge=0, le=MOST_WORKERS, description="workers more while callers wait")
    spare: int = Field(0, ge=0, le=MOST_WORKERS, description="workers besides, warm, for the place of one that is gone")
    checkout_timeout: float = Field(30.0, gt=0, description="seconds to wait for a worker; start-up isn't charged")
    max_waiting: int | None = Field(None, ge=0, description="callers that may wait; no limit if not set")
    prewarm: int | None = Field(None, ge=0, description="workers that `with` waits for; all if not set")
    queue_target: float | None = Field(
        None, gt=0, description="seconds that a caller may wait while the queue stands; no limit if not set"
    )
    queue_interval: float = Field(1.0, gt=0, description="seconds without an empty queue after which it stands")
    hosts: tuple[HostSettings, ...] = Field(
        (), description="where the workers are, instead of `size`: a launcher and a size of each; see below"
    )

    @property
    def workers(self) -> int:
        """Those that are always kept."""
        return sum(host.size for host in self.hosts) or self.size

    @property
    def most(self) -> int:
        """Those that there can be."""
        return self.workers + self.max_overflow + self.spare

    @model_validator(mode="after")
    def _check_hosts(self) -> PoolSettings:
        if not self.hosts:
            return self
        labels = [host.label for host in self.hosts]
        for label in labels:
            if labels.count(label) > 1:
                raise ValueError(f"has two hosts that are called {label!r:.60}: give each a `name` of its own")
        if "size" in self.model_fields_set and self.size != self.workers:
            raise ValueError(
                f"has hosts, which make {self.workers} workers, and size={self.size}: leave `size` out (and unset "
                "BRIDGE_POOL__SIZE), each host has its own"
            )
        for name in ("max_overflow", "spare"):
            if getattr(self, name):
                raise ValueError(f"has hosts and {name}: no host has more than its size; leave `{name}` out")
        if self.workers > MOST_WORKERS:
            raise ValueError(f"has hosts that make {self.workers} workers, and {MOST_WORKERS} is the most")
        return self


class CallSettings(Frozen):
    """How long a call may take."""

    timeout: float | None = Field(60.0, gt=0, description="seconds of a call that names none; null is no limit")
    cancel_grace: float = Field(
        2.0, ge=0, description="seconds that a worker has for ending a cancelled call; then it is killed"
    )
    busy_poll_us: float = Field(
        0.0,
        ge=0,
        le=10_000,
        description="microseconds that both ends look for a frame before they sleep; 0: not at all",
    )
    poison_threshold: int | None = Field(
        None, ge=1, description="deaths of workers after which the same call is refused; never if not set"
    )


class SupervisorSettings(Frozen):
    """How workers are started, and given up."""

    startup_timeout: float = Field(30.0, gt=0, description="seconds from a start to readiness")
    shutdown_timeout: float = Field(5.0, ge=0, description="seconds that calls and workers have to end in `close`")
    max_restarts: int = Field(3, ge=0, description="failed starts within the window before the breaker opens")
    restart_window: float = Field(5.0, gt=0, description="seconds")
    health_interval: float | None = Field(
        None, gt=0, description="seconds for which a worker is idle before it is asked how it is; never if not set"
    )
    backoff: float = Field(0.1, gt=0, le=30, description="seconds after the first failed start; doubles up to 30")


class RecycleSettings(Frozen):
    """When a worker is let go, or replaced though it works."""

    max_calls: int | None = Field(None, ge=1, description="calls after which a worker is replaced")
    max_lifetime: float | None = Field(None, gt=0, description="seconds after which a worker is replaced")
    max_rss: int | None = Field(
        None, ge=1024 * 1024, description="bytes of memory above which a worker is replaced; looked at between calls"
    )
    jitter: float = Field(0.1, ge=0, le=1, description="by how much of it calls and lifetime may be lower, at random")
    max_idle: float = Field(60.0, gt=0, description="seconds until an idle worker above `size` is let go")


class SessionSettings(Frozen):
    """How the state of sessions is kept."""

    affinity: Affinity = Field(
        Affinity.HINT, description="of sessions that name none: hint, strict_queue or strict_fail_fast"
    )
    ttl: float | None = Field(3600.0, gt=0, description="seconds after its last call at which one ends; null is never")
    max_sessions: int = Field(10_000, ge=1, description="sessions at a time; beyond, the least recently used one ends")
    max_snapshot_bytes: int = Field(1024 * 1024, ge=1, le=MAX_FRAME, description="bytes of a durable one's state")
