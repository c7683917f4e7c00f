"""When to start again after starts failed, with time as a number."""

from __future__ import annotations

import pytest

from bridge.core.policy import MAX_BACKOFF, Breaker, RestartPolicy

MIDDLE = 0.5
"""The random number that stands for no jitter."""
MANY = 1000


def policy_of(max_restarts: int = 3, window: float = 5.0, backoff: float = 0.1) -> RestartPolicy:
    return RestartPolicy(max_restarts=max_restarts, window=window, backoff=backoff)


def state_of(policy: RestartPolicy) -> Breaker:
    """As a call, so that the type checker doesn't take one look at it for all of them."""
    return policy.breaker


def fail_next(policy: RestartPolicy) -> float:
    """One start as early as it is allowed, which fails at once; when that was."""
    now = max(0.0, policy.not_before)
    assert policy.allows(now, 0) > 0
    policy.failed(now, now + 0.001, MIDDLE)
    return now + 0.001


def test_nothing_failed_so_any_number_may_start() -> None:
    """A fresh policy forbids nothing."""
    assert policy_of().allows(0, 0) > MANY
    assert policy_of().allows(0, 5) > MANY


def test_after_a_failure_one_start_at_a_time_is_tried_after_a_pause() -> None:
    """Nobody retries in a crowd. Fails when the pause or the count of starts under way isn't looked at."""
    policy = policy_of()
    policy.failed(0, 1.0, MIDDLE)

    assert policy.not_before == pytest.approx(1.1)
    assert policy.allows(1.09, 0) == 0
    assert policy.allows(1.1, 0) == 1
    assert policy.allows(1.1, 1) == 0
    assert policy.allows(9.0, 0) == 1


def test_a_success_ends_the_pause() -> None:
    """One start that works shows that starts work. Fails when `became_ready` leaves `not_before`."""
    policy = policy_of()
    policy.failed(0, 1.0, MIDDLE)

    policy.became_ready()

    assert policy.allows(1.0, 0) > MANY
    assert policy.allows(1.0, 3) > MANY


def test_the_pause_doubles_up_to_a_cap() -> None:
    """0.1, 0.2, 0.4 ... 30 s. Fails when the power or the cap goes; never overflows."""
    policy = policy_of(max_restarts=5000, window=1e9)
    pauses = []
    for _ in range(2000):
        failed_at = fail_next(policy)
        pauses.append(policy.not_before - failed_at)

    assert pauses[:5] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6])
    assert max(pauses) == pytest.approx(MAX_BACKOFF)
    assert pauses[-1] == pytest.approx(MAX_BACKOFF)


@pytest.mark.parametrize(("chance", "factor"), [(0.0, 0.75), (0.5, 1.0), (0.999, 1.25)])
def test_the_pause_has_a_jitter_of_a_quarter(chance: float, factor: float) -> None:
    """A fleet that failed together doesn't come back together. Fails when `chance` isn't used."""
    policy = policy_of(backoff=4.0)
    policy.failed(0, 1.0, chance)

    assert policy.not_before - 1.0 == pytest.approx(4.0 * factor, rel=0.01)


def test_starts_under_way_together_count_once() -> None:
    """They share their cause: eight workers of a broken handler are one failure. Fails when each one counts."""
    policy = policy_of(max_restarts=1)
    for ended in (1.0, 1.1, 1.2, 1.3):
        policy.failed(0.5, ended, MIDDLE)

    assert state_of(policy) is Breaker.CLOSED
    assert policy.not_before == pytest.approx(1.1)

    policy.failed(1.2, 1.4, MIDDLE)
    assert state_of(policy) is Breaker.OPEN


def test_the_breaker_opens_after_too_many_failures_in_the_window() -> None:
    """`max_restarts` are still answered with a start; one more isn't. Fails when `>` becomes `>=`."""
    policy = policy_of(max_restarts=3)
    for _ in range(3):
        fail_next(policy)
        assert state_of(policy) is Breaker.CLOSED

    failed_at = fail_next(policy)

    assert state_of(policy) is Breaker.OPEN
    assert policy.allows(failed_at, 0) == 0


def test_old_failures_leave_the_window() -> None:
    """Slow trouble is met with slow retries, not with an open breaker. Fails when the window isn't pruned."""
    policy = policy_of(max_restarts=1, window=5.0)
    for turn in range(20):
        policy.failed(turn * 10, turn * 10 + 1, MIDDLE)

        assert state_of(policy) is Breaker.CLOSED
        assert policy.not_before == pytest.approx(turn * 10 + 1.1)  # and the pause begins anew


def test_no_restart_at_all_can_be_allowed() -> None:
    """`max_restarts=0`: the first failure opens the breaker."""
    policy = policy_of(max_restarts=0)
    policy.failed(0, 1, MIDDLE)

    assert state_of(policy) is Breaker.OPEN


def opened() -> RestartPolicy:
    policy = policy_of(max_restarts=0, window=5.0)
    policy.failed(0, 1, MIDDLE)
    return policy


def test_the_breaker_lets_one_probe_through() -> None:
    """Open -> half-open, by time alone, and one start. Fails when OPEN stays, or two probes run."""
    policy = opened()
    assert policy.allows(1.05, 0) == 0
    assert state_of(policy) is Breaker.OPEN

    assert policy.allows(1.1, 0) == 1
    assert state_of(policy) is Breaker.HALF_OPEN
    assert policy.allows(1.1, 1) == 0


