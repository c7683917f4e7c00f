"""Whether workers start here, with these settings: at all, and with the handler.

Rules: two trials, so that what is wrong with the machine is told apart from what is wrong with the handler; the first
serves `copy` of the standard library, which gives back what it is given, in any Python. Apart from trial.py, which
makes them.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date
from functools import partial
from typing import Any, Final

from bridge.assembly import Choice, lacking_of
from bridge.cli.doctor.findings import Finding, fail, ok, warn
from bridge.cli.doctor.trial import Place, Trial, attempt
from bridge.errors import CallError, WorkerStartError
from bridge.leasing import Lease
from bridge.schema import BridgeSettings
from bridge.settings import Codec

ECHO: Final = "copy"
"""A module of the standard library, and its command."""
NOBODY: Final = "(asked by doctor)"
"""A command that no handler can have: what it has is told in the answer."""
ANSWER: Final = 30.0
"""Seconds for one answer, over a slow line too."""
LONG: Final = 256 * 1024
"""Bytes that go through shared memory where there is any."""
SHOWN: Final = 8
PATIENCE: Final = 0.5
"""Of `startup_timeout`: a start that takes longer is one bad day away from failing."""
REMEDIES: Final = (
    ("spawn", "lower pool.size, or raise the system's limits (ulimit -u, ulimit -n)"),
    ("timeout", "raise supervisor.startup_timeout, or have less done when it is loaded"),
    ("protocol", "see that nothing there writes to the descriptors of others, and that a launcher changes no byte"),
    ("crashed", "run what it does by hand in that interpreter: native code, or its environment, ended it"),
)


def look(values: BridgeSettings, choice: Choice, handler: str | None) -> Iterator[Finding]:
    """Start workers with `copy`, then with the handler if there is one; all that comes of it."""
    places: Mapping[Place, Sequence[str]] = {host.label: host.launcher for host in values.pool.hosts} or {
        None: values.worker.launcher
    }
    plain = attempt(values, choice, partial(echoed, values), {"handler": ECHO, "options": {}})
    for place, launcher in places.items():
        yield _start("worker", plain, place, values, launcher)
        if place in plain.answers:
            yield _values(plain, place, values)
        if launcher:
            yield _channel(place, values, launcher, choice)
    if handler is None:
        yield warn("handler", "none is named, so none was tried", "name it: doctor pkg.mod:Class")
        return
    if not plain.seconds:
        yield warn("handler", f"{handler} wasn't tried, since no worker starts", "mend that first")
        return
    real = attempt(values, choice, commands, {"handler": handler, "path": _search_path(values)})
    for place, launcher in places.items():
        if place in plain.seconds:
            yield _start("handler", real, place, values, launcher, handler)
        if place in real.answers:
            yield _time(real.seconds[place], values, place)


def echoed(values: BridgeSettings, lease: Lease) -> str:
    """Send values there and back; empty, or what didn't come back as it went."""
    for value in samples(values):
        back = lease.call(ECHO, [value], timeout=ANSWER)
        if back != value:  # of long bytes it is a view, which is compared as bytes are
            return f"{value!r:.60} came back as {back!r:.60}"
    return ""


