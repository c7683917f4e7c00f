"""What can go wrong, as data.

Rules: one base class; as few classes as callers branch on; fields first, the message built from them; each
message says what to do next; every error pickles. `retryable` means exactly: certainly not started. The idea of
a family base with picklable leaves is urllib3's, pid and exit code on the error pebble's. Apart from everything
else because all floors raise these.
"""

from __future__ import annotations

from typing import Any

from bridge.endings import (
    at,
    cancelled,
    ending,
    forgotten,
    garbled,
    given_up,
    in_vain,
    is_sigkill,
    late,
    lost,
    poisoned,
    refused,
    signal_name,
    tail,
    traced,
)

__all__ = [
    "BridgeError",
    "CallCancelled",
    "CallError",
    "CallTimeout",
    "CapabilityError",
    "CircuitOpen",
    "ConfigurationError",
    "PoisonCall",
    "PoolClosed",
    "PoolError",
    "PoolOverloaded",
    "PoolTimeout",
    "ProtocolError",
    "RemoteError",
    "ScopeClosedError",
    "ScopeError",
    "SessionLost",
    "UnexpectedCall",
    "UnscopedAccessError",
    "WorkerCrashed",
    "WorkerError",
    "WorkerStartError",
]

# -- Base exceptions ---------------------------------------------------------------------------------------


class BridgeError(Exception):
    """Base of every error that this package raises on purpose."""

    __module__ = "bridge"

    retryable: bool = False
    """True when the call was certainly not started, so that repeating it can't run it twice."""
    index: int | None = None
    """Of a `map`: which item it belongs to, from 0."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(cls: type[BridgeError], args: tuple[Any, ...], fields: dict[str, Any]) -> BridgeError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(fields)
    return error


class PoolError(BridgeError):
    """The pool had no worker to give. Nothing was sent."""

    __module__ = "bridge"

    retryable = True


class WorkerError(BridgeError):
    """A worker failed, before, during or because of a call."""

    __module__ = "bridge"


# -- Before anything runs ----------------------------------------------------------------------------------


class ConfigurationError(BridgeError, ValueError):
    """A setting or an argument can't be used. Nothing was started."""

    __module__ = "bridge"


class CapabilityError(BridgeError):
    """The adapter in use can't do what was asked; the message names one that can."""

    __module__ = "bridge"


class ScopeError(BridgeError, RuntimeError):
    """A scope was used in a way that can't work: twice, or left where it wasn't entered. What it owned is closed."""

    __module__ = "bridge"


class ScopeClosedError(ScopeError):
    """The caller still carries a scope that has ended. Nothing was called, on its adapter or any other."""

    __module__ = "bridge"

    def __init__(self, label: str) -> None:
        super().__init__(
            f"the scope {label} has ended, but this code (thread, task, callback or generator) still runs in it. "
            "End it before the scope, for instance with scope.spawn(...), which is joined; or start it outside"
        )
        self.label = label


class UnscopedAccessError(ScopeError):
    """A thread that is in no scope called while tests are kept apart by scopes. Nothing was called."""

    __module__ = "bridge"

    def __init__(self, thread: str, *, name: str, why: str) -> None:
        super().__init__(
            f"thread {thread!r} called {name} without being in any scope, and {why}. One of these helps: build the "
            "application inside the fixture or test that uses it; loop.set_default_executor(bridge.ScopedExecutor()), "
            "bridge.ScopedThread, or bridge.carry(fn) where the thread or job is started; or, for a server that starts "
            "threads of its own, with_adapter(..., container=..., everywhere=True)"
        )
        self.thread, self.name, self.why = thread, name, why


# -- The pool ----------------------------------------------------------------------------------------------


class PoolClosed(PoolError):
    """The pool is closing or closed. The call was never sent."""

    __module__ = "bridge"

    def __init__(self, name: str) -> None:
        super().__init__(f"the pool of {name} is closed; connect(...) makes another, init_resources() a container's")
        self.name = name


class PoolTimeout(PoolError, TimeoutError):
    """No worker came free before the deadline. The call was never sent; the caller has left the queue."""

    __module__ = "bridge"

    def __init__(
        self, waited: float, *, queued: int, workers: int, starting: int, name: str, session: str | None = None
    ) -> None:
        super().__init__(in_vain(name, waited, queued=queued, workers=workers, starting=starting, session=session))
        self.name, self.waited, self.queued, self.workers, self.starting = name, waited, queued, workers, starting


