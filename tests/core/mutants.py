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
    owner = mutation.owner
    source = inspect.getsource(owner)
    assert source.count(mutation.before) == 1, f"{mutation.name}: rewrite it, {owner.__name__} has changed"
    text = "from __future__ import annotations\n" + source.replace(mutation.before, mutation.after)
    names = dict(vars(sys.modules[owner.__module__]))
    exec(compile(text, f"<{mutation.name}>", "exec"), names)
    made = names[owner.__name__]
    return Core(pool=made) if owner is PoolState else Core(fleet=made)


MUTATIONS: Final = (
    Mutation(
        "checkin doesn't clear the holder",
        PoolState,
        "            worker.holder = None\n        waiter.worker = None\n        return self._match(worker)",
        "            pass\n        waiter.worker = None\n        return self._match(worker)",
        "who has None|may be lent while",
        8,
    ),
    Mutation(
        "checkin takes back what was removed",
        PoolState,
        "            if worker in self.workers:\n",
        "            if True:\n",
        "is dead, and may be lent|may be lent, but was removed",
        6,
    ),
    Mutation(
        "leave doesn't pass on the offer",
        PoolState,
        "        waiter.withdrawn = False\n        return self.checkin(waiter, now)",
        "        waiter.worker = None\n        return None",
        "is bound to .* who has None",
        8,
    ),
    Mutation(
        "the queue is a stack",
        PoolState,
        "waiter = next(iter(self.waiting), None)",
        "waiter = next(reversed(self.waiting), None)",
        "were served before",
    ),
    Mutation(
        "whoever was withdrawn comes back at the end",
        PoolState,
        "                queue.move_to_end(later)",
        "                pass",
        "order of arrival",
        20,
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
    ),
    Mutation(
        "waiting ignores the deadline",
        PoolState,
        "return min(deadline, max(waiter.enqueued_at, self.populated_at) + checkout_timeout)",
        "return max(waiter.enqueued_at, self.populated_at) + checkout_timeout",
        "after its deadline",
        3,
    ),
    Mutation(
        "time without workers sheds",
        PoolState,
        "max(max(waiter.enqueued_at, self.populated_at) + target, self.stands_at(interval))",
        "max(waiter.enqueued_at + target, self.stands_at(interval))",
        "was turned away",
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
        "a worker is admitted twice",
        Fleet,
        "if member is None or member.state is not WorkerState.DRAINING:",
        "if member is None:",
        "reply to call .* is outstanding|may be lent while call",
        49,
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
        36,
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
        5,
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
        26,
    ),
    Mutation(
        "two are replaced at once",
        Fleet,
        "            if member.successor in self.members:\n                return None\n",
        "",
        "workers, over",
        8,
    ),
    Mutation(
        "the next one is replaced before the last one is gone",
        Fleet,
        "            if member.successor in self.members:\n                return None\n",
        "            if member.successor in self.members and member.state is not WorkerState.RETIRING:\n"
        "                return None\n",
        "workers, over",
        8,
    ),
    Mutation(
        "no limit for successors",
        Fleet,
        "return heirless if len(self.members) <= self.ceiling else None",
        "return heirless",
        "workers, over",
        10,
    ),
    Mutation(
        "one that was told to end keeps its place",
        Fleet,
        "return min(self.size - self._strength() + leaving, ",
        "return min(self.size - self._strength(), ",
        "nobody is started",
        10,
    ),
)
