"""Begin a worker behind a launcher: where nothing of this package is, and 0 and 1 are all that leads to its caller.

Rules: standard library only, Python 3.8 syntax; what `adapters/launched.py` has sent is all that it knows. The caller
can neither signal this process nor hold a lifeline of it, so the arrival of anything is a nudge by the kernel, and a
guard, a process without anything of the handler's, ends the group when the caller hangs up. Apart from worker.py, which
is told of its descriptors by a parent on the same machine.
"""

import fcntl
import os
import select
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Optional

__scoped_bridge__ = True  # frames of modules that have this are left out of a handler's traceback, as in unittest

FIRST = ("wire", "handler")
"""Files of ours that the others import, in their order."""
VARIABLE = "_SCOPED_BRIDGE_RUN"  # reaper.VARIABLE
ASKS = getattr(select, "POLLRDHUP", 0)
"""A socket whose other end only says that nothing more will come; the end of a pipe is told unasked."""


class Source:
    """What a traceback asks for a line of a file that isn't there."""

    def __init__(self, text: str) -> None:
        self._text = text

    def get_source(self, _name: str) -> str:
        """All of it."""
        return self._text


class Files:
    """Our own files, as they were sent."""

    def __init__(self, sources: "Dict[str, str]") -> None:
        self._sources = sources
        self._loaded: "Dict[str, Any]" = {}
        self._ours = {"bridge." + name: self._load("bridge." + name, name) for name in FIRST}
        self.worker = self._load("_scoped_bridge_worker", "worker")
        self._ours["bridge.wire"].beside = self.beside
        for name in self._ours:  # a handler that imports `bridge` gets whatever is installed here
            del sys.modules[name]

    def _load(self, name: str, file: str) -> "Any":
        module: "Any" = type(sys)(name)
        sys.modules[name] = module
        module.__file__ = "<scoped-bridge>/%s.py" % file
        module.__loader__ = Source(self._sources[file])
        exec(compile(self._sources[file], module.__file__, "exec", dont_inherit=True), module.__dict__)  # noqa: S102
        return module

    def beside(self, name: str) -> "Any":
        """Another one, when it is first needed."""
        if name not in self._loaded:
            theirs = {each: sys.modules.get(each) for each in self._ours}
            sys.modules.update(self._ours)
            try:
                self._loaded[name] = self._load("_scoped_bridge_" + name, name)
            finally:
                for each, module in theirs.items():
                    if module is None:
                        del sys.modules[each]
                    else:
                        sys.modules[each] = module
        return self._loaded[name]


def stand_guard(files: Files, mark: str) -> int:
    """Start the guard of our process group, which we lead. It ends when the descriptor that this returns is closed.

    A process, since a thread can do nothing while C code holds the GIL, and nobody's child, since a handler may wait
    for any child of its.
    """
    leader = os.getpid()
    ended, held = os.pipe()
    between = os.fork()
    if between:
        os.close(ended)
        os.waitpid(between, 0)
        return held
    try:
        if not os.fork():
            os.close(held)
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, 1)  # whoever waits for the end of the worker's output doesn't wait for us
            os.dup2(null, 2)
            _watch(leader, ended)
            _end_the_rest(files, mark)
    finally:
        os._exit(0)


def _watch(leader: int, ended: int) -> None:
    """Until the caller or the worker is gone."""
    news = select.poll()
    news.register(0, ASKS)
    news.register(ended, 0)
    news.poll()
    try:
        os.kill(leader, 9)  # nobody else's number: as long as we are in its group, it isn't given away
    except OSError:
        pass  # it is gone


def _end_the_rest(files: Files, mark: str) -> None:
    """The group, with us; then what had left it and carries the mark, by a process that has left it too."""
    ready, told = os.pipe()
    if not os.fork():
        os.setsid()
        os.close(told)
        try:
            files.beside("reaper").sweep(mark.encode() + b" ")
        except (ImportError, AttributeError, OSError):
            pass  # before Python 3.9, or without /proc: the group is all that can be found
        os._exit(0)
    os.close(told)
    os.read(ready, 1)
    os.killpg(0, 9)


