"""The status page: one document that needs nothing else, shows its first picture without scripts, and renews itself.

Rules: text in, text out; what comes from outside is escaped, and the policy in its header lets nothing run or load but
what stands here. Apart from pictures.py, which draws.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

from bridge.core.stats import Health, Stats, WorkerStats
from bridge.metrics.history import Span
from bridge.metrics.pictures import bars, duration, figure, line, workers

ROWS: Final = 64
"""Workers that the table has, at the most."""

STYLE: Final = """
:root { color-scheme: light dark; --page: #f6f6f3; --card: #fff; --ink: #1d1f23; --dim: #6a6f78; --rule: #e4e4df;
  --blue: #2b6cd9; --green: #2c8a57; --amber: #b96f00; --red: #c2352b; }
@media (prefers-color-scheme: dark) { :root { --page: #131518; --card: #1b1e22; --ink: #e7e8ea; --dim: #8f959e;
  --rule: #2b2f35; --blue: #6fa5ff; --green: #52b880; --amber: #e0a040; --red: #f0726a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem 1rem 3rem; background: var(--page); color: var(--ink);
  font: 15px/1.45 system-ui, sans-serif; font-variant-numeric: tabular-nums; }
header { color: var(--dim); font-size: .85rem; text-align: right; }
header .late { display: none; color: var(--red); }
.stale main { opacity: .45; } .stale header .late { display: inline; } .stale header .fresh { display: none; }
section { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 1.1rem 1.3rem;
  margin: .8rem 0 1.2rem; }
h1 { display: inline; font-size: 1.25rem; margin: 0 .6rem 0 0; overflow-wrap: anywhere; }
.chip { border-radius: 1rem; padding: .12rem .6rem; font-size: .82rem; color: #fff; background: var(--green);
  overflow-wrap: anywhere; }
.chip.bad { background: var(--red); } .chip.idle { background: var(--dim); } .chip.test { background: var(--amber); }
@media (prefers-color-scheme: dark) { .chip { color: #101214; } }
.what { color: var(--dim); font-size: .88rem; margin: .1rem 0 .9rem; overflow-wrap: anywhere; }
.what span { white-space: nowrap; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(12rem, 1fr)); gap: 1.2rem 1.8rem;
  margin: 1.1rem 0; }
.tiles div > b { font-size: 1.35rem; font-weight: 600; margin-right: .4rem; }
.tiles span { color: var(--dim); font-size: .85rem; }
svg { display: block; } svg.line, svg.bars { width: 100%; height: 44px; margin-top: .3rem; overflow: visible; }
.ground { stroke: var(--rule); fill: none; vector-effect: non-scaling-stroke; }
.along { stroke: var(--blue); stroke-width: 1.6; fill: none; stroke-linecap: round; stroke-linejoin: round;
  vector-effect: non-scaling-stroke; }
.under { fill: var(--blue); opacity: .13; } .bars rect { fill: var(--blue); opacity: .75; }
svg.workers { max-width: 100%; margin: .2rem 0; }
.workers rect { fill: none; stroke-width: 1.5; stroke: var(--dim); }
.workers .ready { fill: var(--green); stroke: var(--green); } .workers .busy { fill: var(--blue); stroke: var(--blue); }
.workers .starting, .workers .draining { fill: var(--amber); stroke: var(--amber); }
.workers .retiring { stroke: var(--amber); } .workers .spare { stroke: var(--green); }
.workers .missing { stroke-dasharray: 3 2; }
.odd { color: var(--red); } .scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .86rem; margin-top: .8rem; }
th { text-align: left; font-weight: 500; color: var(--dim); }
th, td { padding: .25rem .9rem .25rem 0; white-space: nowrap; } td { border-top: 1px solid var(--rule); }
"""
SCRIPT: Final = """
async function renew() {
  try {
    const answer = await fetch(location.href, { cache: "no-store" });
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
    if (fresh) document.querySelector("main").replaceWith(fresh);
    document.body.classList.toggle("stale", !fresh);
  } catch { document.body.classList.add("stale"); }
  setTimeout(renew, 2000);
}
setTimeout(renew, 2000);
"""


def _hash(text: str) -> str:
    return "'sha256-" + b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


POLICY: Final = (
    f"default-src 'none'; script-src {_hash(SCRIPT)}; style-src {_hash(STYLE)}; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy: what isn't in these two texts doesn't run, and nothing is loaded from anywhere else."""


@dataclass(frozen=True)
class Shown:
    """One bridge, now and lately."""

    stats: Stats
    health: Health
    fault: str | None
    """Why it can't serve."""
    spans: Sequence[Span]


def page(every: Sequence[Shown]) -> str:
    """The document."""
    title = ", ".join(shown.stats.name for shown in every)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<noscript><meta http-equiv="refresh" content="5"></noscript><title>{escape(title)}</title>'
        f"<style>{STYLE}</style></head><body>"
        '<header><span class="fresh">renewed every 2 s</span>'
        '<span class="late">no answer; this is how it was</span></header>'
        f"<main>{''.join(map(_section, every))}</main><script>{SCRIPT}</script></body></html>\n"
    )


def _section(shown: Shown) -> str:
    stats, spans = shown.stats, shown.spans
    states = Counter(worker.state for worker in stats.workers)
    said = ", ".join(f"{count} {state}" for state, count in states.items()) or "none yet"
    rates, means, waiting = [s.rate for s in spans], [s.mean for s in spans], [s.waiting for s in spans]
    known = [mean for mean in means if mean is not None]
    tiles = (
        _tile(
            figure(rates[-1]) if rates else "-",
            "calls/s",
            line(rates, "calls per second"),
            _lately(spans, figure, rates),
        ),
        _tile(
            duration(known[-1] if known else None),
            "mean",
            line(means, "mean duration"),
            _lately(spans, duration, known),
        ),
        _tile(str(stats.waiting), "waiting", line(waiting, "callers in the queue"), _lately(spans, str, waiting)),
        _tile(
            duration(stats.p50),
            "median",
            bars(stats.latencies, "calls by duration"),
            "nothing yet" if stats.p99 is None else f"99 % below {duration(stats.p99)}",
        ),
    )
    return (
        f'<section><h1>{escape(stats.name)}</h1>{_chips(shown)}<p class="what">{escape(_about(shown))}</p>'
        f"{workers(stats.workers, stats.size - len(stats.workers))}"
        f'<p class="what">workers: {escape(said)}; {stats.size} wanted</p><div class="tiles">{"".join(tiles)}</div>'
        f'<p class="what">{_counts(stats)}</p>{_hosts(stats)}{_table(stats.workers)}</section>'
    )


def _lately(spans: Sequence[Span], shown: Callable[[Any], str], values: Sequence[Any]) -> str:
    """What a line reaches from its left to its right, and from its ground to its top."""
    if not values:
        return "nothing yet"
    return f"in {duration(sum(span.lasted for span in spans))} up to {shown(max(values))}"


def _chips(shown: Shown) -> str:
    state, mode = shown.stats.state, shown.stats.test_mode
    kind, text = (
        ("bad", shown.fault) if shown.fault else ("idle", "not used yet") if state == "new" else ("", "serving")
    )
    test = "" if mode is None else f' <span class="chip test">TEST_MODE={escape(mode)}</span>'
    return f'<span class="chip {kind}">{escape(text)}</span>{test}'


def _about(shown: Shown) -> str:
    stats, health = shown.stats, shown.health
    broken = "" if stats.breaker == "closed" else f"; the breaker is {stats.breaker}"
    error = "" if health.last_error is None or shown.fault else f"; the last start failed: {health.last_error}"
    stuck = f"; its supervisor has been in one step for {duration(health.stuck_for)}" if health.stuck_for > 1 else ""
    return f"on {stats.adapter}, {stats.state}{broken}{error}{stuck}"


def _tile(value: str, unit: str, picture: str, below: str) -> str:
    return f"<div><b>{escape(value)}</b><span>{escape(unit)}</span>{picture}<span>{escape(below)}</span></div>"


def _counts(stats: Stats) -> str:
    """Everything that was counted, what went wrong in red."""
    fine = (("answered", stats.calls), ("sessions", stats.sessions), ("recycled workers", stats.recycled))
    wrong = (
        ("timeouts", stats.timeouts),
        ("crashes", stats.crashes),
        ("restarts", stats.restarts),
        ("failed starts", stats.failed_starts),
        ("sent again", stats.retries + stats.repeats),
        ("refused", stats.refused + stats.shed),
        ("events dropped", stats.events_dropped),
    )
    items = [f"<span>{count:,} {name}</span>" for name, count in fine]
    items += [f'<span class="{"odd" if count else "fine"}">{count:,} {name}</span>' for name, count in wrong]
    return " · ".join(items)


def _hosts(stats: Stats) -> str:
    rows = [
        (host.name, f"{host.workers} of {host.size}", str(host.busy), host.breaker, host.last_error or "")
        for host in stats.hosts
    ]
    return _rows(("host", "workers", "busy", "breaker", "last error"), rows) if rows else ""


def _table(every: Sequence[WorkerStats]) -> str:
    shown = [
        (
            str(worker.generation),
            "-" if worker.pid is None else str(worker.pid),
            worker.state,
            f"{worker.calls:,}",
            duration(worker.age),
            duration(worker.heartbeat_age),
            " ".join(filter(None, (worker.host, worker.python, worker.path))),
        )
        for worker in every[:ROWS]
    ]
    more = f'<p class="what">and {len(every) - ROWS} more</p>' if len(every) > ROWS else ""
    head = ("worker", "pid", "state", "calls", "age", "last heard", "where")
    return _rows(head, shown) + more if shown else ""


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{name}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{top}</tr>{body}</table></div>'
