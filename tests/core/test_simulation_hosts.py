"""Several hosts under the seeded scheduler: they fall silent, die and come back, and nobody elsewhere notices.

The invariants are those of simulated_checks.py, for each host its own, and those of simulated_hosts.py.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import pytest

from bridge.core.hosts import HostFleets
from bridge.core.spread import SpreadState
from tests.core.mutants import Mutation, compiled
from tests.core.simulated_hosts import HostCore, HostSimulation
from tests.core.simulation import Failed

SAMPLE: Final = 60
ALL: Final = 600
SEARCHED: Final = 60

OCCUR: Final = (
    *("result", "timeout", "pool timeout", "crashed", "refused", "unavailable"),
    *("breaker.open", "breaker.half-open", "breaker.closed", "worker.failed", "worker.recycling", "Refuse"),
)

MUTATIONS: Final = (
    Mutation(
        "one host's breaker refuses all",
        HostFleets,
        "unavailable=Breaker.CLOSED not in breakers and not any(map(_lives, fleets))",
        "unavailable=breakers != {Breaker.CLOSED}",
        "not all is lost|was unavailable",
    ),
    Mutation(
        "one host's failed start is told to all",
        HostFleets,
        "if any(_lives(other) or _may_succeed(other) for other in others):",
        "if False:",
        "was refused",
    ),
    Mutation(
        "all hosts have one policy",
        HostFleets,
        "        generations = count(1)\n",
        "        generations = count(1)\n        one = policy.of_restarts(of_host=True)\n"
        "        policy = type('P', (), {**vars(policy), 'of_restarts': lambda *_, **__: one})\n",
        "that host was never down|nobody is started|is of no host",
    ),
    Mutation(
        "nobody sees to the time of the second host",
        HostFleets,
        "return self._of_all(lambda fleet: fleet.tick(now, lent))",
        "return self._of_all(lambda fleet: fleet.tick(now, lent) if 1 in fleet.members else [])",
        "nobody is started|is starting since|is draining since|is of no host|doesn't come to rest|timer is due",
    ),
    Mutation(
        "the warmest is lent",
        SpreadState,
        "return next(reversed(free[",
        "return [*self.idle][-1] or next(reversed(free[",
        "was lent",
    ),
    Mutation(
        "hosts that fail are lent first",
        SpreadState,
        "return host not in self.avoided,",
        "return host in self.avoided,",
        "was lent",
    ),
    Mutation(
        "the size of a host doesn't count",
        SpreadState,
        "len(idle) / self._sizes[host]",
        "len(idle)",
        "was lent",
    ),
)


def run(seeds: range) -> Counter[str]:
    """All of these; what happened in them."""
    seen = Counter[str]()
    for seed in seeds:
        simulation = HostSimulation(seed)
        simulation.run()
        seen += simulation.shell.seen
    return seen


def test_every_invariant_holds_while_hosts_come_and_go() -> None:
    """Those of a pool, of each host its own: a breaker opens for a host that was down and for no other; while a host is
    well nobody is refused, and whom it serves has no error; and at rest each host has its size. The sample is one: each
    outcome and event occurs in it."""
    seen = run(range(SAMPLE))

    assert [name for name in OCCUR if not seen[name]] == []


@pytest.mark.deep
def test_every_invariant_holds_while_hosts_come_and_go_for_long() -> None:
    """Some 900,000 steps."""
    run(range(ALL))


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_what_is_broken_about_hosts_is_found(mutation: Mutation) -> None:
    """Each of these errors, by the invariant that it breaks."""
    made = compiled(mutation)

    def search() -> None:
        for seed in range(SEARCHED):
            core = HostCore(spread=made) if mutation.owner is SpreadState else HostCore(fleets=made)
            HostSimulation(seed, core).run()

    with pytest.raises(Failed, match=mutation.found_as):
        search()
