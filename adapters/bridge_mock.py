"""The protocol without a process: real codec, real descriptors, the worker's own conversation, on a thread.

Rules: a thread can't be killed. Killing it takes its ends of the pipes away, in one step each, by putting /dev/null in
their place: the caller sees the end at once, what the thread writes later goes nowhere, and no number is free for
another file while it may still use it (docs/design/decisions/0008-taking-the-pipes-from-a-thread.md). The thread alone
closes its descriptors. Apart from python_port.py, which has processes to kill.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from itertools import count
from signal import SIG_DFL, SIGPIPE, getsignal
from time import monotonic
from typing import Any, Final

from bridge.contract import Capability, WorkerInfo, WorkerSpec
from bridge.errors import CapabilityError, WorkerStartError
from bridge.inprocess import find_here, make_here
from bridge.pipes import write_quietly
from bridge.platforms import need_descriptors
from bridge.wire import HungUp
from bridge.worker import Pipes, converse

__scoped_bridge__: Final = True

JOIN_WITHIN: Final = 1.0
"""Seconds that closing waits for threads that are about to end."""

log = logging.getLogger("bridge.worker")


class Abandoned(Exception):
    """The worker of this thread was killed: nothing of its handler runs any more, `on_close` neither."""


class ThreadEnds(Pipes):
    """A thread's ends of its two pipes, and the /dev/null that may take their place."""

    request = reply = _null = -1  # for a finaliser of one whose making was cut short

    def __init__(self, request: int, reply: int, null: int) -> None:
        super().__init__(request, reply, write_quietly if getsignal(SIGPIPE) == SIG_DFL else os.write)
        self.killed = False
        self.busy = True  # but while it waits for a frame, and at its end
        self._null = null
        self._guard = threading.RLock()  # between kill and the end; re-entrant, since a finaliser may kill

    def __del__(self) -> None:
        self.forget()  # only if its thread never ran

    def read(self) -> tuple[int, int, int, Any]:
        """Wait for one whole frame."""
        self.busy = False
        try:
            frame = super().read()
        except HungUp:
            if self.killed:
                raise Abandoned from None
            raise
        self.busy = True
        if self.killed:
            raise Abandoned
        return frame

    def write(self, frame: bytes) -> None:
        """Write one whole frame."""
        try:
            super().write(frame)
        except HungUp:
            if self.killed:
                raise Abandoned from None
            raise

    def kill(self) -> None:
        """Take the pipes away. Never blocks; doing it twice does no harm."""
        with self._guard:
            if self._null >= 0:
                self.killed = True
                os.dup2(self._null, self.reply, inheritable=False)
                os.dup2(self._null, self.request, inheritable=False)

    def close(self) -> None:
        """The thread's last act."""
        self.busy = False
        with self._guard:
            self.forget()

    def forget(self) -> None:
        """Close them without the lock: in a forked child its owner may be a thread that isn't there. Idempotent."""
        fds = self.request, self.reply, self._null
        self.request = self.reply = self._null = -1
        for fd in fds:
            if fd >= 0:
                os.close(fd)


