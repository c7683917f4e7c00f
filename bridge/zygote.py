"""Fork workers from one process that has imported the handler's module: quick to start, and sharing its memory.

Rules: standard library only, Python 3.8 syntax; one thread, one request after the other; nothing of the handler but its
import runs here: it is made, and its hooks run, in each worker. A message is one packet of text, with descriptors
beside it (docs/reference/protocol.md). Apart from worker.py, which is what each child then runs, and from
adapters/zygote.py, which has the other end of the socket.
"""

import _socket  # `socket` imports enum and selectors
import gc
import os
import sys
import time
from _signal import SIG_DFL, SIGCHLD, signal  # type: ignore[import-not-found]

from bridge.handler import describe, fault_frame, load, reach
from bridge.wire import CODEC_JSON, FAILED, HELLO, MAX_TEXT, PROTOCOL, decode_json, encode_json, pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Tuple

__scoped_bridge__ = True

LONGEST = 2**20
"""Bytes of a packet."""
TAIL = 2**13
"""Bytes of what the import has written that its first worker hands on."""
VARIABLE = "_SCOPED_BRIDGE_RUN"  # reaper.VARIABLE


class Unforkable(Exception):
    """Why no worker can be forked here."""


class Control:
    """The zygote's end of the socket."""

    def __init__(self, fd: int) -> None:
        self.socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, fd)

    def receive(self) -> "Tuple[bytes, List[int]]":
        """The next packet, and the descriptors that came with it."""
        space = _socket.CMSG_SPACE(4 * 4)
        data, beside, _, _ = self.socket.recvmsg(LONGEST, space, _socket.MSG_CMSG_CLOEXEC)
        fds: "List[int]" = []
        for level, kind, body in beside:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                fds += [int.from_bytes(body[at : at + 4], sys.byteorder) for at in range(0, len(body) - 3, 4)]
        return data, fds

    def send(self, text: str, fds: "Tuple[int, ...]" = ()) -> None:
        """Say something. Nobody need be there to hear it."""
        rights = b"".join(fd.to_bytes(4, sys.byteorder) for fd in fds)
        beside = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)] if rights else []
        try:
            self.socket.sendmsg([text.encode()], beside, _socket.MSG_NOSIGNAL)
        except OSError:
            pass  # the parent is gone: the lifeline, or the end of the socket, ends us


class Zygote:
    """What was imported, and the workers that live."""

    def __init__(
        self,
        control: Control,
        worker: "Any",
        beside: "Callable[[str], Any]",
        start: "Dict[str, Any]",
        lifeline: int,
    ) -> None:
        self._control, self._worker, self._beside, self._start = control, worker, beside, start
        self._lifeline, self._armed = lifeline, worker.arm_lifeline(os.dup(lifeline))
        self._forked, self._place = False, _place_of_the_mark()
        self._found: "Any" = None
        self._refusal: "Optional[Exception]" = None
        self._said = b""
        self._children: "Dict[int, str]" = {}  # by their pidfds: the numbers of their starts

    def warm(self) -> None:
        """Import the handler's module, as a worker would. What goes wrong each worker meets, and reports, by itself."""
        if self._start["umask"] is not None:
            os.umask(self._start["umask"])
        try:
            self._found = reach(self._start)
            self._refusal = _refusal(self._start["handler"])
        except BaseException:
            self._found = None
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (AttributeError, OSError, ValueError):
                pass  # the import has closed or replaced it
        self._said = _said()
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 1)
        os.dup2(null, 2)
        os.close(null)
        gc.collect()
        gc.freeze()  # no collection in a child touches, and so copies, the pages of what is here

    def serve(self) -> "Optional[Callable[[], None]]":
        """Answer until the parent is gone. Returns only in a child: what that has to do."""
        from select import POLLIN, poll

        self._on_child = signal(SIGCHLD, SIG_DFL)  # ignored, the system would take their status
        control = self._control.socket.fileno()
        self._poll = poll()
        self._poll.register(control, POLLIN)
        while True:
            for fd, _ in self._poll.poll():
                if fd != control:
                    self._bury(fd)
                    continue
                data, fds = self._control.receive()
                if not data:
                    os._exit(0)
                number, mark = data.decode().split()
                child = self._fork(number, mark, fds)
                if child is not None:
                    return child

    def _fork(self, number: str, mark: str, fds: "List[int]") -> "Optional[Callable[[], None]]":
        request, reply, stderr, *shared = fds
        if self._found is None and self._forked and not self._children:
            self.warm()  # its import failed, as its workers have said; what it lacked may be there now
        try:
            if self._refusal is not None:
                self._refuse(reply)
                self._control.send("died %s %d 1 0" % (number, os.CLD_EXITED))
            else:
                pid = os.fork()
                if pid == 0:
                    return self._begin(number, mark, request, reply, stderr, shared[0] if shared else -1)
                self._forked, self._said = True, b""
                self._adopt(number, pid)
        except OSError as error:
            _write(stderr, ("the zygote can't fork: %s\n" % error).encode())
            self._control.send("died %s 0 0 0" % number)
        for fd in fds:
            os.close(fd)
        return None

    def _adopt(self, number: str, pid: int) -> None:
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
            raise
        self._children[pidfd] = number
        self._poll.register(pidfd, 1)  # POLLIN

    def _begin(
        self, number: str, mark: str, request: int, reply: int, stderr: int, shared: int
    ) -> "Callable[[], None]":
        """In the child: leave nothing of the zygote's but its memory, and say that it is there."""
        os.setsid()
        os.dup2(stderr, 2)
        os.close(stderr)
        for fd in (self._armed, *self._children):
            os.close(fd)
        _carry(mark, self._place)
        me = os.pidfd_open(os.getpid())
        self._control.send("born %s %d" % (number, os.getpid()), (me,))  # before any frame of ours
        os.close(me)
        self._control.socket.close()
        signal(SIGCHLD, SIG_DFL if self._on_child is None else self._on_child)
        _write(2, self._said)
        _reseed()
        found, worker, beside = self._found, self._worker, self._beside
        argv = [worker.__file__, str(request), str(reply), str(self._lifeline), str(shared)]
        return lambda: worker.main(argv, beside, lambda start: load(start, found))

    def _refuse(self, reply: int) -> None:
        hello = {"protocol": PROTOCOL, "pid": os.getpid(), "executable": sys.executable}
        hello["python"] = "%d.%d.%d" % sys.version_info[:3]
        fault = describe(self._refusal or Unforkable())
        frames = pack(HELLO, 0, encode_json(hello, "hello"), CODEC_JSON)
        _write(reply, frames + fault_frame(FAILED, 0, MAX_TEXT, **fault))

    def _bury(self, pidfd: int) -> None:
        """A worker is dead: end its group while its number is its own, then take its status and hand it on."""
        number = self._children.pop(pidfd)
        self._poll.unregister(pidfd)
        code = status = 0
        cpu = 0.0
        try:
            end: "Any" = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOWAIT)
            pid = end.si_pid
            cpu = time.clock_gettime(~pid << 3 | 2)  # the clock that clock_getcpuclockid(3) makes of a pid
            try:
                os.killpg(pid, 9)
            except OSError:
                pass  # nobody is left of it
            os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
            code, status = end.si_code, end.si_status
        except OSError:
            pass  # somebody else took it: what isn't known is none
        os.close(pidfd)
        self._control.send("died %s %d %d %r" % (number, code, status, cpu))


