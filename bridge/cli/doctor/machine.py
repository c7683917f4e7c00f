"""What this machine gives to workers: an interpreter, a kernel that tells of deaths, room for processes and files.

Rules: whatever the package relies on is tried, not looked up by a version: a container may forbid what its kernel has.
Nothing is started and nothing is changed. Apart from trial.py, which starts workers.
"""

from __future__ import annotations

import fcntl
import os
import platform
import resource
import signal
import sys
import threading
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from struct import pack
from typing import Final

from bridge import arena
from bridge.assembly import descriptors_for
from bridge.children import ends_within, is_dead
from bridge.cli.doctor.findings import Finding, fail, ok, warn
from bridge.core.limits import fault_of
from bridge.schema import BridgeSettings

F_SETOWN_EX: Final = 15
OWNER_IS_A_THREAD: Final = 0
WITHIN_S: Final = 1.0
"""Seconds for a signal that the kernel sends at once."""
CGROUPS: Final = Path("/sys/fs/cgroup")
KERNEL: Final = "run on Linux 5.4 or newer; in a container, allow it by its seccomp profile"
BESIDES: Final = 3
"""Processes besides the workers: the reaper, a zygote, and the replacement of a worker before that is gone."""
NEARLY: Final = 0.9
"""Of a limit: from there on others of the same user soon meet it."""


def look(values: BridgeSettings) -> Iterator[Finding]:
    """Everything, in the order in which it is told."""
    yield python()
    yield deaths()
    yield lifeline()
    yield shared_memory()
    yield descriptors(values)
    yield processes(values)
    yield limits(values)


def python() -> Finding:
    """The caller's own interpreter, and the package."""
    try:
        ours = version("scoped-bridge")
    except PackageNotFoundError:
        ours = "not installed, found by its path"
    text = f"{platform.python_implementation()} {platform.python_version()}, {sys.executable or '(embedded)'}"
    if not sys.executable:
        remedy = "set worker.python (BRIDGE_WORKER__PYTHON) to a path or venv:PATH"
        return warn("python", f"{text} doesn't know its own path, which workers are started by", remedy)
    return ok("python", f"{text}; scoped-bridge {ours}")


def deaths() -> Finding:
    """Whether the kernel tells of a process's end, without a number that may be another's by now."""
    try:
        pidfd = os.pidfd_open(os.getpid())
    except (AttributeError, OSError) as error:
        return fail("pidfd", f"the end of a worker can't be watched: pidfd_open: {error}", KERNEL)
    try:
        signal.pidfd_send_signal(pidfd, 0)
        is_dead(pidfd)  # nobody's child: what matters is that the kernel knows the question
        if ends_within(pidfd, 0):
            return fail("pidfd", "a pidfd of this very process says that it is dead", KERNEL)
    except (AttributeError, OSError) as error:
        return fail("pidfd", f"a worker can't be ended, or its status not be had, by its pidfd: {error}", KERNEL)
    finally:
        os.close(pidfd)
    return ok("pidfd", f"{platform.system()} {platform.release()} tells of the end of workers")


