"""Several hosts: each has its own fleet, breaker and errors, and to everybody else they are one."""

from __future__ import annotations

from bridge.core.effects import Admit, Effect, Kill, Refuse, Spawn, Stop, Why
from bridge.core.fleet import Fleet
from bridge.core.hosts import Host, HostFleets, fleet_of
from bridge.core.members import HostView
from bridge.core.policy import Breaker, SupervisorPolicy
from bridge.core.recycling import Worn
from bridge.errors import WorkerStartError

SILENT = WorkerStartError("timeout", "it was not ready after 10 s", handler="m:H")
REFUSED = WorkerStartError("crashed", "exit code 255", handler="m:H")
FINAL = WorkerStartError("handler", "no such module", handler="m:H")


def hosts_of(max_restarts: int = 3, **sizes: int) -> HostFleets:
    """Backoff 1 s without jitter, ten seconds to start."""
    policy = SupervisorPolicy(startup_timeout=10.0, max_restarts=max_restarts, restart_window=5.0, backoff=1.0)
    return HostFleets([Host(name, size) for name, size in sizes.items()], policy, chance=lambda: 0.5)


def fail(fleet: HostFleets, effects: list[Effect], error: WorkerStartError, now: float) -> list[Effect]:
    """All that is started there fails."""
    return [
        effect
        for start in effects
        if isinstance(start, Spawn)
        for effect in fleet.exited(start.generation, error, served=False, now=now)
    ]


def lose(fleet: HostFleets, host: str, error: WorkerStartError, now: float = 1.0) -> None:
    """Whatever is started on that host fails, until its breaker is open."""
    while fleet.fleets[host].policy.breaker is not Breaker.OPEN:
        for generation, member in [*fleet.fleets[host].members.items()]:
            now = max(now, member.started_at) + 0.001
            fleet.exited(generation, error, served=False, now=now)
        if fleet.fleets[host].policy.breaker is Breaker.CLOSED:
            now = max(now, fleet.next_timer())
            fleet.tick(now)


def breakers(fleet: HostFleets) -> dict[str, str]:
    return {host.name: host.breaker.value for host in fleet.view().hosts}


def test_without_hosts_there_is_one_fleet() -> None:
    """A pool that names none has nothing to do with them."""
    fleet = fleet_of((), SupervisorPolicy(), size=2, max_overflow=1, spare=1, chance=lambda: 0.5)

    assert isinstance(fleet, Fleet)
    assert (fleet.size, fleet.ceiling, fleet.spare) == (2, 3, 1)


def test_with_hosts_their_sizes_count() -> None:
    """And the pool's own is nothing. To open them twice is to open them once."""
    hosts = [Host("a", 2), Host("b", 1)]
    fleet = fleet_of(hosts, SupervisorPolicy(), size=9, max_overflow=0, spare=0, chance=lambda: 0.5)

    assert isinstance(fleet, HostFleets)
    assert (fleet.size, len(fleet.open(0)), fleet.open(0)) == (3, 3, [])
    assert [event.name for event in fleet.events].count("bridge.open") == 1


def test_the_emptiest_host_is_started_on_first() -> None:
    """For its size; of two that are equal the one that was named first. No number is given twice. Fails when one host
    is filled after the other."""
    fleet = hosts_of(a=4, b=2)
    effects = fleet.open(0)

    assert [effect.host for effect in effects if isinstance(effect, Spawn)] == ["a", "b", "a", "a", "b", "a"]
    assert sorted(effect.generation for effect in effects if isinstance(effect, Spawn)) == [1, 2, 3, 4, 5, 6]
    assert (fleet.size, fleet.view().starting, len(fleet.members)) == (6, 6, 6)


def test_what_dies_is_replaced_where_it_was() -> None:
    """No host is given another's workers. Fails when a start goes to whoever is least busy."""
    fleet = hosts_of(a=1, b=1)
    fleet.open(0)
    assert fleet.became_ready(1) == [Admit(1)]
    assert fleet.became_ready(2) == [Admit(2)]

    assert fleet.exited(2, None, served=True, now=1) == [Spawn(3, "b")]
    assert fleet.wear(1, Worn.ASKED, 2) == [Spawn(4, "a")]


