"""A simulation of pool and fleet: a seeded scheduler, a clock that is a number, workers and callers by script.

    python -m tests.core.simulation --seed 17 --trace

Rules: one step is one entry of the pool's lock, one supervisor event, one act of a process, or one act of the world;
after each the invariants of simulated_checks.py are looked at. All chance comes from one Random of the run's seed.
Whoever is due may be late by one tick, and then the clock stands until it has run. (The way of FoundationDB.)
"""

from __future__ import annotations

import argparse
from collections import Counter
from math import inf
from random import Random
from typing import Final

from bridge.core.policy import RestartPolicy
from bridge.core.recycling import RecyclePolicy, Worn
from tests.core.simulated_callers import Call, Caller, Loop, SimWaiter
from tests.core.simulated_checks import TICK, Broken, Checks
from tests.core.simulated_pool import Core, Limits, Odds
from tests.core.simulated_shell import Shell
from tests.core.simulated_workers import Actor

STEPS: Final = 1400
"""Of one run, without those in which it comes to rest."""
STEPS_AFTER_THE_END: Final = 50
MOST_STEPS_TO_REST: Final = 20_000
REST: Final = 60.0
"""Seconds in which everything must have ended once nothing bad happens any more."""


TROUBLES: Final = ("interrupt", "cancel", "drop", "kill", "freeze", "stop_a_loop", "recycle", "look")


class Failed(AssertionError):
    """A run broke an invariant; says how to see it again."""