def lifeline() -> Finding:
    """Whether the kernel signals a worker when its parent's end of a pipe is gone, as it is at the parent's death."""
    remedy = f"{KERNEL}; it needs /proc and signals from pipes (F_SETSIG, O_ASYNC)"
    reading, writing = os.pipe()
    fds = [reading, writing]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGURG})
    try:
        fds.append(os.open(f"/proc/self/fd/{reading}", os.O_RDONLY | os.O_NONBLOCK))
        mine = fds[-1]
        fcntl.fcntl(mine, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(mine, F_SETOWN_EX, pack("ii", OWNER_IS_A_THREAD, threading.get_native_id()))
        fcntl.fcntl(mine, fcntl.F_SETFL, fcntl.fcntl(mine, fcntl.F_GETFL) | os.O_ASYNC)
        os.close(fds.pop(1))
        came = signal.sigtimedwait({signal.SIGURG}, WITHIN_S)
    except (AttributeError, OSError) as error:
        return fail("lifeline", f"workers can't hear of their parent's death: {error}", remedy)
    finally:
        for fd in fds:
            os.close(fd)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if came is None:
        return fail("lifeline", "workers can't hear of their parent's death: no signal comes from a pipe", remedy)
    return ok("lifeline", "workers are killed when their parent dies, however it dies")


def shared_memory() -> Finding:
    """Whether long values can go through memory."""
    try:
        fd = arena.make()
    except AttributeError:  # another system than Linux
        fd = -1
    except OSError as error:
        return fail("memory", f"memory to share with workers can't be had: {error}", "close files, or free memory")
    if fd < 0:
        what = "memfd_create is refused, so long values are copied through pipes"
        return warn("memory", what, "run on Linux 4.14 or newer; in a container, allow it by its seccomp profile")
    os.close(fd)
    return ok("memory", "long values go through shared memory (memfd; /dev/shm isn't needed)")


def descriptors(values: BridgeSettings) -> Finding:
    """RLIMIT_NOFILE against the size of the pool."""
    needed, (soft, hard) = descriptors_for(values), resource.getrlimit(resource.RLIMIT_NOFILE)
    text = f"{_workers(values)} need {needed} descriptors; the limit is {_said(soft)} (hard: {_said(hard)})"
    if soft != resource.RLIM_INFINITY and needed > soft:
        more = f"raise the limit (ulimit -n {needed})" if _holds(hard, needed) else "have root raise the hard limit"
        return fail("files", text, f"{more}, or lower pool.size")
    return ok("files", text)


def processes(values: BridgeSettings) -> Finding:
    """RLIMIT_NPROC and the cgroup's pids.max against the size of the pool. Threads count as processes there."""
    needed = values.pool.most + BESIDES
    text, rooms = f"{_workers(values)} need {needed} processes", []
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if soft != resource.RLIM_INFINITY and os.geteuid() != 0:  # root is exempt
        rooms.append(("ulimit -u", soft, tasks_of(os.getuid())))
    rooms += [(str(folder / "pids.max"), most, used) for folder, most, used in cgroup_rooms()]
    for what, most, used in rooms:
        text += f"; {what} is {most}, of which {used} are used"
        if used + needed > most:
            return fail("processes", text, f"raise {what}, or lower pool.size")
        if used + needed > NEARLY * most:
            return warn("processes", text, f"raise {what}: threads of handlers count, too")
    return ok("processes", text if rooms else f"{text}; there is no limit")


def limits(values: BridgeSettings) -> Finding:
    """`worker.limits` against what this process may hand on."""
    asked = values.worker.limits.model_dump(exclude_defaults=True)
    fault = None
    if not values.worker.launcher:  # what is to be had there is known there alone
        fault = fault_of(asked, lambda number: resource.getrlimit(number)[1])
    if fault is not None:
        return fail("limits", fault, "lower it, or raise the hard limit of whatever starts this")
    shown = ", ".join(f"{name}={value}" for name, value in asked.items())
    return ok("limits", f"worker.limits: {shown}" if shown else "worker.limits are not set: workers have the caller's")


def tasks_of(uid: int, proc: Path = Path("/proc")) -> int:
    """How many threads a user has, as RLIMIT_NPROC counts them."""
    found = 0
    for entry in numbered(proc):
        try:
            status = (entry / "status").read_text(errors="replace")
        except OSError:  # it is gone
            continue
        fields = dict(line.partition(":")[::2] for line in status.splitlines())
        if fields.get("Uid", "").split()[:1] == [str(uid)]:
            found += int(fields.get("Threads", "1"))
    return found


def numbered(proc: Path) -> list[Path]:
    """The folders of processes; none where there is no /proc."""
    try:
        return [entry for entry in proc.iterdir() if entry.name.isdigit()]
    except OSError:
        return []


def cgroup_rooms(root: Path = CGROUPS, own: Path = Path("/proc/self/cgroup")) -> list[tuple[Path, int, int]]:
    """Each group around this process that limits how many tasks there are: its folder, the limit, and their number."""
    found = []
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return []
    for line in lines:
        number, kinds, path = line.split(":", 2)
        if number != "0" and "pids" not in kinds.split(","):
            continue
        top = root if number == "0" else root / "pids"
        folder = top / path.lstrip("/")
        for each in [folder, *folder.parents]:
            try:
                most, used = (each / "pids.max").read_text().strip(), (each / "pids.current").read_text()
            except OSError:
                most, used = "max", ""  # the root has no limit, and a container may not show what is around it
            if most != "max":
                found.append((each, int(most), int(used)))
            if each == top:
                break
    return found


def _workers(values: BridgeSettings) -> str:
    return f"{values.pool.most} worker{'s' if values.pool.most > 1 else ''}"


def _said(limit: int) -> str:
    return "unlimited" if limit == resource.RLIM_INFINITY else str(limit)


def _holds(limit: int, needed: int) -> bool:
    return limit == resource.RLIM_INFINITY or limit >= needed