class BridgeMockAdapter:
    """Serves a handler on threads of this process.

    Args:
        handler: A class, of which each worker is one, an object that all share, a module or a text. It gets those of
            the worker's options that it takes. Not given: the setting `fake`, else the worker's handler itself.
    """

    name = "bridge_mock"
    capabilities = frozenset(
        {Capability.FDS, Capability.STREAMS, Capability.CALLBACKS, Capability.SESSIONS, Capability.PICKLE}
    )

    def __init__(self, handler: Any = None) -> None:
        need_descriptors(self.name)
        self._handler = handler
        self._names = count(1)
        self._threads: dict[threading.Thread, ThreadEnds] = {}

    def open(self, spec: WorkerSpec, *, deadline: float) -> BridgeMock:  # noqa: ARG002  a thread takes no time
        """Start one thread; it need not be ready yet.

        Raises:
            WorkerStartError: Nothing was started, nothing is left behind.
        """
        for old in [old for old in self._threads if old.ident is not None and not old.is_alive()]:
            self._threads.pop(old, None)
        fds: list[int] = []
        try:
            fds += os.pipe()
            fds += os.pipe()
            fds.append(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))
        except BaseException as error:
            for fd in fds:
                os.close(fd)
            if isinstance(error, OSError):
                raise _start_error(spec, error) from error
            raise
        ends = ThreadEnds(fds[0], fds[3], fds[4])
        name = f"bridge-mock-{spec.name}-{next(self._names)}"
        thread = threading.Thread(target=_serve, args=(ends, self._maker(spec), name), name=name, daemon=True)
        channel = BridgeMock(thread, ends, (fds[2], fds[1]), spec)
        self._threads[thread] = ends
        try:
            thread.start()
        except RuntimeError as error:
            del self._threads[thread]
            channel.forget()
            raise _start_error(spec, error) from error
        return channel

    def _maker(self, spec: WorkerSpec) -> Callable[[dict[str, Any]], Any]:
        target = spec.fake if self._handler is None else self._handler

        def make(start: dict[str, Any]) -> Any:
            asked = start["handler"] if target is None else target
            found = find_here(asked, spec.path)
            return make_here(found, start["options"], fake=target is not None, named=isinstance(asked, str))

        return make

    def close(self) -> None:
        """Await the threads, for 1 s at most. One whose handler goes on ends when that returns."""
        until = monotonic() + JOIN_WITHIN
        for thread, ends in list(self._threads.items()):
            ends.kill()
            _join(thread, until - monotonic())
        self._threads.clear()

    def forget(self) -> None:
        """In a forked child, where none of the threads is: close their descriptors."""
        for ends in list(self._threads.values()):
            ends.forget()
        self._threads.clear()


class BridgeMock:
    """One worker on a thread, and the caller's ends of its two pipes."""

    _read = _write = -1

    def __init__(self, thread: threading.Thread, ends: ThreadEnds, fds: tuple[int, int], spec: WorkerSpec) -> None:
        self._thread, self._ends = thread, ends
        self._read, self._write = fds
        self.info = WorkerInfo(spec.generation)
        for fd in fds:
            os.set_blocking(fd, False)

    def __del__(self) -> None:
        if self._read >= 0:  # an interruption lost it: its thread shall not wait for ever
            self._ends.kill()
            self._give_back()

    def fileno(self) -> tuple[int, int]:
        """(reply, request): where to read, where to write."""
        return self._read, self._write

    def submit(self, *_: object) -> None:
        """Never: this channel has descriptors."""
        raise CapabilityError("bridge_mock is driven through its descriptors, not through submit()")

    def cancel(self, call_id: int) -> None:
        """Never: CapabilityError."""
        raise CapabilityError(f"bridge_mock can't cancel call {call_id} softly; kill the worker")

    def kill(self) -> None:
        """Let its caller see the end now. The thread ends when its handler returns. Idempotent; never blocks."""
        self._ends.kill()

    def sentinel(self) -> None:
        """None: there is no process."""

    def stderr_tail(self) -> str:
        """Nothing: what it writes goes where this process writes."""
        return ""

    def close(self) -> None:
        """Give the descriptors back, and await the thread, unless its handler runs. Idempotent."""
        self._ends.kill()
        self._give_back()
        if not self._ends.busy:
            _join(self._thread, JOIN_WITHIN)

    def forget(self) -> None:
        """In a forked child: close all that it inherited, the thread's ends too, or no end would ever be seen."""
        self._ends.forget()
        self._give_back()

    def _give_back(self) -> None:
        fds = self._read, self._write
        self._read = self._write = -1
        for fd in fds:
            if fd >= 0:
                os.close(fd)


def _serve(ends: ThreadEnds, make: Callable[[dict[str, Any]], Any], name: str) -> None:
    try:
        converse(ends, make)
    except Abandoned:
        pass  # nobody is left to tell
    except BaseException:  # of `on_close`: a process would write it to its stderr, and go
        log.exception("%s ended with an error", name)
    finally:
        ends.close()


def _join(thread: threading.Thread, seconds: float) -> None:
    if thread.ident is not None and thread is not threading.current_thread():
        thread.join(max(0.0, seconds))


def _start_error(spec: WorkerSpec, error: Exception) -> WorkerStartError:
    detail = f"{error}. The system refused another thread or descriptor; lower `size`, or raise its limits"
    return WorkerStartError("spawn", detail, handler=spec.handler)
