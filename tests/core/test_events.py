"""What the fleet and its breaker note: every transition, in the order in which they were decided."""

from __future__ import annotations

import logging
import pickle
from dataclasses import fields, replace
from random import Random

from bridge.core.effects import Why
from bridge.core.events import NAMES, Event, fields_of, said
from bridge.core.fleet import Fleet
from bridge.core.lifecycle import TRANSITIONS, WorkerState
from bridge.core.policy import Breaker, RestartPolicy
from bridge.core.recycling import Worn
from bridge.errors import WorkerStartError

BROKEN = WorkerStartError("handler", "ImportError: no", handler="m:H")
TABLE = {(before.value, after.value) for before, after in TRANSITIONS}


def make_fleet(chance: Random | None = None, **policy: float) -> Fleet:
    """Two workers, one more on demand."""
    return Fleet(
        size=2,
        max_overflow=1,
        policy=RestartPolicy(**{"max_restarts": 1, "window": 5.0, "backoff": 0.1, **policy}),  # type: ignore[arg-type]
        startup_timeout=10,
        shutdown_timeout=2,
        cancel_grace=1,
        chance=(chance or Random(0)).random,
    )


def names(fleet: Fleet) -> list[str]:
    """What was noted since the last look."""
    found = [event.name for event in fleet.events]
    fleet.events.clear()
    return found


def some_step(fleet: Fleet, random: Random, now: float) -> None:
    """Anything that can happen to a fleet, to any of its members, whether it makes sense or not."""
    generation = random.choice([*fleet.members, 99])
    lent = random.random() < 0.5
    match random.randrange(12):
        case 0 | 1 | 2:
            fleet.became_ready(generation, now, random.choice((1.0, 100.0)))
        case 3:
            fleet.exited(generation, random.choice((None, BROKEN)), served=random.random() < 0.5, now=now, lent=lent)
        case 4:
            fleet.abandoned(generation, softly=random.random() < 0.7, now=now)
        case 5 | 6:
            fleet.drained(generation)
        case 7:
            fleet.check_up(generation, 1.0, now)
        case 8:
            fleet.wear(generation, random.choice([*Worn]), now)
        case 9:
            fleet.retire(generation, random.choice([*Why]), lent=lent)
        case 10:
            fleet.stop(generation, now)
        case _:
            fleet.grow(random.randrange(4), now)


def test_whoever_follows_the_events_knows_where_each_worker_stands() -> None:
    """Long random walks: each transition begins where the last one ended, is in the table, and after each step the last
    one told is where the member stands. Fails when any change of a member's state isn't noted: leave out one `append`
    in fleet.py, or set `member.state` without `_move`."""
    seen: set[tuple[str, str]] = set()
    for seed in range(100):
        random = Random(seed)
        fleet, now = make_fleet(random), 0.0
        stands: dict[int, str] = {}
        breaker = "closed"
        fleet.open(now)
        for number in range(80):
            if number == 70:
                fleet.close(now + 1, now)
            some_step(fleet, random, now)
            now += random.choice((0.0, 0.01, 0.3, 3.0))
            fleet.tick(now, lambda _: True)
            while fleet.events:
                event = fleet.events.popleft()
                generation = event.generation
                if event.name.startswith("breaker."):
                    assert event.before == breaker
                    breaker = str(event.after)
                elif generation is not None and event.after is not None:
                    expected = stands.get(generation)
                    assert event.before == expected or (event.before, expected) == ("busy", "ready")
                    assert event.name == f"worker.{event.after}"
                    if event.before is not None:
                        assert (event.before, event.after) in TABLE
                        seen.add((event.before, event.after))
                    stands[generation] = event.after
            shown = {generation: member.shown.value for generation, member in fleet.members.items()}
            assert {generation: state for generation, state in stands.items() if state != "stopped"} == shown
            assert breaker == fleet.policy.breaker.value

    assert seen == TABLE - {("ready", "busy"), ("busy", "ready")}


def test_the_breakers_turns_stand_between_the_starts_that_cause_them() -> None:
    """Without a pause it opens and is tried in one step, which tells both. Fails when the breaker is only looked at
    from outside."""
    fleet = make_fleet(max_restarts=0, backoff=0.0)
    fleet.open(0.0)
    names(fleet)
    fleet.exited(1, BROKEN, served=False, now=1.0)
    first = names(fleet)
    fleet.became_ready(2, 3.0)

    assert first == ["worker.stopped", "worker.failed", "breaker.open", "breaker.half-open"]
    assert names(fleet) == ["worker.ready", "breaker.closed"]


def test_an_end_has_the_reason_that_was_told_when_it_began() -> None:
    """A member that is killed, stopped or found dead says so twice: when it is told to end, and when it is gone."""
    fleet = make_fleet()
    fleet.open(0.0)
    fleet.became_ready(1)
    fleet.became_ready(2)
    fleet.retire(1, Why.DIRTY, lent=True)
    fleet.stop(2, 0.0)
    for generation in (1, 2):
        fleet.exited(generation, None, served=True, now=1.0)
    fleet.exited(3, None, served=True, now=2.0)
    ends = [
        (event.generation, event.name, event.before, event.reason)
        for event in fleet.events
        if event.name in ("worker.killed", "worker.retiring", "worker.stopped")
    ]

    assert ends == [
        (1, "worker.retiring", "busy", "dirty"),
        (1, "worker.killed", None, "dirty"),
        (2, "worker.retiring", "ready", "max_idle"),
        (1, "worker.stopped", "retiring", "dirty"),
        (2, "worker.stopped", "retiring", "max_idle"),
        (3, "worker.stopped", "starting", "died"),
    ]


def test_opening_and_closing_are_told_once() -> None:
    """Though both may be repeated, by a signal or another thread."""
    fleet = make_fleet()
    for _ in range(2):
        fleet.open(0.0)
    for _ in range(2):
        fleet.close(1.0, 0.0)

    assert [name for name in names(fleet) if name.startswith("bridge.")] == ["bridge.open", "bridge.closing"]


def test_every_state_has_a_name_and_words() -> None:
    """What the fleet may note can be said; `busy` isn't an event: lending is the hot path."""
    states = {f"worker.{state.value}" for state in WorkerState if state is not WorkerState.BUSY}
    breakers = {f"breaker.{breaker.value}" for breaker in Breaker}

    assert states | breakers <= set(NAMES)
    for name in NAMES:
        assert "None" not in said(Event(name, "b", generation=1, reason="why", count=2))


def test_an_event_travels() -> None:
    """By pickle, as it is."""
    event = Event("worker.ready", "b", "mock", 1.5, 7, 1, "starting", "ready", None, None, None)

    assert pickle.loads(pickle.dumps(event)) == event


def test_no_field_collides_with_those_of_a_log_record() -> None:
    """`logging` refuses an `extra` that hides one of its own. Fails when a field goes by its bare name (`name`)."""
    extra = fields_of(replace(Event("worker.ready", "b"), pid=7))
    record = logging.getLogger("bridge").makeRecord("bridge", 10, "", 0, "", (), None, extra=extra)

    assert len(extra) == len(fields(Event))
    assert {name: getattr(record, name) for name in ("bridge_event", "bridge_name", "bridge_pid")} == {
        "bridge_event": "worker.ready",
        "bridge_name": "b",
        "bridge_pid": 7,
    }
    assert all(name.startswith("bridge_") for name in extra)
