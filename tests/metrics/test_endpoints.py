"""The endpoints: over WSGI on loopback, over ASGI by a driver of a few lines, and what they say of a bridge's life."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from math import inf

import pytest

import bridge
from bridge.core.stats import Health, Stats
from bridge.errors import ConfigurationError
from bridge.metrics import asgi, prometheus, wsgi
from bridge.metrics.endpoints import STUCK, Watched
from bridge.testing import ScriptedAdapter
from tests.metrics.asking import Heard, ask_asgi, ask_wsgi, drive, served
from tests.metrics.exposition import read
from tests.metrics.test_prometheus import PLAIN

WELL = Health(ok=True, state="open", ready=1, size=1, breaker="closed", last_error=None)
Ask = Callable[..., Heard]


class Shown:
    """A bridge of which only the looks are there."""

    def __init__(self, health: Health, name: str = "shop") -> None:
        self._health, self._stats = health, replace(PLAIN, name=name)

    def stats(self) -> Stats:
        """As it was made."""
        return self._stats

    def health(self) -> Health:
        """As it was made."""
        return self._health


@contextmanager
def over_wsgi(*bridges: Watched) -> Iterator[Ask]:
    """Ask over a socket."""
    with served(wsgi(*bridges)) as connection:
        yield lambda path, method="GET": ask_wsgi(connection, path, method)


@contextmanager
def over_asgi(*bridges: Watched) -> Iterator[Ask]:
    """Ask in this thread."""
    app = asgi(*bridges)
    yield lambda path, method="GET": ask_asgi(app, path, method)


BOTH = pytest.mark.parametrize("over", [over_wsgi, over_asgi])
Over = Callable[..., AbstractContextManager[Ask]]


@BOTH
def test_metrics_are_the_exposition(over: Over) -> None:
    """Of all bridges, with the content type that a scraper asks for. Fails when a bridge is left out."""
    with over(Shown(WELL), Shown(WELL, "other")) as ask:
        status, headers, body = ask("/metrics")

    assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    sizes = read(body)["bridge_pool_size"].samples
    assert {dict(labels)["bridge"] for _, labels in sizes} == {"shop", "other"}


@BOTH
def test_head_is_get_without_its_body(over: Over) -> None:
    """The same headers, the length too. Fails when HEAD is answered by a body, or by a length of 0."""
    with over(Shown(WELL)) as ask:
        got, head = ask("/healthz"), ask("/healthz", "HEAD")

    assert got[2] == "ok\n"
    assert got[1]["content-length"] == "3"
    assert (head[0], head[2]) == (200, "")
    assert {**head[1], "date": ""} == {**got[1], "date": ""}


@BOTH
def test_what_is_not_there_and_what_is_not_for_it(over: Over) -> None:
    """404 says what there is; 405 says by which methods. Fails when any path or method is answered."""
    with over(Shown(WELL)) as ask:
        missing, posted, neither = ask("/metric"), ask("/metrics", "POST"), ask("/metric", "POST")

    assert missing[0] == neither[0] == 404
    assert "/, /metrics, /healthz, /readyz" in missing[2]
    assert (posted[0], posted[1]["allow"]) == (405, "GET, HEAD")


@BOTH
def test_an_answer_is_not_kept(over: Over) -> None:
    """A cache between would show what was. Fails without the header."""
    with over(Shown(WELL)) as ask:
        assert ask("/readyz")[1]["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("health", "says"),
    [
        (WELL, None),
        (replace(WELL, breaker="open", last_error="handler: no"), None),
        (replace(WELL, ok=False, ready=0), "no worker is ready yet"),
        (replace(WELL, ok=False, ready=0, state="starting"), "no worker is ready yet"),
        (replace(WELL, ok=False, state="closing"), "it is closing"),
        (replace(WELL, ok=False, state="closed"), "it is closed"),
        (
            replace(WELL, ok=False, breaker="open", last_error="handler: ImportError: no"),
            "the breaker is open; the last start failed: handler: ImportError: no",
        ),
    ],
)
def test_readiness_says_why_not(health: Health, says: str | None) -> None:
    """503 with the reason while nothing can be served; with a live worker an open breaker is no reason."""
    status, _, body = ask_asgi(asgi(Shown(WELL, "other"), Shown(health)), "/readyz")

    assert (status, body) == ((200, "ok\n") if says is None else (503, f"shop: {says}\n"))


@pytest.mark.parametrize(
    ("health", "status"),
    [
        (WELL, 200),
        (replace(WELL, stuck_for=STUCK), 200),
        (replace(WELL, stuck_for=STUCK + 1), 503),
        (replace(WELL, stuck_for=inf), 503),
        (replace(WELL, ok=False, state="closed"), 200),
        (replace(WELL, ok=False, breaker="open", last_error="handler: no"), 200),
    ],
)
def test_a_process_is_well_as_long_as_its_supervisor_goes_on(health: Health, status: int) -> None:
    """Nothing that a restart of the process wouldn't cure makes it unwell. Fails when readiness is asked for."""
    heard = ask_asgi(asgi(Shown(health)), "/healthz")

    assert heard[0] == status
    assert (status == 200) is (heard[2] == "ok\n")


