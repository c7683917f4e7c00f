"""A worker behind a launcher: a program such as ssh, which starts it somewhere else and carries its stdin and stdout.

Rules: our child is the launcher, and what is killed and reaped here is that; the worker's own number, from its HELLO,
is shown and never used. What goes there first is the worker itself, written by whoever writes START, so that nothing
here waits for a slow network. Apart from python_port.py, whose workers have descriptors of their own and are our
children (bridge/remote.py is the other end).
"""

from __future__ import annotations

import contextlib
import marshal
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Final

from bridge import worker
from bridge.adapters.port import PythonPort
from bridge.children import ends_within
from bridge.contract import ExitStatus, WorkerInfo, WorkerSpec
from bridge.core.limits import cause_of
from bridge.endings import signal_name
from bridge.errors import ProtocolError
from bridge.lacking import BEHIND_A_LAUNCHER
from bridge.wire import READ_SIZE

BOOT: Final = "import\fsys\rfor\fl\fin\fsys.stdin.buffer.raw:break\rg=lambda\f_:l\r@exec\r@g\rclass\f_:pass"
"""Runs the first line that comes, which it reads byte by byte, so that nothing is taken of what follows.

Without a character that any shell would touch, blanks and parentheses among them: ssh joins its arguments and gives
them to a shell there, perhaps to a second one behind that, and docker doesn't. A form feed is a blank to Python alone,
a carriage return the end of a line; a decorator calls without parentheses."""
MISREAD: Final = 'Traceback (most recent call last):\n  File "<string>", line '
"""How Python begins to say that BOOT, or the line that it read, failed."""
LINE: Final = """\
import os, sys
if sys.version_info < (3, 8):
    sys.exit("worker.python %s is Python %d.%d; a worker needs 3.8" % ((sys.executable,) + sys.version_info[:2]))
if os.isatty(0) or os.isatty(1):
    sys.exit("worker.launcher gives its program a terminal, which changes what passes: leave out -t, --tty or --pty")
import marshal
block = bytearray()
while len(block) < {length}:
    data = os.read(0, {length} - len(block))
    if not data:
        sys.exit("stdin ended before the worker was there: does the launcher pass all of it on?")
    block += data
block = marshal.loads(block)
remote = type(sys)('_scoped_bridge_remote')
exec(compile(block['sources']['remote'], '<scoped-bridge>/remote.py', 'exec', dont_inherit=True), remote.__dict__)
remote.main(block)
"""
SENT: Final = (
    *("remote", "wire", "handler", "worker", "coroutines", "dialogue", "states", "batches", "buffers", "busy"),
    *("pickling", "reaper"),
)
"""Files of ours."""
LAST_STEPS_MS: Final = 100
"""For a launcher that failed: many close their stdout some steps before they end, and their exit code says why."""
MARSHAL: Final = 2
"""Version of the format: the newest without references, which every Python 3 reads."""
MOST_NOISE: Final = 65536
"""Bytes that others may write to stdout before the worker speaks: a login shell's greeting, a warning."""
HINTS: Final = MappingProxyType(
    {
        0: "it has to stay, and to pass stdin and stdout on, until the worker ends: no `setsid -f`, no `ssh -f`",
        125: "docker and its kin end so when they can't start the container",
        126: "the interpreter there can't be run: name another one by worker.python",
        127: "a program wasn't found there: name the interpreter by worker.python, or see the launcher's arguments",
    }
)
"""What the exit codes of launchers mean by custom, before their worker has spoken."""


def command_for(spec: WorkerSpec) -> list[str]:
    """What is run here."""
    python = spec.python or (sys.executable if spec.replace_path else "python3")
    return [*spec.launcher, python, "-c", BOOT]


def block_for(spec: WorkerSpec, mark: str, marker: bytes) -> bytes:
    """The worker, and what it has to know before START: the line that BOOT runs, and what that reads.

    Args:
        mark: Of this start, for the environment of whatever the worker starts.
        marker: What the worker writes first, backwards.
    """
    folder = Path(worker.__file__).parent
    cargo = spec.cargo
    block = marshal.dumps(
        {
            "sources": {name: (folder / f"{name}.py").read_text("utf-8") for name in SENT},
            "archive": b"" if cargo is None else cargo.archive,
            "shipped": {} if cargo is None else dict(cargo.files),
            "env": dict(spec.env),
            "cwd": spec.cwd,
            "mark": mark,
            "marker": marker,
        },
        MARSHAL,
    )
    return f"exec({LINE.format(length=len(block))!r})\n".encode() + block


