"""The status page as text: well formed, nothing from outside, everything from outside escaped."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from dataclasses import replace
from html.parser import HTMLParser
from typing import Final

import pytest

from bridge.core.stats import Health, Histogram, HostStats, WorkerStats
from bridge.metrics.endpoints import Desk
from bridge.metrics.history import APART, KEPT, History, Span
from bridge.metrics.page import POLICY, ROWS, Shown, page
from bridge.metrics.pictures import bars, duration, figure, line
from bridge.testing import FakeClock
from tests.metrics.test_endpoints import WELL
from tests.metrics.test_endpoints import Shown as Seen
from tests.metrics.test_prometheus import PLAIN

EVIL: Final = """</title></style><script>alert("it's me")</script><img src=x onerror='alert(1)'>&amp;"""
EMPTY: Final = {"meta", "path", "rect"}


class Outline(HTMLParser):
    """The elements of a document, each with its attributes; raises where they aren't closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.said = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """One begins."""
        self.elements.append((tag, dict(attributes)))
        if tag != "meta":
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """One that has no content."""
        assert tag in EMPTY
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        """One ends: the last that began."""
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        """What a reader sees."""
        if self._open and self._open[-1] not in ("style", "script"):
            self.said += data


def shown(**changes: object) -> Shown:
    """A bridge with some workers, and what of it is to be otherwise."""
    return Shown(replace(PLAIN, breaker="closed", **changes), WELL, None, ())  # type: ignore[arg-type]


def test_everything_from_outside_is_text() -> None:
    """Names of bridges, adapters, hosts, interpreters, errors: a reader sees them as they are, and none is an element.
    Fails when one of them isn't escaped."""
    worker = WorkerStats(1, 2, EVIL, EVIL, EVIL, 3, 4.0, 5.0, EVIL)
    stats = replace(PLAIN, name=EVIL, adapter=EVIL, test_mode=EVIL, workers=(worker,), breaker=EVIL)
    stats = replace(stats, hosts=(HostStats(EVIL, 1, 1, 0, EVIL, EVIL),))
    health = Health(ok=True, state="open", ready=1, size=1, breaker=EVIL, last_error=EVIL)

    plain = Outline(page([shown(workers=(WorkerStats(1, 2, "3", "4", "ready", 3, 4.0, 5.0, "h"),))]))
    outline = Outline(page([Shown(stats, health, None, ()), Shown(stats, health, EVIL, ())]))

    assert {tag for tag, _ in outline.elements} == {tag for tag, _ in plain.elements}
    assert {name for _, found in outline.elements for name in found} == {
        name for _, found in plain.elements for name in found
    }
    assert outline.said.count(EVIL) >= 20


def test_it_needs_nothing_else_and_nothing_else_may_run() -> None:
    """No address, no inline handler or style; the policy has the hashes of its script and of its style, and forbids the
    rest. Fails when either text is changed on its way, or something is loaded."""
    text = page([shown()])
    (style,), (script,) = (
        re.findall("<style>(.*?)</style>", text, re.DOTALL),
        re.findall("<script>(.*?)</script>", text, re.DOTALL),
    )
    names = {name for _, found in Outline(text).elements for name in found}

    assert not names & {"src", "href", "style", "srcset"}
    assert not [name for name in names if name.startswith("on")]
    assert "url(" not in style
    assert "@import" not in style
    for kind, content in (("script", script), ("style", style)):
        assert f"{kind}-src 'sha256-{b64encode(hashlib.sha256(content.encode()).digest()).decode()}';" in POLICY
    assert POLICY.startswith("default-src 'none'; ")
    assert ("Content-Security-Policy", POLICY) in Desk((Seen(WELL),)).answer("GET", "/").headers


def test_it_says_what_matters() -> None:
    """State, workers, queue, counts, TEST_MODE, the reason why nothing is served. Fails when one is left out."""
    said = Outline(page([replace(shown(test_mode="mock_adapter"), fault="it is closed")])).said

    for words in (
        *("shop", "it is closed", "TEST_MODE=mock_adapter", "on python_port, open", "7waiting", "3 answered"),
        *("workers: 1 ready, 2 busy, 1 starting, 1 spare; 5 wanted", "2 crashes", "23 refused", "13 sent again"),
    ):
        assert words in said


def test_workers_are_squares_and_rows() -> None:
    """One each, by its state, with its pid; empty ones for those that aren't there; a table that has an end."""
    many = tuple(WorkerStats(n, 1000 + n, None, None, "ready", 0, 1.0) for n in range(ROWS + 3))
    few, crowd = Outline(page([shown(size=7)])), Outline(page([shown(workers=many)]))
    squares = [found["class"] for tag, found in few.elements if tag == "rect" and "class" in found]

    assert squares == ["ready", "busy", "busy", "starting", "spare", "missing", "missing"]
    assert "worker 1, pid 101: busy, 0 calls, 9 s old" in few.said
    assert sum(tag == "tr" for tag, _ in crowd.elements) == 1 + ROWS
    assert "and 3 more" in crowd.said


