"""How many steps of the interpreter a call takes, at both ends: `python -m tests.benchmarks.opcodes`.

The same on every machine and under any load (nearly, where several call: some wake-ups serve two); what a step costs is
another matter (docs/design/benchmarks.md).
"""

from __future__ import annotations

import asyncio
import os
import select
import sys
import threading
from collections.abc import Callable
from itertools import repeat
from types import CodeType, FrameType
from typing import Any

import bridge
from bridge import MockAdapter
from bridge.bench.echo import Echo
from bridge.bench.subjects import HANDLER, PAYLOAD, opened
from bridge.channel import FdLink
from bridge.core.messages import encode_call
from bridge.handler import commands_of
from bridge.wire import CALL, CODEC_JSON, HOOK, STOP, TIMED, TIMED_HEADER, pack
from bridge.worker import Pipes, serve

LIMIT = 2**20


def counted(act: Callable[[], object]) -> dict[str, int]:
    """Steps by function."""
    found: dict[CodeType, int] = {}
    sys.settrace(_into(found))
    try:
        act()
    finally:
        sys.settrace(None)
    return _named(found)


def _into(found: dict[CodeType, int]) -> Callable[..., Any]:
    """What counts there."""

    def enter(frame: FrameType, _event: str, _value: Any) -> Callable[..., Any]:
        code = frame.f_code
        found.setdefault(code, 0)
        frame.f_trace_opcodes = True

        def step(_frame: FrameType, event: str, _value: Any) -> Callable[..., Any]:
            found[code] += event == "opcode"
            return step

        return step

    return enter


def _named(found: dict[CodeType, int]) -> dict[str, int]:
    return {getattr(code, "co_qualname", code.co_name): steps for code, steps in found.items()}


def caller(b: bridge.Bridge) -> dict[str, int]:
    """Of one call."""
    args: Any = {"value": dict(PAYLOAD)}
    b.call("echo", args)
    link: Any = b._source.runtime().pool.idle_workers()[0][0].link

    def write_and_wait(fd: int, data: Any) -> int:
        """As it is on one core: the reply is there when the write returns."""
        count = os.write(fd, data)
        select.select([link._read_fd], [], [], 10)
        return count

    if isinstance(link, FdLink):
        link._write = write_and_wait
    found = counted(lambda: b.call("echo", args))
    return {name: steps for name, steps in found.items() if not name.startswith("caller.")}


def worker() -> dict[str, int]:
    """Of one more call: a hundred and one of them, less a hundred."""
    fewer = _serving(100)
    found = {name: steps - fewer[name] for name, steps in _serving(101).items()}
    return {name: steps for name, steps in found.items() if steps and not name.startswith("_serving")}


def _serving(calls: int) -> dict[str, int]:
    body = encode_call("echo", {"value": dict(PAYLOAD)}, LIMIT)
    frame = TIMED_HEADER.pack(CALL, CODEC_JSON, TIMED, len(body) + 8, 1, 30.0) + body
    frames = iter([*[frame] * calls, pack(STOP, 0)])
    request, there = os.pipe()
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        pipes = Pipes(request, null, put=lambda _, data: os.write(there, next(frames)) and len(data))
        pipes.limit = LIMIT
        os.write(there, next(frames))
        return counted(lambda: serve(pipes, {CALL: commands_of(Echo()), HOOK: {}}, LIMIT))
    finally:
        for fd in (request, there, null):
            os.close(fd)


async def task(b: bridge.Bridge) -> dict[str, int]:
    """Of one call, where a hundred tasks make ten each; with what the loop does for it."""
    args: Any = {"value": dict(PAYLOAD)}
    runtime = b._source.runtime()
    runtime.clock = repeat(runtime.clock()).__next__  # stands still: no call seems to wait for as long as this makes it

    async def calls() -> None:
        for _ in range(10):
            await b.aio.call("echo", args)

    await asyncio.gather(*(calls() for _ in range(100)))
    found: dict[CodeType, int] = {}
    sys.settrace(_into(found))
    try:
        await asyncio.gather(*(calls() for _ in range(100)))
    finally:
        sys.settrace(None)
    return {name: round(steps / 1000) for name, steps in _named(found).items() if steps >= 1000}


def thread(b: bridge.Bridge) -> dict[str, int]:
    """Of one call, where eight threads make many: the median of 101. The others aren't counted, so they are quick."""
    args: Any = {"value": dict(PAYLOAD)}
    found: list[dict[str, int]] = []
    done = threading.Event()

    def calls() -> None:
        while not done.is_set():
            b.call("echo", args)

    def count() -> None:
        try:
            found.extend(counted(lambda: b.call("echo", args)) for _ in range(101))
        finally:
            done.set()

    threads = [threading.Thread(target=calls) for _ in range(7)] + [threading.Thread(target=count)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    median = sorted(found, key=lambda call: sum(call.values()))[50]
    return {name: steps for name, steps in median.items() if not name.startswith("thread.")}


def main() -> None:
    """Print them."""
    with opened(2) as b:
        tasks = asyncio.run(task(b))
        one_thread = thread(b)
    with opened(1) as b, bridge.connect(HANDLER, adapter=MockAdapter({"echo": "answer"}), size=1) as mock:
        ends = {"a caller": caller(b), "a worker": worker(), "a caller of the mock": caller(mock)}
    ends["a task among a hundred"] = tasks
    ends["a thread among eight"] = one_thread
    for name, found in ends.items():
        print(f"{name}: {sum(found.values())} steps in {len(found)} functions")
        for function, steps in found.items():
            print(f"  {steps:4} {function}")


if __name__ == "__main__":
    main()
