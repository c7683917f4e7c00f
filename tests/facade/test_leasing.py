"""A lease that a Ctrl-C cuts short while it is given back."""

from __future__ import annotations

import gc
import sys
from itertools import count
from types import FrameType
from typing import Any

import pytest

import bridge
from bridge import MockAdapter
from bridge.leasing import Lease


class Sticky:
    """It can't be reset."""

    def on_reset(self) -> None:
        """After a lease."""
        raise LookupError("nothing to go back to")

    def answer(self) -> int:
        """That of everything."""
        return 42


class Cut(BaseException):
    """As a KeyboardInterrupt, that pytest doesn't take for its own."""


class Knife:
    """Raises at one event in `Lease.close`: a step of the interpreter, or a line where Python tells no steps (3.12 on).

    Args:
        at: Which one, from 1.
    """

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, frame: FrameType, _event: str, _value: Any) -> Any:
        """What sys.settrace takes."""
        if frame.f_code is not Lease.close.__code__:
            return None
        frame.f_trace_opcodes = True
        return self._step

    def _step(self, _frame: FrameType, event: str, _value: Any) -> Any:
        self.left -= event in ("opcode", "line")
        if event in ("opcode", "line") and not self.left:
            raise Cut
        return self._step


def cuts(b: bridge.Bridge, at: int) -> bool:
    """Cut the end of a lease short, which is kept; whether it was."""
    kept, before = b.lease(), sys.gettrace()
    try:
        with kept:
            kept.call("answer")
            sys.settrace(Knife(at))
    except Cut:
        return True
    finally:
        sys.settrace(before)
        assert b.call("answer", timeout=20) == 42, f"step {at}"
    return False


def test_a_lease_whose_end_is_cut_short_gives_its_worker_back() -> None:
    """At each step of `close`, though somebody keeps it: the only worker is there again. Fails without the `finally` of
    `__exit__`."""
    with bridge.connect("shop:Prices", adapter=MockAdapter({"answer": 42}), size=1) as b:
        steps = next(at for at in count(1) if not cuts(b, at))

    assert steps > 8


def test_a_lease_that_can_not_be_reset_gives_up_its_worker() -> None:
    """Told by `close`, and kept: the next caller has another one. Fails without the `finally` of `close`."""
    with bridge.connect(f"{__name__}:Sticky", adapter="bridge_mock", size=1) as b:
        kept = b.lease()
        first = kept.info.generation
        assert kept.call("answer") == 42
        with pytest.raises(bridge.RemoteError, match="nothing to go back to"):
            kept.close()

        assert b.call("answer", timeout=20) == 42
        assert b.stats().workers[0].generation > first


def test_the_worker_of_a_dropped_lease_is_replaced_by_whoever_looks() -> None:
    """Where the supervisor has no thread. Fails when either of them doesn't ask for an audit."""
    with bridge.connect("shop:Prices", adapter=MockAdapter({"answer": 42}), size=1) as b:
        for look in (b.stats, b.health):
            lease = b.lease()
            before = lease.info.generation
            del lease
            gc.collect()
            look()

            (worker,) = b._source.peek().pool.states()
            assert worker.generation > before
