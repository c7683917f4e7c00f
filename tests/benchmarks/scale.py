"""What ten, a hundred and a thousand workers would do, in the simulation of tests/core/simulated_park.py.

`python -m tests.benchmarks.scale` runs all of it, some minutes, and writes what it found to docs/design/plots,
and from there the tables of docs/design/scale.md and the picture; `--page` writes these again from the file. The same
seed gives the same figures on every machine: nothing here is measured but by the simulation's own clock.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any, Final

from tests.benchmarks.scale_page import DATA, write_page
from tests.core.simulated_park import Park
from tests.core.simulated_places import Plan

SIZES: Final = ((10, 2), (100, 10), (1000, 20))
"""Workers, and the hosts that they are on."""
SHARE: Final = 0.8
"""Of what the same park does with every caller calling, for the runs with calls at random moments."""
LOST_AT: Final = 12.0
AFTER: Final = 20.0
"""Seconds from a host's return that a run has to go on for."""
STEPS: Final = (20, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1000)
STEP_CALLS: Final = 100_000


def row(plan: Plan, park: Park) -> dict[str, Any]:
    """What a run says."""
    return {
        "workers": plan.workers,
        "hosts": plan.hosts,
        "parents": plan.parents,
        "calls": plan.calls,
        "rate": plan.rate,
        "throughput": park.nearly / (park.nearly_at - plan.begin),
        "p50": park.latencies.quantile(0.5),
        "p99": park.latencies.quantile(0.99),
        "slowest": park.slowest,
        "waited99": park.waits.quantile(0.99),
        "fewest": min(park.by_caller),
        "most": max(park.by_caller),
        "busy": mean(parent.spent for parent in park.parents) / park.last_answer_at,
    }


def lost(plan: Plan, park: Park) -> dict[str, Any]:
    """What it says of the host that was lost."""
    begun, gone = int(plan.begin) + 1, int(plan.lost_at)
    before = mean(park.answered_in[begun:gone])
    back = plan.lost_at + plan.away
    after = park.answered_in[gone : int(back) + 5]
    around = park.answered_in[gone - 5 : int(back) + int(AFTER)]
    return row(plan, park) | {
        "away": plan.away,
        "notice": plan.notice,
        "sent_again": park.seen["sent again"],
        "lowest": min(after) / before,
        "queue": park.most_waiting,
        "whole": park.whole_at - back,
        "level": park.level_at - back,
        "around": [round(count / before, 3) for count in around],
    }


def runs(calls: int, seed: int, cost: float) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each table, and its next row."""
    plan = Plan(0, 0, calls=calls, seed=seed, parent_cost=cost)
    for workers, hosts in SIZES:
        full = replace(plan, workers=workers, hosts=hosts)
        yield "load", (found := row(full, Park(full).run()))
        calm = replace(full, rate=SHARE * found["throughput"])
        yield "load", row(calm, Park(calm).run())
        for away in (10.0, 60.0) if workers == 100 else (10.0,):
            trouble = replace(calm, lost_at=LOST_AT, away=away)
            if calls < SHARE * found["throughput"] * (LOST_AT + away + AFTER):
                continue  # it would be over before the host is back
            yield "lost", lost(trouble, Park(trouble).run())
    for parents in (1, 2, 4):
        several = replace(plan, workers=1000, hosts=20, parents=parents)
        yield "parents", row(several, Park(several).run())
        for workers in STEPS:
            step = replace(several, workers=workers, calls=min(calls, STEP_CALLS))
            yield "steps", row(step, Park(step).run())


def main() -> None:
    """Run them, and write page and picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1_000_000, help="few leave out the loss of hosts in large parks")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--parent-us", type=float, default=40.0, help="what a call costs its parent, microseconds")
    parser.add_argument("--data", type=Path, default=DATA, help="where to write what was found")
    parser.add_argument("--page", action="store_true", help="only write page and picture, from what was found before")
    options = parser.parse_args()
    if not options.page:
        tables: dict[str, Any] = {"seed": options.seed, "parent_us": options.parent_us}
        for name, found in runs(options.calls, options.seed, options.parent_us * 1e-6):
            tables.setdefault(name, []).append(found)
            print(
                f"{time.process_time():6.0f} s  {name}: {found['workers']} workers, {found['throughput']:.0f} calls/s"
            )
        options.data.write_text(json.dumps(tables, indent=1) + "\n")
    if options.data == DATA:
        write_page()


if __name__ == "__main__":
    main()
