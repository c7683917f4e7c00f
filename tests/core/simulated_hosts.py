"""The simulation with several hosts, which fall silent, die, refuse to start anything, and come back.

    python -m tests.core.simulated_hosts --seed 17 --trace

Rules: those of simulation.py. A run with an even seed has all the trouble that a run without hosts has; in one with an
odd seed nothing is bad but the hosts, and the first host never: who is served there must not notice. Apart from
simulation.py, since this only adds a world around it.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from bridge.core.hosts import Host, HostFleets
from bridge.core.lifecycle import WorkerState
from bridge.core.policy import Breaker, RestartPolicy, SupervisorPolicy
from bridge.core.recycling import RecyclePolicy
from bridge.core.spread import SpreadState
from tests.core.simulated_callers import Call, Caller, SimWaiter
from tests.core.simulated_checks import Broken, Checks
from tests.core.simulated_pool import Core, Limits, Odds
from tests.core.simulated_shell import Shell
from tests.core.simulated_workers import Worker
from tests.core.simulation import STEPS, Simulation

SILENT: Final = "silent"
"""The cable is pulled: nothing comes, nothing arrives, and what was started here lives until it is killed."""
DEAD: Final = "dead"
"""Its workers are gone, and its launcher fails at once."""


class HostCore(Core):
    """The core of a pool with hosts; a mutant takes the place of a class."""

    def __init__(
        self, spread: type[SpreadState[Any]] = SpreadState, fleets: type[HostFleets] = HostFleets, **policy: Any
    ) -> None:
        super().__init__(pool=self._pool, fleet=self._fleet)
        self.spread, self.fleets, self.policy = spread, fleets, policy
        self.hosts: tuple[Host, ...] = ()

    def _pool(self) -> SpreadState[Worker]:
        return self.spread({host.name: host.size for host in self.hosts})

    def _fleet(
        self,
        *,
        startup_timeout: float,
        shutdown_timeout: float,
        cancel_grace: float,
        chance: Callable[[], float],
        **_: Any,
    ) -> HostFleets:
        policy = SupervisorPolicy(
            startup_timeout=startup_timeout,
            shutdown_timeout=shutdown_timeout,
            cancel_grace=cancel_grace,
            **self.policy,
        )
        return self.fleets(self.hosts, policy, chance=chance)


class HostShell(Shell):
    """The pool with its supervisor, and how its hosts are."""

    fleet: HostFleets

    def __init__(self, hosts: tuple[Host, ...], *rest: Any) -> None:
        super().__init__(*rest)
        self.hosts = hosts
        self.down: dict[str, str] = {}  # by host: SILENT or DEAD
        self.was_down: set[str] = set()
        self.had_on: dict[int, str] = {}  # by the number of a call: the host of the last worker that it had
        self.gentle = False
        self.blamed = 1.0

    def _worker_of(self, generation: int, host: str) -> Worker:
        return HostWorker(self, generation, self.recycle.draw(self.random.random), host)

    def checkout(self, waiter: SimWaiter) -> bool:
        """As ever; and what is lent is on a host of which the most are idle, for its size."""
        idle = Counter(worker.host for worker in self.state.idle)
        free = {
            host.name: (host.name not in self.state.avoided, idle[host.name] / host.size)
            for host in self.hosts
            if idle[host.name]
        }
        granted = super().checkout(waiter)
        choice = waiter.wants is None and waiter.prefers is None
        if granted and choice and waiter.worker is not None and free[waiter.worker.host] < max(free.values()):
            raise Broken(f"{waiter} was lent {waiter.worker} of {waiter.worker.host}, of {free}")
        return granted

    def _took(self, waiter: SimWaiter) -> None:
        super()._took(waiter)
        if waiter.worker is not None:
            self.had_on[waiter.number] = waiter.worker.host

    def settle(self, caller: Caller, call: Call, outcome: str) -> None:
        """As ever; and while one host is well, nobody is refused, and nobody whom it served has an error."""
        super().settle(caller, call, outcome)
        if self.gentle and not self.closed:
            if outcome in ("refused", "unavailable"):
                raise Broken(f"{call.waiter} was {outcome}, and {self.hosts[0].name} is well")
            host = self.had_on.get(call.id)
            if outcome == "crashed" and host not in self.was_down:
                raise Broken(f"{call.waiter} crashed on {host}, which is well")

    def fail(self, host: str, how: str) -> None:
        """A host is gone."""
        self.down[host] = how
        self.was_down.add(host)
        for worker in [each for each in self.workers.values() if each.host == host]:
            if how == SILENT:
                worker.freeze(True)
            else:
                worker.kill()

    def mend(self, host: str) -> None:
        """A host is back."""
        del self.down[host]
        for worker in [each for each in self.workers.values() if each.host == host]:
            worker.freeze(False)

    def take_events(self) -> None:
        """Look at what was noted, and count it."""
        while self.fleet.events:
            event = self.fleet.events.popleft()
            self.seen[event.name] += 1
            if event.name.startswith("bridge.") is not (event.host is None):
                raise Broken(f"{event} is of no host, or of one")
            if event.name == "breaker.open" and self.gentle and event.host not in self.was_down:
                raise Broken(f"{event}, and that host was never down")


class HostWorker(Worker):
    """A process on a host."""

    shell: HostShell

    def start(self) -> None:
        """There is one at our end, whatever is at the other."""
        super().start()
        how = self.shell.down.get(self.host)
        if how == SILENT:
            self.freeze(True)
        elif how == DEAD:
            self.plan(0.02, self.die)


class HostChecks(Checks):
    """The invariants, and those of hosts."""

    shell: HostShell

    def check(self) -> None:
        """After each step. Raises Broken."""
        super().check()
        shell = self.shell
        for name, fleet in shell.fleet.fleets.items():
            if any(shell.workers[each].host != name for each in fleet.members if each in shell.workers):
                raise Broken(f"workers of {name} are elsewhere: {shell.workers}")
            if shell.gentle and name not in shell.was_down and fleet.policy.breaker is not Breaker.CLOSED:
                raise Broken(f"the breaker of {name} is {fleet.policy.breaker.value}, and that host was never down")
        view = shell.fleet.view()
        alive = any(
            member.state in (WorkerState.READY, WorkerState.DRAINING) for member in shell.fleet.members.values()
        )
        if view.unavailable and (alive or any(host.breaker is Breaker.CLOSED for host in view.hosts)):
            raise Broken(f"callers are refused, and not all is lost: {view}")
        shell.take_events()


class HostSimulation(Simulation):
    """One run with hosts."""

    shell: HostShell
    program = "tests.core.simulated_hosts"

    def __init__(self, seed: int, core: HostCore | None = None) -> None:
        super().__init__(seed, core or HostCore())
        self._troubles += ["fail", "fail", "mend"]
        if self.shell.gentle:
            self._troubles = ["fail", "mend", "look", "recycle"]
            self.shell.odds = Odds(0.0, 0.0)

    def _shell_of(self, core: Core, limits: Limits, odds: Odds, recycle: RecyclePolicy, policy: RestartPolicy) -> Shell:
        assert isinstance(core, HostCore)
        random = self.random
        core.hosts = tuple(Host(name, random.randint(1, 3)) for name in "abc"[: random.randint(2, 3)])
        core.policy = {
            "max_restarts": random.choice((0, 3)),
            "restart_window": random.choice((0.5, 5.0)),
            "backoff": 0.1,
        }
        changed = {**vars(limits), "size": sum(host.size for host in core.hosts), "max_overflow": 0, "spare": 0}
        shell = HostShell(core.hosts, core, Limits(**changed), odds, recycle, policy, random)
        shell.gentle = bool(self.seed % 2)
        return shell

    def _checks_of(self) -> Checks:
        return HostChecks(self.shell, self.callers)

    def come_to_rest(self) -> None:
        """All hosts are back, too."""
        self.shell.gentle = False  # somebody kills what would go on for ever
        for host in [*self.shell.down]:
            self.shell.mend(host)
        super().come_to_rest()

    def _fail(self) -> None:
        """One host; in a gentle run never the first."""
        if well := [host.name for host in self.shell.hosts[self.shell.gentle :] if host.name not in self.shell.down]:
            host, how = self.random.choice(well), self.random.choice((SILENT, DEAD))
            self._note(f"{how}:", host)
            self.shell.fail(host, how)

    def _mend(self) -> None:
        """One that was gone."""
        if self.shell.down:
            self._note("back:", host := self.random.choice([*self.shell.down]))
            self.shell.mend(host)


def main() -> None:
    """Run one seed, or several."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=1, help="how many, from --seed on")
    parser.add_argument("--trace", action="store_true")
    options = parser.parse_args()
    seen: Counter[str] = Counter()
    for seed in range(options.seed, options.seed + options.seeds):
        simulation = HostSimulation(seed)
        if options.trace:
            simulation.trace()
        simulation.run(STEPS)
        seen += simulation.shell.seen
    print(f"{options.seeds} seeds: {dict(seen.most_common())}")


if __name__ == "__main__":
    main()
