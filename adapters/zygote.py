"""The parent's side of a zygote, and of the workers that it forks (bridge/zygote.py is the other end).

Rules: nothing here waits for it but a dead worker's status, for a tenth of a second: a request is a packet, and that a
worker is there is read when its sentinel says so. A worker isn't our child, so its number is never used: its group is
ended through its pidfd, or by the zygote, which reaps it. Apart from python_port.py, which has the processes that are
our own children, and the lifeline and the reaper of both.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from signal import SIGKILL
from typing import Final

from bridge.adapters.port import Port, close_quietly
from bridge.children import ends_within, is_dead
from bridge.contract import ExitStatus, WorkerInfo, WorkerSpec
from bridge.wire import encode_json

STATUS_WITHIN: Final = 0.1
"""Seconds that a dead worker's status may take; the zygote sends it at once, if it lives."""
WHOLE_GROUP: Final = 4
"""PIDFD_SIGNAL_PROCESS_GROUP, of Linux 6.9: exact also when the leader was reaped."""
LONGEST: Final = 256
"""Bytes of a packet that comes from a zygote."""
SINGLE: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables that are 1 in a zygote if nothing else is said: threads that an import starts aren't there after a fork."""


class Zygote:
    """One process that has imported, or is importing, what one spec names.

    Args:
        spec: Of the worker for which it is started.
        command: What it runs, without the number of its socket.
        environment: Its own.
        lifeline: The end that it gives to its workers.
    """

    def __init__(self, spec: WorkerSpec, command: list[str], environment: dict[str, str], lifeline: int) -> None:
        self.spec = spec
        self._lock = threading.RLock()  # guards all below: runtimes that share an adapter share its zygotes
        self._awaited: dict[str, ForkedPort] = {}  # by the number of the start: neither there nor given up
        self._alive: dict[str, ForkedPort] = {}
        self._unsent: deque[tuple[bytes, tuple[int, ...]]] = deque()
        self._status: ExitStatus | None = None
        with contextlib.ExitStack() as undo, contextlib.ExitStack() as theirs:
            self._control, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            undo.callback(self._control.close)
            theirs.callback(other.close)
            self._said = os.memfd_create("said")  # what its import writes, however much, without a reader
            undo.callback(os.close, self._said)
            self._control.setblocking(False)
            start = {"handler": spec.handler, "path": list(spec.path), "replace_path": spec.replace_path}
            body = encode_json({**start, "umask": spec.umask}, "worker")
            socket.send_fds(self._control, [body], [lifeline])
            self._process = subprocess.Popen(
                [*command, str(other.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=self._said,
                stderr=self._said,
                pass_fds=(other.fileno(),),
                start_new_session=True,
                cwd=spec.cwd,
                env={**dict.fromkeys(SINGLE, "1"), **environment},
            )
            try:
                self._pidfd = os.pidfd_open(self._process.pid)
            except OSError:
                self._process.kill()
                self._process.wait()
                raise
            undo.pop_all()

    def serves(self, spec: WorkerSpec) -> bool:
        """Whether it lives, and its workers would be those that are wanted."""
        return self._status is None and spec == self.spec and not is_dead(self._pidfd)

    @property
    def descriptors(self) -> tuple[int, int]:
        """Readable when there is news, and when it is dead."""
        return self._control.fileno(), self._pidfd

    def fork(self, port: ForkedPort, mark: str, fds: tuple[int, ...]) -> None:
        """Ask for a worker that has these descriptors. They are the caller's to close.

        Raises:
            OSError: The packet can't be sent, and no worker will come.
        """
        with self._lock, contextlib.ExitStack() as undo:
            ours = []
            for fd in fds:
                ours.append(os.dup(fd))
                undo.callback(os.close, ours[-1])
            undo.pop_all()
            self._awaited[port.number] = port
            self._unsent.append((f"{port.number} {mark}".encode(), tuple(ours)))
            self._send()

    def _send(self) -> None:
        while self._unsent:
            text, fds = self._unsent[0]
            try:
                socket.send_fds(self._control, [text], list(fds))
            except BlockingIOError:
                return  # it has much to do: the next news of it make room
            except OSError:
                pass  # it is gone: its end is the next news
            self._unsent.popleft()
            for fd in fds:
                os.close(fd)

    def pump(self) -> None:
        """Hear what there is to hear, without waiting."""
        with self._lock:
            while self._status is None:
                try:
                    data, fds, _, _ = socket.recv_fds(self._control, LONGEST, 1, socket.MSG_CMSG_CLOEXEC)
                except BlockingIOError:
                    break
                except OSError:
                    data, fds = b"", []
                if not data or not self._heard(data.decode(errors="replace").split(), fds):
                    self._give_up()
                    return
            self._send()

    def _heard(self, words: list[str], fds: list[int]) -> bool:
        """One packet; False for what no zygote of ours says."""
        try:
            kind, number, *rest = words
            if kind == "born" and len(fds) == 1 and number in self._awaited:
                pid = int(rest[0])
                self._alive[number] = port = self._awaited.pop(number)
                port.come(pid, fds[0])
                return True
            if kind == "died" and not fds:
                code, status, cpu_used = int(rest[0]), int(rest[1]), float(rest[2])
                found = self._alive.pop(number, None) or self._awaited.pop(number, None)
                if found is not None:
                    found.end(code, status, cpu_used)
                return True
        except (ValueError, IndexError):
            pass  # that isn't it either
        for fd in fds:
            os.close(fd)
        return False

    def _give_up(self) -> None:
        """It is dead, or no longer itself: whoever waits for it waits in vain. Its workers live on."""
        self.kill()
        for _, fds in self._unsent:
            for fd in fds:
                os.close(fd)
        self._unsent.clear()
        awaited, self._awaited = self._awaited, {}
        for port in awaited.values():
            port.give_up()
        for port in self._alive.values():
            port.orphan()
        self._alive.clear()

    def kill(self) -> None:
        """End it. Its workers live on."""
        with self._lock, contextlib.suppress(OSError):  # it is dead, or given back
            if self._status is None:
                signal.pidfd_send_signal(self._pidfd, SIGKILL)

    def bury(self) -> ExitStatus:
        """Kill it, and take its status. Idempotent."""
        with self._lock:
            if self._status is None:
                self.kill()
                status = ExitStatus()
                with contextlib.suppress(OSError):  # somebody took it; or EBADF: the program closed what wasn't its own
                    ends_within(self._pidfd, 2000)
                    end = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
                    if end is not None:
                        exited = end.si_code == os.CLD_EXITED
                        status = ExitStatus(code=end.si_status) if exited else ExitStatus(signal=end.si_status)
                self._give_up()
                self._status = status
                self._process.returncode = 0  # Popen's own finaliser must not wait for this number again
            return self._status

    def say(self, size: int) -> str:
        """The last of what its import has written."""
        with contextlib.suppress(OSError):
            end = os.fstat(self._said).st_size
            return os.pread(self._said, size, max(0, end - size)).decode(errors="replace")
        return ""

    def forget(self) -> None:
        """In a forked child: give the descriptors back; kill and await nothing."""
        self._lock = threading.RLock()  # a thread that isn't here may hold the old one
        self._process.returncode = 0
        self._status = ExitStatus()
        self.close()

    def close(self) -> None:
        """Give the descriptors back, once it is buried. Idempotent."""
        self._control.close()
        pidfd, said, self._pidfd, self._said = self._pidfd, self._said, -1, -1
        close_quietly(pidfd)
        close_quietly(said)
        unsent, self._unsent = self._unsent, deque()
        for _, fds in unsent:
            for fd in fds:
                close_quietly(fd)


class ForkedPort(Port):
    """One worker of a zygote. Its sentinel is an epoll of its own, which watches the zygote until the worker is there.

    Args:
        number: Of the start.
        watch: Looks at a process when it is there, and answers later whether the kernel killed it for want of memory.
    """

    def __init__(
        self,
        zygote: Zygote,
        number: str,
        fds: tuple[int, int, int],
        spec: WorkerSpec,
        sweep: Callable[[], None],
        watch: Callable[[int], Callable[[], bool]],
    ) -> None:
        super().__init__(None, -1, fds, spec, sweep)
        self.number = number
        self._zygote, self._watch = zygote, watch
        self._status: tuple[int, int, float] | None = None  # si_code, si_status, seconds of computing
        self._orphaned = self._over = self._unwanted = False
        self._call = -1  # readable once no worker will come
        self._sentinel = select.epoll()
        for fd in zygote.descriptors:
            self._sentinel.register(fd, select.EPOLLIN)

    # -- For the zygote, under its lock ------------------------------------------------------------------

    def come(self, pid: int, pidfd: int) -> None:
        """The worker is there."""
        self._attend_to(pidfd)
        self._pidfd = pidfd
        self.info = WorkerInfo(self.info.generation, pid)
        self._was_oom_kill = self._watch(pid)
        if self._unwanted:
            self._killed = True
            self._kill_group()

    def end(self, code: int, status: int, cpu_used: float) -> None:
        """How it ended, or that there never was one."""
        self._status = code, status, cpu_used
        if self._pidfd < 0:
            self.give_up()

    def orphan(self) -> None:
        """Nobody will say how it ends."""
        self._orphaned = True

    def give_up(self) -> None:
        """It never came."""
        if not self._over and not self._sentinel.closed:
            self._over = True
            self._call = os.eventfd(1)
            self._attend_to(self._call)

    def _attend_to(self, fd: int) -> None:
        if not self._sentinel.closed:
            for other in self._zygote.descriptors:
                with contextlib.suppress(OSError, ValueError):  # it was given back
                    self._sentinel.unregister(other)
            self._sentinel.register(fd, select.EPOLLIN)

    # -- For the supervisor ------------------------------------------------------------------------------

    def sentinel(self) -> int:
        """Readable when the worker is dead; before it is there, also when there is news of it."""
        return -1 if self._sentinel.closed else self._sentinel.fileno()

    def is_over(self) -> bool:
        """Whether it is dead, or will never live."""
        if self._pidfd < 0:
            self._zygote.pump()
            if self._pidfd < 0 and not self._over and is_dead(self._zygote.descriptors[1]):
                self._zygote.bury()  # and a child that it may have left holds its socket
        return self._over or (self._pidfd >= 0 and ends_within(self._pidfd, 0))

    def kill(self) -> None:
        """SIGKILL to its group. Of one that isn't there yet, the zygote has to go. Idempotent."""
        with self._guard:
            if self._pidfd < 0 and not self._over and not self._sentinel.closed:
                self._unwanted = True
                self._zygote.pump()
                if self._pidfd < 0 and not self._over:
                    self._killed = True
                    self._zygote.kill()
            elif self._pidfd >= 0:
                if not self._killed:
                    self._killed = not ends_within(self._pidfd, 0)
                self._kill_group()

    def _kill_group(self) -> None:
        try:
            signal.pidfd_send_signal(self._pidfd, SIGKILL, None, WHOLE_GROUP)
        except ProcessLookupError:
            pass  # nobody is left of it
        except OSError:  # an older kernel: the zygote, or the reaper, sees to the rest of it
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(self._pidfd, SIGKILL)

    def reap(self) -> ExitStatus:
        """Kill what is left of the group, and hear how it ended. Only once it is over."""
        with self._guard:
            if self._pidfd >= 0:
                self._kill_group()
            elif self._status is None:
                return self._zygote.bury()  # it died of that
            until = time.monotonic() + STATUS_WITHIN
            while self._status is None and not self._orphaned and (left := until - time.monotonic()) > 0:
                control = self._zygote.descriptors[0]
                if control < 0:
                    break
                news = select.poll()
                news.register(control, select.POLLIN)
                news.poll(left * 1000)
                self._zygote.pump()
            if self._status is None and self._orphaned:
                with contextlib.suppress(OSError):  # init has it; or, where we are that, it is our child now
                    end = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG)
                    self._status = None if end is None else (end.si_code, end.si_status, 0.0)
        code, status, cpu_used = self._status or (0, 0, 0.0)
        return self._how(code, status, cpu_used) if code else ExitStatus()

    def stderr_tail(self) -> str:
        """The last of what it wrote to stderr; if it never came, of what the import of its zygote wrote."""
        tail = super().stderr_tail()
        return tail if self._pidfd >= 0 else (self._zygote.say(self._tail_bytes) + tail)[-self._tail_bytes :]

    def close(self) -> None:
        """Give the descriptors back. Idempotent."""
        super().close()
        self._sentinel.close()
        call, self._call = self._call, -1
        close_quietly(call)