class LaunchedPort(PythonPort):
    """A launcher that is a child of ours, and the worker behind it."""

    capabilities = PythonPort.capabilities.difference(BEHIND_A_LAUNCHER)

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        pidfd: int,
        fds: tuple[int, int, int],
        spec: WorkerSpec,
        sweep: Callable[[], None],
        preface: bytes,
        marker: bytes,
    ) -> None:
        super().__init__(process, pidfd, fds, spec, sweep, bool, -1)
        self.info = WorkerInfo(spec.generation, launcher=shlex.join(spec.launcher), launcher_pid=process.pid)
        self.preface, self._marker = preface, marker[::-1]
        self._noise = b""
        self._spoke = False

    def skip(self) -> bytes | None:
        """Read up to the marker; what came behind it."""
        while True:
            try:
                data = os.read(self._reply, READ_SIZE)
            except BlockingIOError:
                return None
            if not data:
                with contextlib.suppress(OSError):  # EBADF: the program closed what wasn't its own
                    ends_within(self._pidfd, LAST_STEPS_MS)  # so that it isn't us who kill it
                raise EOFError
            before, found, behind = (self._noise + data).partition(self._marker)
            self._noise = before
            if found:
                self._spoke, self.preface = True, b""  # a megabyte, perhaps, that nobody needs again
                return behind
            if len(before) > MOST_NOISE:
                raise ProtocolError(
                    f"something behind the launcher {self.info.launcher!r} goes on writing to stdout, beginning with "
                    f"{before[:60]!r}, and no worker speaks. Does its program carry stdin and stdout unchanged?"
                )

    def cancel(self, call_id: int) -> None:
        """Nothing: the arrival of the frame is what has the worker look."""

    def kill(self) -> None:
        """SIGKILL to the launcher's group, and a hang-up, by which the worker ends itself and its own. Idempotent."""
        super().kill()
        with self._guard, contextlib.suppress(OSError):  # no descriptor is left: its end is all that it hears of then
            if self._request >= 0:
                # Not closed: it is the holder's of a lease, and would be another file soon. Nobody reads this one.
                ours, theirs = os.pipe()
                os.close(ours)
                os.dup2(theirs, self._request, inheritable=False)
                os.close(theirs)

    def stderr_tail(self) -> str:
        """The last of what came from there as text; what went to stdout only as long as no worker spoke."""
        tail = super().stderr_tail()
        if self._spoke:
            return tail
        if self._has_misread():
            tail = tail.partition(MISREAD)[0]  # a NameError in what nobody wrote so; `_how` says what it means
        if not self._noise:
            return tail
        return (self._noise.decode(errors="replace").rstrip() + "\n" + tail)[-self._tail_bytes :]

    def _how(self, code: int, number: int, cpu_used: float | None) -> ExitStatus:  # noqa: ARG002  it isn't the worker's
        if code != os.CLD_EXITED:
            return ExitStatus(signal=number, why=cause_of(number, self._limits, None))
        why = "" if self._spoke else HINTS.get(number, "")
        if number == 1 and self._has_misread():
            why = (
                "it didn't pass on to its program what it was given through stdin, all of it and as it was: "
                f"`echo hello | {self.info.launcher} cat` has to print hello"
            )
        elif number == 255:
            ended = "or a signal ended the worker there" if self._spoke else "or isn't let in"
            why = f"ssh ends so when it has no connection, {ended}"
        elif number > 128 and (name := signal_name(number - 128)) and name.startswith("SIG"):
            cause = cause_of(number - 128, self._limits, None)
            why = "; ".join(filter(None, [f"many launchers say so that {name} ended what they had started", cause]))
        return ExitStatus(code=number, why=why)

    def _has_misread(self) -> bool:
        """Whether an interpreter ran, and was given other lines than ours."""
        _before, found, behind = super().stderr_tail().partition(MISREAD)
        return not self._spoke and bool(found) and "<scoped-bridge>" not in behind
