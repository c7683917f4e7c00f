"""The core with one error each, for the simulation to find.

Rules: a mutant is a class of the core compiled anew from its own source with one text replaced; the text must occur
exactly once, so that a mutant that no longer applies says so. Apart from the test, which is about the finding.
"""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass
from typing import Any, Final

from bridge.core.fleet import Fleet
from bridge.core.pool_state import PoolState
from tests.core.simulated_pool import Core


@dataclass(frozen=True)
class Mutation:
    """One error."""

    name: str
    owner: type[Any]
    before: str
    after: str
    found_as: str
    """What the simulation says: a pattern."""
    seed: int = 0
    """The first that finds it."""


def mutant(mutation: Mutation) -> Core:
    """The core with that error in it."""
    made = compiled(mutation)
    return Core(pool=made) if mutation.owner is PoolState else Core(fleet=made)


def compiled(mutation: Mutation) -> type[Any]:
    """The class with that error in it."""
    owner = mutation.owner
    source = inspect.getsource(owner)
    assert source.count(mutation.before) == 1, f"{mutation.name}: rewrite it, {owner.__name__} has changed"
    text = "from __future__ import annotations\n" + source.replace(mutation.before, mutation.after)
    names = dict(vars(sys.modules[owner.__module__]))
    exec(compile(text, f"<{mutation.name}>", "exec"), names)
    made: type[Any] = names[owner.__name__]
    return made


