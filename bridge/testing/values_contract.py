"""What an adapter has to do with values that hold buffers: a part of AdapterContract.

Rules: those of adapter_contract.py. Apart from that file for its length.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Iterator
from typing import Any

from bridge.contract import Capability
from bridge.core.sessions import SessionPolicy
from bridge.errors import CallError, RemoteError
from bridge.testing.contract_base import ContractBase, raised

LONG = 300_000
"""Bytes that fit neither into a pipe nor into what is copied."""


def _shapes() -> Iterator[Any]:
    """Of every number of dimensions, empty ones, short and long ones, and other kinds of elements."""
    yield memoryview(bytes(range(24))).cast("i", (2, 3))
    yield memoryview(bytes(8)).cast("d", ())
    yield memoryview(bytes(range(240))).cast("h", (2, 3, 20))
    yield memoryview(array("d", [0.5, float("inf")]))
    yield memoryview(array("i"))
    yield memoryview(bytearray(range(200)) * (LONG // 200)).cast("q", (3, LONG // 24))
    yield memoryview(b"\0\1").cast("?")
    yield memoryview((ctypes.c_int32.__ctype_be__ * 3)(1, 2, 3))
    yield memoryview((ctypes.c_double.__ctype_be__ * 2 * 2)())
    yield memoryview((ctypes.c_double * 0 * 3)())


class ValuesContract(ContractBase):
    """The part of the suite about values that hold buffers."""

    def test_bytes_come_back_as_bytes(self) -> None:
        """Empty, short and long, alone and nested, in a result as in arguments. Fails when they come as views."""
        with self.opened() as (bridge, _):
            for value in (b"", b"\xff\x00{}", b"x" * LONG):
                assert bridge.call("echo", [value]) == value
                assert bridge.call("echo", {"value": {"a": [1, {"b b": value}], "c": None}})["a"][1] == {"b b": value}
                assert type(bridge.call("echo", [value])) is bytes
            assert bridge.call("add", [b"a", b"b"]) == b"ab"
            assert bridge.call("later", [b"a"]) == b"a"
            assert bridge.call("echo", [b"a"], returns=bytes) == b"a"

    def test_buffers_come_back_as_views(self) -> None:
        """Read-only, with format and shape. Fails when either is lost, or when the caller's own memory comes back."""
        with self.opened() as (bridge, _):
            for view in _shapes():
                found = bridge.call("echo", [view])

                assert (type(found), found.readonly, found.shape) == (memoryview, True, view.shape), view.format
                assert found.format.lstrip("<") == view.format.lstrip("<")
                assert found.tobytes() == view.tobytes()
            mine = bytearray(b"mine")
            kept = bridge.call("echo", [mine])
            mine[0] = 0
            assert kept == b"mine"

    def test_a_buffer_stands_anywhere(self) -> None:
        """Many in one value, at depth, the same twice. Fails when places are found by a mark that a value may have."""
        with self.opened() as (bridge, _):
            mine = bytearray(b"mine")
            value = {"a": [None, {"b": [mine, [mine, b"x"]], "c": 0}], "": mine, "d": [[], {}, None, "\xff", 0]}
            deep: Any = b"deep"
            for _ in range(50):
                deep = [deep, None]

            assert bridge.call("echo", [value]) == value
            assert bridge.call("echo", [deep]) == deep
            assert bridge.call("echo", [[b"%d" % each for each in range(2000)]])[1999] == b"1999"
            assert bridge.call("echo", [[bytes([each]) * LONG for each in range(5)]])[4] == b"\4" * LONG

    def test_a_buffer_that_cannot_travel_is_refused_with_its_place(self) -> None:
        """One with gaps, or of unknown elements: a CallError with the cure; nothing is sent. Fails when its bytes go
        in another order, or as something else."""
        with self.opened() as (bridge, _):
            gaps = memoryview(b"abcdef")[::2]
            odd = (ctypes.c_wchar * 2)("a", "b")

            assert "args[0].a[1] is a buffer that isn't C-contiguous; send a copy" in (
                raised(CallError, bridge.call, "echo", [{"a": [0, gaps]}]).detail
            )
            assert "args[0] is a buffer of the format" in raised(CallError, bridge.call, "echo", [odd]).detail
            mixed = raised(CallError, bridge.call, "echo", [{"a": b"x", "b": {1}}])
            assert "args[0].b is of type set" in mixed.detail
            assert bridge.call("echo", [b"x"]) == b"x"

    def test_buffers_count_as_bytes_of_a_frame(self) -> None:
        """The limit is one for all of a value. Fails when only its text is counted."""
        with self.opened(max_frame_bytes=LONG) as (bridge, _):
            error = raised(CallError, bridge.call, "echo", [bytes(LONG)])
            assert (error.kind, error.side) == ("arguments", "caller")
            assert f"over max_frame_bytes={LONG}" in error.detail
            error = raised(CallError, bridge.call, "add", [bytes(LONG // 2), bytes(LONG // 2)])
            assert "over max_frame_bytes" in error.detail
            assert bridge.call("echo", [bytes(LONG // 2)]) == bytes(LONG // 2)

    def test_buffers_are_items_reports_and_answers(self) -> None:
        """Whatever carries a value carries buffers. Fails when one of them takes text alone."""
        with self.opened() as (bridge, _):
            if self._can(Capability.STREAMS):
                heard: list[Any] = []
                assert list(bridge.stream("repeat", [b"x" * LONG, 5])) == [b"x" * LONG] * 5
                assert bridge.call("tell", [array("i", [1, 2])], on_progress=heard.append) == b"told"
                assert [(each.format, each.tolist()) for each in heard] == [("i", [1, 2])]
            if self._can(Capability.CALLBACKS):
                bridge.expose("double", lambda data: bytes(data) * 2)
                assert bridge.call("ask", ["double", [b"x" * LONG]]) == {"value": b"x" * LONG * 2}
                assert bridge.call("ask", ["double", {"data": bytearray(b"ab")}]) == {"value": b"abab"}
            assert list(bridge.map("echo", [b"a", 1, b"b" * LONG, "c", b""], arg="value")) == [
                *(b"a", 1, b"b" * LONG, "c", b"")
            ]

    def test_a_durable_session_keeps_buffers(self) -> None:
        """They are in its snapshot, and in the state that begins elsewhere. Fails when that is taken for text."""
        if not self._can(Capability.SESSIONS):
            return
        policy = SessionPolicy(max_snapshot_bytes=LONG)
        with self.opened(sessions=policy) as (bridge, _), bridge.session("a", durable=True) as session:
            assert session.call("remember", [b"one"]) == [b"one"]
            assert session.call("remember", [bytearray(b"two" * 20_000)])[0] == b"one"
            raised(RemoteError, session.call, "forget")
            assert session.call("whose")["kept"][0] == b"one"
            bridge.recycle()

            kept = session.call("remember", [3])
            assert (kept[0], bytes(kept[1]), kept[2]) == (b"one", b"two" * 20_000, 3)
            assert "over max_snapshot_bytes" in raised(CallError, session.call, "remember", [bytes(LONG)]).detail