def samples(values: BridgeSettings) -> list[Any]:
    """One of each kind that these settings carry."""
    plain = {"none": None, "yes": True, "number": 2**53 + 1, "real": 0.1, "list": [1, [2, []]], "bytes": b"\0\xff"}
    found: list[Any] = [
        plain,
        'quotes " and \\, \u00e4, \u2028, \U0001f600',
        bytes(min(LONG, values.worker.max_frame_bytes // 4)),
    ]
    return found if values.worker.codec is Codec.JSON else [*found, {date(2000, 1, 1)}, (1, 2j)]


def commands(lease: Lease) -> str:
    """The commands that the handler says it has."""
    try:
        lease.call(NOBODY, timeout=ANSWER)
    except CallError as error:
        return error.detail.partition("it has: ")[2].partition(". ")[0]
    return ""


def _start(
    check: str, trial: Trial, place: Place, values: BridgeSettings, launcher: Sequence[str], handler: str = ""
) -> Finding:
    """Whether it came to be ready, and answered."""
    if place in trial.seconds and place not in trial.answers:
        fault = trial.faults.get(place) or trial.error or "it is gone"
        remedy = _remedy("crashed", str(fault), values, launcher)
        return fail(check, f"it was ready, and then: {fault}", remedy, host=place)
    if place in trial.seconds:
        if not handler:
            found = trial.python.get(place, "it")
            return ok(check, f"{found}: ready after {_said(trial.seconds[place])}", host=place)
        names = [name for name in trial.answers.get(place, "").split(", ") if name]
        if names == ["none"]:
            return warn(check, f"{handler} has no commands", "give it public methods, or functions", host=place)
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        return ok(check, f"{handler} has the commands {', '.join(names[:SHOWN])}{more}", host=place)
    error, failure = trial.error, trial.failures.get(place)
    if failure is None and error is not None and not isinstance(error, WorkerStartError):
        return fail(check, str(error), "mend the setting that it names; nothing was started", host=place)
    reason, why = failure or ("timeout", f"it wasn't ready within {values.supervisor.startup_timeout:g} s")
    detail = ""
    if isinstance(error, WorkerStartError) and (place is None or error.detail == why):
        detail = error.remote_traceback or error.stderr_tail
    return fail(
        check, why, _remedy(reason, why, values, launcher), detail="" if detail.strip() == why else detail, host=place
    )


def _values(trial: Trial, place: Place, values: BridgeSettings) -> Finding:
    """Whether they came back as they went."""
    fault = trial.answers[place]
    if fault:
        return fail("values", fault, "see what stands between: a launcher has to carry bytes as they are", host=place)
    return ok("values", f"they come back as they went ({values.worker.codec.value})", host=place)


def _time(seconds: float, values: BridgeSettings, place: Place) -> Finding:
    """How long the handler's start took."""
    most = values.supervisor.startup_timeout
    text = f"ready after {_said(seconds)}; startup_timeout is {most:g} s"
    if seconds > PATIENCE * most:
        remedy = "raise supervisor.startup_timeout; pool.spare and start_method=zygote have workers sooner"
        return warn("start", text, remedy, host=place)
    return ok("start", text, host=place)


def _channel(place: Place, values: BridgeSettings, launcher: Sequence[str], choice: Choice) -> Finding:
    """What isn't possible behind a launcher."""
    there = values.with_changes({"worker": {"launcher": launcher}, "pool": {"hosts": [], "size": 1}})
    lacking = {capability.value: why for capability, why in lacking_of(choice, there).items()}
    text = f"behind {shlex.join(launcher)!r} there is no {', '.join(lacking)}" if lacking else "as of a worker here"
    return ok("channel", text, detail="\n".join(f"{name}: {why}" for name, why in lacking.items()), host=place)


def _remedy(reason: str, why: str, values: BridgeSettings, launcher: Sequence[str]) -> str:
    """What to do about a start that failed."""
    if reason == "handler":
        if not why.startswith(("ModuleNotFoundError", "ImportError")):
            return "mend what the traceback shows: it comes from the handler's own code"
        ship = ", or send it along by worker.ship" if launcher else ""
        return f"install it for that interpreter, or name its folder by worker.path (BRIDGE_WORKER__PATH){ship}"
    setting = why.partition(" ")[0]
    if setting in ("worker.cwd", "worker.python"):
        return f"change {setting} (BRIDGE_{setting.replace('.', '__').upper()})"
    if "worker.python" in why:
        return "name a CPython from 3.8 on by worker.python (BRIDGE_WORKER__PYTHON), or leave it out"
    remedy = dict(REMEDIES).get(reason, "mend that")
    if not launcher or ("launcher" not in why and reason != "protocol"):  # the worker has spoken, so that does its part
        return remedy
    command = shlex.join([*launcher, values.worker.python or "python3", "-V"])
    by_hand = f"try it by hand: {command} has to print a version"
    return f"{by_hand}, and at once; or {remedy}" if reason == "timeout" else by_hand


def _search_path(values: BridgeSettings) -> tuple[str, ...]:
    """The current directory first, as with `call`."""
    with suppress(FileNotFoundError):  # it was removed
        return (os.getcwd(), *values.worker.path)
    return values.worker.path


def _said(seconds: float) -> str:
    return f"{seconds * 1e3:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