def test_a_host_that_does_not_answer_opens_its_own_breaker_at_once() -> None:
    """To wait for it again costs as long again, and the others serve. Fails when a start that nobody answers counts
    like any other, or when hosts share a breaker."""
    fleet = hosts_of(a=1, b=2)
    fleet.open(0)
    fleet.became_ready(1)

    assert fleet.tick(10) == [Kill(2, Why.STARTUP_TIMEOUT), Kill(3, Why.STARTUP_TIMEOUT)]
    assert fail(fleet, [Spawn(2), Spawn(3)], SILENT, 10) == []

    assert breakers(fleet) == {"a": "closed", "b": "open"}
    view = fleet.view()
    assert (view.breaker, view.unavailable, view.hopeless, view.lost) == (Breaker.CLOSED, False, False, 2)
    assert (view.failing, view.last_error) == (frozenset({"b"}), SILENT)
    assert fleet.next_timer() == fleet.fleets["b"].policy.not_before == 11


def test_slow_failures_count_however_long_each_took() -> None:
    """A launcher may give up after ten seconds, and the window is five. Fails when a host's failures are counted within
    the window alone."""
    fleet = hosts_of(a=1, b=1)
    fleet.open(0)
    fleet.became_ready(1)
    now = 0.0
    for _ in range(4):
        assert breakers(fleet)["b"] == "closed"
        generation = next(iter(fleet.fleets["b"].members))
        now += 9
        fleet.exited(generation, REFUSED, served=False, now=now)
        now = fleet.next_timer()
        fleet.tick(now)

    assert breakers(fleet) == {"a": "closed", "b": "half-open"}


def test_one_start_shows_that_a_host_is_back_and_then_all_of_it_is() -> None:
    """One is tried at a time, after a pause; when it is ready the others follow. Fails when more are tried, or none."""
    fleet = hosts_of(a=1, b=3)
    fleet.open(0)
    fleet.became_ready(1)
    lose(fleet, "b", SILENT)
    assert fleet.tick(fleet.next_timer() - 0.01) == []

    (probe,) = fleet.tick(fleet.next_timer())
    assert isinstance(probe, Spawn)
    assert (probe.host, breakers(fleet)["b"]) == ("b", "half-open")
    assert fleet.became_ready(probe.generation) == [Admit(probe.generation)]

    assert breakers(fleet) == {"a": "closed", "b": "closed"}
    assert [effect.host for effect in fleet.tick(100) if isinstance(effect, Spawn)] == ["b", "b"]
    assert fleet.view().failing == frozenset()


def test_the_death_of_an_old_worker_says_nothing_of_a_host_that_is_lost() -> None:
    """It had served before the cable was pulled. Fails when that closes the breaker, and all are started again."""
    fleet = hosts_of(a=1, b=2)
    fleet.open(0)
    fleet.became_ready(1)
    fleet.became_ready(2)
    fleet.exited(3, SILENT, served=False, now=10)
    assert breakers(fleet)["b"] == "open"

    assert fleet.exited(2, None, served=True, now=10.5) == []

    assert breakers(fleet)["b"] == "open"


def test_nobody_is_refused_while_another_host_lives_or_may() -> None:
    """Those who wait wait on. Fails when the first host's failure is told."""
    fleet = hosts_of(a=1, b=1)
    fleet.open(0)
    assert fleet.exited(1, FINAL, served=False, now=1) == [], "the other one is starting, and has not failed"

    assert fleet.exited(2, REFUSED, served=False, now=1) == [Refuse(REFUSED)]

    fleet.tick(2)
    fleet.became_ready(max(fleet.fleets["b"].members), 2)
    assert fail(fleet, [Spawn(max(fleet.fleets["a"].members))], FINAL, 2) == [], "the other one lives"


