"""Serves what is known of a bridge on a Unix socket, to whoever may open it.

Rules: a thread of its own, which sleeps until somebody connects; nothing is read from a client, and what it doesn't
take within a moment it doesn't get; asking in a loop is answered at a tenth of a core. The socket is its owner's alone
from the moment that it is there. `end` takes no lock. Apart from the supervisor, which must wait for nobody, and which
a bridge without processes doesn't have.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import asdict
from errno import EADDRINUSE
from math import isfinite
from typing import TYPE_CHECKING, Final
from weakref import ReferenceType

from bridge.errors import ConfigurationError
from bridge.locks import lock_alone
from bridge.runtime.checkups import resident
from bridge.runtime.journal import log, say
from bridge.runtime.threads import begin
from bridge.runtime.worker import Latch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.core.stats import WorkerStats
    from bridge.runtime import Runtime

MODE: Final = 0o600
LONGEST: Final = 107
"""Bytes of a path, which is as many as the kernel takes."""
BACKLOG: Final = 16
PATIENCE: Final = 0.25
"""Seconds for a client to take its answer; most of them fit into the socket's own buffer, and take none."""
BREATH: Final = 0.01
SHARE: Final = 9
"""Times as long as a reading took nobody gets another one."""
AFTER_TROUBLE: Final = 1.0
"""Seconds until the next attempt, when a client can't be accepted."""
LOCK_WAIT: Final = 1.0
"""Seconds for another process to look at the same folder, which takes microseconds; and for what a dead one left."""
LAST_WAIT: Final = 1.0
"""Seconds that `close` waits for the socket to be gone."""


