"""A park of hosts: one parent or several, up to a thousand workers, a million calls, and a clock that is a number.

Rules: the core is the real one (SpreadState, HostFleets, Histogram) and is asked as the runtime asks it; all
chance comes from one Random of the run's seed. A parent does one thing at a time, in the order in which it hears of it,
so its decisions are made when it gets to them. What must hold is looked at in each step that could break it, and
raises Broken. Apart from simulation.py, which looks for errors in every interleaving of few: this one asks what many
cost, and nobody is interrupted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from heapq import heappop, heappush
from math import exp, inf
from random import Random
from typing import Any, Final

from bridge.core.effects import Admit, Effect, Kill, Refuse, Spawn
from bridge.core.hosts import Host, HostFleets
from bridge.core.policy import SupervisorPolicy
from bridge.core.pool_state import PoolState
from bridge.core.spread import SpreadState
from bridge.core.stats import Histogram
from bridge.errors import WorkerStartError
from tests.core.simulated_checks import Broken
from tests.core.simulated_places import Call, Place, Plan, Worker

Pools = Callable[[dict[str, int]], PoolState[Worker]]
SIGMA: Final = 0.7
"""Of the log-normal times in the workers."""
START: Final = (0.2, 0.6)
"""Seconds, the least and the most, that a worker takes to be ready."""
NEARLY: Final = 0.95
"""Of the calls; the last ones wait for the slowest of all, and say nothing of throughput."""
ASK_AGAIN: Final = 1.0
"""Seconds until a caller that was refused calls again."""


class Parent:
    """One process with its pool: a queue, the fleets of its hosts, and a processor that is busy until `free_at`."""

    def __init__(self, places: list[Place], pool: Pools, random: Random) -> None:
        self.places = {place.name: place for place in places}
        self.state = pool({place.name: place.size for place in places})
        hosts = [Host(place.name, place.size) for place in places]
        self.fleets = HostFleets(hosts, SupervisorPolicy(), chance=random.random)
        self.workers: dict[int, Worker] = {}
        self.timer = inf
        self.free_at = self.spent = 0.0
        self.last_ticket = 0

    def spend(self, now: float, cost: float) -> float:
        """Work for so long, as soon as what came before is done; when that is over."""
        self.spent += cost
        self.free_at = max(now, self.free_at) + cost
        return self.free_at


class Park:
    """One run of a plan."""

    def __init__(self, plan: Plan, pool: Pools = SpreadState) -> None:
        self.plan = plan
        self.random = random = Random(plan.seed)
        self.now = 0.0
        self.latencies, self.waits = Histogram(), Histogram()
        self.seen: Counter[str] = Counter()
        self.answered_in: list[int] = []  # by second
        self.by_caller = [0] * (plan.crowd * plan.workers)
        self.open: set[Call] = set()  # as callers hold them: a worker knows its call by a weak reference only
        self.begun = self.answered = self.most_waiting = 0
        self.slowest = self.last_answer_at = self.nearly_at = 0.0
        self.lost: Place | None = None
        self.whole_at = self.level_at = inf  # the lost host is as before; and nobody waits
        self._events: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._count = 0
        self.nearly = int(plan.calls * NEARLY)  # until then there are callers for all workers
        self._half = plan.parent_cost / 2
        each = plan.workers // plan.hosts
        self.places = [Place(number, each, random) for number in range(plan.hosts)]
        self.parents = [Parent(self.places[first :: plan.parents], pool, random) for first in range(plan.parents)]

    # -- The scheduler -----------------------------------------------------------------------------------

    def run(self) -> Park:
        """All of it. Raises Broken."""
        plan = self.plan
        for parent in self.parents:
            self._perform(parent, parent.fleets.open(0.0), 0.0)
        if plan.rate is not None:
            self._at(plan.begin, self._arrive)
        else:
            for caller in range(len(self.by_caller)):
                self._at(plan.begin, self._begin, caller)
        if plan.lost_at < inf:
            self._at(plan.lost_at, self._lose)
        events = self._events
        while self.answered < plan.calls:
            if not events:
                raise Broken(f"{self.begun - self.answered} calls are lost: nothing is to come")
            self.now, _, what, whom = heappop(events)
            what(*whom)
        self._check()
        return self

    def _at(self, when: float, what: Callable[..., None], *whom: object) -> None:
        self._count += 1
        heappush(self._events, (when, self._count, what, whom))

    def _parent_of(self, worker: Worker) -> Parent:
        return self.parents[worker.place.number % self.plan.parents]

    # -- Calls -------------------------------------------------------------------------------------------

    def _arrive(self) -> None:
        """A call at a random moment, and when the next one comes."""
        if self.begun < self.plan.calls and self.plan.rate is not None:
            self._begin(self.begun % len(self.by_caller))
            self._at(self.now + self.random.expovariate(self.plan.rate), self._arrive)

    def _begin(self, caller: int) -> None:
        if self.begun < self.plan.calls:
            self.begun += 1
            self.open.add(call := Call(caller, self.now))
            self._check_out(self.parents[caller % len(self.parents)], call)

    def _check_out(self, parent: Parent, call: Call) -> None:
        state, now = parent.state, max(self.now, parent.free_at)
        if state.lend(call) is not None or state.checkout(call, now):
            self._send(parent, call, now)
        else:
            self.most_waiting = max(self.most_waiting, len(state.waiting))
            if state.idle:
                raise Broken("a worker is idle while callers wait")

    def _granted(self, parent: Parent, call: Any, now: float) -> None:
        if call is None:
            return
        if not parent.state.take(call):
            raise Broken("a call was woken, and has no worker")
        if call.ticket <= parent.last_ticket:
            raise Broken(f"call {call.ticket} of the queue came after {parent.last_ticket}: not in order")
        parent.last_ticket = call.ticket
        self._send(parent, call, now)

    def _send(self, parent: Parent, call: Call, now: float) -> None:
        worker, random = call.worker, self.random
        if worker is None or worker.departed or worker.holder is None or worker.holder() is not call:
            raise Broken("a call is sent to a worker that isn't its own")
        sent_at = parent.spend(now, self._half)
        if not call.tries:
            self.waits.note(sent_at - call.begun_at)
        call.tries += 1
        worker.calls += 1
        latency = worker.place.latency
        done_at = sent_at + latency * (1 + random.expovariate(4)) + self._service()
        back_at = done_at + latency * (1 + random.expovariate(4))
        if random.random() < self.plan.crash:
            self._at(back_at, self._crash, worker)
        else:
            self._at(back_at, self._reply, parent, call, worker, done_at)

    def _service(self) -> float:
        return self.plan.service * exp(self.random.gauss(-SIGMA * SIGMA / 2, SIGMA))

    def _reply(self, parent: Parent, call: Call, worker: Worker, done_at: float) -> None:
        if worker.lost_at <= done_at:
            return  # its host was gone before it was through; the parent will notice
        if call.worker is not worker:
            raise Broken("an answer comes to a call that was sent to somebody else")
        if call.answered:
            raise Broken("a call is answered twice")
        at = parent.spend(self.now, self._half)
        call.answered = True
        self.open.discard(call)
        self._count_answer(call, at)
        self._granted(parent, parent.state.checkin(call, at), at)
        if self.plan.rate is None:
            self.now = max(self.now, at)  # the caller goes on when its parent has told it
            self._begin(call.caller)
        if self.whole_at <= self.now < self.level_at == inf and not parent.state.waiting:
            self.level_at = self.now

    def _count_answer(self, call: Call, at: float) -> None:
        took = at - call.begun_at
        self.answered += 1
        self.latencies.note(took)
        self.slowest = max(self.slowest, took)
        self.last_answer_at = max(self.last_answer_at, at)
        if self.answered == self.nearly:
            self.nearly_at = at
        self.by_caller[call.caller] += 1
        second = int(at)
        while len(self.answered_in) <= second:
            self.answered_in.append(0)
        self.answered_in[second] += 1

    # -- Workers and hosts -------------------------------------------------------------------------------

    def _crash(self, worker: Worker) -> None:
        if worker.lost_at == inf:
            worker.lost_at = self.now
            self.seen["crashed"] += 1
            self._gone(worker)

    def _lose(self) -> None:
        """All that runs on the busiest host is gone at once, and its parent doesn't know yet."""
        self.lost = lost = max(self.places, key=Place.busy)
        lost.down = True
        self.seen["hosts lost"] += 1
        for worker in lost.workers.values():
            worker.lost_at = min(worker.lost_at, self.now)
            self._at(self.now + self.plan.notice, self._gone, worker)
        self._at(self.now + self.plan.away, self._come_back, lost)

    def _come_back(self, place: Place) -> None:
        place.down = False

    def _gone(self, worker: Worker) -> None:
        """Its parent sees the end of a worker: the call that was out on it is sent again, and another one started."""
        parent, now = self._parent_of(worker), self.now
        if parent.workers.pop(worker.generation, None) is None:
            return
        del worker.place.workers[worker.generation]
        call = None if worker.holder is None else worker.holder()
        was_ready = worker in parent.state.workers
        worker.place.ready -= was_ready
        if parent.state.bury(worker):
            raise Broken("somebody waits for one worker, and nobody asked for one")
        if worker in parent.state.idle:
            raise Broken("a worker is dead, and may be lent")
        if call is not None:
            self._granted(parent, parent.state.checkin(call, now), now)  # which only unbinds it
            self.seen["sent again"] += 1
            self._check_out(parent, call)
        error = None if was_ready else WorkerStartError("timeout", "its host doesn't answer", handler="park:Handler")
        served = worker.calls > 0
        self._perform(parent, parent.fleets.exited(worker.generation, error, served=served, now=now), now)

    def _ready(self, worker: Worker) -> None:
        if worker.lost_at == inf:  # else its host was lost meanwhile, and _lose sees to it
            parent = self._parent_of(worker)
            self._perform(parent, parent.fleets.became_ready(worker.generation, self.now), self.now)

    def _perform(self, parent: Parent, effects: list[Effect], now: float) -> None:
        parent.state.avoided = parent.fleets.view().failing
        for effect in effects:
            match effect:
                case Spawn(generation, host):
                    self._spawn(parent, parent.places[host], generation, now)
                case Admit(generation):
                    self._admit(parent, parent.workers[generation], now)
                case Kill(generation, _why):
                    self._gone(parent.workers[generation])
                case Refuse(error):
                    for call in parent.state.fail_all(error):
                        self.seen["refused"] += 1
                        self._at(now + ASK_AGAIN, self._check_out, parent, call)
                case _:
                    raise Broken(f"nobody asked for {effect}")
        parent.fleets.events.clear()
        timer = parent.fleets.next_timer()
        if timer < inf and not now < parent.timer <= timer:
            parent.timer = max(timer, now)
            self._at(parent.timer, self._tick, parent)

    def _tick(self, parent: Parent) -> None:
        parent.timer = inf
        self._perform(parent, parent.fleets.tick(self.now), self.now)

    def _admit(self, parent: Parent, worker: Worker, now: float) -> None:
        place = worker.place
        place.ready += 1
        self._granted(parent, parent.state.add(worker, now), now)
        if place.ready == place.size and place is self.lost:
            self.whole_at = min(self.whole_at, now)

    def _spawn(self, parent: Parent, place: Place, generation: int, now: float) -> None:
        parent.workers[generation] = place.workers[generation] = worker = Worker(place, generation)
        self.seen["starts"] += 1
        at = parent.spend(now, self.plan.spawn_cost)
        if place.down:
            worker.lost_at = now
            self._at(at + self.plan.notice, self._gone, worker)
        else:
            self._at(at + self.random.uniform(*START), self._ready, worker)

    # -- What must hold at the end -----------------------------------------------------------------------

    def _check(self) -> None:
        if not self.plan.calls == self.begun == self.answered == self.latencies.count == sum(self.by_caller):
            raise Broken(f"{self.plan.calls} calls, {self.begun} begun and {self.answered} answered")
        for parent in self.parents:
            if parent.state.waiting or parent.state.own:
                raise Broken("all calls are answered, and somebody waits")
            stranded, awake = parent.state.audit()
            if stranded or awake:
                raise Broken(f"the audit finds {len(stranded)} workers and {len(awake)} waiters that were forgotten")
