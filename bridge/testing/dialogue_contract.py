"""What an adapter has to do that streams, reports progress or asks back: a part of AdapterContract.

Rules: those of adapter_contract.py. What an adapter doesn't promise isn't asked of it. Apart from that file for its
length.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from bridge.contract import Capability
from bridge.errors import CallError, CapabilityError, RemoteError
from bridge.testing.contract_base import ContractBase, raised


class DialogueContract(ContractBase):
    """The part of the suite about calls that say more than their result."""

    def test_what_it_cannot_do_is_refused_at_once(self) -> None:
        """A stream or a report from an adapter without the capability is a CapabilityError, and nothing was sent."""
        if self._can(Capability.STREAMS):
            return
        with self.opened() as (bridge, _):
            assert "stream" in str(raised(CapabilityError, bridge.stream, "count", [3]))
            assert "progress" in str(raised(CapabilityError, bridge.call, "work", [3], on_progress=print))

    # -- Streams -----------------------------------------------------------------------------------------

    def test_a_stream_yields_what_its_generator_does(self) -> None:
        """In order, to the end, none at all too; a generator of coroutines as well."""
        if not self._can(Capability.STREAMS):
            return
        with self.opened() as (bridge, _):
            assert list(bridge.stream("count", [100])) == list(range(100))
            assert list(bridge.stream("count", [0])) == []
            assert list(bridge.stream("count_later", [40], ahead=1)) == list(range(40))
            assert bridge.call("add", [1, 2]) == 3

    def test_an_error_comes_after_the_items_before_it(self) -> None:
        """The items that were yielded are delivered, then the error is; the worker lives on."""
        if not self._can(Capability.STREAMS):
            return
        got = []
        with self.opened() as (bridge, _):
            stream = bridge.stream("count", [50, 20])

            def take() -> None:
                for item in stream:
                    got.append(item)  # noqa: PERF402  what was taken before the error counts

            error = raised(RemoteError, take)

            assert (got, error.message) == (list(range(20)), "at 20")
            assert list(stream) == []
            assert bridge.call("kept")[-1] == "closed"

    def test_a_slow_consumer_bounds_what_is_made_ahead(self) -> None:
        """Of a million items a few are made before they are wanted, and closing the stream ends the generator."""
        if not self._can(Capability.STREAMS):
            return
        with self.opened() as (bridge, _), bridge.stream("count", [1_000_000], ahead=8) as stream:
            assert [next(stream) for _ in range(5)] == [0, 1, 2, 3, 4]
            stream.close()

            assert raised(StopIteration, next, stream)
            if self._can(Capability.SOFT_CANCEL):
                kept = bridge.call("kept")
                assert kept[-1] == "closed"
                assert 5 <= len(kept) - 1 <= 5 + 8

    def test_streams_and_calls_are_not_taken_for_each_other(self) -> None:
        """Each is an error that names the other."""
        if not self._can(Capability.STREAMS):
            return
        with self.opened() as (bridge, _):
            assert "call(...)" in raised(CallError, list, bridge.stream("add", [1])).detail
            assert "stream(...)" in raised(CallError, bridge.call, "count", [1]).detail
            assert bridge.call("add", [1, 2]) == 3

    def test_progress_is_reported_in_order_before_the_result(self) -> None:
        """And goes nowhere when nobody listens."""
        if not self._can(Capability.STREAMS):
            return
        got: list[Any] = []
        with self.opened() as (bridge, _):
            assert bridge.call("work", [3], on_progress=got.append) == 3
            assert got == [{"step": 0}, {"step": 1}, {"step": 2}]
            assert bridge.call("work", [3]) == 3

    # -- Callbacks and context ---------------------------------------------------------------------------

    def test_a_handler_asks_its_caller(self) -> None:
        """A value comes back; an error, a name that isn't exposed and a result that can't travel are the handler's to
        see; without any exposed function too."""
        if not self._can(Capability.CALLBACKS):
            return
        with self.opened() as (bridge, _):
            assert bridge.call("ask", ["double", [4]])["kind"] == "LookupError"
            bridge.expose("double", lambda value: 2 * value)
            bridge.expose("odd", lambda: {1, 2})
            assert bridge.call("ask", ["double", [4]]) == {"value": 8}
            assert bridge.call("ask", ["double", {"value": "ab"}]) == {"value": "abab"}
            assert bridge.call("ask", ["double", None])["kind"] == "TypeError"
            assert "type set" in bridge.call("ask", ["odd"])["message"]
            assert "double, odd" in bridge.call("ask", ["nothing"])["message"]

    def test_questions_and_answers_have_a_limit(self) -> None:
        """Up to it they cross; beyond it the handler gets an error, and the worker lives on."""
        if not self._can(Capability.CALLBACKS):
            return
        with self.opened(max_frame_bytes=2000) as (bridge, _):
            bridge.expose("letters", lambda count: "x" * count)
            bridge.expose("echo", lambda text: text)
            assert len(bridge.call("ask", ["letters", [1900]])["value"]) == 1900
            for count in range(1970, 2010):
                with suppress(CallError):  # the handler's own result is over the limit, too
                    assert bridge.call("ask", ["letters", [count]]).get("kind", "TypeError") == "TypeError"
            assert (bridge.call("add", [1, 2]), bridge.stats().crashes) == (3, 0)

    def test_callbacks_within_callbacks_are_bounded(self) -> None:
        """Each asks for a call on one more worker: the ninth is refused to the handler, and all others go on."""
        if not self._can(Capability.CALLBACKS):
            return
        with self.opened(size=12) as (bridge, _):
            bridge.expose("again", lambda: bridge.call("ask", ["again"]))
            answer = bridge.call("ask", ["again"])
            depth = 0
            while "value" in answer:
                answer, depth = answer["value"], depth + 1

            assert (depth, answer["kind"]) == (8, "RecursionError")

    def test_a_handler_knows_how_long_its_caller_waits(self) -> None:
        """The deadline travels with the call; without one there is none."""
        with self.opened() as (bridge, _):
            assert 0 < bridge.call("left", timeout=20) <= 20
            assert bridge.call("left", timeout=None) is None
