"""The real adapter: each channel is a process of its own, in its own session, with private descriptors.

Rules: 0, 1 and 2 of a worker never touch the protocol, from its very first instruction on; nothing in the parent
waits for a child here; the status of a child is taken only in `reap`, after its group was killed; a lock guards what
an adapter keeps, since several runtimes, each with a thread of its own, may share it. Apart from the supervisor, which
decides when these things happen.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from signal import SIGKILL
from typing import Final

from bridge import arena as arenas
from bridge import reaper, worker
from bridge.adapters.launched import LaunchedPort, block_for, command_for
from bridge.adapters.oom import OomKills
from bridge.adapters.port import PythonPort, close_quietly
from bridge.adapters.zygote import ForkedPort, Zygote
from bridge.children import ends_within, is_dead
from bridge.contract import Capability, WorkerSpec
from bridge.errors import ConfigurationError, WorkerStartError
from bridge.lacking import BEHIND_A_LAUNCHER
from bridge.pipes import write_quietly
from bridge.platforms import need_processes

BOOT: Final = """\
import sys
sys.path[:] = filter(None, sys.path)
import _frozen_importlib_external as e
def load(name, file):
    module = sys.modules[name] = type(sys)(name)
    module.__file__ = file
    exec(e.SourceFileLoader(name, file).get_code(name), module.__dict__)
    return module
folder, _, file = sys.argv[1].rpartition('/')
ours = {'bridge.' + name: load('bridge.' + name, folder + '/' + name + '.py') for name in ('wire', 'handler')}
worker = load('_scoped_bridge_worker', sys.argv[1])
def beside(name, load=load, folder=folder, ours=ours, modules=sys.modules, loaded={}):
    if name in loaded:
        return loaded[name]
    theirs = {each: modules.get(each) for each in ours}
    modules.update(ours)
    try:
        loaded[name] = load('_scoped_bridge_' + name, folder + '/' + name + '.py')
        return loaded[name]
    finally:
        modules.update((each, module) for each, module in theirs.items() if module)
        for each in [each for each, module in theirs.items() if not module]:
            del modules[each]
for name in ours:
    del sys.modules[name]
