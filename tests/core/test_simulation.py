"""Pool and fleet under a seeded scheduler: what must hold after every step holds, and what is broken is found.

Each mutation of tests/core/mutants.py, the invariant that it breaks, and the first seed (from 0) that finds it:

| mutation | found as | seed |
| --- | --- | --- |
| checkin doesn't clear the holder | an idle worker that somebody has | 23 |
| checkin takes back what was removed | a dead worker that may be lent | 0 |
| leave doesn't pass on the offer | a worker bound to somebody who left: lost | 0 |
| the queue is a stack | waiters not FIFO | 0 |
| whoever was withdrawn comes back at the end | waiters not FIFO | 8 |
| a withdrawn waiter isn't told | a waiter that is in no queue | 8 |
| the audit reports nobody | a lost worker | 0 |
| a removed worker stays idle | a dead worker that may be lent | 2 |
| waiting ignores the deadline | a caller that waits past its deadline | 1 |
| add doesn't look at the queue | a worker that is idle while callers wait | 0 |
| each newcomer makes the queue young | a queue that stands, and isn't said to | 1 |
| own queues are ignored | a worker that somebody who came later is offered | 0 |
| whoever came last is first of two queues | a worker that somebody who came later is offered | 0 |
| own queues go first | a worker that somebody who came later is offered | 0 |
| an own queue is a stack | a worker that somebody who came later is offered | 0 |
| whoever wants one is lent the warmest | a worker lent to somebody who wants another | 5 |
| whoever wants one is offered what is free | a worker lent to somebody who wants another | 0 |
| a preference is ignored | the preferred one is idle, and another is lent | 5 |
| a worker that was removed is offered to who wants it | a removed worker that is offered | 18 |
| who leaves stays in its own queue | a worker offered to somebody who left: lost | 0 |
| empty queues are kept | a queue that nobody waits in | 0 |
| a burial refuses nobody | a queue for a buried worker | 0 |
| a burial isn't remembered | a queue for a buried worker | 5 |
| a buried worker is queued for | a queue for a buried worker | 5 |
| a burial refuses everybody | a refusal though the worker isn't buried | 0 |
| a worker that is away isn't waited for | a refusal though the worker isn't buried | 0 |
| a worker that is away is given up | a refusal though the worker isn't buried | 0 |
| own queues outlive the pool | a queue in a closed pool | 0 |
| whoever wants one is shed | somebody who is shed for others' queue | 1 |
| a worker is admitted twice | lent with an outstanding reply | 7 |
| no deadline for draining | draining for longer than cancel_grace | 0 |
| time doesn't end a draining | a timer that is due with nothing to do | 0 |
| a killed one is admitted | a worker that is being killed may be lent | 19 |
| growth ignores the ceiling | more workers than size + overflow | 0 |
| a successor retires nobody | lent beside its successor | 4 |
| closing sets no deadline | a worker that outlives the close | 0 |
| a worker that drained is lent beside its successor | lent beside its successor | 5 |
| two are replaced at once | more workers than size + overflow + 1 | 27 |
| the next one is replaced before the last one is gone | more workers than size + overflow + 1 | 13 |
| no limit for successors | more workers than size + overflow + 1 | 20 |
| one that was told to end keeps its place | an empty place that nobody fills | 5 |
| a spare one is lent | a spare worker that may be lent | 6 |
| spare ones that start aren't counted | more spare workers than `spare` | 6 |
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import pytest

from tests.core.mutants import MUTATIONS, Mutation, mutant
from tests.core.simulation import Failed, Simulation

SAMPLE: Final = 60
ALL: Final = 1000
SEARCHED: Final = 200
"""Seeds that are tried behind the one that found a mutant, so that a change of the core needn't change this file."""

OUTCOMES: Final = ("result", "timeout", "pool timeout", "cancelled", "crashed", "departed")
REFUSALS: Final = ("overloaded", "shed", "refused", "unavailable")
EVENTS: Final = ("ready", "failed", "died", "abandoned", "stranded", "frame", "lost", "worn", "withdrawn", "seized")
EFFECTS: Final = ("Spawn", "Admit", "Cancel", "Ping", "Retire", "Stop", "Kill", "Refuse")


def run(seeds: range) -> tuple[int, Counter[str]]:
    """All of these; how many steps, and what happened in them."""
    steps, seen = 0, Counter[str]()
    for seed in seeds:
        simulation = Simulation(seed)
        simulation.run()
        steps += simulation.steps
        seen += simulation.shell.seen
    return steps, seen


def test_every_invariant_holds_after_every_step_of_a_sample() -> None:
    """And the sample is one: each outcome, event and effect occurs in it."""
    _, seen = run(range(SAMPLE))
    _, with_spares = run(range(6, 6 + 8 * 20, 8))
    seen += with_spares

    assert [name for name in (*OUTCOMES, *REFUSALS, *EVENTS, *EFFECTS, "close", "closed") if not seen[name]] == []


@pytest.mark.deep
def test_every_invariant_holds_after_every_step() -> None:
    """A million of them."""
    steps, _ = run(range(ALL))

    assert steps >= 1_000_000


def test_a_seed_is_a_run() -> None:
    """What failed once fails again: nothing but the seed decides."""
    first, second = Simulation(3), Simulation(3)
    first.run()
    second.run()

    assert (first.steps, first.shell.now, first.shell.seen) == (second.steps, second.shell.now, second.shell.seen)


def test_a_failure_says_how_to_see_it_again(capsys: pytest.CaptureFixture[str]) -> None:
    """The command replays the seed, and its trace tells what happened."""
    mutation = next(each for each in MUTATIONS if each.name == "the queue is a stack")
    simulation = Simulation(mutation.seed, mutant(mutation))
    simulation.trace()

    with pytest.raises(Failed, match=f"python -m tests.core.simulation --seed {mutation.seed} --trace"):
        simulation.run()

    assert "supervisor performs Spawn(generation=1" in capsys.readouterr().out


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_what_is_broken_is_found(mutation: Mutation) -> None:
    """Each error of the table above, by the invariant that it breaks."""
    core = mutant(mutation)

    def search() -> None:
        for seed in range(mutation.seed, mutation.seed + SEARCHED):
            Simulation(seed, core).run()

    with pytest.raises(Failed, match=mutation.found_as):
        search()
