"""The verdicts as a picture: two bars for each row, ours and the other's, and where the budget is.

Rules: the standard library only; text and bars are readable on a light page and on a dark one; each row has a scale of
its own, since they have units of their own. Apart from tables.py, whose readers are terminals and scripts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from xml.sax.saxutils import escape

from bridge.bench.rows import LABELS, Figure, Limit
from bridge.bench.tables import number
from bridge.bench.verdicts import Outcome, Sample, Verdict

WIDTH: Final = 860
LEFT: Final = 270
"""Where the bars begin; the names stand before."""
LONGEST: Final = 285
CHARACTER: Final = 7
"""Width of one, in the small type, at most."""
RIGHT: Final = 665
"""Where the figures stand."""
BAR: Final = 13
ROW: Final = 42
TOP: Final = 44
STYLE: Final = """
text { font: 13px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #24292f; }
.title { font-weight: 600; font-size: 15px; }
.small { font-size: 11px; fill: #57606a; }
.ours { fill: #0969da; }
.missed { fill: #cf222e; }
.other { fill: #afb8c1; }
.budget { stroke: #bf8700; stroke-width: 2; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .small { fill: #9198a1; }
  .ours { fill: #4493f8; }
  .missed { fill: #f85149; }
  .other { fill: #656c76; }
  .budget { stroke: #d29922; }
}
"""


def draw(verdicts: Sequence[Verdict], title: str, note: str) -> str:
    """An SVG.

    Args:
        note: One line below the title: the machine, for instance.
    """
    height = TOP + ROW * len(verdicts) + 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img"><title>{escape(title)}</title><style>{STYLE}</style>',
        _text(12, 20, title, "title"),
        _text(12, 37, note, "small"),
    ]
    for place, verdict in enumerate(verdicts):
        parts += _row(TOP + 10 + ROW * place, verdict)
    foot = TOP + ROW * len(verdicts) + 24
    parts += [
        _bar(LEFT, foot - 10, 12, "ours"),
        _text(LEFT + 18, foot, "scoped-bridge", "small"),
        _bar(LEFT + 110, foot - 10, 12, "other"),
        _text(LEFT + 128, foot, "floor or peer, in the same rounds", "small"),
        _mark(LEFT + 325, foot - 12, 16),
        _text(LEFT + 333, foot, "budget", "small"),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _row(y: int, verdict: Verdict) -> list[str]:
    row = verdict.row
    parts = [_text(12, y + 11, row.name), _text(12, y + 26, _against(verdict), "small")]
    if verdict.value is None or verdict.ours is None:
        return [*parts, _text(LEFT, y + 11, f"not measured: {verdict.reason:.70}", "small")]
    bars = [(verdict.ours, "missed" if verdict.outcome is Outcome.MISSED else "ours")]
    if verdict.against is not None:
        bars.append((verdict.against, "other"))
    limit = _limit(verdict)
    most = max([sample.value for sample, _ in bars] + ([limit] if limit is not None else []))
    scale = LONGEST / most if most > 0 else 0.0
    mark = None if limit is None else round(limit * scale)
    for place, (sample, kind) in enumerate(bars):
        top = y + place * (BAR + 2)
        length = max(sample.value, 0.0) * scale
        label = round(length) + 6
        if mark is not None and label - 6 <= mark < label + CHARACTER * len(_value(sample)):
            label = mark + 6  # not through the text
        parts += [_bar(LEFT, top, length, kind), _text(LEFT + label, top + 11, _value(sample), "small")]
    if mark is not None:
        parts.append(_mark(LEFT + mark, y - 3, 2 * BAR + 8))
    unit = LABELS.get(verdict.unit, verdict.unit)
    parts.append(_text(RIGHT, y + 11, f"{number(verdict.value)} {unit}{_verb(verdict)}"))
    parts.append(_text(RIGHT, y + 26, _budget(verdict), "small"))
    return parts


def _against(verdict: Verdict) -> str:
    row = verdict.row
    return "" if row.against is None else f"against {row.against.removesuffix(', one core')}"


def _limit(verdict: Verdict) -> float | None:
    """The budget in the unit of our bar."""
    row = verdict.row
    if row.budget is None:
        return None
    other = verdict.against.value if verdict.against is not None else 0.0
    match row.figure:
        case Figure.RATIO:
            return row.budget * other
        case Figure.FASTER:
            return other / row.budget
        case Figure.BEYOND:
            return row.budget + other
    return row.budget


def _verb(verdict: Verdict) -> str:
    if verdict.row.figure is Figure.FASTER:
        return " as fast"
    return " more" if verdict.row.figure is Figure.BEYOND else ""


def _budget(verdict: Verdict) -> str:
    row = verdict.row
    if row.budget is None:
        return "for information"
    side = "≤" if row.limit is Limit.AT_MOST else "≥"
    noisy = ", noisy" if verdict.doubt else ""
    return f"budget {side} {row.budget:g}: {verdict.outcome.value}{noisy}"


def _value(sample: Sample) -> str:
    return f"{number(sample.value)} {LABELS.get(sample.unit, sample.unit)}"


def _text(x: int, y: int, text: str, kind: str | None = None) -> str:
    name = f' class="{kind}"' if kind else ""
    return f'<text x="{x}" y="{y}"{name}>{escape(text)}</text>'


def _bar(x: int, y: int, length: float, kind: str) -> str:
    return f'<rect x="{x}" y="{y}" width="{length:.1f}" height="{BAR - 1}" rx="2" class="{kind}"/>'


def _mark(x: int, y: int, height: int) -> str:
    return f'<line x1="{x}" y1="{y}" x2="{x}" y2="{y + height}" class="budget"/>'