MUTATIONS: Final = (
    Mutation(
        "checkin doesn't clear the holder",
        PoolState,
        "            worker.holder = None\n        waiter.worker = None\n        return self._match(worker)",
        "            pass\n        waiter.worker = None\n        return self._match(worker)",
        "who has None|may be lent while",
        23,
    ),
    Mutation(
        "checkin takes back what was removed",
        PoolState,
        "            if worker in self.workers:\n",
        "            if True:\n",
        "is dead, and may be lent|may be lent, but was removed|had been removed",
    ),
    Mutation(
        "leave doesn't pass on the offer",
        PoolState,
        "        waiter.withdrawn = False\n        return self.checkin(waiter, now)",
        "        waiter.worker = None\n        return None",
        "is bound to .* who has None",
    ),
    Mutation(
        "the queue is a stack",
        PoolState,
        "waiter = next(iter(self.waiting), None)",
        "waiter = next(reversed(self.waiting), None)",
        "was offered to",
    ),
    Mutation(
        "whoever was withdrawn comes back at the end",
        PoolState,
        "                queue.move_to_end(later)",
        "                pass",
        "order of arrival",
        8,
    ),
    Mutation(
        "a withdrawn waiter isn't told",
        PoolState,
        "        waiter.withdrawn = True\n",
        "",
        "has lost its place",
        8,
    ),
    Mutation(
        "the audit reports nobody",
        PoolState,
        "stranded.append(worker)",
        "pass",
        "is lost",
    ),
    Mutation(
        "a removed worker stays idle",
        PoolState,
        "        self.idle.pop(worker, None)  # first:",
        "        pass  # first:",
        "may be lent",
        2,
    ),
    Mutation(
        "waiting ignores the deadline",
        PoolState,
        "return min(deadline, max(waiter.enqueued_at, self.populated_at) + checkout_timeout)",
        "return max(waiter.enqueued_at, self.populated_at) + checkout_timeout",
        "after its deadline",
        1,
    ),
    Mutation(
        "time without workers sheds",
        PoolState,
        "max(max(waiter.enqueued_at, self.populated_at) + target, self.stands_at(interval))",
        "max(waiter.enqueued_at + target, self.stands_at(interval))",
        "was turned away",
        1,
    ),
    Mutation(
        "add doesn't look at the queue",
        PoolState,
        "        self.idle[worker] = now\n        return self._match(worker)",
        "        self.idle[worker] = now\n        return None",
        "are idle while",
    ),
    Mutation(
        "each newcomer makes the queue young",
        PoolState,
        "            if not queue:\n                self.standing_since = now\n",
        "            self.standing_since = now\n",
        "the queue stands since",
        1,
    ),
    Mutation(
        "who joins waits though a worker is idle",
        PoolState,
        "            if self.idle:\n                return False\n",
        "",
        "is idle while|are idle while",
    ),
    Mutation(
        "who joins says of each queue that it stands",
        PoolState,
        "            self.standing_since = now\n        self.tickets = ",
        "            pass\n        self.tickets = ",
        "the queue stands since",
    ),
    Mutation(
        "own queues are ignored",
        PoolState,
        "        if self.own and freed is not None:\n",
        "        if False:\n",
        "was offered to|is idle while",
    ),
    Mutation(
        "whoever came last is first of two queues",
        PoolState,
        "first.ticket < waiter.ticket",
        "first.ticket > waiter.ticket",
        "was offered to",
    ),
    Mutation(
        "own queues go first",
        PoolState,
        " and (waiter is None or first.ticket < waiter.ticket)",
        "",
        "was offered to",
    ),
    Mutation(
        "an own queue is a stack",
        PoolState,
        "first = next(iter(self.own.get(freed, ())), None)",
        "first = next(reversed(self.own.get(freed, {})), None)",
        "was offered to",
    ),
    Mutation(
        "whoever wants one is lent the warmest",
        PoolState,
        "worker = wants if wants is not None or not self.idle else self._warmest(waiter)",
        "worker = self._warmest(waiter) if self.idle else None",
        "who wants",
        5,
    ),
    Mutation(
        "whoever wants one is offered what is free",
        PoolState,
        "first = next(iter(self.own.get(freed, ())), None)",
        "first = next(iter([each for queue in self.own.values() for each in queue]), None)",
        "who wants",
    ),
    Mutation(
        "a preference is ignored",
        PoolState,
        "return waiter.prefers if waiter.prefers in self.idle else next(reversed(self.idle))",
        "return next(reversed(self.idle))",
        "was lent .* is idle",
        5,
    ),
    Mutation(
        "a worker that was removed is offered to who wants it",
        PoolState,
        "        if freed not in self.idle:\n            freed = None\n",
        "",
        "had been removed",
        18,
    ),
    Mutation(
        "who leaves stays in its own queue",
        PoolState,
        "            queue.pop(waiter, None)\n",
        "",
        "is lost|was offered to",
    ),
    Mutation(
        "empty queues are kept",
        PoolState,
        "            if not queue:\n                self.own.pop(waiter.wants, None)",
        "            pass",
        "its queue is kept",
    ),
    Mutation(
        "a burial refuses nobody",
        PoolState,
        "return self._fail(self.own.get(worker, ()), Departed())",
        "return []",
        "will never be lent again",
    ),
    Mutation(
        "a burial isn't remembered",
        PoolState,
        "        worker.departed = True  # first",
        "        pass  # first",
        "will never be lent again",
        5,
    ),
    Mutation(
        "a buried worker is queued for",
        PoolState,
        "        elif wants.departed:\n            raise Departed\n",
        "",
        "will never be lent again",
        5,
    ),
    Mutation(
        "a burial refuses everybody",
        PoolState,
        "return self._fail(self.own.get(worker, ()), Departed())",
        "return self.fail_all(Departed())",
        "as if that had departed",
    ),
    Mutation(
        "a worker that is away isn't waited for",
        PoolState,
        "        elif wants.departed:\n",
        "        elif wants.departed or wants not in self.workers:\n",
        "which hasn't departed",
    ),
    Mutation(
        "a worker that is away is given up",
        PoolState,
        "        self.workers.pop(worker, None)\n",
        "        self.workers.pop(worker, None)\n        self._fail(self.own.get(worker, ()), Departed())\n",
        "as if that had departed",
    ),
    Mutation(
        "own queues outlive the pool",
        PoolState,
        "[*self.waiting, *(waiter for queue in self.own.values() for waiter in queue)]",
        "[*self.waiting]",
        "the pool is closed",
    ),
    Mutation(
        "whoever wants one is shed",
        PoolState,
        " or waiter.wants is not None:  # a queue",
        ":  # a queue",
        "since others wait",
        1,
    ),
    Mutation(
        "a worker is admitted twice",
        Fleet,
        "if member is None or member.state is not WorkerState.DRAINING:",
        "if member is None:",
        "reply to call .* is outstanding|may be lent while call",
        7,
    ),
    Mutation(
        "no deadline for draining",
        Fleet,
        "        member.deadline = min(now + self._cancel_grace, self._close_at)\n",
        "",
        "is draining since",
    ),
    Mutation(
        "time doesn't end a draining",
        Fleet,
        "            if member.deadline <= now:\n",
        "            if member.deadline <= now and member.state is not WorkerState.DRAINING:\n",
        "nothing to do",
    ),
    Mutation(
        "a killed one is admitted",
        Fleet,
        "if member is None or member.state is not WorkerState.STARTING or member.killed:",
        "if member is None or member.state is not WorkerState.STARTING:",
        "may be lent while it is ready, killed",
        19,
    ),
    Mutation(
        "growth ignores the ceiling",
        Fleet,
        "wanted = min(waiting - self.count(WorkerState.STARTING), self.ceiling - self._strength())",
        "wanted = waiting - self.count(WorkerState.STARTING)",
        r"workers, over",
    ),
    Mutation(
        "a successor retires nobody",
        Fleet,
        "[Retire(old)] if predecessor.state is WorkerState.READY else []",
        "[]",
        "though its successor is",
        4,
    ),
    Mutation(
        "closing sets no deadline",
        Fleet,
        "                member.deadline = min(member.deadline, self._close_at)",
        "                pass",
        "is (ready|busy) since",
    ),
    Mutation(
        "a worker that drained is lent beside its successor",
        Fleet,
        "return [Retire(generation)]  # it was",
        "return [Admit(generation)]  # it was",
        "though its successor is",
        5,
    ),
    Mutation(
        "two are replaced at once",
        Fleet,
        "            if member.successor in self.members:\n                return None\n",
        "",
        "workers, over",
        27,
    ),
    Mutation(
        "the next one is replaced before the last one is gone",
        Fleet,
        "            if member.successor in self.members:\n                return None\n",
        "            if member.successor in self.members and member.state is not WorkerState.RETIRING:\n"
        "                return None\n",
        "workers, over",
        13,
    ),
    Mutation(
        "no limit for successors",
        Fleet,
        "return heirless if len(self._placed()) <= self.ceiling else None",
        "return heirless",
        "workers, over",
        20,
    ),
    Mutation(
        "one that was told to end keeps its place",
        Fleet,
        "return min(self.size - self._strength() + leaving, ",
        "return min(self.size - self._strength(), ",
        "nobody is started",
        5,
    ),
    Mutation(
        "a spare one is lent",
        Fleet,
        "if member.spare and not self._swap(member):",
        "if False:",
        "is spare, and may be lent",
        6,
    ),
    Mutation(
        "spare ones that start aren't counted",
        Fleet,
        "return effects + self._spawn(self._missing_spares(), now, spare=True)",
        "return effects + self._spawn(self.spare - self.count(WorkerState.READY, spare=True), now, spare=True)",
        "spare workers, over",
        6,
    ),
)
