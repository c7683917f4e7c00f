"""Limits: from a user's names to the system's, what is refused, and what a death under a limit is told."""

from __future__ import annotations

import re
import resource
from signal import SIGABRT, SIGKILL, SIGSEGV, SIGTERM, SIGXCPU
from typing import Any

import pytest

from bridge.core.limits import cause_of, fault_of, rlimits_of
from bridge.groups import LimitSettings


def unlimited(_number: int) -> int:
    """A process that may use all there is."""
    return resource.RLIM_INFINITY


def test_names_become_the_systems_numbers() -> None:
    """Both limits of each, since a handler may raise the soft one up to the hard one; niceness is no such limit."""
    limits = {"address_space": 10**9, "cpu_seconds": 5, "open_files": 64, "core": False, "niceness": 3}

    assert rlimits_of(limits) == [
        (resource.RLIMIT_CPU, 5, 6),  # SIGXCPU, and a second later SIGKILL
        (resource.RLIMIT_NOFILE, 64, 64),
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_AS, 10**9, 10**9),
    ]
    assert rlimits_of({"core": True}) == rlimits_of({}) == []


def test_the_settings_have_exactly_these_names() -> None:
    """What can be set has an effect. Fails when a field of the model isn't known here."""
    every: dict[str, Any] = dict.fromkeys(LimitSettings.model_fields, 2**25)

    assert fault_of(every, unlimited) is None


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"adress_space": 1}, "'adress_space' is no limit; did you mean 'address_space'?"),
        ({"qqq": 1}, "'qqq' is no limit; there are cpu_seconds, open_files, core, address_space, niceness"),
        ({"open_files": -1}, "open_files is a whole number from 0, not -1"),
        ({"open_files": None}, "open_files is a whole number from 0, not None"),
        ({"open_files": 101}, "open_files=101 is above this process's hard limit, 100. Lower it, or start"),
        ({"cpu_seconds": 100}, r"cpu_seconds=100 \(and 1 s more\) is above this process's hard limit, 100"),
    ],
)
def test_what_a_worker_cannot_be_given_is_said(limits: dict[str, Any], says: str) -> None:
    """With the name, and what to do. Fails when the hard limit isn't compared, or a name isn't looked up."""
    fault = fault_of(limits, lambda _number: 100)

    assert fault is not None
    assert re.search(says, fault)


def test_what_this_process_may_have_its_workers_may_have() -> None:
    """Up to the hard limit itself, and anything where there is none."""
    assert fault_of({"open_files": 100, "cpu_seconds": 99, "core": False, "niceness": 19}, lambda _number: 100) is None
    assert fault_of({"open_files": 10**6}, unlimited) is None


@pytest.mark.parametrize(
    ("signal", "limits", "used", "says"),
    [
        (SIGXCPU, {"cpu_seconds": 2}, None, "used up the cpu_seconds=2"),
        (SIGKILL, {"cpu_seconds": 2}, 2.4, "used up the cpu_seconds=2"),
        (SIGKILL, {"cpu_seconds": 2}, 1.9, ""),
        (SIGKILL, {"cpu_seconds": 2}, None, ""),
        (SIGKILL, {}, 9.0, ""),
        (SIGXCPU, {}, None, ""),
        (SIGABRT, {"address_space": 2**30}, None, "address_space=1073741824"),
        (SIGSEGV, {"address_space": 2**30}, None, "address_space=1073741824"),
        (SIGTERM, {"address_space": 2**30, "cpu_seconds": 1}, 9.0, ""),
        (SIGSEGV, {}, None, ""),
    ],
)
def test_a_death_is_told_the_limit_that_it_met(
    signal: int, limits: dict[str, int], used: float | None, says: str
) -> None:
    """Only one that was set, and that such a death can come from. Fails when the time used isn't compared."""
    cause = cause_of(signal, limits, used)

    assert says in cause
    assert bool(cause) is bool(says)
