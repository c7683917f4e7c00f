"""The tables and the picture of docs/design/scale.md, from what the simulation found.

Rules: a table stands between two comments that name it, and nothing else on the page is touched; a test compares them.
Apart from scale.py, which finds the figures: minutes, where this takes none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape

from bridge.bench.picture import STYLE

DESIGN: Final = Path(__file__).parents[2] / "docs" / "design"
DATA: Final = DESIGN / "plots" / "scale.json"
PAGE: Final = DESIGN / "scale.md"
PICTURE: Final = DESIGN / "plots" / "scale.svg"

Row = dict[str, Any]
HEADS: Final = {
    "load": "workers (hosts) | load | calls/s | p50 | p99 | slowest | waited, p99 | calls of one caller | parent busy",
    "lost": "workers (hosts) | calls/s | away | sent again | lowest second | longest queue | all there again "
    "| nobody waits | p99",
    "parents": "parents | calls/s | p50 | p99 | each one busy",
}


def seconds(value: float) -> str:
    """With its unit."""
    return f"{value * 1e3:.0f} ms" if value < 0.9995 else f"{value:.1f} s"


def count(value: float) -> str:
    """With commas."""
    return f"{value:,.0f}"


def share(value: float) -> str:
    """In per cent."""
    return f"{value * 100:.0f} %"


def load(row: Row) -> list[str]:
    """One of a park without trouble."""
    full = row["rate"] is None
    return [
        f"{count(row['workers'])} ({row['hosts']})",
        "full" if full else "80 %",
        count(row["throughput"]),
        *(seconds(row[name]) for name in ("p50", "p99", "slowest", "waited99")),
        f"{count(row['fewest'])} to {count(row['most'])}" if full else "",
        share(row["busy"]),
    ]


def lost(row: Row) -> list[str]:
    """One of a park that lost a host."""
    return [
        f"{count(row['workers'])} ({row['hosts']})",
        count(row["rate"]),
        seconds(row["away"]),
        count(row["sent_again"]),
        share(row["lowest"]),
        count(row["queue"]),
        *(seconds(row[name]) for name in ("whole", "level", "p99")),
    ]


def parents(row: Row) -> list[str]:
    """One of several parents."""
    return [
        str(row["parents"]),
        count(row["throughput"]),
        seconds(row["p50"]),
        seconds(row["p99"]),
        share(row["busy"]),
    ]


ROWS: Final[dict[str, Callable[[Row], list[str]]]] = {"load": load, "lost": lost, "parents": parents}


def table(name: str, found: dict[str, Any]) -> str:
    """One of them, in Markdown."""
    head = HEADS[name]
    lines = [head, " | ".join(["---"] * (head.count("|") + 1))]
    lines += [" | ".join(ROWS[name](row)) for row in found[name]]
    return "\n".join(f"| {line} |".replace("|  |", "| |") for line in lines)


def filled(page: str, found: dict[str, Any]) -> str:
    """The page with each of its tables made anew."""
    for name in HEADS:
        begin, end = f"<!-- {name}: written by the command -->\n", f"\n<!-- end of {name} -->"
        assert begin in page
        assert end in page
        page = re.sub(
            re.escape(begin) + ".*?" + re.escape(end),
            lambda _, name=name, begin=begin, end=end: begin + table(name, found) + end,  # type: ignore[misc]
            page,
            flags=re.DOTALL,
        )
    return page


def write_page() -> None:
    """Both files, from the third."""
    found = json.loads(DATA.read_text())
    PAGE.write_text(filled(PAGE.read_text(), found))
    PICTURE.write_text(picture(found))


# -- The picture -------------------------------------------------------------------------------------------

WIDTH, HEIGHT = 860, 330
PANEL_WIDTH, PANEL_HEIGHT, TOP = 340, 210, 62
COLOURS: Final = ("ours", "missed", "budget", "other")
LINES: Final = "\n".join(
    f".line.{name} {{ fill: none; stroke: {light}; stroke-width: 2; }}"
    for name, light in zip(COLOURS, ("#0969da", "#cf222e", "#bf8700", "#8c959f"), strict=True)
)


class Panel:
    """A diagram with its axes: values to places."""

    def __init__(self, left: int, title: str, xs: tuple[float, float], ys: tuple[float, float]) -> None:
        self._left, self._xs, self._ys = left, xs, ys
        bottom, right = TOP + PANEL_HEIGHT, left + PANEL_WIDTH
        self.parts = [
            text(left, TOP - 12, title),
            f'<path d="M {left} {TOP} V {bottom} H {right}" class="line other"/>',
        ]

    def _place(self, x: float, y: float) -> tuple[float, float]:
        (x0, x1), (y0, y1) = self._xs, self._ys
        return (
            self._left + (x - x0) / (x1 - x0) * PANEL_WIDTH,
            TOP + PANEL_HEIGHT - (y - y0) / (y1 - y0) * PANEL_HEIGHT,
        )

    def mark(self, xs: Sequence[tuple[float, str]], ys: Sequence[tuple[float, str]]) -> None:
        """Name some values at the axes."""
        for x, name in xs:
            at, _ = self._place(x, 0)
            self.parts.append(text(at, TOP + PANEL_HEIGHT + 16, name, "small", "middle"))
        for y, name in ys:
            _, at = self._place(0, y)
            self.parts.append(text(self._left - 6, at + 4, name, "small", "end"))

    def line(self, points: Sequence[tuple[float, float]], kind: str, *, dashed: bool = False) -> None:
        """Through all of these."""
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in (self._place(*point) for point in points))
        dash = ' stroke-dasharray="4 4"' if dashed else ""
        self.parts.append(f'<polyline points="{places}" class="line {kind}"{dash}/>')

    def legend(self, names: Sequence[tuple[str, str]], right: int, up: int) -> None:
        """What the lines are, in a corner."""
        for place, (kind, name) in enumerate(names):
            x, y = self._left + right, TOP + PANEL_HEIGHT - up + 16 * place
            self.parts.append(f'<path d="M {x} {y} h 18" class="line {kind}"/>')
            self.parts.append(text(x + 24, y + 4, name, "small"))


def text(x: float, y: float, what: str, kind: str | None = None, anchor: str | None = None) -> str:
    """A line of it."""
    name = f' class="{kind}"' if kind else ""
    side = f' text-anchor="{anchor}"' if anchor else ""
    return f'<text x="{x:.0f}" y="{y:.0f}"{name}{side}>{escape(what)}</text>'


def picture(found: dict[str, Any]) -> str:
    """An SVG: what more workers bring, and the loss of a host."""
    title = "Many workers, in the simulation"
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img"><title>{title}</title><style>{STYLE}{LINES}</style>'
    )
    foot = text(12, HEIGHT - 12, f"Calls of 20 ms; a call costs its parent {found['parent_us']:g} µs.", "small")
    return "\n".join([head, text(12, 20, title, "title"), *_growth(found), *_loss(found), foot, "</svg>"]) + "\n"


def _growth(found: dict[str, Any]) -> list[str]:
    panel = Panel(60, "Calls a second, by workers", (0, 1000), (0, 50_000))
    panel.mark(
        [(each, count(each)) for each in range(0, 1001, 200)],
        [(each, count(each)) for each in range(0, 50_001, 10_000)],
    )
    names = []
    for kind, parents in zip(COLOURS, (1, 2, 4), strict=False):
        rows = [row for row in found["steps"] if row["parents"] == parents]
        panel.line([(0, 0), *((row["workers"], row["throughput"]) for row in rows)], kind)
        names.append((kind, "1 parent" if parents == 1 else f"{parents} parents"))
    panel.legend(names, 230, 58)
    return panel.parts


def _loss(found: dict[str, Any]) -> list[str]:
    rows = [row for row in found["lost"] if row["away"] < 20]
    last = len(rows[0]["around"]) - 6
    panel = Panel(490, "Answers a second, of what there were before the loss", (-5, last), (0, 1.6))
    panel.mark(
        [(0, "host lost"), (rows[0]["away"], "back"), (last, f"{last} s")], [(0, "0"), (0.5, "50 %"), (1, "100 %")]
    )
    for kind, row in zip(COLOURS, rows, strict=False):
        panel.line([(place - 5, value) for place, value in enumerate(row["around"])], kind)
    panel.legend([(kind, _park(row)) for kind, row in zip(COLOURS, rows, strict=False)], 160, 58)
    return panel.parts


def _park(row: Row) -> str:
    return f"{count(row['workers'])} workers, 1 of {row['hosts']} hosts"
