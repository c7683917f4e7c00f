"""Calls that killed workers are refused, if asked for."""

from __future__ import annotations

from bridge.core.poison import REMEMBERED, PoisonList


def test_a_call_is_refused_once_it_has_killed_so_many() -> None:
    """By its bytes, with how the last death was. Fails when the count isn't compared."""
    poison = PoisonList(2)
    poison.died(b"a", "SIGSEGV")

    assert poison.verdict(b"a") is None
    poison.died(b"a", "SIGKILL")
    assert poison.verdict(b"a") == (2, "SIGKILL")
    assert poison.verdict(b"b") is None


def test_it_is_off_unless_asked_for() -> None:
    """Crashing native code is what a pool is for."""
    poison = PoisonList(None)
    for _ in range(100):
        poison.died(b"a", "SIGSEGV")

    assert poison.verdict(b"a") is None


def test_it_forgets_the_oldest() -> None:
    """Bounded, whatever is called. Fails when nothing is dropped."""
    poison = PoisonList(1)
    for number in range(REMEMBERED + 1):
        poison.died(b"%d" % number, "SIGSEGV")

    assert poison.verdict(b"0") is None
    assert poison.verdict(b"1") == (1, "SIGSEGV")