class StatusSocket:
    """One socket and its thread.

    Args:
        path: Where; absolute.
        name: Of the bridge.
        read: What is answered; None when there is nobody to be asked any more.
    """

    def __init__(self, path: str, name: str, read: Callable[[], bytes | None]) -> None:
        self._path, self._name, self._read = path, name, read
        self._lock = threading.RLock()  # held while it is opened; a signal handler may start the bridge meanwhile
        self._begun = self._over = False
        self._stop = Latch()
        self._listener: socket.socket | None = None
        self._client: socket.socket | None = None
        self._wakes: deque[socket.socket] = deque()  # to be shut down, which ends the wait for a client
        self._threads: list[threading.Thread] = []
        self._inode = (0, 0)

    def open(self) -> None:
        """Begin to serve. Idempotent.

        Raises:
            ConfigurationError: The path can't be used, or another bridge serves there; nothing was changed.
            RuntimeError: The system has no thread to give; the same.
        """
        with self._lock:
            if self._begun:
                return
            self._begun = True
            try:
                self._listener = self._bound()
                thread = threading.Thread(target=self._run, name=f"bridge-status-{self._name}", daemon=True)
                self._threads.append(thread)
                self._wakes.append(self._listener)
                begin(thread)
            except BaseException:
                self._begun = False
                self._threads.clear()
                self._wakes.clear()
                if self._listener is not None:
                    self._remove(self._listener)
                raise
        if self._over:
            self._wake()  # whoever asked for the end meanwhile found nobody

    def end(self) -> None:
        """Have it removed, for good. From any thread, a finaliser or a signal handler."""
        self._over = True
        self._stop.set()
        self._wake()

    def _wake(self) -> None:
        with suppress(IndexError, OSError):  # one does it: the number may be another file's when a second one would
            self._wakes.popleft().shutdown(socket.SHUT_RDWR)

    def await_end(self, seconds: float) -> None:
        """Wait until it is removed, for LAST_WAIT and for so many seconds at the most."""
        for thread in self._threads:
            if thread is not threading.current_thread():  # whose garbage collection may end a bridge
                thread.join(max(0.0, min(LAST_WAIT, seconds)))

    def forget(self) -> None:
        """In a forked child: let go of what is the parent's, which goes on serving."""
        for inherited in (self._listener, self._client):
            if inherited is not None:
                inherited.close()

    # -- The path ----------------------------------------------------------------------------------------

    def _bound(self) -> socket.socket:
        path = os.fsencode(self._path)
        if len(path) > LONGEST:
            raise self._unusable(f"it has {len(path)} bytes, and a socket's path has {LONGEST} at the most")
        if b"\0" in path:
            raise self._unusable("a path has no NUL in it")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            os.fchmod(listener.fileno(), MODE)  # before it has a name: `bind` makes the file with these permissions
            with self._alone():
                self._bind(listener, path)
            found = os.lstat(path)
            self._inode = found.st_dev, found.st_ino
            listener.listen(BACKLOG)
        except BaseException as error:
            self._remove(listener)
            if isinstance(error, OSError):
                raise self._unusable(str(error.strerror or error)) from error
            raise
        return listener

    def _bind(self, listener: socket.socket, path: bytes) -> None:
        try:
            listener.bind(path)
        except OSError as error:
            if error.errno != EADDRINUSE:
                raise
            if not stat.S_ISSOCK(os.lstat(path).st_mode):
                raise self._unusable("there is a file that is no socket") from None
            self._refuse_if_served(path)
            os.unlink(path)
            listener.bind(path)

    def _refuse_if_served(self, path: bytes) -> None:
        until = time.monotonic() + LOCK_WAIT
        while (pid := self._served_by(path)) is not None:
            if time.monotonic() >= until or _is_there(pid):
                whose = "another bridge of this process" if pid == os.getpid() else f"process {pid}"
                raise self._unusable(f"{whose} serves its status there, and each bridge needs a path of its own")
            time.sleep(BREATH)  # it was killed while it started a process, which has its socket until it calls exec

    def _served_by(self, path: bytes) -> int | None:
        """The process that listens there, or did when it was alive; None: nobody does."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                return None
            except BlockingIOError:  # it lives, and many ask
                raise self._unusable("another bridge serves its status there") from None
            pid: int = struct.unpack("iII", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        return pid

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else finds the same socket stale at the same time, and removes the one that took its place."""
        folder = os.open(os.path.dirname(self._path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            try:
                lock_alone(folder, LOCK_WAIT)
            except BlockingIOError:
                raise self._unusable("another program holds a lock on its folder") from None
            yield
        finally:
            os.close(folder)

    def _unusable(self, why: str) -> ConfigurationError:
        return ConfigurationError(f"status_socket {self._path}: {why}")

    def _remove(self, listener: socket.socket) -> None:
        """The file too, if it is still ours."""
        with suppress(OSError):
            found = os.lstat(self._path)
            if (found.st_dev, found.st_ino) == self._inode:
                os.unlink(self._path)
        listener.close()

    # -- The thread --------------------------------------------------------------------------------------

    def _run(self) -> None:
        listener = self._listener
        assert listener is not None
        try:
            while not self._over:
                try:
                    self._client, _ = listener.accept()
                except OSError as error:
                    if self._over:
                        break
                    # No descriptor to give, perhaps: whoever waits is served when there is one.
                    say(log.warning, "status_socket of %s: %s", self._name, error)
                    self._stop.wait(AFTER_TROUBLE)
                    continue
                began = time.monotonic()
                if not self._answer(self._client):
                    break
                self._stop.wait(max(BREATH, SHARE * (time.monotonic() - began)))
        finally:
            self._wakes.clear()
            self._remove(listener)

    def _answer(self, client: socket.socket) -> bool:
        """Whether there will be more to say."""
        with client:
            try:
                data = self._read()
                if data is None:
                    return False
                client.settimeout(PATIENCE)
                client.sendall(data)
                client.shutdown(socket.SHUT_RDWR)  # whatever child was forked just now, and has a copy
            except OSError:
                pass  # it left, or doesn't read
            except Exception:
                say(log.exception, "the status of %s can't be told; it goes on", self._name)
        return True


def teller_of(runtime: ReferenceType[Runtime]) -> Callable[[], bytes | None]:
    """What tells the status of a runtime, which it doesn't keep alive."""

    def tell() -> bytes | None:
        found = runtime()
        return None if found is None else told_of(found)

    return tell


def told_of(runtime: Runtime) -> bytes:
    """The fields of `stats()` and `health()`, and what only this machine knows, as one line of JSON."""
    seen = runtime.stats()
    stats, health = asdict(seen), asdict(runtime.health())
    del stats["latencies"]  # for scrapers, who have an endpoint of their own
    if not isfinite(health["stuck_for"]):
        health["stuck_for"] = None  # JSON has no infinity
    for worker, fields in zip(seen.workers, stats["workers"], strict=True):
        fields["rss"] = _weight(worker)
    return json.dumps({"pid": os.getpid(), "at": time.time(), "health": health, "stats": stats}).encode() + b"\n"


def _is_there(pid: int) -> bool:
    """Whether there is such a process, as far as can be seen from here."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is somebody else's
    return True


def _weight(worker: WorkerStats) -> int | None:
    """Bytes that it has in memory, where that can be seen from here."""
    if worker.pid is None or worker.launcher_pid is not None:
        return None
    return resident(worker.pid) or None