ours['bridge.wire'].beside = beside
del load, ours
"""
AS_WORKER: Final = BOOT + "worker.main(sys.argv[1:], beside)\n"
AS_ZYGOTE: Final = BOOT + "beside('zygote').main(sys.argv[1:], worker, beside)\n"
"""What an interpreter is told to run. A module loaded so is compiled once and cached beside its source; a script is
compiled at each start. It must not import from the current directory; and a handler that imports `bridge` gets that."""
FOREIGN: Final = ("PYTHONPATH", "PYTHONHOME", "PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__")
"""Variables that lead an interpreter to the packages of another one."""


class PythonPortAdapter:
    """Starts workers as processes of an interpreter.

    Args:
        spec: What it is for, when it is handed to `connect` as an instance; it wins over the worker's settings there.
    """

    name = "python_port"
    capabilities = frozenset(Capability)

    def __init__(self, spec: WorkerSpec | None = None) -> None:
        need_processes(self.name)
        if not (spec is None or isinstance(spec, WorkerSpec)):
            raise ConfigurationError(f"spec is a bridge.WorkerSpec, not {spec!r:.60}")
        self.spec = spec
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.RLock()  # guards all below; re-entrant, since a signal handler may close us inside
        self._starts = 0
        self._oom_kills = OomKills()
        self._token = os.urandom(16).hex()
        self._lifeline: tuple[int, int] | None = None
        self._reaper: subprocess.Popen[bytes] | None = None
        self._reaper_pidfd = self._former_pidfd = -1
        self._zygotes: list[Zygote] = []

    @staticmethod
    def lacks(spec: WorkerSpec) -> Mapping[Capability, str]:
        """What can't be done for a worker behind a launcher."""
        return BEHIND_A_LAUNCHER if spec.launcher else {}

    def open(self, spec: WorkerSpec, *, deadline: float) -> PythonPort | ForkedPort:  # noqa: ARG002  a spawn takes a millisecond
        """Start one worker; it need not be ready yet.

        Raises:
            WorkerStartError: Nothing was started, nothing is left behind.
        """
        if spec.launcher:
            return self._launch(spec)
        if spec.start_method == "zygote":
            return self._fork(spec)
        with contextlib.ExitStack() as undo, contextlib.ExitStack() as theirs:
            try:
                mark, lifeline = self._next_start()
                request, reply, stderr = (_pipe(undo, theirs, ours) for ours in (1, 0, 0))
                python = spec.python or sys.executable
                arena = arenas.make()
                undo.callback(close_quietly, arena)
                fds = (request[0], reply[1], lifeline, arena)
                process = subprocess.Popen(
                    [python, "-c", AS_WORKER, worker.__file__, *map(str, fds)],
                    stdin=subprocess.DEVNULL,
                    stdout=stderr[1],
                    stderr=stderr[1],
                    pass_fds=[fd for fd in fds if fd >= 0],
                    start_new_session=True,
                    cwd=spec.cwd,
                    env=_environment(spec, mark),
                )
            except OSError as error:
                raise _start_error(spec, error) from error
            pidfd = _pidfd_of(process, spec)
            undo.pop_all()
            sweep, was_oom_kill = partial(self._sweep, mark), self._oom_kills.watch(process.pid)
            ours = request[1], reply[0], stderr[0]
            return PythonPort(process, pidfd, ours, spec, sweep, was_oom_kill, arena)

    def _launch(self, spec: WorkerSpec) -> LaunchedPort:
        with contextlib.ExitStack() as undo, contextlib.ExitStack() as theirs:
            try:
                mark, _ = self._next_start()
                request, reply, stderr = (_pipe(undo, theirs, ours) for ours in (1, 0, 0))
                process = subprocess.Popen(
                    command_for(spec),
                    stdin=request[0],
                    stdout=reply[1],
                    stderr=stderr[1],
                    start_new_session=True,
                    env=_environment(replace(spec, env={}), mark),
                )
            except OSError as error:
                raise _start_error(spec, error) from error
            pidfd = _pidfd_of(process, spec)
            undo.pop_all()
            ours, marker = (request[1], reply[0], stderr[0]), os.urandom(16).hex().encode()
            preface = block_for(spec, mark, marker)
            return LaunchedPort(process, pidfd, ours, spec, partial(self._sweep, mark), preface, marker)

    def _fork(self, spec: WorkerSpec) -> ForkedPort:
        with contextlib.ExitStack() as undo, contextlib.ExitStack() as theirs:
            try:
                mark, lifeline = self._next_start()
                request, reply, stderr = (_pipe(undo, theirs, ours) for ours in (1, 0, 0))
                zygote = self._zygote_for(spec, lifeline)
                number = mark.rpartition(":")[2]
                fds, sweep = (request[1], reply[0], stderr[0]), partial(self._sweep, mark)
                port = ForkedPort(zygote, number, fds, spec, sweep, self._oom_kills.watch)
                undo.pop_all()
                undo.callback(port.close)
                port.arena = arenas.make()
                shared = (port.arena,) if port.arena >= 0 else ()
                zygote.fork(port, mark, (request[0], reply[1], stderr[1], *shared))
            except OSError as error:
                raise _start_error(spec, error) from error
            undo.pop_all()
            return port

    def _zygote_for(self, spec: WorkerSpec, lifeline: int) -> Zygote:
        """The one that lives, or another one."""
        spec = replace(spec, generation=0)
        with self._lock:
            for each in [each for each in self._zygotes if each.spec == spec]:
                if each.serves(spec):
                    return each
                each.bury()
                each.close()
                self._zygotes.remove(each)
            command = [spec.python or sys.executable, "-c", AS_ZYGOTE, worker.__file__]
            # Its mark has the width of those of its workers, who write theirs in its place.
            self._zygotes.append(Zygote(spec, command, _environment(spec, _mark(self._token, 0)), lifeline))
            return self._zygotes[-1]

    def _next_start(self) -> tuple[str, int]:
        """The mark of one start, and the end of the lifeline that it is given."""
        with self._lock:
            if self._lifeline is None:
                self._lifeline = os.pipe()
            self._starts += 1  # not the generation: two runtimes that share this adapter count from one each
            return _mark(self._token, self._starts), self._lifeline[0]

    def settle(self) -> int | None:
        """Start the reaper, or another one when it was killed. Answers its sentinel."""
        with self._lock:
            if self._reaper is not None and not is_dead(self._reaper_pidfd):
                return self._reaper_pidfd
            self._bury_reaper()
            with open(os.devnull, "wb") as null:  # by name, a Popen of Python 3.10 that can't open it keeps its pipe
                process = subprocess.Popen(
                    [sys.executable, "-I", "-S", reaper.__file__, str(os.getpid()), self._token],
                    stdin=subprocess.PIPE,
                    stdout=null,
                    stderr=null,
                    start_new_session=True,
                    env=_variables(),  # None: exec reads the C library's table while another thread changes it, EFAULT
                )
            try:
                self._reaper_pidfd = os.pidfd_open(process.pid)
            except OSError:
                process.kill()
                process.communicate()
                raise
            self._reaper = process
            if process.stdin is not None:
                os.set_blocking(process.stdin.fileno(), False)
            return self._reaper_pidfd

    def _sweep(self, mark: str) -> None:
        with self._lock:
            if self._reaper is not None and self._reaper.stdin is not None:
                try:
                    write_quietly(self._reaper.stdin.fileno(), mark.encode() + b"\n")
                except OSError as error:
                    # Full or broken: the reaper is busy or dead, and its last sweep takes them all.
                    if error.errno not in (errno.EAGAIN, errno.EPIPE):
                        raise

    def close(self) -> None:
        """Drop the lifeline and let the reaper finish, for 2 s at most."""
        with self._lock:
            lifeline, self._lifeline = self._lifeline, None
            for fd in lifeline or ():
                os.close(fd)
            while self._zygotes:
                zygote = self._zygotes.pop()
                zygote.bury()
                zygote.close()
            self._bury_reaper()
            close_quietly(self._former_pidfd)
            self._former_pidfd = -1

    def _bury_reaper(self) -> None:
        process, self._reaper = self._reaper, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        # By its pidfd: where somebody else takes the status of our children, its number may be another child's of ours.
        with contextlib.suppress(OSError):  # somebody took its status; or EBADF: the program closed what wasn't its own
            if not ends_within(self._reaper_pidfd, 2000):
                signal.pidfd_send_signal(self._reaper_pidfd, SIGKILL)
            os.waitid(os.P_PIDFD, self._reaper_pidfd, os.WEXITED)
        process.returncode = 0  # Popen's own finaliser must not wait for this number again
        # Open until the next one goes: its number would be that of its successor, and another runtime that shares us
        # and has yet to hear of this death would take the two for one.
        close_quietly(self._former_pidfd)
        self._former_pidfd, self._reaper_pidfd = self._reaper_pidfd, -1

    def forget(self) -> None:
        """In a forked child: close the parent's lifeline and reaper; kill and await nothing."""
        fds = [*(self._lifeline or ()), self._reaper_pidfd, self._former_pidfd]
        process, zygotes = self._reaper, self._zygotes
        self._begin()  # with a new lock: a thread that isn't here may hold the old one
        for fd in fds:
            close_quietly(fd)
        for zygote in zygotes:
            zygote.forget()
        if process is not None:
            process.returncode = 0  # not our child: its finaliser must not wait for it
            if process.stdin is not None:
                process.stdin.close()


