"""How tests ask a WSGI or an ASGI application: the latter without a loop, so that one that waits is caught."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.validate import validator

from bridge.metrics.endpoints import AsgiApp, WsgiApp

HTTP: Final[Mapping[str, Any]] = {"type": "http", "method": "GET", "path": "/", "root_path": ""}

Heard = tuple[int, dict[str, str], str]
"""Status, headers with names in small letters, body."""


class Silent(WSGIRequestHandler):
    """Logs nothing."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Not on stderr."""


@contextmanager
def served(app: WsgiApp) -> Iterator[HTTPConnection]:
    """The application behind wsgiref on loopback, held to the letter of WSGI."""
    with make_server("127.0.0.1", 0, validator(app), handler_class=Silent) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), name="wsgiref")
        thread.start()
        connection = HTTPConnection("127.0.0.1", server.server_port, timeout=30)
        try:
            yield connection
        finally:
            connection.close()
            server.shutdown()
            thread.join()


def ask_wsgi(connection: HTTPConnection, path: str, method: str = "GET") -> Heard:
    """One request."""
    connection.request(method, path)
    reply = connection.getresponse()
    return reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read().decode()


def drive(app: AsgiApp, scope: Mapping[str, Any], *messages: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What an ASGI application sends; it is stepped once, so one that waited for anything would not come through."""
    ahead, sent = [*messages], list[dict[str, Any]]()

    async def receive() -> Mapping[str, Any]:
        return ahead.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    running = app(scope, receive, send).__await__()
    for _ in running:
        raise AssertionError("it waits")
    return sent


def ask_asgi(app: AsgiApp, path: str, method: str = "GET", **scope: Any) -> Heard:
    """One request."""
    start, body = drive(app, {**HTTP, "method": method, "path": path, **scope})
    assert (start["type"], body["type"]) == ("http.response.start", "http.response.body")
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    return start["status"], headers, body["body"].decode()
