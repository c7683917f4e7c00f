"""The start of one worker: START out, HELLO and READY or FAILED in, without waiting for any of them.

Rules: driven by the supervisor's poller; ends with exactly one of `ready`, `failed` and the worker's death. Apart
from the supervisor, which decides what follows from it.
"""

from __future__ import annotations

import errno
import select
import shlex
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol, cast

from bridge.channel import FdLink
from bridge.contract import Channel, FdChannel, PrefacedChannel, ProcessChannel, WorkerSpec
from bridge.core.effects import Why
from bridge.core.messages import decode_failed, decode_hello, decode_ready, encode_start
from bridge.core.protocol import Frame, State
from bridge.errors import ConfigurationError, ProtocolError, WorkerStartError
from bridge.runtime.poller import Poller
from bridge.runtime.worker import Worker
from bridge.wire import FAILED, HELLO, START

SCARCE: Final = (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM, errno.ENOSPC)
"""What the system says when it has no more descriptors, processes, memory or watches to give."""


UNSHIPPED: Final = (
    ". Behind a launcher, a handler and what it imports is installed there, or found by worker.path, or sent along: "
    "name it in worker.ship"
)


class Outcome(Protocol):
    """Whom a start reports to."""

    def became_ready(self, worker: Worker) -> None:
        """It may be lent."""

    def start_failed(self, worker: Worker, fault: WorkerStartError | None) -> None:
        """It must be ended; without a fault, its exit status says why."""


class Starting:
    """One handshake under way."""

    def __init__(self, worker: Worker, link: FdLink, spec: WorkerSpec, poller: Poller, outcome: Outcome) -> None:
        self._worker, self._link, self._spec = worker, link, spec
        self._poller, self._outcome = poller, outcome
        fds = worker.channel.fileno()
        assert fds is not None
        self._read_fd, self._write_fd = fds
        body = encode_start(
            handler=spec.handler,
            options=spec.options,
            path=spec.path,
            replace_path=spec.replace_path,
            max_frame_bytes=spec.max_frame_bytes,
            umask=spec.umask,
            limits=spec.limits,
            pickle=spec.pickle,
            busy_poll_us=spec.busy_poll_us,
        )
        self._unsent = link.connection.send(START, body)
        self._skip: Callable[[], bytes | None] | None = None  # until its worker speaks, whatever else does
        if hasattr(worker.channel, "preface") and hasattr(worker.channel, "skip"):
            channel = cast("PrefacedChannel", worker.channel)
            self._unsent = channel.preface + self._unsent
            self._skip = channel.skip
        poller.watch(self._read_fd, self.hear)
        self._send()

    def _send(self) -> None:
        self._unsent = self._link.push(self._unsent)
        if self._unsent and self._write_fd not in self._poller:
            self._poller.watch(self._write_fd, self._send, select.EPOLLOUT)
        elif not self._unsent:
            self._poller.unwatch(self._write_fd)

    def hear(self) -> None:
        """Take what has come; also once after the death, since the last words may say why."""
        if self._read_fd not in self._poller:
            return
        try:
            if (data := b"" if self._skip is None else self._skip()) is None:
                return
            self._skip = None
            frames = self._link.pull(data)
            for frame in frames or ():
                self._heard(frame)
            if frames is None:
                self._end(lambda: self._outcome.start_failed(self._worker, None))
        except EOFError:
            self._end(lambda: self._outcome.start_failed(self._worker, None))
        except ProtocolError as error:
            fault = WorkerStartError("protocol", error.detail, handler=self._spec.handler)
            self._end(lambda: self._outcome.start_failed(self._worker, fault))

    def _heard(self, frame: Frame) -> None:
        kind, body = frame
        worker = self._worker
        pid = worker.info.pid
        if kind == HELLO:
            hello = decode_hello(body)
            if worker.info.launcher is not None:  # then it is its number there
                pid = self._link.pid = hello.pid
            worker.info = replace(worker.info, pid=pid, python=hello.python, path=hello.executable)
        elif kind == FAILED:
            hints = {"memory": _tight(self._spec), "module": UNSHIPPED if self._spec.launcher else ""}
            fault = decode_failed(body, self._spec.handler, pid, hints)
            self._end(lambda: self._outcome.start_failed(worker, fault))
        else:
            worker.hooks = decode_ready(body, pid)
            self._end(lambda: self._outcome.became_ready(worker))

    @property
    def pending(self) -> bool:
        """It goes on: neither READY nor FAILED came."""
        return self._link.connection.state in (State.CONNECTING, State.STARTING)

    def abandon(self) -> None:
        """The worker is to die: hear no more of it."""
        self._poller.unwatch(self._read_fd)
        self._poller.unwatch(self._write_fd)

    def _end(self, report: Callable[[], None]) -> None:
        if self._read_fd in self._poller:
            self.abandon()  # from here on its holder reads
            report()


