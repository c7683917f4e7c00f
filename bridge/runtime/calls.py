"""One call: from the arguments to its one outcome.

Rules: encode before a worker is taken; one deadline, computed at the door; whatever happens the claim goes back, and
whether its worker is clean is for the link to say. A worker that died before it saw the call costs another try, not
an error. Apart from pool and supervisor, which know nothing of commands; `plain` is the hot path, on one page.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, Final

from bridge.contract import Capability, ExitStatus, WithdrawingChannel, WorkerGone
from bridge.core.effects import Why
from bridge.core.messages import encode_call, encode_hook, name_of
from bridge.errors import BridgeError, CallCancelled, CallTimeout, WorkerCrashed
from bridge.link import DeadlinePassed, Left
from bridge.runtime.claims import Claim, worker_of
from bridge.runtime.session import tell_lent
from bridge.runtime.worker import Worker
from bridge.wire import ASK, CALL, HOOK, RESULT

if TYPE_CHECKING:
    from bridge.runtime import Runtime
    from bridge.runtime.follow import Follow
    from bridge.runtime.watching import Watch

ENDINGS: Final = (WorkerGone, DeadlinePassed, Left)
"""What a link ends a call with that no reply came for."""

MAX_RETRIES: Final = 3
"""Times that a call is sent again because its worker had died before it saw it."""
DYING: Final = 0.1
"""Seconds in which a process whose pipe was closed by its own death is seen to be dead; it takes some microseconds."""
STATUS_WAIT: Final = 1.0
"""Seconds that a caller whose worker died waits for its exit status, at the most."""


def plain(runtime: Runtime, command: str, args: Any, timeout: float | None, idempotent: bool = False) -> Any:
    """`call` on a runtime that is plain, of what nothing goes with: the way of most calls, in the fewest steps.

    It ends here if its worker answers. Whatever else becomes of it, `call` goes on with. Nobody can cancel it: nobody
    else has its claim.
    """
    clock, pool, claim = runtime.clock, runtime.pool, Claim()
    began_at = clock()
    deadline = inf if timeout is None else began_at + timeout
    body = encode_call(command, args, runtime.spec.max_frame_bytes)
    try:
        if pool.lock._is_owned():  # type: ignore[attr-defined]  # noqa: SLF001  # `interrupted_here`, without its call
            raise pool.interrupted()
        with pool.lock:
            worker = pool.lend_idle(claim)
        if worker is not None:
            now = began_at  # it has waited for nothing
        else:
            worker = pool.turn(claim, body, deadline)
            if claim.begun:
                result = worker.link.reply(command, deadline)  # type: ignore[union-attr]  # what hands on has it
                if not pool.hand_over(claim, worker):
                    pool.take_back(claim, worker)
                return result
            now = clock()
        worker.calls += 1
        claim.sent_at = worker.active_at = now
        result = worker.link.plain(command, body, deadline, now)
        pool.take_back(claim, worker)
        return result
    except ENDINGS as end:
        return call(runtime, command, args, timeout, claim, idempotent, body=body, began_at=began_at, ended=end)
    except BaseException:
        pool.checkin(claim)
        raise


def call(
    runtime: Runtime,
    command: Any,
    args: Any,
    timeout: float | None,
    claim: Claim | None = None,
    idempotent: bool = False,
    follow: Follow | None = None,
    *,
    body: bytes | None = None,
    began_at: float | None = None,
    watch: Watch | None = None,
    ended: Exception | None = None,
) -> Any:
    """Call a command on any worker.

    Args:
        command: Its name; a function, where calls are pickled.
        timeout: Seconds for all of it; None is no limit.
        claim: The caller's own, so that another thread can cancel it.
        idempotent: Running it twice does no harm: it is sent again after a crash, too.
        follow: What the caller wants to hear before its end, and what goes with it.
        body: What `command` and the arguments were encoded to, where that was done before.
        began_at: When the timeout began, if not now; monotonic seconds.
        watch: Sees what becomes of it. None: if there is an `on_call`, one is made.
        ended: One of ENDINGS, with which the first try has ended, on the worker that the claim has.
    """
    if runtime.watcher is not None and watch is None:
        if began_at is None:
            began_at = runtime.clock()  # what it takes to begin to watch is the call's time
        with runtime.watcher.watch(runtime, name_of(command), follow) as (watch, follow):
            return call(
                runtime, command, args, timeout, claim, idempotent, follow, body=body, began_at=began_at, watch=watch
            )
    clock, pool = runtime.clock, runtime.pool
    deadline = inf if timeout is None else (clock() if began_at is None else began_at) + timeout
    if body is None:
        body = encoded(runtime, command, args, follow)
    if type(command) is not str:
        command = name_of(command)
    if claim is None:
        claim = Claim()
    else:
        claim.body, claim.begun = None, False  # it may have been another call's
    visit = None if follow is None else follow.visit
    if pool.policy.poison_threshold is not None:
        pool.refuse_poison(command, body)
    retries = 0
    while True:
        try:
            if ended is not None:
                end, ended = ended, None
                raise end
            lent = pool.lend(claim) if visit is None else visit.checkout(claim, deadline)
            worker = lent or pool.turn(claim, None if follow else body, deadline)
            if claim.begun:
                return worker.link.finish(command, deadline)
            if claim.cancelled:
                raise CallCancelled(command, pid=None)
            worker.calls += 1
            claim.sent_at = worker.active_at = clock()
            if follow is None:
                return worker.link.call(command, body, deadline, CALL, worker.holder)
            result = _followed(runtime, worker, command, body, deadline, follow)
            if follow.chunk is not None:
                if watch is not None:
                    watch.saw(claim)  # before its time becomes that of its last item
                pool.count_chunk(worker, claim, result)
            return result
        except WorkerGone as gone:
            worker = worker_of(claim)
            again = (not gone.started or idempotent) and retries < MAX_RETRIES and not claim.cancelled
            if gone.started or not again:
                lost = _lost(runtime, claim, worker, command, deadline, body=body, started=gone.started)
                if not again or not isinstance(lost, WorkerCrashed) or clock() >= deadline:
                    raise lost from None
                pool.refuse_poison(command, body)
            claim.body, claim.begun = None, False
            retries += 1
            pool.count_again(worker, started=gone.started)
        except DeadlinePassed as end:
            raise _late(runtime, worker_of(claim), command, timeout, started=end.started) from None
        except Left:
            raise _cancelled(worker_of(claim), command) from None
        finally:
            try:
                if watch is not None:
                    watch.saw(claim)
                pool.checkin(claim)
            finally:
                if visit is not None:
                    visit.leave()


def encoded(runtime: Runtime, command: Any, args: Any, follow: Follow | None = None) -> bytes:
    """The body of a call. Raises CallError."""
    spec = runtime.spec
    limit = spec.max_frame_bytes - (0 if follow is None else len(follow.head))
    return encode_call(command, args, limit, pickle=spec.pickle is not None)


def _followed(runtime: Runtime, worker: Worker, command: str, body: bytes, deadline: float, follow: Follow) -> Any:
    """Send a call, hear what it reports and answer what it asks until its reply comes."""
    link, visit = worker.link, follow.visit
    if visit is not None:
        visit.equip(follow, command, body)
    link.open(command, body, deadline, deadline - runtime.clock(), worker.holder, follow)
    while True:
        kind, value = link.hear(command, deadline)
        if kind == RESULT:
            if visit is not None:
                visit.heard(link)
            return value
        if kind == ASK:
            link.answer(follow.answer(value), deadline)
        elif follow.progress is not None:
            follow.progress(value)
            if follow.each is not None:
                deadline = runtime.clock() + follow.each


def call_on(
    runtime: Runtime, claim: Claim, command: str, args: Any, timeout: float | None, follow: Follow | None = None
) -> Any:
    """Call a command on the worker of a lease; if it isn't clean afterwards, that lease is spent."""
    if runtime.watcher is None:
        body = encoded(runtime, command, args, follow)
        return _call_on(runtime, claim, name_of(command), body, timeout, CALL, follow)
    with runtime.watcher.watch(runtime, name_of(command), follow) as (watch, follow):
        body = encoded(runtime, command, args, follow)
        watch.sent_to(claim.worker, runtime.clock())
        return _call_on(runtime, claim, name_of(command), body, timeout, CALL, follow)