def test_hosts_that_failed_do_not_wait_for_each_other() -> None:
    """Of two with the same broken handler one always is being started again. Fails when any start that is under way
    counts as hope: those who wait would never be told."""
    fleet = hosts_of(a=1, b=1)
    fleet.open(0)
    fleet.exited(1, REFUSED, served=False, now=1)
    (again,) = fleet.tick(fleet.next_timer())
    assert isinstance(again, Spawn)

    assert fleet.exited(2, REFUSED, served=False, now=2.5) == [Refuse(REFUSED)]


def test_all_are_refused_once_all_hosts_are_lost() -> None:
    """With the last error, and with the time of the first one that will be tried. Fails when one host that is lost is
    enough, or when all of them aren't."""
    fleet = hosts_of(a=1, b=1)
    fleet.open(0)
    lose(fleet, "a", REFUSED)
    assert not fleet.view().unavailable
    lose(fleet, "b", SILENT, 3)

    view = fleet.view()

    assert view.unavailable
    assert view.hopeless
    assert view.breaker in (Breaker.OPEN, Breaker.HALF_OPEN)
    assert view.last_error is not None
    assert view.probe_at == min(each.policy.not_before for each in fleet.fleets.values())


def test_a_worker_that_lives_is_lent_though_its_host_is_lost() -> None:
    """A breaker guards starts, never calls. Fails when the breakers alone decide."""
    fleet = hosts_of(a=2)
    fleet.open(0)
    fleet.became_ready(1)
    fleet.exited(2, SILENT, served=False, now=10)

    assert breakers(fleet) == {"a": "open"}
    assert not fleet.view().unavailable


def test_events_say_of_which_host_they_are() -> None:
    """Of each worker and breaker; those of the bridge are told once. Fails when a fleet's own are passed on as they
    are."""
    fleet = hosts_of(a=1, b=1)
    fleet.open(0)
    fleet.became_ready(1)
    fleet.exited(2, SILENT, served=False, now=10)
    fleet.close(20, 15)
    fleet.close(20, 15)

    told = [(event.name, event.host) for event in fleet.events]

    assert told == [
        ("bridge.open", None),
        ("worker.starting", "a"),
        ("worker.starting", "b"),
        ("worker.ready", "a"),
        ("worker.stopped", "b"),
        ("worker.failed", "b"),
        ("breaker.open", "b"),
        ("bridge.closing", None),
    ]


def test_a_look_shows_each_host() -> None:
    """By name, in the order of the settings."""
    fleet = hosts_of(a=2, b=1)
    fleet.open(0)
    fleet.became_ready(1)
    fleet.exited(3, SILENT, served=False, now=10)

    assert fleet.view().hosts == (
        HostView("a", 2, 1, 1, Breaker.CLOSED, None),
        HostView("b", 1, 0, 0, Breaker.OPEN, SILENT),
    )


def test_the_end_is_every_hosts() -> None:
    """Starts are ended, idle ones are stopped, nothing is started. Fails when one of them is forgotten."""
    fleet = hosts_of(a=1, b=1)
    fleet.open(0)
    fleet.became_ready(1)

    assert fleet.close(9, 5) == [Kill(2, Why.CLOSING)]
    assert fleet.stop(1, 5) == [Stop(1)]
    assert fleet.exited(1, None, served=True, now=6) == fleet.exited(2, None, served=False, now=6) == []
    assert fleet.closing
    assert not fleet.members
    assert fleet.tick(99) == []


def test_an_unknown_number_has_no_effect() -> None:
    """What is reported late changes nothing, on no host."""
    fleet = hosts_of(a=1, b=1)
    fleet.open(0)

    assert fleet.became_ready(99) == fleet.drained(99) == fleet.retire(99, Why.DIRTY) == []
    assert fleet.exited(99, REFUSED, served=False, now=1) == fleet.check_up(99, 1, 1) == []
    assert fleet.abandoned(99, softly=True, now=1) == []
