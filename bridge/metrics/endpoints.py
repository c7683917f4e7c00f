"""What a scraper, a load balancer and a person ask, answered as a WSGI or an ASGI application.

Rules: an answer only looks: it neither starts a bridge nor waits for a worker, so it may be given in an event loop.
What is said and how it is sent are apart: `Desk` knows no protocol. Apart from exposition.py, which knows no HTTP.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final, Protocol

from bridge.core.stats import Health, Stats
from bridge.errors import BridgeError, ConfigurationError
from bridge.metrics.exposition import CONTENT_TYPE, prometheus
from bridge.metrics.history import History
from bridge.metrics.page import POLICY, Shown, page

TEXT: Final = "text/plain; charset=utf-8"
HTML: Final = "text/html; charset=utf-8"
STUCK: Final = 30.0
"""Seconds in one step after which a supervisor isn't well; its longest ones, starts, take milliseconds."""

StartResponse = Callable[[str, list[tuple[str, str]]], object]
WsgiApp = Callable[[Mapping[str, Any], StartResponse], Iterable[bytes]]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
AsgiApp = Callable[[Mapping[str, Any], Receive, Send], Awaitable[None]]


class Watched(Protocol):
    """A Bridge or an AsyncBridge, for those who look."""

    def stats(self) -> Stats:
        """What it has done and is doing."""

    def health(self) -> Health:
        """Whether calls can be served."""


@dataclass(frozen=True)
class Answer:
    """What is sent back."""

    status: HTTPStatus
    text: str
    kind: str = TEXT
    headers: tuple[tuple[str, str], ...] = ()

    def sent(self, method: str) -> tuple[list[tuple[str, str]], bytes]:
        """Headers and body; to HEAD the headers of GET alone."""
        body = self.text.encode(errors="replace")
        headers = [("Content-Type", self.kind), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
        return [*headers, *self.headers], b"" if method == "HEAD" else body


class Desk:
    """Answers for some bridges.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, bridges: tuple[Watched, ...], clock: Callable[[], float] = time.monotonic) -> None:
        for each in bridges:
            if not callable(getattr(each, "stats", None)):
                raise ConfigurationError(f"{each!r:.99} is no bridge: name those that are to be shown")
        self._bridges, self._history = bridges, History(clock)
        self._answers: Mapping[str, Callable[[], Answer]] = MappingProxyType(
            {"/": self._page, "/metrics": self._metrics, "/healthz": self._healthy, "/readyz": self._ready}
        )

    def answer(self, method: str, path: str) -> Answer:
        """To a request; `path` begins where the application is mounted."""
        answer = self._answers.get(path or "/")
        if answer is None:
            return Answer(HTTPStatus.NOT_FOUND, f"There is {', '.join(self._answers)}.\n")
        if method not in ("GET", "HEAD"):
            allowed = ("Allow", "GET, HEAD")
            return Answer(HTTPStatus.METHOD_NOT_ALLOWED, f"{method} isn't for this.\n", headers=(allowed,))
        try:
            return answer()
        except BridgeError as error:  # two bridges of one name; a thread that no scope answers for
            return Answer(HTTPStatus.INTERNAL_SERVER_ERROR, f"{type(error).__name__}: {error}\n")

    def _page(self) -> Answer:
        every = []
        for bridge in self._bridges:
            stats, health = bridge.stats(), bridge.health()
            every.append(Shown(stats, health, _why_not_ready(health), self._history.look(stats)))
        headers = ("Content-Security-Policy", POLICY), ("X-Content-Type-Options", "nosniff")
        return Answer(HTTPStatus.OK, page(every), HTML, headers)

    def _metrics(self) -> Answer:
        first, *others = [bridge.stats() for bridge in self._bridges]
        for stats in (first, *others):
            self._history.look(stats)  # so that the page has a past when somebody opens it
        return Answer(HTTPStatus.OK, prometheus(first, *others), CONTENT_TYPE)

    def _healthy(self) -> Answer:
        return self._verdict(_why_unwell)

    def _ready(self) -> Answer:
        return self._verdict(_why_not_ready)

    def _verdict(self, why: Callable[[Health], str | None]) -> Answer:
        faults = [(bridge.stats().name, why(bridge.health())) for bridge in self._bridges]
        said = [f"{name}: {fault}\n" for name, fault in faults if fault is not None]
        return Answer(HTTPStatus.SERVICE_UNAVAILABLE if said else HTTPStatus.OK, "".join(said) or "ok\n")


def _why_unwell(health: Health) -> str | None:
    """What another process would do better. An open breaker isn't: its cause would still be there."""
    if health.stuck_for <= STUCK:
        return None
    return f"its supervisor has been in one step for {health.stuck_for:.0f} s: something that it calls blocks"


def _why_not_ready(health: Health) -> str | None:
    if health.ok:
        return None
    if health.state in ("closing", "closed"):
        return f"it is {health.state}"
    wait = "no worker is ready yet" if health.breaker == "closed" else f"the breaker is {health.breaker}"
    return wait if health.last_error is None else f"{wait}; the last start failed: {health.last_error}"


def wsgi(bridge: Watched, /, *more: Watched) -> WsgiApp:
    """A WSGI application that says how bridges are: `/` for people, `/metrics`, `/healthz`, `/readyz`.

    Mount it where those that ask can reach it, and nobody else can.

    Args:
        more: Others; `/readyz` and `/healthz` answer 200 when that is true of each.
    """
    desk = Desk((bridge, *more))

    def app(environ: Mapping[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        answer = desk.answer(method, environ.get("PATH_INFO", ""))
        headers, body = answer.sent(method)
        start_response(f"{answer.status.value} {answer.status.phrase}", headers)
        return [body]

    return app


def asgi(bridge: Watched, /, *more: Watched) -> AsgiApp:
    """The same as an ASGI application. As wsgi."""
    desk = Desk((bridge, *more))

    async def app(scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        elif scope["type"] == "http":
            # Servers and frameworks differ in whether `path` has the `root_path` of a mount.
            answer = desk.answer(scope["method"], scope["path"].removeprefix(scope.get("root_path", "").rstrip("/")))
            headers, body = answer.sent(scope["method"])
            encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
            await send({"type": "http.response.start", "status": answer.status.value, "headers": encoded})
            await send({"type": "http.response.body", "body": body})

    return app


async def _live(receive: Receive, send: Send) -> None:
    """Of a server that runs it alone: there is nothing to start, and nothing to end."""
    while (message := await receive())["type"] != "lifespan.shutdown":
        await send({"type": f"{message['type']}.complete"})
    await send({"type": "lifespan.shutdown.complete"})