def reset(runtime: Runtime, claim: Claim, timeout: float | None) -> None:
    """Run the handler's `on_reset`, if it has one, before its worker goes to somebody else."""
    worker = claim.worker
    if worker is not None and worker.link.clean and "on_reset" in worker.hooks:
        _call_on(runtime, claim, "on_reset", encode_hook("on_reset"), timeout, HOOK)


def reset_workers(runtime: Runtime, timeout: float = 5.0) -> None:
    """Run `on_reset` on every ready worker: they are about to serve somebody who must find no traces.

    Raises:
        PoolTimeout: One is still lent, or a call runs on it.
        RemoteError, CallTimeout, WorkerCrashed: An `on_reset` failed; that worker is replaced.
    """
    deadline = runtime.clock() + timeout
    claims = [Claim() for _ in runtime.pool.states()]
    with runtime.pool.lock:
        runtime.pool.sessions.clear("the worker was reset for another test")
    try:
        for claim in claims:
            tell_lent(runtime, runtime.pool.checkout(claim, deadline))
        for claim in claims:
            done = False
            try:
                reset(runtime, claim, timeout)
                done = True
            finally:
                if not done:
                    runtime.pool.condemn(claim)
    finally:
        for claim in claims:
            runtime.pool.checkin(claim)


def _call_on(
    runtime: Runtime,
    claim: Claim,
    command: str,
    body: bytes,
    timeout: float | None,
    kind: int,
    follow: Follow | None = None,
) -> Any:
    worker, sent_at, deadline = begin_on(runtime, claim, timeout, kind)
    try:
        if follow is not None:
            return _followed(runtime, worker, command, body, deadline, follow)
        return worker.link.call(command, body, deadline, kind, worker.holder)
    except ENDINGS as end:
        raise outcome(runtime, claim, worker, command, end, deadline, timeout, body) from None
    finally:
        if worker.link.clean:
            runtime.pool.record(worker, sent_at)


