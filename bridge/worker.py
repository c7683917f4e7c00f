"""Serve one handler, in whatever interpreter this file is run by.

Rules: standard library only, Python 3.8 syntax; at start it, wire.py and handler.py import os, sys, struct, fcntl and
json's C accelerator (docs/design/benchmarks.md says why), all else on first need. In a worker, the program that starts
it (adapters/python_port.py) has put those two beside it, and nothing else of this package is there. Apart from the rest
because these three files are all that the other interpreter ever sees.
"""

import fcntl
import os
import sys

from bridge.handler import (
    Cancelled,
    Coroutine,
    answer,
    arm_lifeline,
    commands_of,
    describe,
    fault_frame,
    fault_of,
    hooks_of,
    load,
    result_frame,
    silence,
    wanted_of,
)
from bridge.wire import (
    CALL,
    CANCEL,
    CODEC_JSON,
    CODEC_PICKLE,
    CREDIT,
    ERROR,
    FAILED,
    GRANT,
    HEADER,
    HELLO,
    HOOK,
    LONG,
    NO_HOOK,
    PLAIN_CALL,
    PROTOCOL,
    READ_SIZE,
    READY,
    SHARED,
    TIMED,
    HungUp,
    beside,
    decode_json,
    encode_json,
    let_go,
    pack,
    read_on,
    scan_text,
    unpack_front,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Tuple

__scoped_bridge__ = True  # frames of modules that have this are left out of a handler's traceback, as in unittest

BESIDES = frozenset((CANCEL, CREDIT))  # they follow a call, and nobody asks for them when it is over
EBADF = 9
PIPE_BUF = 4096  # bytes that a pipe takes as one; what is longer may be in pieces
START_LIMIT = 2**24  # bytes of START, which says what the limit is for the others


class Pipes:
    """The two data descriptors. The only reader and the only writer is the thread that serves.

    A cancel is a frame; the signal that comes with it only has it looked for. It is raised only while `armed`, which is
    only around the handler's own code: no frame is ever cut, and a cancel that comes late meets nobody.

    Args:
        put: Writes, as os.write does.
        beside: Loads another file of ours by its name.
    """

    def __init__(
        self,
        request: int,
        reply: int,
        put: "Callable[[int, Any], int]" = os.write,
        beside: "Callable[[str], Any]" = beside,
    ) -> None:
        self.request, self.reply, self._put, self.spare = request, reply, put, b""
        self.pending = b""  # read, and not yet looked at
        self._armed, self._nudged, self._current = False, False, 0
        self._load = beside
        self._files: "Dict[str, Any]" = {}
        nothing: "Any" = None
        self._loop = self._coding = self._states = self.shared = self.busy_poll = nothing  # made when first needed
        self.hooks: "Dict[str, Callable[..., Any]]" = {}
        self.wants: "Dict[str, Tuple[str, ...]]" = {}
        """Commands that have parameters which are filled here."""
        self.codec = CODEC_JSON  # of what was read last
        self.front = b""  # what was read last: a header, and behind it the seconds of a call
        self.main = nothing  # where the program lies of a caller that may send pickles; None if it may not
        self.left = False
        """The caller has left the call of the dialogue, whatever its handler made of that."""
        self.variables: "Dict[str, Any]" = {}
        """ContextVars that came with a call, by their paths; None for what can't be imported here."""
        self.credit = 0  # items that the caller of a stream has asked for and not been sent
        self.limit = START_LIMIT
        """Bytes that the body of a frame may have: no more is kept of what isn't our caller's."""
        self.arena, self.granted = -1, b""  # memory that our caller has too; where our next result may lie in it

    def run(self, call_id: int, function: "Callable[..., Any]", args: "Any") -> "Any":
        """Call the handler's own code; a cancel of this call raises there. A coroutine is run to its end."""
        self._current = call_id
        try:
            self._armed = True
            if self._nudged:  # while we were reading or decoding
                self._look()
            value = function(**args) if type(args) is dict else function(*args or ())
        finally:
            self._armed = False
        return value if type(value) is not Coroutine else self._run_on_loop(value)

    def beside(self, name: str) -> "Any":
        """Another file of ours, when it is first needed."""
        if name not in self._files:
            self._files[name] = self._load(name)
        return self._files[name]

    def finish(self, coroutine: "Any") -> "Any":
        """For the handler's own code: run a coroutine to its end."""
        was = self.disarm()  # the loop hears a cancel itself
        try:
            return self._run_on_loop(coroutine)
        finally:
            self.rearm(was)

    def _run_on_loop(self, coroutine: "Any") -> "Any":
        if self._loop is None:
            self._loop = self.beside("coroutines").Loop(self.request, self._hear, Cancelled)
        return self._loop.run(coroutine)

    def end_loop(self) -> None:
        """At the end of the conversation."""
        if self._loop is not None:
            self._loop.close()

    def end_sessions(self) -> None:
        """While the handler is still there."""
        if self._states is not None:
            self._states.end_all(lambda hook, args: self.run(0, hook, args))

    def nudge(self, _number: int, _frame: "Any") -> None:
        """The signal handler."""
        self._nudged = True
        if self._armed:
            self._look()

    def _look(self) -> None:
        """Read what is there, and raise if it is a cancel of the call that runs."""
        while self._nudged:
            self._armed = self._nudged = False  # a nudge within would read what we have seen, and we wait for it
            if self._hear():
                raise Cancelled
            self._armed = True

    def _hear(self) -> "Optional[bool]":
        """Read what is there: whether it is a cancel of the call that runs. None at the end of the stream."""
        from select import POLLIN, poll

        there, ended = poll(), False
        there.register(self.request, POLLIN)
        if there.poll(0):
            data = os.read(self.request, READ_SIZE)  # nothing at the end: the next read sees that too
            ended = not data
            self.pending += data
        return True if self.sort() else None if ended else False

    def sort(self) -> bool:
        """Take the frames in front that follow a call: whether one is a cancel of the call that runs."""
        while len(self.pending) >= 16 and self.pending[0] in BESIDES:
            kind, _codec, number, _length, call_id = HEADER.unpack_from(self.pending)
            self.pending = self.pending[16:]
            if call_id == self._current:
                if kind == CANCEL:
                    self.left = True
                    return True
                self.credit += number
        return False

    def disarm(self) -> bool:
        """The handler's own code calls ours: a cancel waits until `rearm`. Answers what that is to be given."""
        was, self._armed = self._armed, False
        return was

    def rearm(self, was: bool) -> None:
        """Back to the handler's own code; raises a cancel that came meanwhile."""
        self._armed = was
        if was:
            self._look()

    def states(self) -> "Any":
        """Those of the sessions whose calls come here."""
        self._states = self._states or self.beside("states").States(self.hooks)
        return self._states

    def coding(self) -> "Any":
        """What reads and answers the call that was just read; None for JSON."""
        if self.codec != CODEC_PICKLE or self.main is None:
            return None
        self._coding = self._coding or self.beside("pickling").Coding(self.main)
        return self._coding

    def read(self) -> "Tuple[int, int, int, Any]":
        """Wait for one whole frame: kind, flags, call id, body. What follows calls that are over is passed by."""
        data = self.pending
        while True:
            while len(data) < 16:
                if self.busy_poll is not None:
                    self.busy_poll.look()
                if not (more := os.read(self.request, READ_SIZE)):
                    raise HungUp
                data = data + more if data else more
            kind, self.codec, flags, length, call_id = HEADER.unpack_from(data)
            if kind not in BESIDES:
                break
            data = data[16:]
        start, end = 24 if flags & TIMED else 16, 16 + length
        if end - start > self.limit:
            raise HungUp
        if len(data) < end:
            rest = memoryview(read_on(self.request, data[16:], length))
            self.pending, self.front = b"", data[:16] + rest[: start - 16]
            return kind, flags, call_id, rest[start - 16 :]
        self.pending, self.front = data[end:], data
        return kind, flags, call_id, data[start:end]

    def answer_plain(self, commands: "Dict[str, Callable[..., Any]]", limit: int) -> None:
        """Answer calls for as long as they are plain; what else comes is left in `pending`.

        Most are, and each step of theirs counts (docs/design/benchmarks.md): this is `read`, `answer`, `run` and `send`
        on one page. Plain is what one read brings whole, with nothing behind it: a call with seconds and no other flag,
        in JSON without buffers, of a command that has nothing filled in. So it leaves out extras, dialogues (for which
        `front` is kept), `coding`, and the frames of calls that are over. All else was only looked at here, and those
        four begin anew with it; a cancel, which may come at any time, is met as in `run`.

        Args:
            commands: Those that have nothing filled in.
            limit: Bytes that a result may have.
        """
        most = min(READ_SIZE, self.limit + 24)  # so what is over the limit doesn't come whole
        read, busy_poll, value = os.read, self.busy_poll, None
        while True:  # and no condition here, for which Python 3.11 wouldn't specialise any of this: 17 % of a worker
            if self.pending:
                return
            if busy_poll is not None:
                busy_poll.look()
            data = read(self.request, most)
            try:
                front, length, call_id = unpack_front(data)
                if front != PLAIN_CALL or length != len(data) - 16:
                    break
                text = data[24:].decode()
                (command, args), end = scan_text(text, 0)
                if end != len(text):
                    break
                function = commands[command]
            except Exception:  # of whatever kind: they say what it is
                break
            self._current = call_id
            try:
                try:
                    self._armed = True
                    if self._nudged:
                        self._look()
                    value = function(**args) if type(args) is dict else function(*args or ())
                finally:
                    self._armed = False
                if type(value) is Coroutine:
                    value = self._run_on_loop(value)
                frame = result_frame(value, call_id, limit)
            except BaseException as error:
                self.spare = b"" if isinstance(error, MemoryError) else self.spare
                let_go(error)
                frame = fault_frame(ERROR, call_id, limit, **fault_of(error, function, args))
            args = value = None  # before anybody hears of the end, and before we wait
            size = len(frame)
            try:
                sent = self._put(self.reply, frame) if size <= PIPE_BUF else 0
            except OSError:
                sent = 0  # `write` meets it again, and knows what it means
            if sent < size:
                self.send(frame[sent:])
        self.pending = data

    def send(self, frame: "Any") -> None:
        """Write an answer; a long one is put into the memory that our caller has too, if it granted a place there."""
        self.write(frame if len(frame) < LONG or not self.granted else self.beside("buffers").placed(self, frame))

    def write(self, frame: "Any") -> None:
        """Write one whole frame, bytes or a Rope; the pipe is blocking."""
        try:
            while frame:
                count = self._put(self.reply, frame) if type(frame) is bytes else frame.put(self.reply, self._put)
                frame = frame[count:]
        except OSError as error:
            if self.reply < 0:
                os._exit(0)  # a child that the handler forked came back from the call; its parent answers it
            raise HungUp if error.errno != EBADF else OSError("the handler closed its worker's descriptors") from None

    def forget(self) -> None:
        """In a forked child: it must neither answer its parent's calls nor keep its pipes open."""
        os.close(self.request)
        os.close(self.reply)
        self.request = self.reply = -1


def take(fd: int) -> int:
    """Move a descriptor away from 0, 1 and 2, and keep it from every program that the handler starts."""
    taken = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(fd)
    return taken


def serve(pipes: Pipes, tables: "Dict[int, Dict[str, Callable[..., Any]]]", limit: int) -> None:
    """Answer calls until STOP. Each call gets exactly one terminal frame with its id."""
    plain = {name: each for name, each in tables[CALL].items() if name not in pipes.wants}
    while True:
        pipes.answer_plain(plain, limit)
        kind, flags, call_id, body = pipes.read()
        if kind not in tables:
            if kind != GRANT:
                return
            pipes.granted = bytes(body)
            continue
        body = body if not flags & SHARED else pipes.beside("buffers").fetched(pipes, body)
        pipes.send(answer(pipes, tables[kind], flags, call_id, body, limit))


def converse(pipes: Pipes, make: "Callable[[Dict[str, Any]], Any]") -> bool:
    """One conversation; `make` turns START's fields into a handler. Answers whether the caller knows of the end."""
    try:
        return _converse(pipes, make)
    finally:
        pipes.end_loop()


def _converse(pipes: Pipes, make: "Callable[[Dict[str, Any]], Any]") -> bool:
    hello = {"protocol": PROTOCOL, "pid": os.getpid(), "executable": sys.executable}
    hello["python"] = "%d.%d.%d" % sys.version_info[:3]
    tables: "Dict[int, Dict[str, Callable[..., Any]]]" = {HOOK: {}}
    limit = START_LIMIT
    try:
        pipes.write(pack(HELLO, 0, encode_json(hello, "hello"), CODEC_JSON))
        body = pipes.read()[3]
        try:
            start = decode_json(body)
            limit, pipes.main = int(start["max_frame_bytes"]), start.get("pickle")
            handler = make(start)
            pipes.run(0, hooks_of(handler).get("on_start", bool), None)
            pipes.hooks = hooks_of(handler)
            tables = {CALL: commands_of(handler), HOOK: pipes.hooks}
            pipes.wants = {name: wanted for name, each in tables[CALL].items() if (wanted := wanted_of(each))}
        except BaseException as error:  # whatever it is, the caller shall read it
            let_go(error)
            pipes.write(fault_frame(FAILED, 0, limit, **describe(error)))
            return True
        pipes.write(pack(READY, 0, encode_json({"hooks": sorted(tables[HOOK])}, "ready"), CODEC_JSON))
        tables[HOOK] = {"on_health": lambda: None, NO_HOOK: bool, **tables[HOOK]}  # to answer is enough
        pipes.limit = limit
        if busy := start.get("busy_poll_us"):
            pipes.busy_poll = pipes.beside("busy").worker_side(pipes.request, busy)
        serve(pipes, tables, limit)
        told = True
    except HungUp:  # if before it was ready, nobody is left to tell
        told = False
    pipes.end_sessions()
    pipes.run(0, tables[HOOK].get("on_close", bool), None)
    return told


def main(argv: "List[str]", beside: "Callable[[str], Any]", make: "Callable[[Dict[str, Any]], Any]" = load) -> None:
    """Entry: argv[1:] are the request, reply and lifeline descriptors, and shared memory (-1: there is none)."""
    pipes = Pipes(take(int(argv[1])), take(int(argv[2])), beside=beside)
    pipes.spare = bytes(2**22)  # untouched, so of addresses only: given up for the report of a MemoryError
    pipes.arena = take(int(argv[4])) if argv[4:] and int(argv[4]) >= 0 else -1
    silence()
    if int(argv[3]) >= 0:
        arm_lifeline(int(argv[3]))
    os.register_at_fork(after_in_child=pipes.forget)
    from _signal import SIGURG, siginterrupt, signal  # type: ignore[import-not-found]  # `signal` imports enum: 5 ms

    signal(SIGURG, pipes.nudge)
    siginterrupt(SIGURG, False)
    sys.argv[:] = [__file__]
    if not converse(pipes, make) and int(argv[3]) >= 0:
        # Its end may be heard here before the kernel comes to the lifeline, which would go with us and spare our group.
        os.killpg(0, 9)
