"""A conversation with one thread of bridge_mock, by hand: for tests of what happens to answers that nobody reads."""

from __future__ import annotations

import os
import select
from math import inf
from pathlib import Path
from typing import Any

from bridge.adapters.bridge_mock import BridgeMockAdapter
from bridge.contract import WorkerSpec
from bridge.core.messages import encode_call, encode_start
from bridge.core.protocol import Connection, State
from bridge.wire import CALL, START

LIMIT = 2**26


class Conversation:
    """One worker that is ready, its thread, and both ends of its pipes."""

    def __init__(self, handler: Any) -> None:
        self.adapter = BridgeMockAdapter(handler)
        self.channel = self.adapter.open(WorkerSpec("", name="test"), deadline=inf)
        ((self.thread, self.ends),) = self.adapter._threads.items()
        self._connection = Connection(LIMIT)
        start = encode_start(handler="", options={}, path=(), replace_path=True, max_frame_bytes=LIMIT)
        read_fd, self._write_fd = self.channel.fileno()
        os.write(self._write_fd, self._connection.send(START, start))
        poll = select.poll()
        poll.register(read_fd, select.POLLIN)
        while self._connection.state is not State.IDLE:
            poll.poll()
            self._connection.receive(os.read(read_fd, 2**16))
            self._connection.receive(b"")

    def call(self, command: str, args: Any = None) -> None:
        """Send a call, and read no answer."""
        os.write(self._write_fd, self._connection.send(CALL, encode_call(command, args, LIMIT)))

    def await_blocked_answer(self) -> None:
        """Until the thread waits for room in its pipe. Where the kernel doesn't say so, nearly always."""
        where = Path(f"/proc/self/task/{self.thread.native_id}/wchan")
        for _ in range(10_000):
            if "pipe_write" in where.read_text():
                break
            os.sched_yield()

    def end(self) -> None:
        """Kill it, and await its thread."""
        self.channel.kill()
        self.channel.close()
        self.adapter.close()