def test_it_renews_itself_without_a_script_too() -> None:
    """Fails when the element for that goes."""
    assert '<noscript><meta http-equiv="refresh" content="5"></noscript>' in page([shown()])


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, "-"),
        (0.0, "0 µs"),
        (0.0000123, "12.3 µs"),
        (0.0123, "12.3 ms"),
        (0.9996, "1 s"),
        (80.0, "80 s"),
        (600.0, "10 min"),
        (36000.0, "10 h"),
        (864000.0, "10 days"),
    ],
)
def test_a_duration_has_the_unit_that_suits_it(seconds: float | None, said: str) -> None:
    """From microseconds to days."""
    assert duration(seconds) == said


@pytest.mark.parametrize(("number", "said"), [(0, "0"), (0.0123, "0.0123"), (99.96, "100"), (12345.6, "12,346")])
def test_a_figure_has_three_digits(number: float, said: str) -> None:
    """Or all that stand before the point, and never an exponent there."""
    assert figure(number) == said


def test_a_line_has_holes_where_there_is_nothing() -> None:
    """Two runs, the second a single dot; the greatest value at the top. Fails when a hole is drawn over."""
    drawn = line([1.0, 2.0, None, 1.0], "x")

    assert re.findall('class="along" d="([^"]*)"', drawn) == ["M0.0 23.0L80.0 4.0", "M240.0 23.0L240.0 23.0"]
    assert 'class="along"' not in line([], "x")


def test_bars_are_the_durations_that_there_were() -> None:
    """Of each power of two, named by its bounds; the last is all that is longer. Fails when a bar is cumulative."""
    histogram = Histogram()
    for seconds, times in ((0.003, 2), (0.001, 1), (1000.0, 4)):
        histogram.add(seconds, times)

    titles = re.findall("<title>([^<]*)</title>", bars(histogram.latencies, "x"))

    assert [title for title in titles if not title.endswith(": 0")] == [
        "977 µs to 1.95 ms: 1",
        "1.95 ms to 3.91 ms: 2",
        "4.27 min and more: 4",
    ]
    assert titles[0] == "488 µs to 977 µs: 0"


def seen(calls: int, seconds: float = 0.0, waiting: int = 0, name: str = "shop") -> object:
    """What a bridge said."""
    histogram = Histogram()
    if calls:
        histogram.add(seconds / calls, calls)
    return replace(PLAIN, name=name, latencies=histogram.latencies, waiting=waiting)


def test_two_looks_say_how_much_lately() -> None:
    """Calls in a second, and their mean; a span without calls has none. Each bridge has looks of its own."""
    clock = FakeClock()
    history = History(clock)
    for stats in (seen(2, 9.0), seen(6, 10.0, 3), seen(6, 10.0)):
        spans = history.look(stats)  # type: ignore[arg-type]
        clock.advance(2)

    assert spans == [Span(2.0, 2.0, 0.25, 3), Span(2.0, 0.0, None, 0)]
    assert history.look(seen(99, name="other")) == []  # type: ignore[arg-type]


def test_looks_in_a_row_are_one() -> None:
    """Two tabs and a scraper don't push the past out. Fails when each look is kept."""
    clock = FakeClock()
    history = History(clock)
    for calls in range(5):
        spans = history.look(seen(calls))  # type: ignore[arg-type]
        clock.advance(APART * 0.4)

    assert [span.lasted for span in spans] == pytest.approx([0.8 * APART, 0.8 * APART])


def test_only_so_many_looks_are_kept() -> None:
    """A page that is open for a month costs what one costs that is open for an hour."""
    clock = FakeClock()
    history = History(clock)
    for calls in range(KEPT + 10):
        spans = history.look(seen(calls))  # type: ignore[arg-type]
        clock.advance(APART)

    assert len(spans) == KEPT - 1


def test_a_bridge_that_was_opened_anew_has_no_past() -> None:
    """Its counters began again; fails when that shows as less than no calls."""
    clock = FakeClock()
    history = History(clock)
    history.look(seen(9))  # type: ignore[arg-type]
    clock.advance(2)

    assert history.look(seen(1)) == []  # type: ignore[arg-type]
    clock.advance(2)
    assert [span.rate for span in history.look(seen(5))] == [2.0]  # type: ignore[arg-type]


def test_a_scraper_gives_the_page_its_past() -> None:
    """Who opens it first sees a line. Fails when only the page looks."""
    clock = FakeClock()
    desk = Desk((Seen(WELL),), clock)
    for _ in range(3):
        desk.answer("GET", "/metrics")
        clock.advance(15)

    assert "in 45 s up to" in desk.answer("GET", "/").text