class PoolOverloaded(PoolError):
    """The queue is full (`max_waiting`), or it stands (`queue_target`), or the worker that has the state of a session
    is busy (`session`, strict_fail_fast). The call was never sent."""

    __module__ = "bridge"

    def __init__(
        self, name: str, *, queued: int, limit: int | None = None, waited: float = 0.0, session: str | None = None
    ) -> None:
        super().__init__(refused(name, queued=queued, limit=limit, waited=waited, session=session))
        self.name, self.queued, self.limit, self.waited, self.session = name, queued, limit, waited, session


class CircuitOpen(PoolError):
    """Starts failed too often, and no worker is alive. The call was never sent; the next probe is one start."""

    __module__ = "bridge"

    def __init__(self, name: str, *, last_error: str, retry_in: float) -> None:
        super().__init__(given_up(name, last_error, retry_in))
        self.name, self.last_error, self.retry_in = name, last_error, retry_in


# -- The worker --------------------------------------------------------------------------------------------


class WorkerStartError(WorkerError):
    """A worker never became ready. No call was sent to it.

    `reason` is one of: handler, interpreter, spawn, crashed, timeout, protocol; `host` is one of `pool.hosts`, or None.
    In events and `health()` it may be configuration, too: callers get the adapter's own ConfigurationError then.
    """

    __module__ = "bridge"

    retryable = True

    def __init__(
        self,
        reason: str,
        detail: str,
        *,
        handler: str,
        remote_traceback: str = "",
        stderr_tail: str = "",
        host: str | None = None,
    ) -> None:
        text = f"no worker for {handler!r} could start{at(host)} ({reason}): {detail}"
        super().__init__(text + (traced(remote_traceback) or tail(stderr_tail)))
        self.reason, self.detail, self.handler, self.host = reason, detail, handler, host
        self.remote_traceback, self.stderr_tail = remote_traceback, stderr_tail

    @property
    def final(self) -> bool:
        """Whether another start would end the same way."""
        return self.reason in ("handler", "interpreter", "configuration")

    @property
    def brief(self) -> str:
        """Why, in one line."""
        return f"{self.reason}{at(self.host)}: {self.detail}"


class WorkerCrashed(WorkerError):
    """The worker died during this call. It fails this call alone; the worker is being replaced.

    `exit_code` is None when a signal ended it, or when somebody else took its status. `started` is False when
    the handler certainly never saw the call; `retryable` is the opposite. `hung_up`: it had only closed its end of the
    conversation, then the signal is ours. `out_of_memory`: the kernel certainly killed it for want of memory; `why` is
    what else is known of the reason, such as the limit that it met. `launcher`: that is what the signal ended, and with
    it the connection. `host` is one of `pool.hosts`, or None.
    """

    __module__ = "bridge"

    def __init__(
        self,
        *,
        pid: int | None,
        exit_code: int | None,
        signal: int | None,
        command: str,
        stderr_tail: str = "",
        started: bool = True,
        hung_up: bool = False,
        out_of_memory: bool = False,
        why: str = "",
        launcher: str = "",
        host: str | None = None,
        replaced: bool = True,
    ) -> None:
        self.signal_name, self.launcher, self.host = signal_name(signal), launcher, host
        how = ending(exit_code, signal, out_of_memory=out_of_memory, why=why, launcher=launcher)
        guess = is_sigkill(signal) and not (out_of_memory or why or launcher)
        who = f"the worker (pid {pid}{at(host)})"
        text = lost(who, command, how, hung_up=hung_up, guess=guess, replaced=replaced)
        super().__init__(text + tail(stderr_tail))
        self.pid, self.exit_code, self.signal, self.command = pid, exit_code, signal, command
        self.stderr_tail, self.started, self.retryable, self.hung_up = stderr_tail, started, not started, hung_up
        self.out_of_memory, self.why = out_of_memory, why


