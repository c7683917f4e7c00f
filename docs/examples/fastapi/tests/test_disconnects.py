"""A client hangs up: behind a real server, what a real worker computes for it is stopped."""

from __future__ import annotations

import http.client
import json
import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI

from bridge import Bridge

pytestmark = pytest.mark.bridge_adapter("python_port", size=1)

FOR_EVER = 10**12


@contextmanager
def served(app: FastAPI) -> Iterator[int]:
    """The application behind uvicorn, on a port of this machine's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, loop="asyncio", log_level="error"))
        thread = threading.Thread(target=server.run, args=([listener],), name="uvicorn")
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def request(port: int, path: str, order: dict[str, int]) -> Iterator[http.client.HTTPConnection]:
    """A client that has asked; it hangs up at the end."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        client.request("POST", path, json.dumps(order), {"Content-Type": "application/json"})
        yield client
    finally:
        client.close()


def answer(port: int, path: str, order: dict[str, int]) -> Any:
    """That of a client that stays."""
    with request(port, path, order) as client:
        return json.loads(client.getresponse().read())


class Lines(logging.Handler):
    """What workers print, as it comes."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: SimpleQueue[str] = SimpleQueue()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line for whoever waits for it."""
        self._lines.put(record.getMessage())

    def next(self) -> str:
        """The next line; `queue.Empty` if none comes."""
        return self._lines.get(timeout=30)


@pytest.fixture
def lines() -> Iterator[Lines]:
    """The output of all workers."""
    log, lines = logging.getLogger("bridge.worker"), Lines()
    level = log.level
    log.addHandler(lines)
    log.setLevel(logging.INFO)
    yield lines
    log.removeHandler(lines)
    log.setLevel(level)


def test_a_client_that_hangs_up_stops_its_call(app: FastAPI, bridge_client: Bridge, lines: Lines) -> None:
    """The worker ends that call, and serves the next client: it wasn't killed. Without `while_connected` it would
    compute on until the call's timeout."""
    with served(app) as port:
        with request(port, "/estimates", {"points": FOR_EVER}):
            assert lines.next() == "begins: estimate"
        assert lines.next() == "ends: estimate"

        assert answer(port, "/estimates", {"points": 100})["points"] == 100
        (worker,) = bridge_client.stats().workers
        assert (worker.pid not in (None, os.getpid()), bridge_client.stats().restarts) == (True, 0)


def test_a_client_that_hangs_up_stops_its_stream(app: FastAPI, bridge_client: Bridge, lines: Lines) -> None:
    """After its first line. The generator in the worker is closed, and serves the next client."""
    with served(app) as port:
        with request(port, "/estimates/stream", {"points": 1000, "rounds": FOR_EVER}) as client:
            assert json.loads(client.getresponse().readline())["points"] == 1000
            assert lines.next() == "begins: refine"
        assert lines.next() == "ends: refine"

        assert answer(port, "/estimates", {"points": 100})["points"] == 100
        assert bridge_client.stats().restarts == 0
