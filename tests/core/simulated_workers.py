"""The processes of the simulation: workers that follow a script.

Rules: an actor runs when its time has come, does one step, and says when its next one is; nothing here knows an
invariant. Apart from the pool and the supervisor, which see of a process what theirs see of a real one.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Final
from weakref import ReferenceType

from bridge.core.recycling import Thresholds

if TYPE_CHECKING:
    from tests.core.simulated_callers import SimWaiter
    from tests.core.simulated_pool import SimPool


PING: Final = -1
"""The id of a question that is no call."""


class Actor:
    """Something that the scheduler runs. `ready_at` is when, in simulated seconds."""

    __slots__ = ("ready_at",)

    def __init__(self) -> None:
        self.ready_at = inf

    @property
    def stalled(self) -> bool:
        """It is not run, however late it is."""
        return False

    def run(self) -> None:
        """Do one step."""
        raise NotImplementedError


class Worker(Actor):
    """One process, with the parent's end of its pipes. It does `todo` when `ready_at` comes."""

    __slots__ = (
        *(
            "__weakref__",
            "alive",
            "asked_to_stop",
            "buried",
            "calls",
            "departed",
            "doomed",
            "fault",
            "frozen",
            "generation",
        ),
        *(
            "holder",
            "host",
            "left",
            "out",
            "ready",
            "reply",
            "request",
            "retired",
            "rss",
            "shell",
            "stalled_at",
            "thresholds",
        ),
        *("todo", "was_read", "written"),
    )

    def __init__(self, shell: SimPool, generation: int, thresholds: Thresholds, host: str = "") -> None:
        super().__init__()
        self.host = host
        self.shell, self.generation, self.thresholds = shell, generation, thresholds
        self.holder: ReferenceType[SimWaiter] | None = None
        self.departed = False
        self.alive, self.frozen, self.buried, self.ready = True, False, False, False
        self.retired = False  # taken out of the pool because its successor is ready
        self.asked_to_stop = self.doomed = False
        self.left = False  # nobody's, and the supervisor has yet to hear of it
        self.fault = ""  # why its start is being given up
        self.calls = self.rss = 0
        self.out = 0  # id of the call whose reply is outstanding; 0: the link is clean
        self.written = self.was_read = True  # that call: by its caller, by the process
        self.request = 0  # id of the call that the process is busy with
        self.reply = 0  # id of the terminal frame that lies in the pipe
        self.todo: Callable[[], None] = self.die
        self.stalled_at = inf

    def __repr__(self) -> str:
        return f"w{self.generation}"

    @property
    def is_over(self) -> bool:
        """It will never be lent again: it is dead, and its parent knows, or it was told to end."""
        return self.buried or self.asked_to_stop

    def plan(self, delay: float, todo: Callable[[], None]) -> None:
        """What the process does next; whatever it was about to do is forgotten, but for a SIGKILL."""
        if self.doomed and todo != self.die:
            return
        self.todo = todo
        if self.frozen:
            self.stalled_at = self.shell.now + delay
        else:
            self.ready_at = self.shell.now + delay

    def run(self) -> None:
        """Do what is planned."""
        self.ready_at = inf
        self.todo()

    def start(self) -> None:
        """Its handler is being made: soon, late, never, or it fails."""
        random, odds = self.shell.random, self.shell.odds
        chance = random.random()
        if chance >= odds.bad_start:
            self.plan(random.choice((0.05, 0.1, 0.3)), self.say_ready)
        else:
            self.plan(
                random.choice((0.05, 0.3, 0.5, 5.0)),
                random.choice((self.say_ready, self.say_failed, self.say_failed_for_good, self.die)),
            )

    def say_ready(self) -> None:
        """READY."""
        self.shell.hear("ready", self)

    def say_failed(self) -> None:
        """FAILED, for a reason that may pass."""
        self.fault = "timeout"
        self.shell.hear("failed", self)

    def say_failed_for_good(self) -> None:
        """FAILED: there is no such handler."""
        self.fault = "handler"
        self.shell.hear("failed", self)

    def take_request(self, call_id: int) -> None:
        """The request of a call is wholly in its pipe."""
        if not self.alive:
            return
        self.request = call_id
        random, odds = self.shell.random, self.shell.odds
        if random.random() < odds.bad_call:
            fate = random.choice((self.die_unread, self.die, self.hang, self.answer))
            self.plan(random.choice((0.0, 0.1, 0.5, 3.0)), fate)
        else:
            self.plan(random.choice((0.0, 0.05, 0.1, 0.5)), self.answer)

    def answer(self) -> None:
        """Write the terminal frame of the call that it is busy with."""
        self.was_read = True
        self.rss += self.shell.random.choice((0, 0, 40))
        self.request, self.reply = 0, self.request
        self.shell.readable(self)
        if self.asked_to_stop:
            self.plan(0.05, self.die)

    def ask(self) -> None:
        """on_health: answered soon, unless it hangs."""
        self.out = self.request = PING
        self.written = True
        random = self.shell.random
        self.plan(random.choice((0.0, 0.05)), self.hang if random.random() < self.shell.odds.bad_call else self.answer)

    def hang(self) -> None:
        """Do nothing any more."""
        self.was_read = True

    def die_unread(self) -> None:
        """Die before the request was read."""
        self.request = 0
        self.die()

    def die(self) -> None:
        """The process ends; the kernel closes its pipes and tells whoever watches."""
        if self.request:
            self.was_read = True
        self.alive, self.frozen, self.ready_at = False, False, inf
        self.shell.readable(self)
        self.shell.hear("died", self)

    def kill(self) -> None:
        """SIGKILL ends a frozen process as well."""
        if self.alive and not self.doomed:
            self.frozen, self.doomed = False, True
            self.plan(self.shell.random.choice((0.0, 0.01)), self.die)

    def cancel(self) -> None:
        """CANCEL: honoured soon, late, or not at all; a call that has ended ignores it."""
        if self.alive and self.request and self.todo == self.answer:
            random = self.shell.random
            if random.random() < 0.7:
                self.plan(random.choice((0.0, 0.05, 0.6)), self.answer)

    def stop(self) -> None:
        """STOP: obeyed when it is through with its call, unless it hangs."""
        self.asked_to_stop = True
        if self.alive and not self.request and self.ready_at == inf:
            delay = self.shell.random.choice((0.0, 0.05, 0.05, inf))
            self.plan(delay, self.die)

    def freeze(self, frozen: bool) -> None:
        """SIGSTOP or SIGCONT."""
        if not self.alive or self.doomed or frozen is self.frozen:
            return
        self.frozen = frozen
        if frozen:
            self.stalled_at, self.ready_at = self.ready_at, inf
        else:
            self.ready_at, self.stalled_at = max(self.stalled_at, self.shell.now), inf
