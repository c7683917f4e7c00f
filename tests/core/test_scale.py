"""The simulated park of hosts: what must hold for any number of workers does, and what is broken is found.

Small parks here; `python -m tests.benchmarks.scale` runs those of docs/design/scale.md.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from bridge.core.spread import SpreadState
from tests.benchmarks.scale import lost, row
from tests.benchmarks.scale_page import DATA, PAGE, PICTURE, filled, picture
from tests.core.mutants import MUTATIONS, mutant
from tests.core.simulated_checks import Broken
from tests.core.simulated_park import Parent, Park
from tests.core.simulated_places import Call, Plan, Worker

ROOT: Final = Path(__file__).parents[2]
SMALL: Final = Plan(workers=12, hosts=3, calls=20_000, crash=2e-3)
RATES: Final = {"a removed worker stays idle": 20.0}  # so that some are idle when their host is lost
TROUBLED: Final = replace(SMALL, calls=10_000, rate=350.0, lost_at=6.0, away=5.0)


def broken(name: str) -> Any:
    """The pool with that error of mutants.py in it."""
    pool = mutant(next(each for each in MUTATIONS if each.name == name)).pool
    return lambda _: pool()


@pytest.mark.parametrize("parents", [1, 3])
@pytest.mark.parametrize("seed", range(3))
def test_every_call_is_answered_once_and_in_order(parents: int, seed: int) -> None:
    """While workers crash under calls: none is lost, and whoever waits is served in turn. Fails when `_gone` doesn't
    send the call of a dead worker again."""
    park = Park(replace(SMALL, parents=parents, seed=seed)).run()

    assert park.answered == SMALL.calls
    assert park.seen["sent again"] == park.seen["crashed"] > 10
    assert not park.open


@pytest.mark.parametrize("seed", range(3))
def test_a_lost_host_costs_no_call(seed: int) -> None:
    """Its calls are sent again elsewhere, its breaker is its own, and once it is back its workers are. Fails when a
    start on a host that is away becomes ready, or when the fleets share a policy."""
    park = Park(replace(TROUBLED, seed=seed)).run()
    found = lost(park.plan, park)

    assert found["sent_again"] >= 4
    assert found["lowest"] < 0.95
    assert [place.ready for place in park.places] == [4, 4, 4]
    assert 0 < found["whole"] <= found["level"]
    assert park.lost is not None
    assert {name for name, fleet in park.parents[0].fleets.fleets.items() if fleet.failed_starts} == {park.lost.name}


def test_a_park_whose_only_host_is_lost_goes_on_when_it_is_back() -> None:
    """Callers are refused meanwhile, and call again. Fails when nobody refuses those who wait."""
    park = Park(replace(TROUBLED, workers=4, hosts=1, calls=3000, rate=100.0)).run()

    assert park.answered == 3000
    assert park.seen["refused"] > 0
    assert park.slowest > TROUBLED.away


def test_all_callers_get_the_same_share() -> None:
    """The queue is fair: of callers that call all the time none has a tenth more than another. Fails when a newcomer
    overtakes."""
    park = Park(SMALL).run()

    assert max(park.by_caller) < 1.1 * min(park.by_caller)


def test_nobody_waits_while_there_are_workers_enough() -> None:
    """And everybody does where the parent is full, whatever the workers could do: the figures mean what they say."""
    calm = row(plan := replace(SMALL, crowd=1, crash=0.0), Park(plan).run())
    full = row(plan := replace(SMALL, service=1e-4, parent_cost=1e-3, crash=0.0), Park(plan).run())

    assert calm["waited99"] < 1e-3
    assert 0.99 < full["throughput"] * 1e-3 < 1.01
    assert full["waited99"] > 10e-3


def test_a_seed_is_a_run() -> None:
    """What was found once is found again. Fails when anything but the plan decides."""
    first, second = (Park(TROUBLED).run() for _ in range(2))

    assert lost(first.plan, first) == lost(second.plan, second)
    assert first.seen == second.seen
    assert Park(replace(TROUBLED, seed=2)).run().slowest != first.slowest


@pytest.mark.parametrize(
    ("name", "found_as"),
    [
        ("the queue is a stack", "not in order"),
        ("a removed worker stays idle", "is dead, and may be lent"),
        ("add doesn't look at the queue", "idle while callers wait"),
        ("checkin takes back what was removed", "isn't its own"),
    ],
)
def test_what_is_broken_in_the_pool_is_found(name: str, found_as: str) -> None:
    """The core is the real one: an error in it breaks a run."""
    with pytest.raises(Broken, match=found_as):
        Park(replace(TROUBLED, rate=RATES.get(name, TROUBLED.rate)), broken(name)).run()


class Forgets(SpreadState[Worker]):
    """It takes workers back, and tells nobody."""

    def checkin(self, waiter: Any, now: float) -> None:
        """As the real one does, but for the answer."""
        super().checkin(waiter, now)


class Twice(Park):
    """Each answer comes twice."""

    def _reply(self, parent: Parent, call: Call, worker: Worker, done_at: float) -> None:
        super()._reply(parent, call, worker, done_at)
        call.worker = worker
        super()._reply(parent, call, worker, done_at)


@pytest.mark.parametrize(
    ("make", "found_as"),
    [(lambda: Park(SMALL, Forgets), "lost"), (lambda: Twice(SMALL), "answered twice")],
    ids=["a grant is forgotten", "an answer comes twice"],
)
def test_a_lost_call_and_one_that_is_answered_twice_are_found(make: Callable[[], Park], found_as: str) -> None:
    """Else the promise that there are none would be worth nothing."""
    with pytest.raises(Broken, match=found_as):
        make().run()


def test_page_and_picture_say_what_was_found() -> None:
    """Fails when a figure was changed by hand, or when the command ran and its page wasn't kept."""
    found = json.loads(DATA.read_text())

    assert filled(PAGE.read_text(), found) == PAGE.read_text()
    assert picture(found) == PICTURE.read_text()
    assert all(each["calls"] == 1_000_000 for name in ("load", "lost", "parents") for each in found[name])


@pytest.mark.deep
def test_the_command_runs(tmp_path: Path) -> None:
    """All its parks, with so few calls that only the smallest one sees a host come back; the page is left alone. Fails
    when a run that was over before that is asked what it saw."""
    data = tmp_path / "scale.json"
    command = [sys.executable, "-m", "tests.benchmarks.scale", "--calls", "18000", "--data", str(data)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=300, stdout=subprocess.DEVNULL)
    found = json.loads(data.read_text())

    assert {name: len(found[name]) for name in ("load", "lost", "parents")} == {"load": 6, "lost": 1, "parents": 3}
