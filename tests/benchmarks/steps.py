"""What each step of one call costs its caller, in the order in which a call makes them.

`python -m tests.benchmarks.steps`: each step alone, over and over, on one core; the least of some rounds, in
microseconds, less what an empty step costs. A step of a real call costs more, since the worker has used the same caches
in between: the last rows say how much that is. Apart from `bench`, which measures calls as users make them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, Final

import bridge
from bridge.core.messages import decode_reply
from bridge.core.protocol import State
from bridge.door import DEFAULT, enter
from bridge.runtime import calls
from bridge.runtime.claims import Claim
from bridge.runtime.follow import follow_call
from bridge.wire import CODEC_JSON, HEADER, RESULT, encode_json

PAYLOAD: Final = {"text": "hi, this is a small request", "n": 17, "flag": True}
ECHO: Final = """\
class Echo:
    def echo(self, value):
        return value
"""
ROUNDS, CALLS = 9, 3000


def least(step: Callable[[], object]) -> float:
    """Microseconds of one."""
    found = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(CALLS):
            step()
        found.append((time.perf_counter() - began) / CALLS * 1e6)
    return min(found)


def steps(b: bridge.Bridge) -> dict[str, Callable[[], object]]:
    """By what they do."""
    args: Any = {"value": PAYLOAD}
    b.call("echo", args)
    source, functions = b._source, b._functions
    runtime, _ = enter(source, DEFAULT)
    pool, clock = runtime.pool, runtime.clock
    body = calls.encoded(runtime, "echo", args)
    reply = encode_json(PAYLOAD, "reply")
    claim = Claim()
    link: Any = pool.checkout(claim, clock() + 60).link
    pool.checkin(claim)
    connection, (read_fd, write_fd) = link.connection, os.pipe()

    def lend_and_give_back() -> None:
        mine = Claim()
        worker = pool.lend(mine)
        assert worker is not None
        mine.sent_at = 1.0
        pool.take_back(mine, worker)

    def send() -> None:
        connection.ask(body, 5.0)
        connection.state = State.IDLE

    def send_and_receive() -> None:
        connection.ask(body, 5.0)
        connection.result(HEADER.pack(RESULT, CODEC_JSON, 0, len(reply), connection.call_id) + reply)

    def write_and_read() -> None:
        os.write(write_fd, reply)
        os.read(read_fd, 65536)

    return {
        "an empty step": lambda: None,
        "client: the caller's scope, the state of its runtime (`enter`)": lambda: enter(source, DEFAULT),
        "client: does it want more than its result (`follow_call`)": lambda: follow_call(runtime, functions, None),
        "calls: encode the arguments (`encoded`)": lambda: calls.encoded(runtime, "echo", args),
        "pool: a claim, lent the warmest worker, counted and given back": lend_and_give_back,
        "protocol: the frame of the request (`Connection.ask`)": send,
        "the same, and the frame of the reply (`Connection.result`)": send_and_receive,
        "channel: one write and one read of so many bytes": write_and_read,
        "messages: the value (`decode_reply`)": lambda: decode_reply(RESULT, reply, "echo", None),
        "clock: once, of five": clock,
        "all of it, and the worker: calls.plain": lambda: calls.plain(runtime, "echo", args, 60.0),
        "all of it, and the worker: Bridge.call": lambda: b.call("echo", args),
    }


def main(folder: str) -> None:
    """Print them."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    handler = os.path.join(folder, "echo.py")
    with open(handler, "w") as file:
        file.write(ECHO)
    with bridge.connect(f"{handler}:Echo", size=1) as b:
        found = {name: least(step) for name, step in steps(b).items()}
    nothing = found.pop("an empty step")
    for name, microseconds in found.items():
        print(f"| {name} | {microseconds - nothing:.1f} |")


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as there:
        main(there)