class Simulation:
    """One run."""

    program = "tests.core.simulation"

    def __init__(self, seed: int, core: Core | None = None) -> None:
        self.seed = seed
        self.random = random = Random(seed)
        pick = random.choice
        limits = Limits(
            size=random.randint(1, 3),
            max_overflow=pick((0, 0, 1, 2)),
            spare=1 + seed % 16 // 8 if seed % 8 == 6 else 0,  # not drawn: the seeds of the mutants stay what they are
            checkout_timeout=pick((0.3, 1.0, 5.0)),
            max_waiting=pick((None, None, None, 2, 5)),
            queue_interval=pick((0.2, 1.0, 1e9)),
            queue_target=0.1,
            cancel_grace=pick((0.0, 0.2, 0.5)),
            startup_timeout=pick((0.5, 2.0)),
            shutdown_timeout=pick((0.2, 1.0)),
            max_idle=0.5,  # less than any lifetime: one above the size must not be worn before it was idle for long
        )
        recycle = RecyclePolicy(pick((None, 3, 12)), pick((None, 2.0, 8.0)), pick((None, 100)), jitter=0.5)
        policy = RestartPolicy(max_restarts=pick((0, 3)), window=pick((0.5, 5.0)), backoff=0.1)
        odds = Odds(bad_start=pick((0.0, 0.05, 0.4)), bad_call=pick((0.0, 0.1, 0.4)))
        self._trouble = pick((0.02, 0.1, 0.3))  # of the acts of the world, how many are bad
        self._eagerness = pick((0.1, 0.3))  # of the steps, how many are acts of the world
        self._loyalty = pick((0.0, 0.2, 0.6))  # of the calls, how many care which worker they get
        self.shell = self._shell_of(core or Core(), limits, odds, recycle, policy)
        loops = [Loop() for _ in range(2)]
        crowd = random.randint(2, 8)
        self.callers = [Caller(self.shell, f"c{n}", pick((None, None, *loops))) for n in range(crowd)]
        self.checks = self._checks_of()
        self.steps = self.calls = self._after_the_end = 0
        self._calm = False
        self._troubles = random.choices(TROUBLES, k=4)  # not all in each run: one hides what another would show
        self._close_at_step = random.choice((inf, random.randrange(STEPS)))

    def _shell_of(self, core: Core, limits: Limits, odds: Odds, recycle: RecyclePolicy, policy: RestartPolicy) -> Shell:
        return Shell(core, limits, odds, recycle, policy, self.random)

    def _checks_of(self) -> Checks:
        return Checks(self.shell, self.callers)

    # -- The scheduler -----------------------------------------------------------------------------------

    def run(self, steps: int = STEPS) -> None:
        """All of it. Raises Failed."""
        try:
            while self.steps < steps and self._after_the_end < STEPS_AFTER_THE_END:
                self._after_the_end += self.shell.finished
                self.step()
            self.come_to_rest()
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            raise Failed(
                f"seed {self.seed} failed at step {self.steps}, {self.shell.now:.3f} s: {what}\n"
                f"see it again: python -m {self.program} --seed {self.seed} --trace"
            ) from error

    def step(self) -> None:
        """One step of somebody, or a moment passes; then the invariants."""
        self.steps += 1
        if self.steps == self._close_at_step:
            self._close()
        random, shell = self.random, self.shell
        if random.random() < self._eagerness and not self._calm:
            self._act()
        else:
            now = shell.now
            actors: list[Actor] = [shell, *self.callers, *shell.workers.values()]
            due = [actor for actor in actors if actor.ready_at <= now and not actor.stalled]
            if due and (random.random() < 0.85 or not self._pass_time(actors, due)):
                due[int(random.random() * len(due))].run()
            elif not due:
                self._pass_time(actors, due)
        self.checks.check()

    def _pass_time(self, actors: list[Actor], due: list[Actor]) -> bool:
        """Let the clock go on: to the next appointment, but not for longer than those who are due may be late."""
        now = self.shell.now
        target = min((actor.ready_at for actor in actors if actor.ready_at > now and not actor.stalled), default=inf)
        if due:
            target = min(target, min(actor.ready_at for actor in due) + TICK)
        elif target == inf:
            target = now + 1.0
        if target <= now:
            return False
        self.shell.now = target
        return True

    def come_to_rest(self) -> None:
        """No more calls, no more trouble: whatever is under way must end, and the pool be whole."""
        self._calm = True
        shell, until = self.shell, self.shell.now + REST
        shell.odds = Odds(0.0, 0.0)
        shell.post("notice")  # else the worker of a call that was dropped is found by the next who needs it
        for caller in self.callers:
            if caller.loop is not None and caller.loop.closed:
                caller.vanish()
            elif caller.loop is not None:
                self._resume(caller.loop)
        steps = self.steps
        while unrest := self.checks.unrest():
            self._end_what_is_endless()
            self.step()
            if shell.now > until or self.steps - steps > MOST_STEPS_TO_REST:
                raise Broken(f"it doesn't come to rest: {unrest}")

    def _end_what_is_endless(self) -> None:
        """A call without a deadline on a worker that hangs is its caller's own choice; somebody kills it."""
        for worker in [*self.shell.workers.values()]:
            endless = not self.shell.closed and worker.alive and worker.out
            if endless and not worker.reply and worker.ready_at == inf:
                worker.kill()

    # -- The world ---------------------------------------------------------------------------------------

    def _act(self) -> None:
        """Somebody calls, or something bad happens."""
        random = self.random
        if random.random() >= self._trouble:
            self._call()
            return
        getattr(self, f"_{random.choice(self._troubles)}")()

    def _interrupt(self) -> None:
        """Ctrl-C in a thread, or the cancellation of a task."""
        if busy := [each for each in self.callers if each.phase not in ("idle", "door") and not each.stalled]:
            self._note("interrupt", caller := self.random.choice(busy))
            caller.interrupt()

    def _cancel(self) -> None:
        """By another thread."""
        if busy := [caller.call for caller in self.callers if caller.call is not None]:
            self._note("cancel", waiter := self.random.choice(busy).waiter)
            self.shell.cancel(waiter)

    def _drop(self) -> None:
        """Somebody forgets its call, and gives nothing back."""
        self._note("dropped:", caller := self.random.choice(self.callers))
        caller.vanish()

    def _kill(self) -> None:
        """SIGKILL from outside: of a worker that is idle, busy, draining or ending."""
        if workers := [*self.shell.workers.values()]:
            self._note("kill -9", worker := self.random.choice(workers))
            worker.kill()

    def _freeze(self) -> None:
        """SIGSTOP, or SIGCONT."""
        if workers := [*self.shell.workers.values()]:
            worker = self.random.choice(workers)
            self._note("thaw" if worker.frozen else "freeze", worker)
            worker.freeze(not worker.frozen)

    def _look(self) -> None:
        """Ask an idle worker how it is."""
        if idle := [*self.shell.state.idle]:
            self.shell.post("look", self.random.choice(idle))

    def _recycle(self) -> None:
        """By hand, all of them."""
        self._note("recycle()", "")
        for worker in self.shell.workers.values():
            self.shell.post("worn", worker, Worn.ASKED)

    def _call(self) -> None:
        random = self.random
        if idle := [caller for caller in self.callers if caller.call is None and not caller.stalled]:
            caller = random.choice(idle)
            self.calls += 1
            deadline = self.shell.now + random.choice((0.1, 0.5, 0.5, 2.0, inf))
            waiter = SimWaiter(caller, self.calls, deadline)
            known = [*self.shell.workers.values()] if random.random() < self._loyalty else []
            if known and random.random() < 0.8:  # ready or not, or about to die
                waiter.wants = random.choice(known)
            elif known:
                waiter.prefers = random.choice(known)
            call = Call(self.calls, deadline, random.random() < 0.2, waiter)
            caller.begin(call)
            self._note(f"call {call.id} for {waiter.wants or waiter.prefers} until {deadline:.3f} by", caller)

    def _stop_a_loop(self) -> None:
        loops = [caller.loop for caller in self.callers if caller.loop is not None]
        if not loops:
            return
        loop = self.random.choice(loops)
        if loop.closed:
            for caller in self.callers:
                if caller.loop is loop:
                    caller.vanish()
                    caller.loop = Loop()
        elif loop.stopped:
            self._resume(loop)
        else:
            loop.stopped = True
            loop.closed = self.random.random() < 0.2
        self._note(f"loop stopped={loop.stopped} closed={loop.closed} of", [c for c in self.callers if c.loop is loop])

    def _resume(self, loop: Loop) -> None:
        loop.stopped = False
        for caller in self.callers:
            if caller.loop is loop and caller.ready_at < self.shell.now:
                caller.ready_at = self.shell.now

    def _close(self) -> None:
        shell = self.shell
        shell.close_at = min(shell.close_at, shell.now + self.random.choice((0.0, 0.5, 3.0)))
        self._note("close() until", shell.close_at)
        shell.post("close", shell.close_at)

    # -- For those who look ------------------------------------------------------------------------------

    def trace(self) -> None:
        """Print what happens."""
        self.shell.note = lambda text: print(f"{self.steps:6} {self.shell.now:9.3f}  {text}")

    def _note(self, what: str, whom: object) -> None:
        if self.shell.note is not None:
            self.shell.note(f"{what} {whom}")


def main() -> None:
    """Run one seed, or several."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=1, help="how many, from --seed on")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--trace", action="store_true")
    options = parser.parse_args()
    seen: Counter[str] = Counter()
    steps = 0
    for seed in range(options.seed, options.seed + options.seeds):
        simulation = Simulation(seed)
        if options.trace:
            simulation.trace()
        simulation.run(options.steps)
        steps += simulation.steps
        seen += simulation.shell.seen
    print(f"{options.seeds} seeds, {steps} steps: {dict(seen.most_common())}")


if __name__ == "__main__":
    main()
