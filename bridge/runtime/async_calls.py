"""One call of a task: as calls.py, awaited.

Rules: those of calls.py. A cancelled task leaves its call as a thread does that is interrupted: what it was offered
goes to the next one, and a worker whose reply is due to the supervisor. Apart from calls.py, since a coroutine and a
function can't be one; what isn't waiting is shared.
"""

from __future__ import annotations

import asyncio
import inspect
from asyncio import get_running_loop
from math import inf
from typing import TYPE_CHECKING, Any
from weakref import ref

from bridge.channel_async import Conversation
from bridge.contract import WorkerGone
from bridge.core.messages import encode_call, encode_hook, name_of
from bridge.core.pool_state import Departed
from bridge.errors import BridgeError, CallCancelled, WorkerCrashed
from bridge.link import DeadlinePassed, Left
from bridge.runtime.calls import ENDINGS, MAX_RETRIES, begin_on, encoded, outcome
from bridge.runtime.claims import worker_of
from bridge.runtime.loop_calls import LoopCall, WatchedLoopCall
from bridge.runtime.loop_claims import LoopClaim, claim_here, home_of
from bridge.runtime.pool import LAST_LOOK
from bridge.runtime.worker import Worker
from bridge.wire import ASK, CALL, HOOK, RESULT

if TYPE_CHECKING:
    from bridge.runtime import Runtime
    from bridge.runtime.follow import Follow
    from bridge.runtime.session import Visit
    from bridge.runtime.watching import Watch, Watcher


async def checkout(runtime: Runtime, claim: LoopClaim, deadline: float) -> Worker:
    """Lend one worker to the claim; its owner calls `pool.checkin` whatever happens. Raises as Pool.checkout."""
    pool = runtime.pool
    started = runtime.clock()
    try:
        if not pool.ask(claim, started):
            try:
                while (left := pool.look(claim, deadline, started)) is not None:
                    claim.home.watch(claim.loop)
                    await claim.rest(min(LAST_LOOK, left))
                    claim.rested()
            finally:
                claim.rested()
    except BaseException:
        pool.leave(claim)
        raise
    return worker_of(claim)


async def checkout_for(runtime: Runtime, visit: Visit, claim: LoopClaim, deadline: float) -> Worker:
    """As Visit.checkout."""
    while True:
        visit.aim(claim)
        try:
            worker = await checkout(runtime, claim, deadline)
        except Departed:
            visit.refused(claim)
            continue
        if visit.land(worker):
            return worker
        runtime.pool.checkin(claim)


async def plain(runtime: Runtime, command: str, args: Any, timeout: float | None, idempotent: bool = False) -> Any:
    """`call` on a runtime that is plain, of what nothing goes with: as calls.plain."""
    deadline = inf if timeout is None else runtime.clock() + timeout
    body = encode_call(command, args, runtime.spec.max_frame_bytes)
    loop = get_running_loop()
    home = runtime.homes.get(ref(loop)) or home_of(runtime, loop)
    claim = LoopCall(home, loop, command, body, deadline)
    while True:
        try:
            return await claim.begin()
        except ENDINGS as end:
            await goes_on(runtime, claim, command, end, timeout, body, idempotent=idempotent)
        finally:
            if claim.future is not None:  # else it was passed on
                claim.end()


async def call(
    runtime: Runtime,
    command: str,
    args: Any,
    timeout: float | None,
    idempotent: bool = False,
    follow: Follow | None = None,
    *,
    body: bytes | None = None,
    watch: Watch | None = None,
) -> Any:
    """Call a command on any worker. As calls.call."""
    if runtime.watcher is not None and watch is None:
        return await _watched(
            runtime, runtime.watcher, command, args, timeout, idempotent=idempotent, follow=follow, body=body
        )
    deadline = inf if timeout is None else runtime.clock() + timeout
    if body is None:
        body = encoded(runtime, command, args, follow)
    if type(command) is not str:
        command = name_of(command)
    if runtime.pool.policy.poison_threshold is not None:
        runtime.pool.refuse_poison(command, body)
    if follow is not None:
        return await _followed(runtime, command, body, deadline, timeout, follow, idempotent=idempotent, watch=watch)
    # From here on a call that says nothing before its result: its task sleeps once.
    loop = get_running_loop()
    home = home_of(runtime, loop)
    if watch is None:
        claim = LoopCall(home, loop, command, body, deadline)
    else:
        claim = WatchedLoopCall(home, loop, command, body, deadline)
        claim.watch = watch
    while True:
        try:
            return await claim.begin()
        except ENDINGS as end:
            await goes_on(runtime, claim, command, end, timeout, body, idempotent=idempotent)
        finally:
            claim.end()


async def goes_on(
    runtime: Runtime,
    claim: LoopCall,
    command: str,
    end: Exception,
    timeout: float | None,
    body: bytes,
    *,
    idempotent: bool,
) -> None:
    """It is to be sent again; or raises what its caller is told."""
    worker, deadline = worker_of(claim), claim.deadline
    if not isinstance(end, WorkerGone):
        raise outcome(runtime, claim, worker, command, end, deadline, timeout, body) from None
    may = (not end.started or idempotent) and claim.retries < MAX_RETRIES
    await send_again(runtime, claim, worker, command, end, deadline, timeout, body, may=may)
    claim.retries += 1


async def _watched(
    runtime: Runtime,
    watcher: Watcher,
    command: str,
    args: Any,
    timeout: float | None,
    *,
    follow: Follow | None,
    **more: Any,
) -> Any:
    """The same, told to `on_call`."""
    with watcher.watch(runtime, name_of(command), follow) as (watch, follow):
        return await call(runtime, command, args, timeout, follow=follow, watch=watch, **more)