def has_hung_up(request: int) -> bool:
    """Whether the caller is gone, however much of what it sent is still to be read.

    Makes its own poll object, since a signal handler that asks may itself be interrupted by one.
    """
    news = select.poll()
    news.register(request, ASKS)
    return any(event & (select.POLLHUP | select.POLLERR | ASKS) for _fd, event in news.poll(0))


def be_nudged(request: int) -> bool:
    """Have the kernel send SIGURG whenever something arrives: a cancel is looked for as if its sender had sent that."""
    from _signal import SIGURG  # type: ignore[import-not-found]  # `signal` imports enum: 5 ms

    try:
        fcntl.fcntl(request, fcntl.F_SETSIG, SIGURG)
        fcntl.fcntl(request, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(request, fcntl.F_SETFL, fcntl.fcntl(request, fcntl.F_GETFL) | os.O_ASYNC)
    except (AttributeError, OSError):
        return False  # not Linux, or a file that can't: a call that is left costs its worker
    return True


def place_of(archive: bytes) -> "Optional[str]":
    """An entry of sys.path that has what was shipped: a file without a name, which ends with this process."""
    if not archive:
        return None
    try:
        fd = os.memfd_create("shipped")
    except (AttributeError, OSError):
        from tempfile import TemporaryFile

        with TemporaryFile() as unnamed:
            fd = os.dup(unnamed.fileno())
    with open(fd, "wb", closefd=False) as file:
        file.write(archive)
    return "/proc/self/fd/%d" % fd


def main(block: "Dict[str, Any]") -> None:
    """Entry: what came behind the boot line."""
    outer, mark = os.environ.get(VARIABLE, ""), block["mark"]
    os.environ.update(block["env"])
    if mark not in outer.split():  # a local launcher hands on what it was given
        os.environ[VARIABLE] = (outer + " " + mark).lstrip()
    for name in ("l", "g", "_"):
        sys.modules["__main__"].__dict__.pop(name, None)
    sys.path[:] = [entry for entry in sys.path if entry]
    if os.getpgrp() != os.getpid():
        os.setsid()
    files = Files(block["sources"])
    held = stand_guard(files, mark)
    _serve(files, block, held)


def _serve(files: Files, block: "Dict[str, Any]", held: int) -> None:
    worker, shipped = files.worker, block["shipped"]

    def make(start: "Dict[str, Any]") -> "Any":
        try:
            os.chdir(block["cwd"] or ".")
        except OSError as error:
            text = "worker.cwd %r: %s. Name one that exists there and may be used" % (block["cwd"], error.strerror)
            fields = {**worker.describe(error), "message": text, "reason": "interpreter"}
            pipes.write(worker.fault_frame(worker.FAILED, 0, worker.START_LIMIT, **fields))
            os._exit(1)
        name, colon, attribute = start["handler"].partition(":")
        start["handler"] = shipped.get(name, name) + colon + attribute
        place = place_of(block["archive"])
        start["path"] = ([] if place is None else [place]) + start["path"]
        return worker.load(start)

    request, reply = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3) for fd in (0, 1))
    pipes = worker.Pipes(request, reply, beside=files.beside)
    pipes.spare = bytes(2**22)  # as in worker.main
    worker.silence()

    def nudge(number: int, frame: "Any") -> None:
        if has_hung_up(request):
            os._exit(1)  # as the first process of a container we can't be killed from inside
        pipes.nudge(number, frame)

    def forget() -> None:
        os.close(held)
        pipes.forget()

    os.register_at_fork(after_in_child=forget)
    from _signal import SIGURG, siginterrupt, signal  # `signal` imports enum: 5 ms

    signal(SIGURG, nudge)
    siginterrupt(SIGURG, False)
    be_nudged(request)
    sys.argv[:] = [worker.__file__]
    pipes.write(block["marker"][::-1])  # backwards: an echo of what was sent isn't taken for it
    worker.converse(pipes, make)