class CallTimeout(WorkerError, TimeoutError):
    """The call was sent, and no answer came before its deadline. Its worker is told to stop; it may have run, unless it
    is `retryable`: then it certainly wasn't begun. `adapter` is set where that can't stop a call, which may run on."""

    __module__ = "bridge"

    def __init__(
        self,
        command: str,
        timeout: float,
        *,
        pid: int | None,
        host: str | None = None,
        started: bool = True,
        adapter: str | None = None,
    ) -> None:
        super().__init__(late(command, timeout, f"pid {pid}{at(host)}", started=started, adapter=adapter))
        self.command, self.timeout, self.pid, self.host = command, timeout, pid, host
        self.adapter, self.retryable = adapter, not started


class CallCancelled(WorkerError):
    """Somebody cancelled the call, or closed its bridge: before it was sent if `retryable`, else while a worker ran it,
    which is told to stop. `pid` is that worker's, if it is a process; `host` is one of `pool.hosts`, or None.
    """

    __module__ = "bridge"

    def __init__(
        self, command: str, *, pid: int | None, why: str = "", started: bool = False, host: str | None = None
    ) -> None:
        started = started or pid is not None
        super().__init__(cancelled(command, "" if pid is None else f" (pid {pid}{at(host)})", why, started=started))
        self.command, self.pid, self.host, self.retryable = command, pid, host, not started


class SessionLost(WorkerError):
    """A session's state is gone, with the worker that had it or because the session has ended. The call was not sent;
    the next one begins with a new state.

    `key` is the session's, `pid` that worker's, if its death took the state, and `host` where that was, one of
    `pool.hosts`; `why` says how it came about.
    """

    __module__ = "bridge"

    retryable = True

    def __init__(self, key: str, *, pid: int | None, why: str, host: str | None = None) -> None:
        where = "" if pid is None else f" (it was in the worker with pid {pid}{at(host)})"
        super().__init__(forgotten(key, where, why))
        self.key, self.pid, self.why, self.host = key, pid, why, host


class PoisonCall(WorkerError):
    """This very call, by command and arguments, has killed too many workers (`poison_threshold`). It wasn't sent."""

    __module__ = "bridge"

    def __init__(self, command: str, *, deaths: int, how: str) -> None:
        super().__init__(poisoned(command, deaths, how))
        self.command, self.deaths, self.how = command, deaths, how


class ProtocolError(BridgeError):
    """A worker sent bytes that are not ours. Its output is not trusted again: it is killed and replaced."""

    __module__ = "bridge"

    def __init__(self, detail: str, *, pid: int | None = None, host: str | None = None) -> None:
        super().__init__(garbled(f"the worker (pid {pid}{at(host)})", detail))
        self.detail, self.pid, self.host = detail, pid, host


# -- The call itself ---------------------------------------------------------------------------------------


class CallError(BridgeError, TypeError):
    """The call can't be made as it stands; repeating it won't help. The worker lives on.

    `kind` is command, arguments or result; `side` says who must mend it: "caller" or "handler".
    """

    __module__ = "bridge"

    def __init__(self, kind: str, detail: str, *, command: str, side: str) -> None:
        super().__init__(f"{command!r}: {detail}")
        self.kind, self.detail, self.command, self.side = kind, detail, command, side


class UnexpectedCall(CallError):
    """A mock was called that has no answer for this command. It never invents one.

    `answered` are the commands that it has answers for. A cassette, which isn't asked in such words, says `why`.
    """

    __module__ = "bridge"

    def __init__(self, command: str, *, answered: tuple[str, ...] = (), why: str = "") -> None:
        super().__init__(
            "command",
            why
            or f"the mock has no answer for it, only for: {', '.join(answered) or 'none'}. Give it one of three ways: "
            f"MockAdapter({{{command!r}: ...}}), mock.answer({command!r}, ...), or a fake handler "
            "(worker.fake='pkg.mod:FakeHandler') that has such a command",
            command=command,
            side="caller",
        )
        self.answered = answered


class RemoteError(BridgeError):
    """The handler raised. `type` is the exception's qualified name; its traceback is text, never a live object.

    `original` is the exception itself where calls are pickled (`worker.codec`) and it could be, else None.
    """

    __module__ = "bridge"

    original: BaseException | None = None

    def __init__(self, type: str, message: str, *, command: str, remote_traceback: str = "") -> None:  # noqa: A002
        super().__init__(f"{command!r} raised {type}: {message}{traced(remote_traceback)}")
        self.type, self.message, self.command = type, message, command
        self.remote_traceback = remote_traceback