def test_looking_starts_nothing_and_follows_a_life() -> None:
    """New is ready, since the first call starts it; then open, then closed. Fails when looking starts it: a probe would
    hold a pool for an application that never calls."""
    adapter = ScriptedAdapter([("a", 1)])
    b = bridge.connect("x", adapter=adapter, size=1, name="shop")
    app = asgi(b)

    for path in ("/", "/metrics", "/healthz", "/readyz"):
        assert ask_asgi(app, path)[0] == 200
    assert (adapter.opened, b.health().state) == (0, "new")
    b.call("a")
    assert ask_asgi(app, "/readyz")[0] == 200
    b.close()
    assert ask_asgi(app, "/readyz")[::2] == (503, "shop: it is closed\n")
    assert ask_asgi(app, "/healthz")[0] == 200


def test_starting_is_not_ready() -> None:
    """Until the first worker's handler is made. Fails when `open` counts as ready."""
    made = threading.Event()

    class Slow:
        def __init__(self) -> None:
            assert made.wait(30)

        def answer(self) -> int:
            return 42

    with bridge.connect("x", adapter=bridge.BridgeMockAdapter(Slow), size=1, prewarm=0, name="shop") as b:
        before = ask_asgi(asgi(b), "/readyz")
        made.set()
        assert b.call("answer") == 42
        after = ask_asgi(asgi(b), "/readyz")

    assert before[::2] == (503, "shop: no worker is ready yet\n")
    assert after[0] == 200


def test_what_is_no_bridge_is_refused_where_it_is_named() -> None:
    """And the bridge itself where its stats are asked for. Fails when the first scrape finds out."""
    for wrong in (5, None, "shop"):
        with pytest.raises(ConfigurationError, match="is no bridge"):
            asgi(wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"what stats\(\) of a bridge says"):
        prometheus(Shown(WELL))  # type: ignore[arg-type]


def test_two_of_one_name_are_an_error_that_says_so() -> None:
    """500 with the remedy, and no traceback in the server's log. Fails when the error isn't caught."""
    status, _, body = ask_asgi(asgi(Shown(WELL), Shown(WELL)), "/metrics")

    assert status == 500
    assert "give each its own" in body


@pytest.mark.parametrize(
    ("path", "root"), [("/bridge/healthz", "/bridge"), ("/healthz", "/bridge"), ("/bridge/healthz", "/bridge/")]
)
def test_a_mount_is_left_out_of_the_path(path: str, root: str) -> None:
    """Whether the framework has taken it away or not. Fails when either is taken for the other."""
    assert ask_asgi(asgi(Shown(WELL)), path, root_path=root)[0] == 200


def test_a_server_may_run_it_alone() -> None:
    """It takes part in the lifespan, and refuses a websocket. Fails when either is answered as a request."""
    app = asgi(Shown(WELL))
    life = drive(app, {"type": "lifespan"}, {"type": "lifespan.startup"}, {"type": "lifespan.shutdown"})

    assert [message["type"] for message in life] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert drive(app, {"type": "websocket", "path": "/"}) == [{"type": "websocket.close"}]