def begin_on(runtime: Runtime, claim: Claim, timeout: float | None, kind: int) -> tuple[Worker, float, float]:
    """A call on a lease begins: its worker, the time, and its deadline."""
    worker = worker_of(claim)
    worker.calls += 1
    worker.needs_reset = kind == CALL
    worker.active_at = sent_at = runtime.clock()
    return worker, sent_at, inf if timeout is None else sent_at + timeout


def outcome(
    runtime: Runtime,
    claim: Claim,
    worker: Worker,
    command: str,
    end: Exception,
    deadline: float,
    timeout: float | None,
    body: bytes,
) -> BridgeError:
    """What a caller is told when its call ended in one of ENDINGS."""
    if isinstance(end, WorkerGone):
        return _lost(runtime, claim, worker, command, deadline, body=body, started=end.started)
    if isinstance(end, DeadlinePassed):
        return _late(runtime, worker, command, timeout, started=end.started)
    return _cancelled(worker, command)


def _cancelled(worker: Worker, command: str, why: str = "") -> CallCancelled:
    return CallCancelled(command, pid=worker.info.pid, why=why, started=True, host=worker.host or None)


def _late(runtime: Runtime, worker: Worker, command: str, timeout: float | None, *, started: bool) -> CallTimeout:
    runtime.pool.count(timeouts=1)
    channel, able = worker.channel, runtime.adapter.capabilities
    if isinstance(channel, WithdrawingChannel):
        started = not channel.withdraw(worker.link.call_id)
    return CallTimeout(
        command,
        timeout or 0.0,
        pid=worker.info.pid,
        host=worker.host or None,
        started=started,
        adapter=runtime.adapter.name if able.isdisjoint((Capability.KILL, Capability.SOFT_CANCEL)) else None,
    )


def _lost(
    runtime: Runtime, claim: Claim, worker: Worker, command: str, deadline: float, *, body: bytes, started: bool
) -> BridgeError:
    """The report of a death, once the supervisor knows how it happened."""
    if claim.cancelled:
        return _cancelled(worker, command)
    left = deadline - runtime.clock()
    if worker.process is None or not worker.exited.wait(min(DYING, left)):
        runtime.supervisor.retire(worker)  # it may only have closed its pipe
        worker.exited.wait(min(STATUS_WAIT, left))
    if worker.killed is Why.SHUTDOWN_TIMEOUT:
        return _cancelled(worker, command, "the bridge was closed")
    runtime.pool.count(crashes=1)
    if started:
        runtime.pool.suspect(body, worker.how_it_ended())
    status = worker.status or ExitStatus()
    return WorkerCrashed(
        pid=worker.info.pid,
        exit_code=status.code,
        signal=status.signal,
        command=command,
        stderr_tail=worker.channel.stderr_tail(),
        started=started,
        hung_up=worker.process is not None and worker.killed is Why.DIRTY,
        out_of_memory=status.out_of_memory,
        why=status.why,
        launcher=status.launcher,
        replaced=status.replaced,
        host=worker.host or None,
    )