def _mark(token: str, start: int) -> str:
    return f"{token}:{start:010d}"


def _pipe(undo: contextlib.ExitStack, theirs: contextlib.ExitStack, ours: int) -> Sequence[int]:
    """A pipe of which `ours` (0 or 1) is kept on success; the other end is closed either way."""
    ends = os.pipe()
    undo.callback(os.close, ends[ours])
    theirs.callback(os.close, ends[1 - ours])
    return ends


def _variables() -> dict[str, str]:
    # One by one: a copy is a KeyError when another thread unsets a variable meanwhile.
    return {name: value for name in os.environ if (value := os.environ.get(name)) is not None}


def _environment(spec: WorkerSpec, mark: str) -> dict[str, str]:
    environment = _variables()
    if (allowed := spec.env_allow) is not None:
        for name in [*environment]:
            if name != reaper.VARIABLE and not any(fnmatchcase(name, pattern) for pattern in allowed):
                del environment[name]
    if not spec.replace_path:
        for name in FOREIGN:
            environment.pop(name, None)
    environment.update(spec.env)
    outer = environment.get(reaper.VARIABLE, "")  # of the runtime whose worker we are
    environment[reaper.VARIABLE] = f"{outer} {mark}".lstrip()
    return environment


def _pidfd_of(process: subprocess.Popen[bytes], spec: WorkerSpec) -> int:
    """A handle to a child that has just been started; without one it is ended."""
    try:
        return os.pidfd_open(process.pid)
    except OSError as error:
        process.kill()
        process.wait()
        raise _start_error(spec, error) from error


def _start_error(spec: WorkerSpec, error: OSError) -> WorkerStartError:
    if error.errno in (errno.ENOENT, errno.EACCES, errno.ENOTDIR, errno.ENOEXEC) and error.filename is not None:
        first = "the launcher" if spec.launcher else "worker.python"
        what = "worker.cwd" if error.filename == spec.cwd else first
        detail = f"{what} {error.filename!r}: {error.strerror}. Name one that exists and may be used"
        if spec.launcher:
            detail = f"{what} {error.filename!r}: {error.strerror}. Install it, or name it by its path"
        if what == "worker.python" and os.path.isdir(error.filename):
            detail = f"{what} {error.filename!r} is a directory; a virtualenv is named as 'venv:{error.filename}'"
        return WorkerStartError("interpreter", detail, handler=spec.handler)
    detail = f"{error}. The system refused another process or descriptor; lower `size`, or raise its limits"
    return WorkerStartError("spawn", detail, handler=spec.handler)