async def _followed(
    runtime: Runtime,
    command: str,
    body: bytes,
    deadline: float,
    timeout: float | None,
    follow: Follow,
    *,
    idempotent: bool,
    watch: Watch | None,
) -> Any:
    """Call a command that may say something before its result."""
    clock, pool = runtime.clock, runtime.pool
    claim = claim_here(runtime)
    visit = follow.visit
    retries = 0
    while True:
        try:
            if visit is None:
                worker = await checkout(runtime, claim, deadline)
            else:
                worker = await checkout_for(runtime, visit, claim, deadline)
            if claim.cancelled:
                raise CallCancelled(command, pid=None)
            worker.calls += 1
            claim.sent_at = worker.active_at = clock()
            result = await _converse(runtime, worker, command, body, deadline, CALL, follow)
            if follow.chunk is not None:
                if watch is not None:
                    watch.saw(claim)  # before its time becomes that of its last item
                pool.count_chunk(worker, claim, result)
            return result
        except WorkerGone as gone:
            may = (not gone.started or idempotent) and retries < MAX_RETRIES
            await send_again(runtime, claim, worker, command, gone, deadline, timeout, body, may=may)
            retries += 1
        except (DeadlinePassed, Left) as end:
            raise outcome(runtime, claim, worker, command, end, deadline, timeout, body) from None
        finally:
            try:
                if watch is not None:
                    watch.saw(claim)
                pool.checkin(claim)
            finally:
                if visit is not None:
                    visit.leave()


async def send_again(
    runtime: Runtime,
    claim: LoopClaim,
    worker: Worker,
    command: str,
    gone: WorkerGone,
    deadline: float,
    timeout: float | None,
    body: bytes,
    *,
    may: bool,
) -> None:
    """A worker died: count that its call is sent to another one, or raise what its caller is told.

    Args:
        may: As far as the call is concerned.
    """
    again = may and not claim.cancelled
    if gone.started or not again:
        lost = await report(runtime, claim, worker, command, gone, deadline, timeout, body)
        if not again or not isinstance(lost, WorkerCrashed) or runtime.clock() >= deadline:
            raise lost from None
        runtime.pool.refuse_poison(command, body)
    runtime.pool.count_again(worker, started=gone.started)


async def call_on(
    runtime: Runtime, claim: LoopClaim, command: str, args: Any, timeout: float | None, follow: Follow | None = None
) -> Any:
    """Call a command on the worker of a lease. As calls.call_on."""
    if runtime.watcher is None:
        body = encoded(runtime, command, args, follow)
        return await _call_on(runtime, claim, name_of(command), body, timeout, CALL, follow)
    with runtime.watcher.watch(runtime, name_of(command), follow) as (watch, follow):
        body = encoded(runtime, command, args, follow)
        watch.sent_to(claim.worker, runtime.clock())
        return await _call_on(runtime, claim, name_of(command), body, timeout, CALL, follow)


async def reset(runtime: Runtime, claim: LoopClaim, timeout: float | None) -> None:
    """Run the handler's `on_reset`, if it has one, before its worker goes to somebody else."""
    worker = claim.worker
    if worker is not None and worker.link.clean and "on_reset" in worker.hooks:
        await _call_on(runtime, claim, "on_reset", encode_hook("on_reset"), timeout, HOOK, None)


async def _call_on(
    runtime: Runtime,
    claim: LoopClaim,
    command: str,
    body: bytes,
    timeout: float | None,
    kind: int,
    follow: Follow | None,
) -> Any:
    worker, sent_at, deadline = begin_on(runtime, claim, timeout, kind)
    try:
        return await _converse(runtime, worker, command, body, deadline, kind, follow)
    except ENDINGS as end:
        raise await report(runtime, claim, worker, command, end, deadline, timeout, body) from None
    finally:
        if worker.link.clean:
            runtime.pool.record(worker, sent_at)


async def _converse(
    runtime: Runtime,
    worker: Worker,
    command: str,
    body: bytes,
    deadline: float,
    kind: int,
    follow: Follow | None,
) -> Any:
    visit = None if follow is None else follow.visit
    if visit is not None and follow is not None:
        visit.equip(follow, command, body)
    with Conversation(worker.link, command, runtime.clock) as talk:
        await talk.say(body, deadline, deadline - runtime.clock(), kind, worker.holder, follow)
        while True:
            heard, value = await talk.hear(deadline)
            if heard == RESULT or follow is None:
                if visit is not None:
                    visit.heard(worker.link)
                return value
            if heard == ASK:
                await talk.answer(await answer(follow, value), deadline)
            elif follow.progress is not None:
                said = follow.progress(value)
                if inspect.isawaitable(said):
                    await said
                if follow.each is not None:
                    deadline = runtime.clock() + follow.each


async def answer(follow: Follow, asked: Any) -> bytes:
    """Run what the worker asks for, and await it if it is a coroutine."""
    return await follow.answer_async(asked, asyncio.current_task())


async def report(
    runtime: Runtime,
    claim: LoopClaim,
    worker: Worker,
    command: str,
    end: Exception,
    deadline: float,
    timeout: float | None,
    body: bytes,
) -> BridgeError:
    """What a caller is told of one of ENDINGS. Of a death the status is waited for, in a thread."""
    if not isinstance(end, WorkerGone):
        return outcome(runtime, claim, worker, command, end, deadline, timeout, body)
    return await asyncio.to_thread(outcome, runtime, claim, worker, command, end, deadline, timeout, body)