def _refusal(handler: str) -> "Optional[Exception]":
    """Why nothing can be forked here; a warning about what can but may not be what is wanted."""
    if not hasattr(os, "pidfd_open"):
        return Unforkable("a zygote needs Python 3.9 or newer; set worker.start_method to spawn")
    threads = len(sys._current_frames()) - 1  # noqa: SLF001  public, but for its name
    if threads:
        threading = sys.modules.get("threading")
        names = [each.name for each in threading.enumerate() if each.name != "MainThread"] if threading else []
        return Unforkable(
            "the import of %s has left %d Python threads running (%s), which a forked worker would not have, though "
            "it would have their locks: start them in on_start, or set worker.start_method to spawn"
            % (handler, threads, ", ".join(names) or "without names")
        )
    try:
        native = len(os.listdir("/proc/self/task")) - 1
    except OSError:
        native = 0
    if native:
        sys.stderr.write(
            "scoped-bridge: warning: the import of %s has started %d native threads, which forked workers don't have; "
            "if its calls hang, set worker.start_method to spawn\n" % (handler, native)
        )
    return None


def _said() -> bytes:
    """The last of what the import has written; its output is a file that has no end."""
    try:
        return os.pread(1, TAIL, max(0, os.fstat(1).st_size - TAIL))
    except OSError:
        return b""


def _write(fd: int, data: bytes) -> None:
    """Less than a pipe holds, so it doesn't block."""
    try:
        if data:
            os.write(fd, data)
    except OSError:
        pass  # nobody is there any more


def _place_of_the_mark() -> int:
    """Where this process's own mark stands in its memory, and so in that of each child: in the environment that the
    kernel shows of it. 0 where that can't be seen."""
    try:
        with open("/proc/self/environ", "rb") as environ:
            at = environ.read().find(os.environ[VARIABLE].rpartition(" ")[2].encode())
        with open("/proc/self/stat", "rb") as stat:
            begin = int(stat.read().rpartition(b")")[2].split()[47])  # env_start, field 50
    except (OSError, IndexError, ValueError):
        return 0
    return begin + at if begin and at >= 0 else 0


def _carry(mark: str, place: int) -> None:
    """Put this start's mark where the zygote's stands, which the reaper reads, also of what we only fork; and into the
    environment that we hand on to programs."""
    outer, _, before = os.environ[VARIABLE].rpartition(" ")
    os.environ[VARIABLE] = (outer + " " + mark).lstrip()
    if place and len(before) == len(mark):
        try:
            memory = os.open("/proc/self/mem", os.O_RDWR)
            os.pwrite(memory, mark.encode(), place)
            os.close(memory)
        except OSError:
            pass  # of what it only forks, and lets leave its group, the reaper then knows the run alone


def _reseed() -> None:
    """No two workers draw the same numbers. `random` sees to itself (`os.register_at_fork`)."""
    numpy = sys.modules.get("numpy.random")
    try:
        if numpy is not None:
            numpy.seed()
    except Exception:
        return  # no numpy that we know


def main(argv: "List[str]", worker: "Any", beside: "Callable[[str], Any]") -> None:
    """Entry: argv[1] is the control socket. The first packet is a part of START's body, and the lifeline."""
    control = Control(int(argv[1]))
    data, fds = control.receive()
    if not data:
        return
    sys.argv[:] = [worker.__file__]
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(line_buffering=True)  # what was printed before a crash belongs to its report
    zygote = Zygote(control, worker, beside, decode_json(data), fds[0])
    zygote.warm()
    child = zygote.serve()
    del zygote, control
    if child is not None:
        child()
