"""Many calls of one command in one frame, and their results in few.

Rules: standard library only, Python 3.8 syntax; a worker loads this file beside worker.py when the first chunk comes.
One call after the other, in their order; each has its own outcome. What a call returned is sent some milliseconds later
at the latest, before the next one begins; a chunk that takes too long is left, and its caller told how far it came.
Apart from dialogue.py, whose ITEM frames it sends.
"""

from time import monotonic

from bridge.handler import Cancelled, Coroutine, fault_of, invoke, result_of, shortened
from bridge.wire import CODEC_JSON, HEADER, ITEM, NotEncodable, encode_json, encode_value, is_rich, let_go

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional

__scoped_bridge__ = True  # frames of modules that have this are left out of a handler's traceback, as in unittest

SOON = 0.002
"""Seconds that a result is kept back for more to travel with it."""
ENOUGH = 32768
"""Bytes of results that are sent at once."""
ROOM = 64
"""Bytes of an ITEM frame that are neither results nor faults."""
PLAIN = frozenset((int, float, bool, type(None)))
MANY = 32
"""Numbers from which on a buffer is shorter to make."""
NUMBER = 24
"""Bytes of most of those."""


class Batches:
    """The calls of one chunk.

    Args:
        dialogue: Of the call that brought them.
        column: The one parameter that the items are values of; None: each is the arguments of its call.
        seconds: After which no further call is begun; None: all are made.
        limit: Bytes that a body may have.
    """

    def __init__(
        self, dialogue: "Any", pipes: "Any", column: "Optional[str]", seconds: "Optional[float]", limit: int
    ) -> None:
        self._dialogue, self._pipes, self._column, self._limit = dialogue, pipes, column, limit
        self._seconds = float("inf") if seconds is None else seconds
        self._parts: "List[bytes]" = []  # results, encoded
        self._run: "List[Any]" = []  # those after them that can wait for that, since nothing can change them any more
        self._faults: "Dict[str, Dict[str, str]]" = {}  # by their place among the results
        self._size = self._count = 0
        self._since = monotonic()
        self._due = 0.0  # what there is is sent then

    def serve(self, function: "Callable[..., Any]", items: "Any") -> int:
        """Make the calls; how many. Runs where the handler's code does, so that a cancel ends it anywhere."""
        if type(items) is memoryview:
            items = items.tolist()
        call, run, plain, clock = self._call_of(function), self._run, PLAIN, monotonic
        until, self._due, done = self._since + self._seconds, self._since + SOON, 0
        for item in items:
            try:
                value = call(item)
            except Cancelled:
                raise
            except BaseException as error:  # sys.exit() in a handler is an answer like any other
                self._fail(error, function, item)
            else:
                if type(value) in plain:
                    run.append(value)
                else:
                    self._take(value, function, item)
            done += 1
            if (now := clock()) > self._due:
                self._send(now)
                if now > until:
                    break
        self._send(clock())
        return done

    def _call_of(self, function: "Callable[..., Any]") -> "Callable[[Any], Any]":
        """What takes an item. A parameter that is the first is passed by position, at a third of the cost."""
        column = self._column
        if column is None:
            return lambda item: invoke(function, item)
        plain = getattr(function, "__func__", function)
        code, first = getattr(plain, "__code__", None), plain is not function
        if code is not None and code.co_argcount > first and code.co_varnames[first] == column:
            return function
        return lambda item: invoke(function, {column: item})

    def _take(self, value: "Any", function: "Any", item: "Any") -> None:
        """A result that isn't as good as sent."""
        if type(value) is Coroutine:
            try:
                value = self._pipes.finish(value)
            except Cancelled:
                raise
            except BaseException as error:
                self._fail(error, function, item)
                return
        self._add(value)

    def _add(self, value: "Any") -> None:
        fault, body = result_of(value, self._limit - ROOM)
        if fault is not None:
            self._note(fault)
            return
        if is_rich(body):
            self._send_alone(value)
            return
        if self._size + len(self._run) * NUMBER + len(body) > self._limit - ROOM:
            self._send(monotonic())
        self._encode_run()
        self._parts.append(body)
        self._size += len(body) + 1
        self._count += 1
        if self._size > ENOUGH:
            self._due = 0.0

    def _send_alone(self, value: "Any") -> None:
        """A result with buffers, which can't stand among texts."""
        if self._count or self._run:
            self._send(monotonic())
        was = self._pipes.disarm()
        try:
            fault, body = result_of([monotonic() - self._since, [value], {}], self._limit)
            if fault is None:
                self._pipes.write(HEADER.pack(ITEM, CODEC_JSON, 0, len(body), self._dialogue.call_id) + body)
        finally:
            self._pipes.rearm(was)
        if fault is not None:
            self._note(fault)
        self._send(monotonic())

    def _fail(self, error: BaseException, function: "Any", item: "Any") -> None:
        args = item if self._column is None else {self._column: item}
        let_go(error)
        if isinstance(error, MemoryError):
            self._pipes.spare = b""
        self._note(shortened(fault_of(error, function, args), self._limit))

    def _note(self, fault: "Dict[str, str]") -> None:
        size = 2 * sum(map(len, fault.values())) + ROOM
        if self._size + len(self._run) * NUMBER + size > self._limit - ROOM:
            self._send(monotonic())
        self._encode_run()
        self._faults[str(self._count)] = fault
        self._parts.append(b"null")
        self._size += size
        self._count += 1

    def _encode_run(self) -> None:
        run = self._run
        if not run:
            return
        values, run[:] = run[:], []
        try:
            body = encode_json(values, "result")[1:-1]
        except NotEncodable:  # an integer of too many digits
            body = b""
        if not body or self._size + len(body) > self._limit - ROOM:
            for value in values:
                self._add(value)
            return
        self._parts.append(body)
        self._size += len(body) + 1
        self._count += len(values)

    def _send(self, now: float) -> None:
        """Send what there is. A cancel waits until that is done."""
        was = self._pipes.disarm()
        try:
            body = self._body(now - self._since)
            if body:
                self._pipes.write(HEADER.pack(ITEM, CODEC_JSON, 0, len(body), self._dialogue.call_id) + body)
            self._parts, self._faults, self._size, self._count = [], {}, 0, 0
            self._since = now = monotonic()
            self._due = now + SOON
            if self._pipes.left:  # it was cancelled, and went on all the same
                raise Cancelled
            self._dialogue.renew(now)
        finally:
            self._pipes.rearm(was)

    def _body(self, seconds: float) -> "Any":
        """Of the next frame; nothing if there are no results."""
        column = None if self._count else column_of(self._run)
        if column is not None:
            body = encode_value([seconds, column, {}], "results")
            if len(body) <= self._limit:
                del self._run[:]
                return body
        self._encode_run()
        if not self._count:
            return b""
        return b"[%r,[%s],%s]" % (seconds, b",".join(self._parts), encode_json(self._faults, "faults"))


def column_of(values: "List[Any]") -> "Any":
    """Many numbers of one kind as one buffer, which costs a tenth of their texts; None for other values, or few."""
    if len(values) < MANY:
        return None
    kinds = set(map(type, values))
    code = "q" if kinds == {int} else "d" if kinds == {float} else ""
    if not code:
        return None
    from array import array

    try:
        return array(code, values)
    except OverflowError:  # an integer of more than 64 bits
        return None