def test_a_failed_probe_opens_the_breaker_again_for_longer() -> None:
    """Also long after the window, which is for a closed one. Fails when HALF_OPEN counts as closed."""
    policy = policy_of(max_restarts=1, window=5.0)
    policy.failed(0, 1, MIDDLE)
    policy.failed(2, 3, MIDDLE)
    policy.allows(100.0, 0)

    policy.failed(100.0, 101.0, MIDDLE)

    assert state_of(policy) is Breaker.OPEN
    assert policy.not_before == pytest.approx(101.4)


def test_a_probe_that_succeeds_closes_the_breaker_and_forgets() -> None:
    """Half-open -> closed. Fails when `became_ready` leaves the breaker as it is."""
    policy = opened()
    policy.allows(1.1, 0)

    policy.became_ready()

    assert state_of(policy) is Breaker.CLOSED
    assert policy.allows(1.2, 4) > MANY
    policy.failed(1.2, 1.3, MIDDLE)
    assert policy.not_before == pytest.approx(1.4)


def test_success_alone_does_not_forget_failures() -> None:
    """Ready and dead before a call, again and again, is a failing start. Fails when `became_ready` forgets."""
    policy = policy_of(max_restarts=3)
    for turn in range(4):
        policy.became_ready()
        policy.failed(turn, turn + 0.5, MIDDLE)

    assert state_of(policy) is Breaker.OPEN


def test_a_call_forgets_failures_and_pauses() -> None:
    """A worker that served shows that starts work, and is replaced at once. Fails when `served` leaves any of it."""
    policy = policy_of(max_restarts=1)
    policy.failed(0, 1, MIDDLE)

    policy.served()
    assert policy.allows(1.0, 4) > MANY
    policy.failed(1.1, 1.2, MIDDLE)
    assert state_of(policy) is Breaker.CLOSED
    assert policy.not_before == pytest.approx(1.3)

    policy.failed(1.3, 1.4, MIDDLE)
    assert state_of(policy) is Breaker.OPEN
    policy.served()
    assert state_of(policy) is Breaker.CLOSED


def test_the_pause_grows_although_it_is_longer_than_the_window() -> None:
    """Only a quiet window starts it anew. Fails when our own pause counts as quiet."""
    policy = policy_of(max_restarts=1000, window=5.0, backoff=0.1)
    now, pauses = 0.0, []
    for _ in range(12):
        policy.failed(now, now, 0.5)
        pauses.append(policy.not_before - now)
        now = policy.not_before

    assert pauses[-1] == 30.0
    policy.failed(now + 5.1, now + 5.1, 0.5)
    assert policy.not_before - (now + 5.1) == pytest.approx(0.1)


# -- Of one host of several --------------------------------------------------------------------------------


def policy_of_host(max_restarts: int = 3) -> RestartPolicy:
    return RestartPolicy(max_restarts=max_restarts, window=5.0, backoff=0.1, of_host=True)


def test_one_start_that_is_not_answered_opens_a_hosts_breaker() -> None:
    """And not that of a pool without hosts, whose callers have nobody else. Fails when `unanswered` isn't looked at, or
    is for everybody."""
    host, alone = policy_of_host(), policy_of()
    host.failed(0, 30, MIDDLE, unanswered=True)
    alone.failed(0, 30, MIDDLE, unanswered=True)

    assert (host.breaker, alone.breaker) == (Breaker.OPEN, Breaker.CLOSED)


def test_a_failure_for_good_opens_at_once_and_is_tried_again_late() -> None:
    """It is no matter of luck. Fails when it takes max_restarts of them, or when the pause begins with `backoff`."""
    policy = policy_of(max_restarts=9)
    policy.failed(0, 1, MIDDLE, for_good=True)

    assert policy.breaker is Breaker.OPEN
    assert policy.not_before == 1 + MAX_BACKOFF


def test_slow_failures_in_a_row_open_a_hosts_breaker() -> None:
    """Each takes longer than the window. Fails when those within it alone are counted."""
    host, alone = policy_of_host(max_restarts=2), policy_of(max_restarts=2)
    for policy in (host, alone):
        now = 0.0
        for _ in range(3):
            policy.failed(now, now + 10, MIDDLE)
            now = policy.not_before

    assert (host.breaker, alone.breaker) == (Breaker.OPEN, Breaker.CLOSED)


def test_a_quiet_window_makes_a_hosts_failures_few_again() -> None:
    """One a day opens nothing. Fails when failures in a row are counted for ever."""
    policy = policy_of_host(max_restarts=1)
    for day in range(9):
        policy.failed(day * 86_400, day * 86_400 + 1, MIDDLE)

    assert policy.breaker is Breaker.CLOSED


def test_only_a_start_closes_the_breaker_of_a_host() -> None:
    """That an old worker served says nothing of a host that was lost since. Fails when `served` closes it, or when it
    forgets nothing while the breaker is closed."""
    policy = policy_of_host(max_restarts=1)
    policy.failed(0, 1, MIDDLE)
    policy.served()
    policy.failed(1.5, 2, MIDDLE)
    assert state_of(policy) is Breaker.CLOSED
    policy.failed(3, 30, MIDDLE, unanswered=True)

    policy.served()
    assert state_of(policy) is Breaker.OPEN
    assert policy.allows(30.0, 0) == 0

    policy.became_ready()
    assert state_of(policy) is Breaker.CLOSED
    assert policy.allows(30.0, 0) > MANY