def discard(channel: Channel) -> None:
    """End a worker that can't be watched, and wait for that: nobody else will."""
    channel.kill()
    if isinstance(channel, ProcessChannel):
        channel.reap()
    if isinstance(channel, FdChannel):
        channel.close()


def fault_of(error: Exception, adapter: str, handler: str) -> WorkerStartError:
    """Whatever an adapter, which may be anybody's, raised at a start."""
    fault = error
    if isinstance(error, ConfigurationError):
        fault = WorkerStartError("configuration", str(error), handler=handler)
        fault.__cause__ = error
    elif not isinstance(fault, WorkerStartError):
        detail = f"the adapter {adapter} raised {type(error).__name__}: {error}"
        if isinstance(error, OSError) and error.errno in SCARCE:
            detail = f"{error}. The system refused what a worker needs; lower `size`, or raise its limits"
        fault = WorkerStartError("spawn", detail, handler=handler)
    drop_frames(fault)
    return fault


def on_host(error: WorkerStartError, host: str) -> WorkerStartError:
    """The same of one of several hosts."""
    if not host:
        return error
    placed = WorkerStartError(
        error.reason,
        error.detail,
        handler=error.handler,
        remote_traceback=error.remote_traceback,
        stderr_tail=error.stderr_tail,
        host=host,
    )
    placed.__cause__ = error.__cause__
    return placed


def start_error(worker: Worker, spec: WorkerSpec, startup_timeout: float) -> WorkerStartError:
    """Why a worker ended before it saw a call."""
    if worker.fault is not None:
        return worker.fault
    tail = worker.channel.stderr_tail()
    launcher = worker.info.launcher if worker.info.python is None else None  # behind which no worker has spoken
    if worker.killed is Why.STARTUP_TIMEOUT:
        detail = f"it was not ready after {startup_timeout:g} s. Raise `startup_timeout`, or import and load less"
        if launcher is not None:
            said = "printed what is below" if tail else "printed nothing"
            detail = (
                f"its launcher `{launcher}` {said} within {startup_timeout:g} s, and started no worker. Does it wait "
                "for a password, or for a host that doesn't answer? If it only is slow, raise `startup_timeout`"
            )
        detail += _stranger(worker, spec)
        return WorkerStartError("timeout", detail, handler=spec.handler, stderr_tail=tail)
    who = "it" if worker.info.pid is None else f"its process (pid {worker.info.pid})"
    detail = f"{who} died before its first call: {worker.how_it_ended()}"
    if launcher is not None:
        detail = f"its launcher `{launcher}` ended before a worker spoke: {worker.how_it_ended()}"
    if worker.status is not None and worker.status.code:  # Python's own report of a MemoryError can fail too
        detail += _tight(spec)
    if worker.status is not None and worker.status.code is not None:  # else somebody killed it
        detail += _stranger(worker, spec)
    return WorkerStartError("crashed", detail, handler=spec.handler, stderr_tail=tail)


def _stranger(worker: Worker, spec: WorkerSpec) -> str:
    """What may be wrong with an interpreter that never said who it is, or nothing."""
    python = spec.python or ("python3" if spec.launcher else "")
    if worker.process is None or worker.info.python is not None or not python:
        return ""
    command = shlex.join([*spec.launcher, python, "-V"])
    if spec.launcher:
        return f". Try it by hand: `{command}` has to print the version of a CPython from 3.8 on"
    return f". It didn't say HELLO: is worker.python {python!r} a CPython from 3.8 on? Try: {command}"


def _tight(spec: WorkerSpec) -> str:
    """What may be wrong where memory is short, or nothing."""
    space = spec.limits.get("address_space")
    if space is None:
        return ""
    return f" (worker.limits has address_space={space}: if that is too little to start, raise it)"


def drop_frames(error: BaseException | None) -> None:
    """An error that is kept must not keep the supervisor's frames, and all that they hold."""
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__
